"""What is there to compare? Items of two or more programs for one task, from a run's rollouts or from a file.

A file is JSONL, either of pairs (docs/pairs.md; which side was chosen is forgotten) or of comparisons:

    {"prompt": "...", "task_id": "demo/1", "completions": ["...", "..."], "language": "python", "gold": [1, 2]}

`gold` makes an item a question whose answer is known: the rank of each completion, 1 the best, equal for a tie.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from coderl.errors import ConfigError
from coderl.pairs import Pair, read_pairs
from coderl.program_key import program_key
from coderl.rollout import Rollout
from coderl.seeds import derive
from sandbox.verdict import Outcome

MAX_WAYS = 9  # programs in one item: one digit key each


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What running said of one program. `cases` holds an outcome, a detail and the head of the output of each."""

    outcome: str
    passed: int
    total: int
    cases: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of the things to choose from: the completion that is learned from, and the program that is shown for it.

    `score` is a reward model's, in nats as Bradley and Terry mean it (a log odds when subtracted), where one was asked.
    """

    completion: str
    program: str
    completion_ids: tuple[int, ...] = ()
    result: Result | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Programs to compare. `gold` ranks them where the answer is known; `uncertainty` is in nats, higher to be asked first."""

    task_id: str
    prompt: str  # what the completions continue
    question: str  # what a person reads
    choices: tuple[Choice, ...]
    language: str = "python"
    prompt_ids: tuple[int, ...] = ()
    tokenizer: str = ""
    gold: tuple[int, ...] = ()
    uncertainty: float = 0.0

    def __post_init__(self) -> None:
        if not 2 <= len(self.choices) <= MAX_WAYS:
            raise ValueError(f"{len(self.choices)} completions: give 2 to {MAX_WAYS}")
        if len({(choice.completion, choice.completion_ids) for choice in self.choices}) < len(self.choices):
            raise ValueError("two completions are the same: there is nothing to compare")
        if self.gold and (len(self.gold) != len(self.choices) or min(self.gold) != 1):
            raise ValueError("gold: give the rank of every completion, the best has rank 1")

    @property
    def key(self) -> str:
        """Of what is compared, whatever is known about it: the same item is found again when a run is read again."""
        content = [self.task_id, self.prompt, *(choice.completion for choice in self.choices)]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]

    def to_json(self) -> str:
        return json.dumps(asdict(self))  # ASCII: NUL and lone surrogates stay escapes, which every database can hold

    @classmethod
    def from_json(cls, text: str) -> Item:
        record = json.loads(text)
        choices = tuple(_choice(choice) for choice in record.pop("choices"))
        for name in ("prompt_ids", "gold"):
            record[name] = tuple(record[name])
        return cls(**record, choices=choices)


def items_of_rollouts(
    rollouts: Sequence[Rollout],
    *,
    prompts: dict[tuple[int, ...], str],
    questions: dict[str, tuple[str, str]],
    tokenizer: str,
    ways: int,
    per_task: int,
    seed: int,
) -> list[Item]:
    """Up to `per_task` items of each task, of `ways` programs that differ in more than names and layout.

    `prompts` are the texts of prompt ids; `questions` maps a task's id to (what a person reads, language).
    """
    groups: dict[tuple[str, tuple[int, ...]], dict[str, Rollout]] = {}
    for rollout in rollouts:
        if rollout.program and not rollout.truncated:
            same = groups.setdefault((rollout.task_id, rollout.prompt_ids), {})
            same.setdefault(program_key(rollout.program), rollout)
    items = []
    for (task_id, prompt_ids), kinds in groups.items():
        different = list(kinds.values())
        order = np.random.default_rng(derive(seed, "label", task_id)).permutation(len(different))
        for start in range(0, min(len(order) // ways, per_task) * ways, ways):
            chosen = [different[i] for i in order[start : start + ways]]
            question, language = questions.get(task_id, (prompts[prompt_ids], "python"))
            items.append(
                Item(
                    task_id=task_id,
                    prompt=prompts[prompt_ids],
                    question=question,
                    choices=tuple(_of_rollout(rollout) for rollout in chosen),
                    language=language,
                    prompt_ids=prompt_ids,
                    tokenizer=tokenizer,
                )
            )
    return items


def with_gold(items: Sequence[Item], share: float, *, seed: int) -> list[Item]:
    """`share` of the items become gold questions: two programs, of which one passes every case and the other none.

    Fewer where not so many are that clear.
    """
    clear = [i for i, item in enumerate(items) if _settled(item)]
    wanted = round(share * len(items))
    order = np.random.default_rng(derive(seed, "gold")).permutation(len(clear))
    gold = {clear[i] for i in order[:wanted]}
    return [replace(item, gold=_settled(item)) if i in gold else item for i, item in enumerate(items)]


def read_items(path: Path) -> list[Item]:
    """The items of a file of pairs or of comparisons. Raises ConfigError, which names the line."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    first = next((line for line in lines if line.strip()), "")
    if '"completions"' not in first:
        pairs = read_pairs(path)
        found = [_of_pair(p) for p in pairs if (p.chosen, p.chosen_ids) != (p.rejected, p.rejected_ids)]
    else:
        found = []
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    found.append(_comparison(json.loads(line)))
                except (ValueError, TypeError, KeyError, RecursionError) as error:
                    raise ConfigError(f"{path}, line {number}: {error}; docs/labelling.md has the fields") from error
    if not found:
        raise ConfigError(f"{path}: holds nothing to compare: write one pair or comparison per line")
    return list({item.key: item for item in found}.values())


def _comparison(record: Any) -> Item:
    if not isinstance(record, dict):
        raise ValueError(f"expected an object, found {type(record).__name__}")
    known = {"schema", "prompt", "task_id", "completions", "language", "gold"}
    if unknown := sorted(record.keys() - known):
        raise ValueError(f"unknown field {unknown[0]!r}")
    for name in ("prompt", "task_id", "language"):
        if not isinstance(record.get(name, "python" if name == "language" else None), str):
            raise ValueError(f"{name}: expected text")
    completions, gold = record.get("completions"), record.get("gold", [])
    if not isinstance(completions, list) or not all(isinstance(c, str) for c in completions):
        raise ValueError("completions: expected a list of texts")
    if not isinstance(gold, list) or any(type(rank) is not int for rank in gold):
        raise ValueError("gold: expected a list of ranks")
    return Item(
        task_id=record["task_id"],
        prompt=record["prompt"],
        question=record["prompt"],
        choices=tuple(Choice(completion=c, program=c) for c in completions),
        language=record.get("language", "python"),
        gold=tuple(gold),
    )


def _of_pair(pair: Pair) -> Item:
    sides = [(pair.chosen, pair.chosen_ids), (pair.rejected, pair.rejected_ids)]
    sides.sort()  # so that the order says nothing
    return Item(
        task_id=pair.task_id,
        prompt=pair.prompt,
        question=pair.prompt,
        choices=tuple(Choice(completion=text, program=text, completion_ids=ids) for text, ids in sides),
        prompt_ids=pair.prompt_ids,
        tokenizer=pair.tokenizer,
    )


def _of_rollout(rollout: Rollout) -> Choice:
    verdict = rollout.verdict
    result = None
    if verdict is not None:
        cases = tuple((case.outcome.value, case.detail, case.output_head) for case in verdict.cases)
        result = Result(outcome=verdict.outcome.value, passed=verdict.num_passed, total=len(verdict.cases), cases=cases)
    return Choice(
        completion=rollout.completion,
        program=rollout.program,
        completion_ids=rollout.completion_ids,
        result=result,
        score=rollout.learned_score,
    )


def _settled(item: Item) -> tuple[int, ...]:
    """The ranks that running has settled; () where it has not."""
    ranks = tuple(_clear_rank(choice.result) for choice in item.choices)
    return ranks if sorted(ranks) == [1, 2] else ()


def _clear_rank(result: Result | None) -> int:
    """1 where every case passed, 2 where none did, 0 where it is not that clear."""
    if result is None or result.outcome in _UNKNOWN:
        return 0
    return 1 if result.outcome == Outcome.AC else 2 if result.passed == 0 else 0


_UNKNOWN = (Outcome.IE, Outcome.JE, Outcome.SKIP)


def _choice(record: dict[str, Any]) -> Choice:
    result = record.pop("result")
    if result is not None:
        result = Result(**{**result, "cases": tuple(tuple(case) for case in result["cases"])})
    return Choice(**{**record, "completion_ids": tuple(record["completion_ids"])}, result=result)
