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
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType

from sandbox.backend import Backend, open_backend
from sandbox.build import Builds
from sandbox.execute import Executor
from sandbox.grading import Quiet, grade_one, whole
from sandbox.spec import GradeRequest
from sandbox.verdict import Outcome, Verdict


class Grader:
    """Grades requests on `workers` threads (default: one per core), each with warm slots of `backend`.

    Raises SandboxUnavailable at once if the backend cannot work here, or is weaker than `min_isolation`.
    Use it as a context manager, or call `close`.
    """

    def __init__(self, backend: str = "auto", workers: int | None = None, retries: int = 1, min_isolation: str = ""):
        if workers is not None and workers < 1:
            raise ValueError(f"workers is {workers}: give at least 1, or None for one per core")
        if retries < 0:
            raise ValueError(f"retries is {retries}: give 0 or more")
        self._pool = _Pool(open_backend(backend, min_isolation), workers or os.cpu_count() or 1, retries)
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
        self._quiet, self._builds = Quiet(), Builds()
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
        executor = Executor(self._backend, self._builds)
        try:
            while (item := self._work.get()) is not None:
                index, request, done, dropped = item
                if self.closed or dropped.is_set():
                    verdict = whole(request, Outcome.IE, "dropped before it began", self._backend.isolation)
                else:
                    verdict = grade_one(executor, request, self._quiet, self._retries, self._backend.isolation)
                with self._lock:
                    self._num_waiting -= 1
                done.put((index, verdict))
        finally:
            executor.close()
