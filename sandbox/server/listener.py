"""Where does a server listen, and how does it speak? A bound socket, so that the port is known before anything else.

Whoever can reach the port, with a token or without, can open connections; those on which no request begins are closed, and
they are never so many that the grader lacks descriptors.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sandbox.errors import BadInput

BACKLOG = 2048
IDLE_SECONDS = 20.0  # that a connection may take to send the head of a request
STOP_SECONDS = 5  # that connections have to end when the server is told to stop


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one. Raises BadInput if the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise BadInput(f"{host}:{port}: cannot listen ({error.strerror}): choose another port") from None
    return listener


def max_connections() -> int:
    """Half of the descriptors that this process may have: the others are the grader's."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2


class Connection(H11Protocol):
    """Closes itself where no request has begun, or gone on, for a while."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > max_connections():
            transport.abort()
        else:
            self._watch()

    def _watch(self) -> None:
        self.loop.call_later(IDLE_SECONDS, self._look, self._idle_since())

    def _look(self, before: Any) -> None:
        if self.transport.is_closing():
            return
        if before is not None and self._idle_since() == before:
            self.transport.abort()
        else:
            self._watch()

    def _idle_since(self) -> Any:
        """What came to an end last, where nothing has begun since; None while a request is answered."""
        if self.cycle is None:
            return "the beginning"
        return self.cycle if self.cycle.response_complete else None


def http_server(app: Any) -> uvicorn.Server:
    """Serve `app` (ASGI) plainly: no websockets, no trust in a proxy's headers, no log of who asked for what."""
    config = uvicorn.Config(
        app,
        http=Connection,
        backlog=min(BACKLOG, max_connections() // 4),  # as many are taken at once, before one can be closed
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return uvicorn.Server(config)
