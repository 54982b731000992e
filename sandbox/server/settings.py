"""How is a server set up, and which set-ups are refused?"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from sandbox.access import TOKEN_VARIABLE
from sandbox.errors import BadInput
from sandbox.limits import MEBIBYTE

MIN_TOKEN = 16  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """Raises BadInput for what would be unsafe: reachable from other machines without a token."""

    host: str = "127.0.0.1"
    port: int = 8080
    token: str = field(default="", repr=False)
    max_body_bytes: int = 64 * MEBIBYTE
    max_queue: int = 4096  # programs that wait or run
    blob_bytes: int = 256 * MEBIBYTE  # programs and tests that are kept by their hash
    result_bytes: int = 64 * MEBIBYTE  # verdicts that are kept by their idempotency key

    def __post_init__(self) -> None:
        if not self.token and not is_local(self.host):
            raise BadInput(
                f"--host {self.host}: others could reach it, and there is no token: "
                f"set {TOKEN_VARIABLE} or give --token-file"
            )
        if self.token and (len(self.token) < MIN_TOKEN or not self.token.isascii() or not self.token.isprintable()):
            raise BadInput(f"the token is too short, or not plain text: give at least {MIN_TOKEN} ASCII characters")


def is_local(host: str) -> bool:
    """Can only this machine reach a server that binds to `host`?"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
