"""Which served grader gets which requests, and what if it goes away?

The `remote` backend: stands where a `Grader` else has its own workers. A connection that is free takes a parcel of what waits
by then, so that programs go out while others are still being written, to the endpoint that is least busy for its size. One that
fails is set aside for a while and tried again; its parcel goes elsewhere without the verdicts that arrived, so that nothing is
lost and nothing counted twice. If nobody takes it for `patience_seconds`, or a program alone ends server after server, it is
IE, with one line that says why: never a failed program. Verdicts keep the isolation and integrity that the server stamped.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from sandbox.backend import STRENGTH, SandboxUnavailable
from sandbox.endpoint import Busy, Call, Endpoint, Failed, Parcel, Refused, Text
from sandbox.grading import whole
from sandbox.intake import request_fault, source_fault
from sandbox.judge import bare
from sandbox.languages import Toolchain
from sandbox.requests_json import part, program_to_json, task_to_json
from sandbox.run_once import RunRequest, RunResult
from sandbox.spec import GradeRequest
from sandbox.verdict import Isolation, Outcome, Verdict

PATIENCE_SECONDS = 60.0
CONNECTIONS = 4  # per endpoint, at first
MAX_CONNECTIONS = 64
MAX_PARCEL = 64  # programs
MAX_FRUITLESS = 3  # endpoints that took the same programs and failed before the first verdict
POLL_SECONDS = 0.05


class Done(Protocol):
    """Where verdicts go."""

    def put(self, item: tuple[int, Any]) -> None: ...


Texts = tuple[Text, Text]  # of a program and its task


@dataclass(slots=True, kw_only=True)
class _Submission:
    """Requests of one caller; those in `waiting` are on no connection yet."""

    done: Done
    dropped: threading.Event
    waiting: deque[tuple[int, GradeRequest, Texts]] = field(default_factory=deque)


@dataclass(slots=True, kw_only=True)
class _Share:
    """Some requests of one submission; `left` shrinks."""

    left: dict[int, GradeRequest]
    texts: dict[int, Texts]
    done: Done
    dropped: threading.Event
    call: Call = field(default_factory=Call)


class RemotePool:
    """See `sandbox.grader.Grader`. Raises SandboxUnavailable if no endpoint answers as it must."""

    def __init__(
        self,
        endpoints: Sequence[str],
        token: str,
        minimum: str = "",
        connections: int | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ):
        def weaker(backend: str) -> bool:
            return bool(minimum) and (backend not in STRENGTH or STRENGTH.index(backend) < STRENGTH.index(minimum))

        if minimum and minimum not in STRENGTH:
            raise ValueError(f"backend {minimum!r}: give one of {', '.join(reversed(STRENGTH))} as the least")
        self._endpoints = [Endpoint(url, token, weaker) for url in dict.fromkeys(endpoints)]
        self._patience = patience_seconds
        self._connections = connections or min(MAX_CONNECTIONS, CONNECTIONS * len(self._endpoints))
        self._submissions: deque[_Submission] = deque()  # those with requests that wait
        self._threads: list[threading.Thread] = []
        self._shares: list[_Share] = []
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self.closed = False
        self._meet()

    @property
    def isolation(self) -> Isolation:
        """Of the first endpoint that is in use."""
        found = (endpoint.isolation for endpoint in self._endpoints if not endpoint.fault)
        return next(found, Isolation(backend="remote"))

    @property
    def workers(self) -> int:
        return sum(endpoint.workers for endpoint in self._endpoints if not endpoint.fault) or 1

    def toolchain(self, language: str) -> Toolchain:
        raise SandboxUnavailable(f"the toolchain of {language} is on the servers: ask them for /api/v2/runtimes")

    def submit_all(self, requests: Iterable[GradeRequest | RunRequest], done: Done, dropped: threading.Event) -> int:
        """Hand every request on as it is read; how many there are."""
        submission, texts, count = _Submission(done=done, dropped=dropped), _Texts(), 0
        for index, request in enumerate(requests):
            answer = self._at_once(request)
            if answer is not None:
                done.put((index, answer))
            elif isinstance(request, GradeRequest):
                self._submit(submission, index, request, texts.of(request))
            count += 1
        return count

    def _submit(self, submission: _Submission, index: int, request: GradeRequest, texts: Texts) -> None:
        with self._lock:
            if self.closed:
                raise RuntimeError("the grader is closed: make a new one")
            if not submission.waiting:
                self._submissions.append(submission)
            submission.waiting.append((index, request, texts))
            num_threads = len(self._threads)
            if num_threads < self._connections and num_threads < len(self._shares) + self._num_waiting():
                thread = threading.Thread(target=self._run, name=f"remote-{num_threads}", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._news.notify()

    def _num_waiting(self) -> int:
        return sum(len(submission.waiting) for submission in self._submissions)

    def drop(self, dropped: threading.Event) -> None:
        """Nobody wants the requests of `dropped` any more: the servers hear of it and end what runs."""
        dropped.set()
        with self._lock:
            shares = [share for share in self._shares if share.dropped is dropped]
        for share in shares:
            share.call.cut()

    def close(self) -> None:
        with self._lock:
            if self.closed:
                return
            self.closed = True
            threads, shares = list(self._threads), list(self._shares)
            self._news.notify_all()
        for share in shares:
            share.call.cut()
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()

    def _meet(self) -> None:
        """Ask every endpoint what it is."""
        call = Call()
        for endpoint in self._endpoints:
            try:
                endpoint.check(call)
            except Failed as error:
                endpoint.set_aside(str(error))
            endpoint.forget_connection()
        faults = self._faults()
        if all(endpoint.fault for endpoint in self._endpoints):
            raise SandboxUnavailable(f"no endpoint can grade: {faults}")
        if faults:
            logging.getLogger("sandbox").warning("set aside for now: %s", faults)

    def _faults(self) -> str:
        return "; ".join(f"{endpoint.url}: {endpoint.fault}" for endpoint in self._endpoints if endpoint.fault)

    def _at_once(self, request: GradeRequest | RunRequest) -> Verdict | RunResult | None:
        """What needs no server: faults that one would find before anything runs."""
        if isinstance(request, RunRequest):
            return RunResult(case=bare(Outcome.IE, "the remote backend grades programs; it does not run them for you"))
        if fault := request_fault(request):
            return whole(request, Outcome.JE, fault, self.isolation)
        if fault := source_fault(request.program.source)[1]:
            return whole(request, Outcome.CE, fault, self.isolation)
        return None

    def _next(self) -> _Share | None:
        """A part of what waits, the smaller the less there is; None once the pool is closed and nothing waits."""
        with self._news:
            while not self._submissions:
                if self.closed:
                    return None
                self._news.wait()
            submission = self._submissions.popleft()
            waiting = submission.waiting
            size = min(MAX_PARCEL, -(-len(waiting) // (2 * self._connections)))
            some = [waiting.popleft() for _ in range(size)]
            if waiting:
                self._submissions.append(submission)  # the others come first
            share = _Share(
                left={i: request for i, request, _ in some},
                texts={i: texts for i, _, texts in some},
                done=submission.done,
                dropped=submission.dropped,
            )
            self._shares.append(share)
            return share

    def _run(self) -> None:
        while (share := self._next()) is not None:
            try:
                self._grade(share, dict(share.left))
            except Exception as error:  # a fault of ours must not end the thread; it is no verdict on a program either
                self._give_up(share, share.left, f"the client failed with {type(error).__name__}: {error}")
            with self._lock:
                self._shares.remove(share)
        for endpoint in self._endpoints:
            endpoint.forget_connection()

    def _grade(self, share: _Share, wanted: dict[int, GradeRequest]) -> None:
        """Get the verdicts of `wanted`, some of the share's, from whoever gives them."""
        patient_until = time.monotonic() + self._patience
        parcel, taker, fruitless = None, None, 0
        while wanted := {i: request for i, request in wanted.items() if i in share.left}:
            if share.dropped.is_set() or self.closed:
                self._give_up(share, wanted, "dropped before it ended")
                return
            endpoint = self._take(len(wanted))
            if endpoint is None:
                if time.monotonic() > patient_until:
                    waited = f"no endpoint took it for {self._patience:g} s"
                    self._give_up(share, wanted, f"{waited}: {self._faults() or 'all are busy'}")
                    return
                share.dropped.wait(POLL_SECONDS)
                continue
            if parcel is None or endpoint is not taker or len(parcel.items) != len(wanted):
                items = tuple((str(i), *share.texts[i]) for i in wanted)
                parcel, taker = Parcel(key=secrets.token_hex(16), items=items), endpoint
            try:
                for name, verdict in endpoint.grade(parcel, share.call):
                    share.done.put((int(name), verdict))
                    del share.left[int(name)]
                    endpoint.works()
                    patient_until = time.monotonic() + self._patience
            except Busy as busy:
                endpoint.rests_until = time.monotonic() + busy.seconds
            except Refused as refused:
                self._apart(share, wanted, str(refused))
                return
            except Failed as failed:
                if share.dropped.is_set() or self.closed:
                    continue
                endpoint.set_aside(str(failed))
                logging.getLogger("sandbox").warning("%s is set aside: %s", endpoint.url, failed)
                if failed.accepted:
                    patient_until = time.monotonic() + self._patience
                    fruitless = fruitless + 1 if len(wanted) == len(share.left.keys() & wanted) else 0
                if fruitless == MAX_FRUITLESS:
                    self._apart(share, wanted, f"{fruitless} times an endpoint failed on it: {failed}")
                    return
            finally:
                with self._lock:
                    endpoint.num_programs -= len(wanted)

    def _apart(self, share: _Share, wanted: dict[int, GradeRequest], line: str) -> None:
        """Something in `wanted` cannot be graded for this reason: find out what, and give up on that alone."""
        if len(wanted) == 1:
            self._give_up(share, wanted, line)
            return
        middle = len(wanted) // 2
        for half in (list(wanted)[:middle], list(wanted)[middle:]):
            self._grade(share, {i: wanted[i] for i in half})

    def _take(self, count: int) -> Endpoint | None:
        """The endpoint that is least busy for its size, of those that may be asked now."""
        now = time.monotonic()
        with self._lock:
            able = [endpoint for endpoint in self._endpoints if endpoint.rests_until <= now]
            if not able:
                return None
            best = min(able, key=lambda endpoint: endpoint.num_programs / endpoint.workers)
            best.num_programs += count
            return best

    def _give_up(self, share: _Share, wanted: Iterable[int], line: str) -> None:
        for i in [i for i in wanted if i in share.left]:
            request = share.left.pop(i)
            with suppress(RuntimeError):
                share.done.put((i, whole(request, Outcome.IE, line, self.isolation)))


class _Texts:
    """The program and the task of each request as JSON; a task that many share is written once."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[Any, ...], tuple[Text, GradeRequest]] = {}  # the request keeps the ids its own

    def of(self, request: GradeRequest) -> Texts:
        shared = (
            *(id(request.cases), request.limits, id(request.checker), id(request.groups)),
            *(request.stop_early, request.coverage),
        )
        if shared not in self._tasks:
            self._tasks[shared] = _text(task_to_json(request)), request
        return _text(program_to_json(request.program)), self._tasks[shared][0]


def _text(record: dict[str, Any]) -> Text:
    name, data = part(record)
    return Text(name=name, data=data)
