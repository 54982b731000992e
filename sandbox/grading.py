"""What does one attempt after another at one request come to?

Time limits: the first run of a case gets a quarter more cpu than its limit. One that needs all of that is TLE for good;
one that ends within 20 % of a limit, or met the wall limit, is decided by a second run, alone, under the limit itself.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from math import fsum

from sandbox.backend import SandboxUnavailable
from sandbox.batch import Trial
from sandbox.build import CompileFailed, Runnable
from sandbox.coverage import claimed
from sandbox.execute import Executor
from sandbox.harness import joined, lines_before
from sandbox.intake import request_fault, source_fault
from sandbox.judge import Dropped, Lost, bare
from sandbox.languages import LanguageUnavailable, get
from sandbox.points import UNSCORABLE, is_lost, outcome_and_points
from sandbox.spec import (
    AssertCase,
    CallCase,
    Case,
    Checker,
    FileCase,
    GradeRequest,
    InteractiveCase,
    ProgramCase,
    StdioCase,
    SuiteCase,
)
from sandbox.speed import TimeFactors, stretched
from sandbox.verdict import CaseResult, Coverage, Integrity, Isolation, Outcome, Verdict

SLACK = 1.25  # of the cpu limit, in a first run
MAX_TRACED = 16  # runs of one program; cases that share a process count as one
_SHARING = (CallCase, AssertCase, SuiteCase)  # kinds whose cases share a process


class Quiet:
    """Many may run at once, or one alone; who wants to be alone goes first."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._running = self._wanted = 0
        self._alone = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._condition:
            while self._wanted or self._alone:
                self._condition.wait()
            self._running += 1
        try:
            yield
        finally:
            with self._condition:
                self._running -= 1
                if self._wanted:
                    self._condition.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._condition:
            self._wanted += 1
            self._condition.wait_for(lambda: not self._running and not self._alone)
            self._wanted -= 1
            self._alone = True
        try:
            yield
        finally:
            with self._condition:
                self._alone = False
                self._condition.notify_all()


def grade_one(
    executor: Executor, request: GradeRequest, quiet: Quiet, retries: int, isolation: Isolation, times: TimeFactors
) -> Verdict:
    """The verdict on one request; never raises for what a program does or what breaks beneath it."""
    if fault := request_fault(request):
        return whole(request, Outcome.JE, fault, isolation)
    factor = times.of(request.program.language)
    stretched_request = request if factor == 1.0 else replace(request, limits=stretched(request.limits, factor))
    verdict = _grade(executor, stretched_request, quiet, retries, isolation)
    return verdict if factor == 1.0 else replace(verdict, time_factor=factor)


def _grade(executor: Executor, request: GradeRequest, quiet: Quiet, retries: int, isolation: Isolation) -> Verdict:
    source, fault = source_fault(request.program.source)
    if fault:
        return whole(request, Outcome.CE, fault, isolation)
    cause = ""
    for attempt in range(1, retries + 2):
        try:
            grading = _Grading(executor, request, source, quiet)
            results = grading.results()
            verdict = _of_cases(request, results, grading.integrity, executor.isolation, attempt)
            return replace(verdict, coverage=grading.coverage(verdict)) if request.coverage else verdict
        except CompileFailed as error:
            return whole(request, Outcome.CE, str(error), executor.isolation, attempts=attempt)
        except Dropped:
            return whole(request, Outcome.IE, "dropped while it ran", isolation, attempts=attempt)
        except LanguageUnavailable as error:
            return whole(request, Outcome.IE, str(error), isolation, attempts=attempt)
        except (Lost, SandboxUnavailable, OSError) as error:
            cause = f"{type(error).__name__}: {error}"
            with suppress(OSError, SandboxUnavailable):
                executor.renew()
        except Exception as error:  # a fault of ours must not end the worker; it is no verdict on the program either
            cause = f"the judge failed with {type(error).__name__}: {error}"
            with suppress(OSError, SandboxUnavailable):
                executor.renew()
    return whole(request, Outcome.IE, cause, isolation, attempts=retries + 1)


class _Grading:
    """One attempt at one request."""

    def __init__(self, executor: Executor, request: GradeRequest, source: bytes, quiet: Quiet):
        self._executor, self._request, self._source, self._quiet = executor, request, source, quiet
        self._program = Runnable()
        self._proxied = False

    @property
    def integrity(self) -> Integrity:
        """Of the results: assert cases that needed no referee are as separate as calls."""
        expected = _integrity(self._request)
        return Integrity.SEPARATED if expected is Integrity.PROXIED and not self._proxied else expected

    def results(self) -> list[CaseResult]:
        cases = self._request.cases
        if any(not isinstance(case, ProgramCase) for case in cases):
            program = self._executor.prepare(self._request.program, self._source)
            self._program = replace(program, repeats=len(cases) > 2)
        found: list[CaseResult] = []
        while len(found) < len(cases):
            start = len(found)
            batch = self._next_batch(found)
            if not batch:
                found.append(bare(Outcome.SKIP))
                continue
            with self._quiet.shared():
                trials = self._run(batch, SLACK)
            self._executor.check()  # what was killed for nobody is no result
            for offset, trial in enumerate(trials):
                self._proxied |= trial.proxied
                found.append(self._settle(cases[start + offset], trial))
                if found[-1].outcome is Outcome.CE:
                    return [found[-1]] * len(cases)
                if self._request.stop_early and found[-1].outcome is not Outcome.AC:
                    return found + [bare(Outcome.SKIP)] * (len(cases) - len(found))
        return found

    def coverage(self, verdict: Verdict) -> Coverage | None:
        """What the program says of its lines when the cases that ran are run again, traced; None if that cannot be had."""
        if not get(self._request.program.language).in_process:
            return None
        ran = [
            case
            for case, found in zip(self._request.cases, verdict.cases, strict=True)
            if found.outcome is not Outcome.SKIP
        ]
        self._program = replace(self._program, traced=True)
        self._executor.claims.clear()
        try:
            for _ in range(MAX_TRACED):
                if ran:
                    with self._quiet.shared():
                        ran = ran[len(self._run(_same_kind(ran), SLACK)) :]
                    self._executor.check()
        except Exception:  # whatever goes wrong from here on, the verdict stands
            with suppress(OSError, SandboxUnavailable):
                self._executor.renew()
        head = next((case.before for case in self._request.cases if isinstance(case, ProgramCase)), None)
        return claimed(
            self._executor.claims,
            num_lines=self._request.program.source.count("\n") + 1,
            num_before=0 if head is None else lines_before(self._request.program.language, head),
            failed=verdict.outcome in (Outcome.RE, Outcome.CE),
        )

    def _next_batch(self, found: list[CaseResult]) -> Sequence[Case]:
        """The cases to run next, of one kind; none if the next one can change no points any more."""
        start, groups = len(found), self._request.groups
        first = self._request.cases[start]
        if not groups and not isinstance(first, _SHARING):
            return [first]
        batch = _same_kind(self._request.cases[start:])
        count = itertools.takewhile(lambda i: not is_lost(start + i, groups, found), range(len(batch)))
        return batch[: len(list(count))] if groups else batch

    def _settle(self, case: Case, trial: Trial) -> CaseResult:
        if not trial.near:
            return trial.result
        with self._quiet.alone():
            trial = self._run([case], 1.0)[0]
        self._executor.check()
        return trial.result

    def _run(self, cases: Sequence[Case], slack: float) -> list[Trial]:
        """The results of the first of `cases`, which are of one kind: at least one."""
        request, executor, program = self._request, self._executor, self._program
        if isinstance(cases[0], _SHARING):
            stop = request.stop_early or any(group.stop_early for group in request.groups)
            if calls := [case for case in cases if isinstance(case, CallCase)]:
                rule = request.checker or Checker.EQUAL
                return executor.calls(program, calls, request.limits, rule, slack, stop_early=stop)
            asserts = [case for case in cases if isinstance(case, AssertCase | SuiteCase)]
            return executor.asserts(program, asserts, request.limits, slack, stop_early=stop)
        if isinstance(cases[0], ProgramCase):
            joint, options = joined(request.program, cases[0])
            prepared = replace(executor.prepare(joint, joint.source.encode(), options), traced=self._program.traced)
            return [executor.harness(prepared, request.limits, slack)]
        if isinstance(cases[0], InteractiveCase):
            return [executor.interactive(program, cases[0], request.limits, slack)]
        (case,) = (case for case in cases[:1] if isinstance(case, StdioCase | FileCase))
        checker = case.checker or request.checker or Checker.LINES
        if isinstance(case, FileCase):
            return [executor.files(program, case, request.limits, checker, slack)]
        return [executor.stdio(program, case, request.limits, checker, slack)]


def _same_kind(cases: Sequence[Case]) -> Sequence[Case]:
    count = next((i for i, case in enumerate(cases) if type(case) is not type(cases[0])), len(cases))
    return cases[:count]


def _integrity(request: GradeRequest) -> Integrity:
    """What is promised before anything ran."""
    if any(isinstance(case, ProgramCase) for case in request.cases):
        return Integrity.COOPERATIVE
    proxied = any(isinstance(case, AssertCase | SuiteCase) for case in request.cases)
    return Integrity.PROXIED if proxied else Integrity.SEPARATED


def whole(request: GradeRequest, outcome: Outcome, detail: str, isolation: Isolation, attempts: int = 1) -> Verdict:
    """A verdict that no case had a part in."""
    results = [bare(outcome, detail)] * len(request.cases)
    points = 0.0 if request.groups and outcome not in UNSCORABLE else None
    return _verdict(
        request, outcome, points, results, bare(outcome, detail).detail, _integrity(request), isolation, attempts
    )


def _of_cases(
    request: GradeRequest, results: list[CaseResult], integrity: Integrity, isolation: Isolation, attempts: int
) -> Verdict:
    outcome, points = outcome_and_points(request.groups, results)
    first = next((case for case in results if case.outcome is outcome), results[0])
    return _verdict(request, outcome, points, results, first.detail, integrity, isolation, attempts)


def _verdict(
    request: GradeRequest,
    outcome: Outcome,
    points: float | None,
    results: list[CaseResult],
    detail: str,
    integrity: Integrity,
    isolation: Isolation,
    attempts: int,
) -> Verdict:
    return Verdict(
        outcome=outcome,
        cases=tuple(results),
        integrity=integrity,
        isolation=isolation,
        detail=detail,
        attempts=attempts,
        points=points,
        max_points=None if points is None else fsum(group.points for group in request.groups),
    )
