"""Items and a running labelling server for the tests of it."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from coderl.label.items import Choice, Item, Result
from coderl.label.start import LabelServer
from coderl.label.store import LabelStore

HOSTILE = (
    "def f(n):\n    return '</pre></span></textarea><script>window.hacked = 1; alert(1)</script>'\n"
    '# <img src=x onerror="window.hacked = 2"> <svg/onload=alert(3)> {{ 7 * 7 }} {% raw %}\n'
    "# \u202e reversed \u2066 \x00 \x1b[31m red \ud800 lone \ufeff\n"
)


def item(number: int, *programs: str, gold: tuple[int, ...] = (), passed: tuple[int, ...] = (), **more: object) -> Item:
    """Of programs, or of two right after each other; `passed` of four cases is what running has said of each."""
    texts = programs or (f"def f(n):\n    return n * {number}\n", f"def f(n):\n    return n + {number}\n")
    results = [
        Result(outcome="AC" if n == 4 else "WA", passed=n, total=4, cases=(("WA", "got <b>5</b>", "5"),))
        for n in passed
    ] or [None] * len(texts)
    return Item(
        task_id=f"demo/{number}",
        prompt=f"Write f(n), number {number}.",
        question=f"Write f(n), number {number}.",
        choices=tuple(Choice(completion=t, program=t, result=r) for t, r in zip(texts, results, strict=True)),
        gold=gold,
        **more,  # type: ignore[arg-type]
    )


def new_store(folder: Path, *items: Item, overlap: float = 1.0) -> LabelStore:
    store = LabelStore(f"sqlite:///{folder / 'labels.sqlite'}", overlap=overlap)
    store.add_items(items)
    return store


@contextmanager
def serving(store: LabelStore, *annotators: str, host: str = "127.0.0.1") -> Iterator[LabelServer]:
    server = LabelServer(store, host=host, port=0, annotators=annotators)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
        store.close()


@dataclass
class Client:
    """The plainest browser: forms without JavaScript. `page` is the last one that was read."""

    url: str
    cookie: str = ""
    page: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str = "/", **headers: str) -> tuple[int, str]:
        status, self.page = self._ask("GET", path, None, headers)
        return status, self.page

    def post(self, path: str, fields: dict[str, str], **headers: str) -> tuple[int, str]:
        return self._ask("POST", path, urlencode(fields), {"Origin": self.url.rstrip("/"), **headers})

    def sign_in(self, name: str, token: str = "") -> int:
        return self.post("/sign-in", {"name": name, "token": token})[0]

    def hidden(self) -> dict[str, str]:
        """The hidden fields of the item's form."""
        form = self.page.split('id="answer"')[1]
        return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))

    def answer(self, answer: str, **more: str) -> int:
        self.get()
        return self.post("/answer", {**self.hidden(), "answer": answer, **more})[0]

    def _ask(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> tuple[int, str]:
        host = self.url.split("/")[2]
        connection = http.client.HTTPConnection(host, timeout=60)
        sent = {"Cookie": self.cookie} if self.cookie else {}
        if body is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(method, path, body, {**sent, **{k.replace("_", "-"): v for k, v in headers.items()}})
            answer = connection.getresponse()
            if given := answer.headers.get("set-cookie"):
                self.cookie = given.split(";")[0]
            self.headers = {name.lower(): value for name, value in answer.headers.items()}
            return answer.status, answer.read().decode()
        finally:
            connection.close()
