"""Which test should a program meet first, if the first failure decides?

The one most likely to fail it for its price: cases are sorted by p / c, where p is the share of earlier programs that the case
failed and c the cpu time that it took (the order of least expected cost for independent tests; Simon and Kadane, Optimal
problem-solving search, 1975). Only where `stop_early` is set, for cases that run one after another in processes of their own,
and within the visible and the hidden cases each: whether a program passes all, or all visible ones, comes out the same. Which
failure of several is seen may be another one than in the given order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sandbox import FileCase, GradeRequest, InteractiveCase, Outcome, StdioCase, Verdict
from tasks.task import Task

RUN_MS = 3.0  # what any run costs, on top of its cpu time
PRIOR = 0.1  # failures that are taken for granted, of one run
_APART = (StdioCase, FileCase, InteractiveCase)


@dataclass(slots=True)
class _Count:
    runs: int = 0
    failures: int = 0
    cpu_ms: float = 0.0

    @property
    def worth(self) -> float:
        return (PRIOR + self.failures) / (1 + self.runs) / (RUN_MS + self.cpu_ms / max(self.runs, 1))


class CaseOrder:
    """Learns from the verdicts on the programs of `tasks`."""

    def __init__(self, tasks: Sequence[Task]):
        self._tasks = list(tasks)  # kept, so that no other record can have their ids
        self._visible = {_name(task.cases): len(task.visible) for task in self._tasks if task.cases}
        self._counts: dict[tuple[int, ...], list[_Count]] = {}

    def of(self, request: GradeRequest) -> list[int]:
        """The places of the request's cases, in the order in which they should run."""
        given = list(range(len(request.cases)))
        name = _name(request.cases)
        counts = self._counts.get(name)
        if counts is None or not request.stop_early or request.groups:
            return given
        visible = self._visible[name]
        best = sorted(given, key=lambda i: -counts[i].worth)  # stable
        return [i for i in best if i < visible] + [i for i in best if i >= visible]

    def learn(self, request: GradeRequest, verdict: Verdict) -> None:
        name = _name(request.cases)
        if name not in self._visible or not all(isinstance(case, _APART) for case in request.cases):
            return
        if verdict.outcome is Outcome.CE or len(verdict.cases) != len(request.cases):
            return
        counts = self._counts.setdefault(name, [_Count() for _ in request.cases])
        for count, case in zip(counts, verdict.cases, strict=True):
            if case.outcome not in (Outcome.SKIP, Outcome.IE, Outcome.JE):
                count.runs += 1
                count.failures += case.outcome is not Outcome.AC
                count.cpu_ms += case.cpu_ms


def arranged(request: GradeRequest, order: Sequence[int]) -> GradeRequest:
    if order == sorted(order):
        return request
    return replace(request, cases=tuple(request.cases[i] for i in order))


def restored(verdict: Verdict, order: Sequence[int]) -> Verdict:
    """The verdict on an arranged request, with the results in the places of the given one."""
    if order == sorted(order) or len(verdict.cases) != len(order):
        return verdict
    cases = dict(zip(order, verdict.cases, strict=True))
    return replace(verdict, cases=tuple(cases[i] for i in range(len(order))))


def _name(cases: Sequence[object]) -> tuple[int, ...]:
    return tuple(map(id, cases))
