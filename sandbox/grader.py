"""Grade programs: many at once, in order, on a pool of warm jails.

Promised: a verdict for every request, whatever the program does; infrastructure failures are retried and then IE, never a
failure of the program; results near a time limit are run again alone before they are final.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from sandbox.backend import Backend, SandboxUnavailable, open_backend
from sandbox.codec import CodecError
from sandbox.execute import Executor, Lost, Trial
from sandbox.judge import bare, source_fault
from sandbox.spec import AssertCase, CallCase, Case, Checker, GradeRequest, StdioCase
from sandbox.verdict import CaseResult, Integrity, Isolation, Outcome, Verdict, worst


class Grader:
    """A context manager that owns `workers` slots of one backend; safe to keep open for a whole training run."""

    def __init__(self, backend: str = "auto", workers: int | None = None, retries: int = 1) -> None:
        self._backend: Backend = open_backend(backend)
        self._retries = retries
        self._idle: queue.SimpleQueue[Executor] = queue.SimpleQueue()
        self._executors = [Executor(self._backend) for _ in range(workers or os.cpu_count() or 1)]
        for executor in self._executors:
            self._idle.put(executor)
        self._alone = threading.Lock()
        self._pool = ThreadPoolExecutor(len(self._executors), thread_name_prefix="grader")
        self.isolation: Isolation = self._executors[0].isolation

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill what runs and give everything back; harmless when repeated."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for executor in self._executors:
            executor.close()
        self._backend.close()

    def grade(self, requests: Sequence[GradeRequest]) -> list[Verdict]:
        """One verdict per request, in order."""
        return list(self._pool.map(self._grade, requests))

    def stream(self, requests: Iterable[GradeRequest]) -> Iterator[tuple[int, Verdict]]:
        """(index, verdict) as they come."""
        done: queue.SimpleQueue[tuple[int, Future[Verdict]]] = queue.SimpleQueue()
        count = 0
        for index, request in enumerate(requests):
            self._pool.submit(self._grade, request).add_done_callback(lambda f, i=index: done.put((i, f)))  # type: ignore[misc]
            count += 1
        for _ in range(count):
            index, future = done.get()
            yield index, future.result()

    async def agrade(self, requests: Iterable[GradeRequest]) -> AsyncIterator[tuple[int, Verdict]]:
        """(index, verdict) as they come, without blocking the event loop."""

        async def one(index: int, request: GradeRequest) -> tuple[int, Verdict]:
            return index, await asyncio.wrap_future(self._pool.submit(self._grade, request))

        for coming in asyncio.as_completed([one(i, r) for i, r in enumerate(requests)]):
            yield await coming

    def _grade(self, request: GradeRequest) -> Verdict:
        integrity = Integrity.PROXIED if any(isinstance(c, AssertCase) for c in request.cases) else Integrity.SEPARATED
        if not request.cases:
            return self._verdict(request, [], integrity, Outcome.JE, "the task has no test cases")
        if request.program.language != "python":
            return self._verdict(request, [], integrity, Outcome.JE, f"no language {request.program.language!r} here")
        source, fault = source_fault(request.program.source)
        if fault:
            return self._verdict(request, [], integrity, Outcome.CE, fault)
        detail = ""
        for attempt in range(1, self._retries + 2):
            executor = self._idle.get()
            try:
                return self._verdict(request, self._run(executor, source, request), integrity, attempts=attempt)
            except CodecError as error:
                return self._verdict(request, [], integrity, Outcome.JE, f"a case cannot be sent: {error}")
            except (Lost, SandboxUnavailable, OSError) as error:
                detail = str(error)
                executor.renew()
            finally:
                self._idle.put(executor)
        return self._verdict(request, [], integrity, Outcome.IE, detail, attempts=self._retries + 1)

    def _verdict(
        self,
        request: GradeRequest,
        results: list[CaseResult],
        integrity: Integrity,
        outcome: Outcome | None = None,
        detail: str = "",
        attempts: int = 1,
    ) -> Verdict:
        if results:
            first = next((r for r in results if r.outcome not in (Outcome.AC, Outcome.SKIP)), None)
            detail = first.detail if first else ""
        return Verdict(
            outcome=outcome or worst(r.outcome for r in results),
            cases=tuple(results),
            integrity=integrity,
            isolation=self.isolation,
            detail=detail,
            attempts=attempts,
        )

    def _run(self, executor: Executor, source: bytes, request: GradeRequest) -> list[CaseResult]:
        results: list[CaseResult] = []
        while len(results) < len(request.cases):
            rest = request.cases[len(results) :]
            trials = self._batch(executor, source, rest, request, 1.0)
            if any(trial.near for trial in trials):
                with self._alone:
                    trials = self._batch(executor, source, rest, request, 2.0)
            results += [trial.result for trial in trials]
            if results[-1].outcome is Outcome.CE:
                return [results[-1]] * len(request.cases)
            if request.stop_early and any(r.outcome is not Outcome.AC for r in results):
                return results + [bare(Outcome.SKIP)] * (len(request.cases) - len(results))
        return results

    @staticmethod
    def _batch(
        executor: Executor, source: bytes, cases: Sequence[Case], request: GradeRequest, slack: float
    ) -> list[Trial]:
        kind = type(cases[0])
        if isinstance(cases[0], StdioCase):
            return [executor.stdio(source, cases[0], request.limits, request.checker or Checker.LINES, slack)]
        same = []
        for case in cases:
            if type(case) is not kind:
                break
            same.append(case)
        if kind is CallCase:
            calls = [c for c in same if isinstance(c, CallCase)]
            checker = request.checker or Checker.EQUAL
            return executor.calls(source, calls, request.limits, checker, slack, stop_early=request.stop_early)
        asserts = [c for c in same if isinstance(c, AssertCase)]
        return executor.asserts(source, asserts, request.limits, slack, stop_early=request.stop_early)
