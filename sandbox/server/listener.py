"""Where does a server listen, and how does it speak? A bound socket, so that the port is known before anything else."""

from __future__ import annotations

import socket
from typing import Any

import uvicorn

from sandbox.errors import BadInput

BACKLOG = 2048
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


def http_server(app: Any) -> uvicorn.Server:
    """Serve `app` (ASGI) plainly: no websockets, no trust in a proxy's headers, no log of who asked for what."""
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return uvicorn.Server(config)
