"""Who may ask the labelling page for what? Every fault is a `Refused`: a status and one line.

A session is a cookie that scripts cannot read and other sites cannot send. Whatever changes something also needs the Origin of
this server and a token of the session in the form. Where no token is needed to enter, a Host of another name is refused (DNS
rebinding).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request

from coderl.errors import ConfigError
from sandbox.server.settings import is_local

MAX_BODY_BYTES = 64 * 1024
MAX_FIELDS = 40
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@+-]{0,63}")


class Refused(Exception):
    """Answered with this status and line."""

    def __init__(self, status: int, line: str) -> None:
        self.status, self.line = status, line
        super().__init__(line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """`names_suffice`: whoever reaches the server may label under a name without a token.

    Raises ConfigError for what would be unsafe.
    """

    host: str
    port: int
    names_suffice: bool

    def __post_init__(self) -> None:
        if self.names_suffice and not self.local:
            raise ConfigError(f"--host {self.host}: others could reach it: name who may label with --annotator NAME")

    @property
    def local(self) -> bool:
        return is_local(self.host)

    @property
    def cookie(self) -> str:
        """Cookies of one machine know no port: two servers must not sign each other's annotators out."""
        return f"coderl_label_{self.port}"

    def check_host(self, request: Request) -> None:
        """Raises Refused."""
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or (self.names_suffice and not is_local(_name(hosts[0]))):
            raise Refused(403, "the Host is not this machine's: open the address that was printed")

    def check_origin(self, request: Request) -> None:
        """Raises Refused unless the page that sends this is ours."""
        origins = request.headers.getlist("origin")
        if len(origins) != 1 or urlsplit(origins[0]).netloc != request.headers.get("host"):
            raise Refused(403, "this was sent by another site, or by no page: use the labelling page")


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form; of one that comes twice the last. Raises Refused."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Refused(415, "send a form")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Refused(413, f"the form is longer than {MAX_BODY_BYTES} bytes: shorten the reason")
    try:
        return dict(parse_qsl(bytes(body).decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"))
    except ValueError:
        raise Refused(400, "the form cannot be read") from None


def csrf_token(session: str) -> str:
    """What a form of this session has to carry; it tells nothing of the cookie."""
    return hmac.new(session.encode(), b"coderl label form", hashlib.sha256).hexdigest()


def check_csrf(session: str, form: dict[str, str]) -> None:
    """Raises Refused."""
    if not hmac.compare_digest(csrf_token(session).encode(), form.get("csrf", "").encode()):
        raise Refused(403, "the form is of another session: reload the page")


def check_name(name: str) -> str:
    """The name as it is kept. Raises ConfigError."""
    if not NAME.fullmatch(name.strip()):
        raise ConfigError(f"annotator {name!r}: use up to 64 letters, digits, spaces and . _ @ + -")
    return name.strip()


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
