"""Which training tasks hold text of an evaluation set?

A task is contaminated if, with any evaluation task, it

- has the same prompt word for word, or the same reference but for white space, whatever their length;
- shares `n` words in a row of the prompt (runs of letters and digits in lower case: layout, punctuation and case hide no copy);
- shares `3 * n` tokens in a row of the reference (words and single signs: idioms such as two nested loops are shorter).

n is 10 by default, as for DeepSeek-Coder (arXiv:2401.14196, section 2.1); GPT-3 used 13 (arXiv:2005.14165, appendix C).
Benchmarks are written from templates ("Write a python function to ...", "Your code should satisfy this test:"): words in a
phrase of TEMPLATE_WORDS that more than MAX_OWNERS evaluation tasks use are taken out of prompts before phrases of n are
compared, and the report says which phrases those were.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tasks.task import Task

DEFAULT_N = 10
TEMPLATE_WORDS, MAX_OWNERS = 4, 10
CODE_FACTOR = 3
_WORD = re.compile(r"[^\W_]+")
_TOKEN = re.compile(r"\w+|[^\w\s]")
Phrase = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One training task and the first evaluation task that it overlaps with."""

    task_id: str
    evaluation_id: str
    how: str  # "same prompt", "same reference", "10 words of the prompt" or "30 tokens of the reference"
    shared: str  # what they share; the beginning, where it is long


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlaps:
    matches: tuple[Match, ...]
    templates: tuple[str, ...]  # phrases that prove nothing, the commonest first

    @property
    def task_ids(self) -> frozenset[str]:
        return frozenset(match.task_id for match in self.matches)


def overlaps(tasks: Iterable[Task], evaluation: Sequence[Task], *, n: int = DEFAULT_N) -> Overlaps:
    """The first overlap of each task with `evaluation`. Time and memory are linear in the words of both."""
    counts = Counter(phrase for task in evaluation for phrase in set(_runs(_words(task.prompt), TEMPLATE_WORDS)))
    templates = {phrase for phrase, count in counts.items() if count > MAX_OWNERS}
    owners: dict[tuple[str, str | Phrase], str] = {}
    for other in evaluation:
        for part in _parts(other, n, templates):
            owners.setdefault(part, other.id)
    found = (_match(task, owners, n, templates) for task in tasks)
    return Overlaps(
        matches=tuple(match for match in found if match is not None),
        templates=tuple(" ".join(phrase) for phrase, _ in counts.most_common() if phrase in templates),
    )


def _match(task: Task, owners: dict[tuple[str, str | Phrase], str], n: int, templates: set[Phrase]) -> Match | None:
    for how, part in _parts(task, n, templates):
        if (how, part) in owners:
            shared = part if isinstance(part, str) else " ".join(part)
            return Match(task_id=task.id, evaluation_id=owners[how, part], how=how, shared=shared[:200])
    return None


def _parts(task: Task, n: int, templates: set[Phrase]) -> Iterator[tuple[str, str | Phrase]]:
    """Everything that two tasks must not share, with its name; equality first."""
    words, code = _words(task.prompt), task.reference.split()
    if words:
        yield "same prompt", " ".join(words)
    if code:
        yield "same reference", " ".join(code)
    own = _without(words, templates)
    yield from ((f"{n} words of the prompt", phrase) for phrase in _runs(own, n))
    size = CODE_FACTOR * n
    tokens = _TOKEN.findall(task.reference)
    yield from ((f"{size} tokens of the reference", phrase) for phrase in _runs(tokens, size))


def _without(words: list[str], templates: set[Phrase]) -> list[str]:
    """
    >>> _without("write a python function to sort".split(), {("write", "a", "python", "function")})
    ['to', 'sort']
    """
    covered = {
        at
        for i, phrase in enumerate(_runs(words, TEMPLATE_WORDS))
        if phrase in templates
        for at in range(i, i + TEMPLATE_WORDS)
    }
    return [word for i, word in enumerate(words) if i not in covered]


def _runs(words: Sequence[str], n: int) -> Iterator[Phrase]:
    return (tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _words(text: str) -> list[str]:
    """
    >>> _words("def is_even(n):  # Is n EVEN?")
    ['def', 'is', 'even', 'n', 'is', 'n', 'even']
    """
    return _WORD.findall(text.lower())
