"""Where does a server listen? A bound socket, so that the port is known and taken before anything else happens."""

from __future__ import annotations

import socket

from sandbox.errors import BadInput

BACKLOG = 2048


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
