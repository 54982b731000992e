"""Who may ask, and how much may they send?

Every fault is a `Refusal`: a status and one line, as JSON {"error": line}, before anything runs. The token is compared in
constant time. Without a token only this machine can reach the server; then a Host of another name (DNS rebinding) and a body
that a web page can send unasked (no application/json) are refused, too.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from sandbox.codec import CodecError, loads
from sandbox.server.settings import ServeSettings, is_local

BODY_SECONDS = 60.0  # without a byte
MAX_BUFFERED = 4  # bodies of the greatest size, in memory at once
INLINE_BYTES = 1 << 16  # a body up to this is read in the event loop


class Answer(JSONResponse):
    """JSON as ASCII: what a client sent, and gets back, may be text that is no UTF-8."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


class Refusal(Exception):
    """Answered with this status and line; `extra` are further keys of the JSON."""

    def __init__(self, status: int, line: str, *, headers: dict[str, str] | None = None, **extra: Any):
        self.status, self.line, self.headers, self.extra = status, " ".join(line.split()), headers or {}, extra
        super().__init__(line)

    def response(self) -> Answer:
        return Answer({"error": self.line, **self.extra}, self.status, headers=self.headers)


class Guard:
    """The rules of one server; counts the bytes of bodies that are in memory."""

    def __init__(self, settings: ServeSettings):
        self._settings = settings
        self._digest = hashlib.sha256(settings.token.encode()).digest()
        self._buffered = 0

    def check_caller(self, request: Request) -> None:
        """Raises Refusal unless the caller knows the token, or is of this machine where there is none."""
        if not self._settings.token:
            hosts = request.headers.getlist("host")
            if len(hosts) != 1 or not is_local(_host(hosts[0])):
                raise Refusal(403, "the Host is not this machine's: a server without a token answers to localhost only")
            return
        given = _token(request.headers.getlist("authorization"))
        if not hmac.compare_digest(hashlib.sha256(given).digest(), self._digest):
            raise Refusal(
                401, "no or a wrong token: send Authorization: Bearer TOKEN", headers={"WWW-Authenticate": "Bearer"}
            )

    async def read_json(self, request: Request) -> tuple[Any, bytes]:
        """The JSON of a body, and the body itself. Raises Refusal."""
        kinds = request.headers.getlist("content-type")
        if len(kinds) != 1 or kinds[0].split(";")[0].strip().lower() != "application/json":
            raise Refusal(415, "the body is no JSON: send Content-Type: application/json")
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refusal(415, "the body is compressed: send it as it is")
        body = await self._read(request)
        try:
            tree = loads(body) if len(body) <= INLINE_BYTES else await asyncio.to_thread(loads, body)
        except CodecError as error:
            raise Refusal(400, f"the body cannot be read: {error}") from None
        return tree, body

    async def _read(self, request: Request) -> bytes:
        most = self._settings.max_body_bytes
        too_long = Refusal(413, f"the body is longer than {most} bytes: send fewer programs at once")
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length) > most:
            raise too_long
        chunks: list[bytes] = []
        size = 0
        stream = aiter(request.stream())
        try:
            while True:
                try:
                    chunk = await asyncio.wait_for(anext(stream), BODY_SECONDS)
                except StopAsyncIteration:
                    return b"".join(chunks)
                except TimeoutError:
                    raise Refusal(408, f"the body stopped for {BODY_SECONDS:g} s: send it again") from None
                size += len(chunk)
                if size > most:
                    raise too_long
                self._buffered += len(chunk)
                chunks.append(chunk)
                if self._buffered > MAX_BUFFERED * most:
                    raise Refusal(429, "too many bodies at once: try again later", headers={"Retry-After": "1"})
        finally:
            self._buffered -= sum(map(len, chunks))


def _host(value: str) -> str:
    """The name in a Host header, without its port."""
    if value.startswith("["):
        return value.partition("]")[0].strip("[")
    return value.partition(":")[0]


def _token(values: list[str]) -> bytes:
    """What the one Authorization header gives: Bearer, or Basic with the token as password (http://user:TOKEN@host)."""
    if len(values) != 1:
        return b""
    scheme, _, rest = values[0].partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip().encode("latin-1", "replace")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""
