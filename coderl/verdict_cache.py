"""Which programs were graded before under the same tests, and can still be trusted?

A policy samples the same programs again and again: their verdicts are remembered by the digest of program, cases, limits,
checker and groups, for as long as one grader (so one backend, one image, one time factor) is open. Never remembered: a verdict
that is UNSCORABLE, and one that a busy machine may have decided (close to a limit of time or memory). A share of the
remembered is graded again all the same; where the two disagree the program is `flaky`: the new verdict counts, and that
program is not remembered any more.

Requests are handed over with the longest first, so that no worker is left alone with one of those at the end. Neither
changes a verdict. With a `CaseOrder`, the cases of a request that stops at the first failure run in the order that it has
learned.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from coderl.case_order import CaseOrder, arranged, restored
from sandbox import GradeRequest, Isolation, Outcome, Status, Verdict
from sandbox.codec import CodecError, dumps
from sandbox.limits import MEBIBYTE
from sandbox.requests_json import program_to_json, task_to_json
from sandbox.speed import stretched

MAX_BYTES = 64 * MEBIBYTE  # of remembered verdicts, about
MAX_TASKS = 4096  # whose digest is kept
NEAR = 0.75  # of a limit
_CASE_BYTES, _VERDICT_BYTES = 600, 600  # of a record, besides its texts


class Grades(Protocol):
    """What a run asks of its grader; `sandbox.Grader` is one."""

    @property
    def isolation(self) -> Isolation: ...

    def grade(self, requests: Sequence[GradeRequest]) -> list[Verdict]: ...

    def stream(self, requests: Iterable[GradeRequest]) -> Iterator[tuple[int, Verdict]]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaky:
    """A program whose verdict was another one the second time."""

    source: str
    before: Verdict
    after: Verdict

    @property
    def message(self) -> str:
        return (
            f"a program got {self.before.outcome} and, graded again, {self.after.outcome}; the second counts: does it depend "
            f"on time, memory or chance? It begins: {self.source.strip()[:80]!r}"
        )

    @property
    def data(self) -> dict[str, str]:
        return {"program": self.source, "before": self.before.outcome.value, "after": self.after.outcome.value}


class VerdictCache:
    """A grader that remembers; see `sandbox.Grader` for what its methods promise. For one thread at a time.

    `recheck` is the share of the remembered verdicts that is graded again: 1 remembers nothing in effect, 0 never looks back.
    Which ones depends on the program, its tests and how often they were asked for, not on chance.
    """

    def __init__(self, grader: Grades, *, recheck: float, order: CaseOrder | None = None, max_bytes: int = MAX_BYTES):
        self._grader, self._recheck, self._max_bytes = grader, recheck, max_bytes
        self._order = order
        self._known: OrderedDict[bytes, _Entry] = OrderedDict()
        self._flaky: list[Flaky] = []
        self._untrusted: set[bytes] = set()
        self._digests = _Digests()
        self._seconds: dict[bytes, float] = {}  # by digest of the tests: what the last program took
        self._num_bytes = self._num_asked = self._num_reused = 0

    @property
    def isolation(self) -> Isolation:
        return self._grader.isolation

    def grade(self, requests: Sequence[GradeRequest], *, fresh: bool = False) -> list[Verdict]:
        """With `fresh` nothing is taken from memory: for who wants to know whether a verdict is the same again."""
        order = sorted(range(len(requests)), key=lambda i: -self._expected(requests[i]))
        found = {order[place]: v for place, v in self.stream((requests[i] for i in order), fresh=fresh)}
        return [found[i] for i in range(len(requests))]

    def stream(self, requests: Iterable[GradeRequest], *, fresh: bool = False) -> Iterator[tuple[int, Verdict]]:
        remembered: list[tuple[int, Verdict]] = []
        asked: list[tuple[int, bytes | None, GradeRequest, list[int], Verdict | None]] = []

        def unknown() -> Iterator[GradeRequest]:
            for index, request in enumerate(requests):
                key = self._digests.of(request)
                entry = self._known.get(key) if key else None
                self._num_asked += 1
                if key and entry and not fresh and not self._looks_back(key, entry):
                    self._known.move_to_end(key)
                    self._num_reused += 1
                    remembered.append((index, entry.verdict))
                else:
                    order = self._order.of(request) if self._order else list(range(len(request.cases)))
                    asked.append((index, key, request, order, entry.verdict if entry else None))
                    yield arranged(request, order)

        for place, verdict in self._grader.stream(unknown()):
            while remembered:
                yield remembered.pop()
            index, key, request, order, before = asked[place]
            found = restored(verdict, order)
            if self._order:
                self._order.learn(request, found)
            yield index, self._settled(key, request, before, found)
        yield from remembered

    def metrics(self) -> dict[str, float]:
        """Since the last call: the share of verdicts that were remembered, and the programs found flaky.

        They depend on what this process has graded, so on where a run was resumed: hence their names.
        """
        asked, reused, self._num_asked, self._num_reused = self._num_asked, self._num_reused, 0, 0
        return {"time/verdicts_reused": reused / asked} if asked else {}

    def take_flaky(self) -> list[Flaky]:
        """The flaky programs found since the last call."""
        found, self._flaky = self._flaky, []
        return found

    def close(self) -> None:
        self._grader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _settled(self, key: bytes | None, request: GradeRequest, before: Verdict | None, verdict: Verdict) -> Verdict:
        """What counts, and is remembered, now that `verdict` was reached, and perhaps another one `before`."""
        if key:
            self._seconds[self._digests.of_tests(request)] = sum(case.cpu_ms for case in verdict.cases) / 1000
        if before is not None and verdict.status is Status.UNSCORABLE:
            return before  # nothing was learned about the program
        if before is not None and key and not _agree(before, verdict):
            self._flaky.append(Flaky(source=request.program.source, before=before, after=verdict))
            self._forget(key)
            self._untrusted.add(key)
        elif key and before is None and key not in self._untrusted and is_certain(request, verdict):
            self._remember(key, verdict)
        return verdict

    def _looks_back(self, key: bytes, entry: _Entry) -> bool:
        entry.num_hits += 1
        chance = int.from_bytes(hashlib.sha256(key + entry.num_hits.to_bytes(8)).digest()[:8]) / (1 << 64)
        return chance < self._recheck

    def _expected(self, request: GradeRequest) -> float:
        """Seconds that grading may take: as the last program under the same tests; without one, by their number."""
        try:
            return self._seconds.get(self._digests.of_tests(request), 0.001 * len(request.cases))
        except CodecError:
            return 0.0

    def _remember(self, key: bytes, verdict: Verdict) -> None:
        self._forget(key)  # the same request may stand in a batch twice
        self._known[key] = _Entry(verdict)
        self._num_bytes += _size(verdict)
        while self._num_bytes > self._max_bytes:
            self._forget(next(iter(self._known)))

    def _forget(self, key: bytes) -> None:
        entry = self._known.pop(key, None)
        self._num_bytes -= _size(entry.verdict) if entry else 0


class _Entry:
    __slots__ = ("num_hits", "verdict")

    def __init__(self, verdict: Verdict):
        self.verdict, self.num_hits = verdict, 0


def is_certain(request: GradeRequest, verdict: Verdict) -> bool:
    """Would an idle machine and a busy one both have reached this verdict?

    True for a limit that was passed by far (cpu time is cut off a quarter later than it is judged), false close to one on
    either side, and for every limit by the clock.
    """
    if verdict.status is Status.UNSCORABLE:
        return False
    limits = stretched(request.limits, verdict.time_factor)
    for case in verdict.cases:
        used = case.cpu_ms / 1000 / limits.cpu_seconds
        if Outcome.WTLE in case.flags or case.wall_ms / 1000 > NEAR * limits.wall_seconds:
            return False
        if NEAR < used < 1.2 or (Outcome.TLE in case.flags and used < 1.2):
            return False
        if Outcome.MLE not in case.flags and case.memory_bytes > NEAR * limits.memory_bytes:
            return False
    return True


def _agree(one: Verdict, other: Verdict) -> bool:
    """Where both ran a case they found the same; they need not have run the same ones."""
    pairs = zip(one.cases, other.cases, strict=True)
    ran = [pair for pair in pairs if Outcome.SKIP not in (pair[0].outcome, pair[1].outcome)]
    return one.status is other.status and all(a.outcome is b.outcome for a, b in ran)


class _Digests:
    """The digest of all that a verdict depends on, but for the grader. That of the tests is computed once for a task."""

    def __init__(self) -> None:
        self._known: OrderedDict[object, tuple[GradeRequest, bytes]] = OrderedDict()

    def of(self, request: GradeRequest) -> bytes | None:
        """None for what has no JSON, which is no valid request."""
        try:
            return hashlib.sha256(self.of_tests(request) + dumps(program_to_json(request.program))).digest()
        except CodecError:
            return None

    def of_tests(self, request: GradeRequest) -> bytes:
        """Raises CodecError."""
        # The tasks of a run hand out the same records every time. An entry keeps them, so no other can have their ids.
        parts = (*request.cases, request.checker, *request.groups)
        name = (*map(id, parts), len(request.cases), request.limits, request.stop_early, request.coverage)
        if name in self._known:
            self._known.move_to_end(name)
            return self._known[name][1]
        digest = hashlib.sha256(dumps(task_to_json(request))).digest()
        self._known[name] = request, digest
        if len(self._known) > MAX_TASKS:
            self._known.popitem(last=False)
        return digest


def _size(verdict: Verdict) -> int:
    texts = sum(len(case.output_head) + len(case.detail) for case in verdict.cases)
    return _VERDICT_BYTES + _CASE_BYTES * len(verdict.cases) + texts
