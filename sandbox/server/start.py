"""How does the server start and stop? Raises before it listens if anything is missing."""

from __future__ import annotations

import socket

import uvicorn

from sandbox.errors import BadInput
from sandbox.grader import Grader
from sandbox.server.app import create_app
from sandbox.server.settings import ServeSettings

STOP_SECONDS = 5  # that connections have to end when the server is told to stop
BACKLOG = 2048


def serve(grader: Grader, settings: ServeSettings) -> None:
    """Answer until SIGINT or SIGTERM. Raises BadInput if the address cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise BadInput(
            f"{settings.host}:{settings.port}: cannot listen ({error.strerror}): choose another port"
        ) from None
    host, port = listener.getsockname()[:2]
    isolation = grader.isolation
    print(
        f"sandbox: http://{f'[{host}]' if ':' in host else host}:{port} with {grader.workers} workers, "
        f"isolation {isolation.backend} ({', '.join(isolation.layers)}), token {'needed' if settings.token else 'not needed'}",
        flush=True,
    )
    config = uvicorn.Config(
        create_app(grader, settings),
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listener])
