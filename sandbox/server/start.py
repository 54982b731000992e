"""How does the server start and stop? Raises before it listens if anything is missing."""

from __future__ import annotations

from sandbox.grader import Grader
from sandbox.server.app import create_app
from sandbox.server.listener import http_server, listen
from sandbox.server.settings import ServeSettings


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
    http_server(create_app(grader, settings)).run(sockets=[listener])
