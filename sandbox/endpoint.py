"""How is one served grader asked, over plain HTTP?

An `Endpoint` is `sandbox serve` somewhere. It is asked for its isolation before it gets a program, each time it comes (back)
into use. Texts of programs and tasks go out once and are named by their hash from then on. Standard library only. What a server
sends is checked as strictly as what it reads; whatever is wrong with it, or on the way, is `Failed`, and says nothing about a
program.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sandbox.codec import CodecError, dumps, loads
from sandbox.requests_json import SCHEMA
from sandbox.verdict import Isolation, Verdict

CONNECT_SECONDS = 10.0
SILENT_SECONDS = 60.0  # without a line: a server at work sends an empty one every 10 s
FIRST_REST, LONGEST_REST = 0.5, 30.0  # seconds without a request after a failure, doubled with each
SHORT = 512  # bytes: a text up to this is sent as it is
MAX_LINE = 64 << 20
MAX_KNOWN = 100_000  # hashes that a server is thought to keep
Weaker = Callable[[str], bool]  # is a backend of this name weaker than what is accepted?


class Failed(Exception):
    """The endpoint did not answer as it should: one line. `accepted`: it had taken the programs."""

    accepted = False


class Busy(Exception):
    """The endpoint has too much to do; the seconds it asks to wait."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        super().__init__(f"busy for {seconds:g} s")


class Refused(Exception):
    """The endpoint will not take this request, whoever asks again: one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """The JSON of a program or a task."""

    name: str  # its hash
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """Requests that travel together: (id, program, task) each; `key` is the idempotency key."""

    key: str
    items: tuple[tuple[str, Text, Text], ...]


class Call:
    """One use of a connection, which another thread may cut."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None
        self._cut = False

    def hold(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._connection = connection
            if self._cut:
                raise Failed("nobody waits for it any more")

    def cut(self) -> None:
        """Close the connection, so that the server sees that nobody waits."""
        with self._lock:
            self._cut = True
            if self._connection is not None and self._connection.sock is not None:
                with suppress(OSError):
                    self._connection.sock.shutdown(socket.SHUT_RDWR)


class Endpoint:
    """Used by many threads, each with a connection of its own."""

    def __init__(self, url: str, token: str, weaker: Weaker):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username is not None:
            raise ValueError(f"endpoint {url!r}: write http://HOST:PORT, the token in SANDBOX_TOKEN")
        self.url = url.rstrip("/")
        self._host, self._port, self._base = parts.hostname, parts.port, parts.path.rstrip("/")
        self._secure = parts.scheme == "https"
        self._token, self._weaker = token, weaker
        self._local = threading.local()
        self._known: set[str] = set()
        self._failures = 0
        self._checked = False
        self.rests_until = 0.0  # of time.monotonic()
        self.fault = ""
        self.num_programs = 0  # under way
        self.workers = 1
        self.isolation = Isolation(backend="remote")

    def check(self, call: Call) -> None:
        """Ask what it is. Raises Failed, also if it isolates less than is accepted."""
        if self._checked:
            return
        status, body, _ = self._whole("GET", "/v1/info", call)
        if status in (401, 403):
            raise Failed("it refuses the token: set SANDBOX_TOKEN to the server's")
        try:
            info = loads(body)
            if status != 200 or info["schema"] != SCHEMA:
                raise ValueError
            layers = tuple(map(str, info["isolation"]["layers"]))
            isolation = Isolation(backend=str(info["isolation"]["backend"]), layers=layers)
            workers = int(info["workers"])
        except (CodecError, KeyError, TypeError, ValueError):
            raise Failed(f"it is no `sandbox serve` of schema {SCHEMA} (status {status})") from None
        if self._weaker(isolation.backend):
            raise Failed(f"its isolation, {isolation.backend}, is weaker than what is accepted")
        self.isolation, self.workers, self._checked = isolation, max(1, workers), True

    def grade(self, parcel: Parcel, call: Call) -> Iterator[tuple[str, Verdict]]:
        """(id, verdict) as each arrives; all of them unless it raises Failed, Busy or Refused."""
        self.check(call)
        lacks: set[str] = set()
        for _ in range(3):
            body, brought = self._body(parcel.items, lacks)
            response = self._ask("POST", "/v1/grade", call, body, {"Idempotency-Key": parcel.key})
            if response.status == 200:
                if len(self._known) > MAX_KNOWN:
                    self._known.clear()
                self._known |= brought
                try:
                    yield from self._verdicts(response, {name for name, *_ in parcel.items})
                except Failed as failed:
                    failed.accepted = True
                    raise
                return
            said = self._read(response)
            if response.status != 424:
                self._refuse(response, said)
            lacks |= set(_json(said).get("missing", ()))
        raise Failed("it forgets texts as fast as they are sent")

    def set_aside(self, fault: str) -> None:
        """It failed: no request for a while, longer each time."""
        self.fault = fault
        self.rests_until = time.monotonic() + min(LONGEST_REST, FIRST_REST * 2**self._failures)
        self._failures = min(self._failures + 1, 10)
        self._checked = False
        self._known.clear()
        self.forget_connection()

    def works(self) -> None:
        """It gave a verdict."""
        self._failures, self.fault = 0, ""

    def forget_connection(self) -> None:
        """Close this thread's connection."""
        connection, self._local.connection = getattr(self._local, "connection", None), None
        if connection is not None:
            connection.close()

    def _body(self, items: Sequence[tuple[str, Text, Text]], lacks: set[str]) -> tuple[bytes, set[str]]:
        """The body of a request, and the hashes of the texts in it; those that the server lacks are among them."""
        blobs: dict[str, Text] = {}

        def written(text: Text) -> bytes:
            if len(text.data) <= SHORT:
                return text.data
            if text.name not in self._known or text.name in lacks:
                blobs[text.name] = text
            return b'"' + text.name.encode() + b'"'

        rows = [b'{"id":%s,"program":%s,"task":%s}' % (dumps(name), written(program), written(task))
                for name, program, task in items]  # fmt: skip
        texts = [b'"%s":%s' % (name.encode(), dumps(text.data.decode())) for name, text in blobs.items()]
        body = b'{"schema":%d,"requests":[%s],"blobs":{%s}}' % (SCHEMA, b",".join(rows), b",".join(texts))
        return body, set(blobs)

    def _verdicts(self, response: http.client.HTTPResponse, names: set[str]) -> Iterator[tuple[str, Verdict]]:
        while names:
            line = self._guarded(lambda: response.readline(MAX_LINE))
            if not line:
                raise Failed("it stopped in the middle of its answer")
            if line == b"\n":
                continue
            try:
                record = loads(line)
                name, verdict = record["id"], Verdict.from_json(record["verdict"])
                names.remove(name)
            except (CodecError, KeyError, TypeError, ValueError):
                self.forget_connection()
                raise Failed("it sent a line that is no verdict") from None
            if self._weaker(verdict.isolation.backend):
                raise Failed(f"it graded under {verdict.isolation.backend}, weaker than what is accepted")
            yield name, verdict
        self._read(response)

    def _refuse(self, response: http.client.HTTPResponse, said: bytes) -> None:
        """Raise what an answer other than 200 means."""
        line = " ".join(str(_json(said).get("error", "no reason given")).split())[:300]
        if response.status == 429:
            wait = response.headers.get("retry-after", "1")
            raise Busy(min(float(wait), LONGEST_REST) if wait.isdigit() else 1.0)
        if response.status in (400, 413, 422):
            raise Refused(f"{self.url} refuses it: {line}")
        raise Failed(f"status {response.status}: {line}")

    def _whole(self, method: str, path: str, call: Call) -> tuple[int, bytes, Any]:
        response = self._ask(method, path, call)
        return response.status, self._read(response), response.headers

    def _ask(
        self, method: str, path: str, call: Call, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """The answer's head. A connection that the server closed while it was idle is opened anew, once."""
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        for attempt in (1, 2):
            kept = getattr(self._local, "connection", None)
            connection = kept or self._open()
            call.hold(connection)
            try:
                connection.request(method, self._base + path, body, sent | (headers or {}))
                return connection.getresponse()
            except (ConnectionError, http.client.BadStatusLine) as error:
                self.forget_connection()
                if kept is None or attempt == 2:
                    raise Failed(_reason(error)) from None
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.forget_connection()
                raise Failed(_reason(error)) from None
        raise AssertionError("unreachable")

    def _open(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=CONNECT_SECONDS)
        self._guarded(connection.connect)
        connection.sock.settimeout(SILENT_SECONDS)
        self._local.connection = connection
        return connection

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        return self._guarded(lambda: response.read(MAX_LINE))  # type: ignore[no-any-return]

    def _guarded(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:  # cut by another thread, too
            self.forget_connection()
            raise Failed(_reason(error)) from None


def _json(said: bytes) -> dict[str, Any]:
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, http.client.IncompleteRead):
        return "it stopped in the middle of its answer"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
