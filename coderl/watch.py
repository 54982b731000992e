"""How is a run seen while it trains? Its report in a browser, which renews itself when the metrics file grows.

One page, read-only, on this machine unless told otherwise: there a request with another site's name in its Host header is
refused, so that no page of the web can read it. The script that renews the page replaces its text and nothing else.
"""

from __future__ import annotations

import secrets
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources

from coderl.errors import CoderlError, RunFolderError
from coderl.report.evidence import read_evidence
from coderl.report.markup import Html, join, tag
from coderl.report.page import render
from coderl.run_folder import RunFolder
from sandbox.server.settings import is_local

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Watch:
    """A server of one run's live report; `port` 0 takes a free one. Raises RunFolderError where it cannot listen."""

    def __init__(self, folder: RunFolder, *, host: str = "127.0.0.1", port: int = 0, seconds: float = 5.0) -> None:
        self._folder, self._seconds = folder, seconds
        self._lock = threading.Lock()  # matplotlib draws one page at a time
        self._shown: tuple[str, str] = ("", "")  # the version, and the page of it
        self._nonce = secrets.token_urlsafe(16)
        live = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                live._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        try:
            self.server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            cause = error.strerror or error
            raise RunFolderError(f"{host}:{port}: cannot listen there ({cause}); choose another --port") from error
        self.server.daemon_threads = True
        bound = self.server.server_port
        self._hosts = {f"{name}:{bound}" for name in (*LOOPBACK, host)} if is_local(host) else None  # None: any
        self.url = f"http://{host}:{bound}/"

    def version(self) -> str:
        """Changes when the run has written something new."""
        try:
            state = self._folder.metrics_path.stat()
        except OSError:
            return "nothing yet"
        return f"{state.st_size}-{state.st_mtime_ns}"

    def page(self) -> str:
        """The report of now. Raises RunFolderError."""
        with self._lock:
            version = self.version()
            if self._shown[0] != version:
                policy = f"default-src 'none'; style-src 'unsafe-inline'; connect-src 'self'; script-src 'nonce-{self._nonce}'"
                source = resources.files("coderl.report").joinpath("watch.js").read_text(encoding="utf-8")
                script = tag("script", Html(source), nonce=self._nonce)
                mark = tag("p", id="live", data_version=version, data_seconds=f"{self._seconds:g}")
                page = render(read_evidence(self._folder), policy=policy, tail=join([mark, script]))
                self._shown = (version, page)
            return self._shown[1]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        if self._hosts is not None and handler.headers.get("Host", "") not in self._hosts:
            return _send(
                handler, HTTPStatus.FORBIDDEN, "this page is for this machine: open the address that was printed\n"
            )
        if handler.path == "/version":
            return _send(handler, HTTPStatus.OK, self.version())
        if handler.path != "/":
            return _send(handler, HTTPStatus.NOT_FOUND, "there is only /\n")
        try:
            page = self.page()
        except CoderlError as error:
            return _send(handler, HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n")
        return _send(handler, HTTPStatus.OK, page, kind="text/html")


def _send(handler: BaseHTTPRequestHandler, status: HTTPStatus, text: str, kind: str = "text/plain") -> None:
    data = text.encode()
    handler.send_response(status)
    headers = {
        "Content-Type": f"{kind}; charset=utf-8",
        "Content-Length": str(len(data)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
    }
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data)
