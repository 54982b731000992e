"""Does this program pass these cases?

    with Grader() as grader:
        verdicts = grader.grade([GradeRequest(program=Program(source=text), cases=cases)])

A `Grader` keeps warm slots in worker threads; it is made to stay open for a whole training run. Requests are
independent: order, batch and number of workers change no verdict. Promised: expected values stay in this process
(stdio, call) or in the referee's jail (assert); an infrastructure failure is retried on fresh slots and then IE, never
a failed case; a result near a time limit is run again while nothing else runs here.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import weakref
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sandbox.access import read_token
from sandbox.backend import Backend, open_backend
from sandbox.build import Builds
from sandbox.execute import Executor
from sandbox.grading import Quiet, grade_one, whole
from sandbox.judge import bare
from sandbox.languages import Toolchain
from sandbox.run_once import RunRequest, RunResult, run_on
from sandbox.spec import GradeRequest
from sandbox.speed import BY_LANGUAGE, TimeFactors
from sandbox.verdict import Isolation, Outcome, Verdict

if TYPE_CHECKING:
    from sandbox.remote import RemotePool


def default_workers(cores: int | None = None) -> int:
    """How many workers keep `cores` busy (default: all that this process may use), e.g. 3 for 2 cores.

    A worker waits for a fifth of its time: for its zygote to wake, or for a process to be gone.
    """
    cores = cores or num_cores()
    return cores + (cores + 3) // 4


def num_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Grader:
    """Grades requests on `workers` threads (default: `default_workers()`), each with warm slots of `backend`.

    With backend="remote" the servers at `endpoints` (`sandbox serve`) do, over as many connections, with the token in
    `token_file` or SANDBOX_TOKEN; requests that nobody takes for `patience_seconds` are IE. With backend="ray" the nodes of a
    Ray cluster do, `workers` at once on each. Raises SandboxUnavailable at once
    if the backend cannot work here, or is weaker than `min_isolation`. Use it as a context manager, or call `close`. `times`
    says how limits of time are stretched: by default for slow languages, and not for a slow machine; servers have their own.
    """

    def __init__(
        self,
        backend: str = "auto",
        workers: int | None = None,
        retries: int = 1,
        min_isolation: str = "",
        times: TimeFactors = BY_LANGUAGE,
        *,
        endpoints: Sequence[str] = (),
        token_file: Path | None = None,
        patience_seconds: float = 60.0,
        preload: Sequence[str] = (),
    ):
        if workers is not None and workers < 1:
            raise ValueError(f"workers is {workers}: give at least 1, or None for what keeps all cores busy")
        if retries < 0:
            raise ValueError(f"retries is {retries}: give 0 or more")
        if isinstance(preload, str):
            raise ValueError(f"preload is {preload!r}: give the names of modules in a list")
        if (backend == "remote") != bool(endpoints):
            raise ValueError("backend remote and endpoints go together: give both, or neither")
        self._pool: _Pool | RemotePool
        if endpoints:
            from sandbox.remote import RemotePool

            if preload:
                raise ValueError("backend remote preloads nothing: leave out preload")
            if times != BY_LANGUAGE:
                raise ValueError("backend remote stretches no times: give --time-factor to `sandbox serve`")
            self._pool = RemotePool(endpoints, read_token(token_file), min_isolation, workers, patience_seconds)
        elif backend == "ray":
            from sandbox.raypool import RayPool

            if preload or times != BY_LANGUAGE:
                raise ValueError("backend ray preloads nothing and stretches no times: leave both out")
            self._pool = RayPool(min_isolation, workers, patience_seconds)
        else:
            opened = open_backend(backend, min_isolation)
            if preload:
                _try(opened, tuple(preload))
            self._pool = _Pool(opened, workers or default_workers(), retries, times, tuple(preload))
        self._finalizer = weakref.finalize(self, self._pool.close)

    @property
    def isolation(self) -> Isolation:
        """What encloses the programs."""
        return self._pool.isolation

    @property
    def workers(self) -> int:
        """How many programs run at once."""
        return self._pool.workers

    def grade(self, requests: Sequence[GradeRequest]) -> list[Verdict]:
        """The verdicts of `requests`, in their order."""
        found = _Gathered(len(requests))
        dropped = threading.Event()
        try:
            self._pool.submit_all(requests, found, dropped)
            return found.wait()
        finally:
            self._pool.drop(dropped)

    def stream(self, requests: Iterable[GradeRequest]) -> Iterator[tuple[int, Verdict]]:
        """(index, verdict) as each is reached. Closing the iterator drops the other requests, and ends what runs for them."""
        done: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        dropped = threading.Event()
        try:
            for _ in range(self._pool.submit_all(requests, done, dropped)):
                yield done.get()
        finally:
            self._pool.drop(dropped)

    async def agrade(self, requests: Iterable[GradeRequest]) -> AsyncGenerator[tuple[int, Verdict]]:
        """As `stream`, without blocking the event loop; cancelling the task drops what is left, as closing does."""
        async with aclosing(self._arrivals(requests)) as arrivals:
            async for index, verdict in arrivals:
                yield index, verdict

    async def arun(self, request: RunRequest) -> RunResult:
        """Run a program and compare nothing; cancelling the task ends it."""
        async with aclosing(self._arrivals([request])) as arrivals:
            _, result = await anext(arrivals)
            return result  # type: ignore[no-any-return]

    async def _arrivals(self, requests: Iterable[_Request]) -> AsyncGenerator[tuple[int, Any]]:
        arrived: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
        bridge = _Bridge(asyncio.get_running_loop(), arrived)
        dropped = threading.Event()
        try:
            for _ in range(self._pool.submit_all(requests, bridge, dropped)):
                yield await arrived.get()
        finally:
            self._pool.drop(dropped)

    def toolchain(self, language: str) -> Toolchain:
        """What programs in that language are made and run with here. Raises LanguageUnavailable, KeyError."""
        return self._pool.toolchain(language)

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

    def __init__(self, loop: asyncio.AbstractEventLoop, arrived: asyncio.Queue[tuple[int, Any]]):
        self._loop, self._arrived = loop, arrived

    def put(self, item: tuple[int, Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, item)


class _Gathered:
    """Stands for a queue, and wakes who waits for `count` answers once."""

    def __init__(self, count: int):
        self._count, self._all = count, threading.Event()
        self._found: dict[int, Any] = {}

    def put(self, item: tuple[int, Any]) -> None:
        index, answer = item
        self._found[index] = answer
        if len(self._found) == self._count:
            self._all.set()

    def wait(self) -> list[Any]:
        """The answers in the order of their requests."""
        if self._count:
            self._all.wait()
        return [self._found[index] for index in range(self._count)]


_Done = _Bridge | _Gathered | queue.SimpleQueue[tuple[int, Any]]
_Request = GradeRequest | RunRequest
_Work = tuple[int, _Request, _Done, threading.Event]


def _try(backend: Backend, preload: tuple[str, ...]) -> None:
    """Raises SandboxUnavailable where programs cannot import one of these modules; closes the backend then."""
    try:
        backend.open_slot((), preload).close()
    except BaseException:
        backend.close()
        raise


class _Pool:
    """The workers. Knows nothing of the Grader, so that one that is forgotten is collected and closed."""

    def __init__(self, backend: Backend, workers: int, retries: int, times: TimeFactors, preload: tuple[str, ...]):
        self.backend, self.workers, self._retries, self._times = backend, workers, retries, times
        self._preload = preload
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._executors: list[Executor] = []
        self._lock = threading.Lock()
        self._quiet, self._builds = Quiet(), Builds()
        self._num_waiting = 0
        self.closed = False
        self.toolchain = backend.toolchain

    @property
    def isolation(self) -> Isolation:
        return self.backend.isolation

    def submit_all(self, requests: Iterable[_Request], done: _Done, dropped: threading.Event) -> int:
        """Hand every request to the workers; how many there are."""
        count = 0
        for index, request in enumerate(requests):
            self.submit(index, request, done, dropped)
            count += 1
        return count

    def submit(self, index: int, request: _Request, done: _Done, dropped: threading.Event) -> None:
        with self._lock:
            if self.closed:
                raise RuntimeError("the grader is closed: make a new one")
            self._num_waiting += 1
            self._work.put((index, request, done, dropped))
            if len(self._threads) < min(self.workers, self._num_waiting):
                thread = threading.Thread(target=self._run, name=f"grader-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()

    def drop(self, dropped: threading.Event) -> None:
        """Nobody wants the requests of `dropped` any more: those that wait never begin, those that run end now."""
        dropped.set()
        with self._lock:
            executors = list(self._executors)
        for executor in executors:
            executor.drop(dropped)

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
        self.backend.close()

    def _run(self) -> None:
        executor = Executor(self.backend, self._builds, self._preload)
        with self._lock:
            self._executors.append(executor)
        try:
            while (item := self._work.get()) is not None:
                index, request, done, dropped = item
                executor.begin(dropped)
                answer = self._answer(executor, request, self.closed or dropped.is_set())
                executor.begin(None)
                with self._lock:
                    self._num_waiting -= 1
                done.put((index, answer))
        finally:
            executor.close()

    def _answer(self, executor: Executor, request: _Request, is_dropped: bool) -> Verdict | RunResult:
        isolation = self.backend.isolation
        if isinstance(request, RunRequest):
            if is_dropped:
                return RunResult(case=bare(Outcome.IE, "dropped before it began"))
            with self._quiet.shared():
                return run_on(executor, request, self._retries)
        if is_dropped:
            return whole(request, Outcome.IE, "dropped before it began", isolation)
        try:
            return grade_one(executor, request, self._quiet, self._retries, isolation, self._times)
        except Exception as error:  # a worker that dies of a fault of ours is waited for without end
            return whole(request, Outcome.IE, f"the judge failed with {type(error).__name__}: {error}", isolation)
