"""How does the labelling server start, who may enter, and how does it end?"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from coderl.label.guard import Access, check_name
from coderl.label.server import label_app
from coderl.label.store import LabelStore, new_token
from sandbox.server.listener import http_server, listen


class LabelServer:
    """A listener that answers once `serve` is called; `url` is where. Raises ConfigError or sandbox.errors.BadInput."""

    def __init__(
        self, store: LabelStore, *, host: str, port: int, annotators: Sequence[str] = (), new_tokens: bool = False
    ) -> None:
        names = [check_name(name) for name in annotators]
        Access(host=host, port=port, names_suffice=not names)
        self._listener = listen(host, port)
        bound = self._listener.getsockname()[1]
        access = Access(host=host, port=bound, names_suffice=not names)
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{bound}/"
        self.lines = self._links(store, names, new_tokens) or [f"label at {self.url} (Ctrl-C ends it)"]
        self._server = http_server(label_app(store, access))

    def serve(self) -> None:
        """Answer until SIGINT or SIGTERM, or `stop`."""
        try:
            self._server.run(sockets=[self._listener])
        finally:
            self._listener.close()

    def stop(self) -> None:
        self._server.should_exit = True

    def _links(self, store: LabelStore, names: list[str], renew: bool) -> list[str]:
        lines = []
        for name in names:
            token = new_token()
            if store.add_annotator(name, token, renew=renew):
                # Behind the #: browsers send no server that part.
                lines.append(f"{name}: {self.url}#name={quote(name)}&token={token}")
            else:
                lines.append(f"{name}: {self.url} (has a token already; --new-tokens gives another)")
        return lines
