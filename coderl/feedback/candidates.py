"""Which programs are set before the judge? Pairs of a run's samples, of two models' answers, or those of a file of pairs.

Which side is called first depends on the texts alone, so that it tells nothing of what is known of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from coderl.extract import fenced_block
from coderl.pairs import Pair
from coderl.program_key import program_key
from coderl.rollout import Rollout
from coderl.seeds import derive
from sandbox import Status
from tasks.task import Task

MAX_CHARACTERS = 20_000  # of a program that is shown to a judge


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A completion, the program in it, and what execution says: None where it is not known."""

    completion: str
    program: str
    passed: bool | None = None
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a pair's label is already: 1 the first is better, -1 the second, 0 a tie."""

    source: str  # "execution", "human", "ai"
    answer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Two answers to one task. `task` is what the judge reads, `prompt` what the completions continue."""

    task_id: str
    task: str
    prompt: str
    first: Side
    second: Side
    known: tuple[Known, ...] = ()
    prompt_ids: tuple[int, ...] = ()
    tokenizer: str = ""

    @property
    def alike(self) -> bool:
        """Nothing to judge: the same program up to layout and names."""
        return program_key(self.first.program) == program_key(self.second.program)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where prompts are rendered: what a rollout's prompt ids say, and the fingerprint of the tokenizer that they belong to."""

    prompts: dict[tuple[int, ...], str]
    tokenizer: str


def of_samples(
    rollouts: Iterable[Rollout], tasks: dict[str, Task], source: Source, *, per_task: int, seed: int
) -> list[Candidate]:
    """Up to `per_task` pairs of different programs of each task, drawn at random."""
    by_task: dict[str, dict[str, Rollout]] = {}
    for rollout in rollouts:
        if can_be_shown(rollout) and rollout.task_id in tasks:
            by_task.setdefault(rollout.task_id, {}).setdefault(program_key(rollout.program), rollout)
    found = []
    for task_id, programs in by_task.items():
        pairs = list(combinations(programs.values(), 2))
        pairs.sort(key=lambda pair: derive(seed, "feedback", task_id, pair[0].completion, pair[1].completion))
        found += [_candidate(a, b, tasks[task_id], source, with_ids=True) for a, b in pairs[:per_task]]
    return found


def of_models(
    answers: Sequence[tuple[Sequence[Rollout], Source]], tasks: dict[str, Task], *, per_task: int
) -> list[Candidate]:
    """The n-th sample of each of two models on each task that both answered, for every two models and n < `per_task`."""
    found = []
    for (first, source), (second, other) in combinations(answers, 2):
        others: dict[str, list[Rollout]] = {}
        for rollout in second:
            others.setdefault(rollout.task_id, []).append(rollout)
        seen: dict[str, int] = {}
        for rollout in first:
            n = seen.setdefault(rollout.task_id, 0)
            rest = others.get(rollout.task_id, [])
            if n >= min(per_task, len(rest)) or rollout.task_id not in tasks:
                continue
            seen[rollout.task_id] = n + 1
            if can_be_shown(rollout) and can_be_shown(rest[n]):
                same = source.tokenizer == other.tokenizer and rollout.prompt_ids == rest[n].prompt_ids
                found.append(_candidate(rollout, rest[n], tasks[rollout.task_id], source, with_ids=same))
    return found


def of_pairs(pairs: Iterable[Pair]) -> list[Candidate]:
    """One candidate for each two completions of a prompt, with all that the file's labels say of them."""
    found: dict[tuple[str, frozenset[str]], Candidate] = {}
    for pair in pairs:
        sides = [
            Side(completion=text, program=fenced_block(text, truncated=False) or text, ids=ids)
            for text, ids in ((pair.chosen, pair.chosen_ids), (pair.rejected, pair.rejected_ids))
        ]
        if any(len(side.program) > MAX_CHARACTERS for side in sides):
            continue
        first, second = _ordered(*sides)
        answer = 0 if pair.tie else (1 if first is sides[0] else -1)
        key = (pair.prompt, frozenset((pair.chosen, pair.rejected)))
        before = found[key].known if key in found else ()
        found[key] = Candidate(
            task_id=pair.task_id, task=pair.prompt, prompt=pair.prompt, first=first, second=second,
            known=(*before, Known(source=pair.source, answer=answer)), prompt_ids=pair.prompt_ids, tokenizer=pair.tokenizer,
        )  # fmt: skip
    return list(found.values())


def known_by_execution(first: Side, second: Side) -> tuple[Known, ...]:
    """Execution decides where one program passes all tests and the other does not."""
    if first.passed is None or second.passed is None or first.passed == second.passed:
        return ()
    return (Known(source="execution", answer=1 if first.passed else -1),)


def _candidate(a: Rollout, b: Rollout, task: Task, source: Source, *, with_ids: bool) -> Candidate:
    first, second = _ordered(side_of(a), side_of(b))
    return Candidate(
        task_id=task.id, task=task.prompt, prompt=source.prompts[a.prompt_ids],
        first=first if with_ids else replace(first, ids=()), second=second if with_ids else replace(second, ids=()),
        known=known_by_execution(first, second),
        prompt_ids=a.prompt_ids if with_ids else (), tokenizer=source.tokenizer if with_ids else "",
    )  # fmt: skip


def side_of(rollout: Rollout) -> Side:
    verdict = rollout.verdict
    known = verdict is not None and verdict.status is not Status.UNSCORABLE
    return Side(
        completion=rollout.completion,
        program=rollout.program,
        passed=verdict is not None and verdict.status is Status.PASS if known else None,
        ids=rollout.completion_ids,
    )


def _ordered(a: Side, b: Side) -> tuple[Side, Side]:
    low, high = sorted((a, b), key=lambda side: side.completion)
    return (low, high) if derive(0, "side", low.completion, high.completion) % 2 else (high, low)


def can_be_shown(rollout: Rollout) -> bool:
    """Whether it is a whole program, and no longer than a judge reads."""
    return bool(rollout.program) and not rollout.truncated and len(rollout.program) <= MAX_CHARACTERS
