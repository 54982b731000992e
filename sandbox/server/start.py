"""How does the server start and stop? Raises before it listens if anything is missing."""

from __future__ import annotations

import uvicorn

from sandbox.grader import Grader
from sandbox.server.app import create_app
from sandbox.server.listener import listen
from sandbox.server.settings import ServeSettings

STOP_SECONDS = 5  # that connections have to end when the server is told to stop


def serve(grader: Grader, settings: ServeSettings) -> None:
    """Answer until SIGINT or SIGTERM. Raises BadInput if the address cannot be had."""
    listener = listen(settings.host, settings.port)
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
