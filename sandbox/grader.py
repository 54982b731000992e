"""Does this program pass these cases?

    with Grader() as grader:
        verdicts = grader.grade([GradeRequest(program=Program(source=text), cases=cases)])

A `Grader` keeps warm slots in worker threads; it is made to stay open for a whole training run. Requests are
independent: order, batch and number of workers change no verdict. Promised: expected values stay in this process
(stdio, call) or in the referee's jail (assert); an infrastructure failure is retried on fresh slots and then IE, never
a failed case; a result near a time limit is run again while nothing else runs here.

Time limits: the first run of a case gets a quarter more cpu than its limit. One that needs all of that is TLE for good;
one that ends within 20 % of a limit, or met the wall limit, is decided by a second run, alone, under the limit itself.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import weakref
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType

from sandbox.backend import Backend, SandboxUnavailable, open_backend
from sandbox.execute import Executor, Lost, Trial
from sandbox.intake import request_fault, source_fault
from sandbox.judge import bare
from sandbox.spec import AssertCase, CallCase, Case, Checker, GradeRequest, StdioCase
from sandbox.verdict import CaseResult, Integrity, Isolation, Outcome, Verdict, worst

SLACK = 1.25  # of the cpu limit, in a first run


class Grader:
    """Grades requests on `workers` threads (default: one per core), each with warm slots of `backend`.

    Raises SandboxUnavailable at once if the backend cannot work here. Use it as a context manager, or call `close`.
    """

    def __init__(self, backend: str = "auto", workers: int | None = None, retries: int = 1):
        if workers is not None and workers < 1:
            raise ValueError(f"workers is {workers}: give at least 1, or None for one per core")
        if retries < 0:
            raise ValueError(f"retries is {retries}: give 0 or more")
        self._pool = _Pool(open_backend(backend), workers or os.cpu_count() or 1, retries)
        self._finalizer = weakref.finalize(self, self._pool.close)

    def grade(self, requests: Sequence[GradeRequest]) -> list[Verdict]:
        """The verdicts of `requests`, in their order."""
        found = dict(self.stream(requests))
        return [found[i] for i in range(len(requests))]

    def stream(self, requests: Iterable[GradeRequest]) -> Iterator[tuple[int, Verdict]]:
        """(index, verdict) as each is reached. Closing the iterator drops the requests that have not begun."""
        done: queue.SimpleQueue[tuple[int, Verdict]] = queue.SimpleQueue()
        dropped = threading.Event()
        try:
            for _ in range(self._pool.submit_all(requests, done, dropped)):
                yield done.get()
        finally:
            dropped.set()

    async def agrade(self, requests: Iterable[GradeRequest]) -> AsyncIterator[tuple[int, Verdict]]:
        """As `stream`, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[tuple[int, Verdict]] = asyncio.Queue()
        dropped = threading.Event()
        try:
            for _ in range(self._pool.submit_all(requests, _Bridge(loop, arrived), dropped)):
                yield await arrived.get()
        finally:
            dropped.set()

    def close(self) -> None:
        """End the workers and every process; harmless when repeated. Requests not yet begun come back as IE."""
        self._finalizer()

    def __enter__(self) -> Grader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Bridge:
    """Stands for a queue, from a worker thread into an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, arrived: asyncio.Queue[tuple[int, Verdict]]):
        self._loop, self._arrived = loop, arrived

    def put(self, item: tuple[int, Verdict]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, item)


_Done = _Bridge | queue.SimpleQueue[tuple[int, Verdict]]
_Work = tuple[int, GradeRequest, _Done, threading.Event]


class _Pool:
    """The workers. Knows nothing of the Grader, so that one that is forgotten is collected and closed."""

    def __init__(self, backend: Backend, workers: int, retries: int):
        self._backend, self._workers, self._retries = backend, workers, retries
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._quiet = _Quiet()
        self._num_waiting = 0
        self.closed = False

    def submit_all(self, requests: Iterable[GradeRequest], done: _Done, dropped: threading.Event) -> int:
        """Hand every request to the workers; how many there are."""
        count = 0
        for index, request in enumerate(requests):
            self.submit(index, request, done, dropped)
            count += 1
        return count

    def submit(self, index: int, request: GradeRequest, done: _Done, dropped: threading.Event) -> None:
        with self._lock:
            if self.closed:
                raise RuntimeError("the grader is closed: make a new one")
            self._num_waiting += 1
            self._work.put((index, request, done, dropped))
            if len(self._threads) < min(self._workers, self._num_waiting):
                thread = threading.Thread(target=self._run, name=f"grader-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()

    def close(self) -> None:
        with self._lock:
            if self.closed:
                return
            self.closed = True
            threads = list(self._threads)
        for _ in threads:
            self._work.put(None)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()
        self._backend.close()

    def _run(self) -> None:
        executor = Executor(self._backend)
        try:
            while (item := self._work.get()) is not None:
                index, request, done, dropped = item
                if self.closed or dropped.is_set():
                    verdict = _whole(request, Outcome.IE, "dropped before it began", self._backend.isolation)
                else:
                    verdict = grade_one(executor, request, self._quiet, self._retries, self._backend.isolation)
                with self._lock:
                    self._num_waiting -= 1
                done.put((index, verdict))
        finally:
            executor.close()


class _Quiet:
    """Many may run at once, or one alone; who wants to be alone goes first."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._running = self._wanted = 0
        self._alone = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: not self._wanted and not self._alone)
            self._running += 1
        try:
            yield
        finally:
            with self._condition:
                self._running -= 1
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


def grade_one(executor: Executor, request: GradeRequest, quiet: _Quiet, retries: int, isolation: Isolation) -> Verdict:
    """The verdict on one request; never raises for what a program does or what breaks beneath it."""
    source, fault = source_fault(request.program.source)
    task_fault = request_fault(request)
    if task_fault:
        return _whole(request, Outcome.JE, task_fault, isolation)
    if fault:
        return _whole(request, Outcome.CE, fault, isolation)
    cause = ""
    for attempt in range(1, retries + 2):
        try:
            results = _Grading(executor, request, source, quiet).results()
            return _verdict(request, results, executor.isolation, attempt)
        except (Lost, SandboxUnavailable, OSError) as error:
            cause = f"{type(error).__name__}: {error}"
            with suppress(OSError, SandboxUnavailable):
                executor.renew()
        except Exception as error:  # a fault of ours must not end the worker; it is no verdict on the program either
            cause = f"the judge failed with {type(error).__name__}: {error}"
            with suppress(OSError, SandboxUnavailable):
                executor.renew()
    return _whole(request, Outcome.IE, cause, isolation, attempts=retries + 1)


class _Grading:
    """One attempt at one request."""

    def __init__(self, executor: Executor, request: GradeRequest, source: bytes, quiet: _Quiet):
        self._executor, self._request, self._source, self._quiet = executor, request, source, quiet

    def results(self) -> list[CaseResult]:
        cases = self._request.cases
        found: list[CaseResult] = []
        while len(found) < len(cases):
            start = len(found)
            with self._quiet.shared():
                trials = self._run(_same_kind(cases[start:]), SLACK)
            for offset, trial in enumerate(trials):
                found.append(self._settle(cases[start + offset], trial))
                if found[-1].outcome is Outcome.CE:
                    return [found[-1]] * len(cases)
                if self._request.stop_early and found[-1].outcome is not Outcome.AC:
                    return found + [bare(Outcome.SKIP)] * (len(cases) - len(found))
        return found

    def _settle(self, case: Case, trial: Trial) -> CaseResult:
        if not trial.near:
            return trial.result
        with self._quiet.alone():
            return self._run([case], 1.0)[0].result

    def _run(self, cases: Sequence[Case], slack: float) -> list[Trial]:
        """The results of the first of `cases`, which are of one kind: at least one."""
        request, executor, source = self._request, self._executor, self._source
        if calls := [case for case in cases if isinstance(case, CallCase)]:
            rule = request.checker or Checker.EQUAL
            return executor.calls(source, calls, request.limits, rule, slack, stop_early=request.stop_early)
        if asserts := [case for case in cases if isinstance(case, AssertCase)]:
            return executor.asserts(source, asserts, request.limits, slack, stop_early=request.stop_early)
        (stdio,) = (case for case in cases[:1] if isinstance(case, StdioCase))
        checker = stdio.checker or request.checker or Checker.LINES
        return [executor.stdio(source, stdio, request.limits, checker, slack)]


def _same_kind(cases: Sequence[Case]) -> Sequence[Case]:
    count = next((i for i, case in enumerate(cases) if type(case) is not type(cases[0])), len(cases))
    return cases[:count]


def _integrity(request: GradeRequest) -> Integrity:
    proxied = any(isinstance(case, AssertCase) for case in request.cases)
    return Integrity.PROXIED if proxied else Integrity.SEPARATED


def _verdict(request: GradeRequest, results: list[CaseResult], isolation: Isolation, attempts: int) -> Verdict:
    outcome = worst(case.outcome for case in results)
    first = next((case for case in results if case.outcome is outcome), results[0])
    return Verdict(
        outcome=outcome,
        cases=tuple(results),
        integrity=_integrity(request),
        isolation=isolation,
        detail=first.detail,
        attempts=attempts,
    )


def _whole(request: GradeRequest, outcome: Outcome, detail: str, isolation: Isolation, attempts: int = 1) -> Verdict:
    """A verdict that no case had a part in."""
    case = bare(outcome, detail)
    return Verdict(
        outcome=outcome,
        cases=(case,) * len(request.cases),
        integrity=_integrity(request),
        isolation=isolation,
        detail=case.detail,
        attempts=attempts,
    )
