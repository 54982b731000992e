"""Where does a policy do well? pass@k by language, level and source, and what choosing by the visible tests adds. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coderl.evaluate.passk import bootstrap_interval, pass_at_k
from coderl.selection import expected_best
from tasks.task import Task

_SHORT_NAMES = {"javascript": "js", "typescript": "ts", "bash": "sh"}  # as MultiPL-E and others write them in ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The scorable samples of one task: which passed, and which passed every visible test (a task without any: all do)."""

    task: Task
    passed: tuple[bool, ...]
    visible: tuple[bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The tasks whose `by` (language, level or source) is `value`; pass@k as (estimate, low, high), over problems."""

    by: str
    value: str
    num_tasks: int
    pass_at_k: dict[int, tuple[float, float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOf:
    """Expected pass rate of one of N samples: at random, chosen by visible tests, and the best there is (pass@N).

    The interval is of `visible`, over problems. A sample that passes all visible tests is chosen before one that does not,
    ties at random.
    """

    n: int
    random: float
    visible: float
    visible_low: float
    visible_high: float
    oracle: float


def source_of(task_id: str) -> str:
    """
    >>> source_of("HumanEval/7")
    'HumanEval'
    """
    return task_id.partition("/")[0]


def problem_of(task: Task) -> str:
    """The id without the parts that name the language: translations of one problem share it."""
    names = {task.language, _SHORT_NAMES.get(task.language, task.language)}
    return "/".join(part for part in task.id.split("/") if part.lower() not in names)


def estimates(
    tallies: Sequence[Tally], ks: Sequence[int], *, num_resamples: int, seed: int
) -> dict[int, tuple[float, float, float]]:
    """pass@k as (estimate, low, high) over the tasks with k scorable samples; a k that no task has is left out."""
    found = {}
    for k in ks:
        known = [tally for tally in tallies if len(tally.passed) >= k]
        if known:
            values = [pass_at_k(len(t.passed), sum(t.passed), k) for t in known]
            clusters = [problem_of(t.task) for t in known]
            low, high = bootstrap_interval(values, num_resamples=num_resamples, seed=seed, clusters=clusters)
            found[k] = (sum(values) / len(values), low, high)
    return found


def groups(tallies: Sequence[Tally], ks: Sequence[int], *, num_resamples: int, seed: int) -> tuple[Group, ...]:
    """By language, level and source, where the tasks have more than one."""
    found = []
    for by in ("language", "level", "source"):
        own: dict[str, list[Tally]] = {}
        for tally in sorted(tallies, key=lambda t: t.task.level) if by == "level" else tallies:
            own.setdefault(_value(tally.task, by), []).append(tally)
        for value, members in own.items() if len(own) > 1 else ():
            rates = estimates(members, ks, num_resamples=num_resamples, seed=seed)
            found.append(Group(by=by, value=value, num_tasks=len(members), pass_at_k=rates))
    return tuple(found)


def best_of_n(tallies: Sequence[Tally], *, num_resamples: int, seed: int) -> tuple[BestOf, ...]:
    """For N = 1, 2, 4, ... and all samples, on the tasks that have the most scorable samples; empty for single samples."""
    most = max((len(t.passed) for t in tallies), default=0)
    known = [t for t in tallies if len(t.passed) == most]
    found = []
    for n in [2**i for i in range(most.bit_length()) if 2**i < most] + [most] if most > 1 else []:
        passed = [[float(p) for p in t.passed] for t in known]
        chosen = [expected_best([float(v) for v in t.visible], p, n) for t, p in zip(known, passed, strict=True)]
        clusters = [problem_of(t.task) for t in known]
        low, high = bootstrap_interval(chosen, num_resamples=num_resamples, seed=seed, clusters=clusters)
        found.append(
            BestOf(
                n=n,
                random=_mean([sum(p) / most for p in passed]),
                visible=_mean(chosen),
                visible_low=low,
                visible_high=high,
                oracle=_mean([expected_best(p, p, n) for p in passed]),
            )
        )
    return tuple(found)


def _value(task: Task, by: str) -> str:
    level = str(task.level) if task.level else "unknown"
    return {"language": task.language, "level": level, "source": source_of(task.id)}[by]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
