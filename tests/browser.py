"""A real headless Chromium, driven over its own DevTools protocol: real mouse and key events, screenshots.

    with Browser() as browser:
        page = browser.page(width=390, height=844)
        page.open("http://127.0.0.1:8000/")
        page.press("a")
        assert page.text("h1") == "..."

Pages share no cookies. A page records what goes wrong on it (`faults`: exceptions, console errors, refusals of the content
security policy), which dialogs opened, and every address it asked for (`requests`). Tests that use it carry the marker
`browser`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from conftest import BROWSERS
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

SECONDS = 60.0  # how long anything may take on a busy machine
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--disable-sync",
    "--force-color-profile=srgb", "--font-render-hinting=none", "--remote-debugging-port=0",
)  # fmt: skip
KEYS = {  # name: (code, windows key code, text)
    "Enter": ("Enter", 13, "\r"), "Tab": ("Tab", 9, ""), "Escape": ("Escape", 27, ""), " ": ("Space", 32, " "),
    "ArrowUp": ("ArrowUp", 38, ""), "ArrowDown": ("ArrowDown", 40, ""), "ArrowLeft": ("ArrowLeft", 37, ""),
    "ArrowRight": ("ArrowRight", 39, ""), "Backspace": ("Backspace", 8, ""),
}  # fmt: skip
MODIFIERS = {"Alt": 1, "Control": 2, "Meta": 4, "Shift": 8}


class Browser:
    """One Chromium with a profile of its own, gone at the end of the block."""

    def __enter__(self) -> Browser:
        program = next(found for found in map(shutil.which, BROWSERS) if found)
        self._profile = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        log = Path(self._profile.name) / "stderr"
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [program, *FLAGS, f"--user-data-dir={self._profile.name}/profile", "about:blank"],
                stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True,
            )  # fmt: skip
        address = _until(
            lambda: re.search(r"listening on (ws://\S+)", log.read_text(errors="replace")), "a DevTools port"
        )
        self._open = contextlib.ExitStack()
        self._socket: ClientConnection = self._open.enter_context(
            connect(address[1], max_size=None, open_timeout=SECONDS, proxy=None)
        )
        self._next, self._pages = 0, dict[str, Page]()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ConnectionClosed, TimeoutError, RuntimeError):
            self.call("Browser.close")
        self._open.close()
        with contextlib.suppress(ProcessLookupError):
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, 9)
                self._process.wait(SECONDS)
        self._profile.cleanup()

    def page(self, *, width: int = 1280, height: int = 800, scale: float = 1, dark: bool = False) -> Page:
        """A page that shares no cookie with the others; `scale` is device pixels per CSS pixel."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.resize(width, height, scale=scale)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[theme])
        return page

    def call(self, method: str, session: str = "", **params: Any) -> Any:
        """One command and its result; what the browser says meanwhile goes to its page. Raises RuntimeError."""
        self._next += 1
        number = self._next
        message = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        self._socket.send(json.dumps(message))
        while True:
            said = json.loads(self._socket.recv(timeout=SECONDS))
            if said.get("id") == number:
                if "error" in said:
                    raise RuntimeError(f"{method}: {said['error']}")
                return said["result"]
            if page := self._pages.get(said.get("sessionId", "")):
                page.hear(said.get("method", ""), said.get("params", {}))


class Page:
    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        self.faults: list[str] = []
        self.dialogs: list[str] = []
        self.requests: list[str] = []
        self.dragged: dict[str, Any] | None = None  # what a drag carries, after Input.setInterceptDrags
        self._loads = 0

    def call(self, method: str, **params: Any) -> Any:
        return self._browser.call(method, self._session, **params)

    def hear(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loads += 1
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.faults.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.faults.append(" ".join(str(arg.get("value", arg)) for arg in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.faults.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Input.dragIntercepted":
            self.dragged = params["data"]
        elif method == "Page.javascriptDialogOpening":
            self.dialogs.append(params["message"])
            self.call("Page.handleJavaScriptDialog", accept=True)

    def resize(self, width: int, height: int, *, scale: float = 1) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": scale}
        self.call("Emulation.setDeviceMetricsOverride", mobile=width < 600, **size)

    def open(self, url: str) -> None:
        """Go there and wait until everything has loaded."""
        before = self._loads
        said = self.call("Page.navigate", url=url)
        assert "errorText" not in said, f"{url}: {said['errorText']}"
        if "loaderId" in said:  # else only the fragment changed
            self.wait(lambda: self._loads > before, f"{url} to load")

    def reload(self) -> None:
        before = self._loads
        self.call("Page.reload")
        self.wait(lambda: self._loads > before, "the page to load again")

    def run(self, script: str) -> Any:
        """The plain value of an expression of JavaScript; a promise is awaited. Raises AssertionError for its exception."""
        said = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    def wait(self, condition: str | Callable[[], Any], what: str = "") -> Any:
        """Until an expression of JavaScript, or a function here, gives something true; raises TimeoutError."""

        def holds() -> Any:
            if callable(condition):
                self.run("0")  # hears what has happened
                return condition()
            try:
                return self.run(condition)
            except RuntimeError:  # between two documents
                return None

        return _until(holds, what or str(condition))

    def text(self, selector: str) -> str:
        """What a person reads there, as soon as it is there. Raises TimeoutError."""
        self.wait(f"document.querySelector({json.dumps(selector)}) !== null")
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def exists(self, selector: str) -> bool:
        return bool(self.run(f"document.querySelector({json.dumps(selector)}) !== null"))

    def click(self, selector: str, *, times: int = 1) -> None:
        """Real clicks in the middle of the element, after scrolling to it."""
        x, y = self.middle(selector)
        for count in range(1, times + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.mouse(kind, x, y, clickCount=count)

    def middle(self, selector: str) -> tuple[float, float]:
        found = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); if (!e) return null;"
            " e.scrollIntoView({block: 'nearest'}); const r = e.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        assert found, f"{selector}: not on the page"
        return found[0], found[1]

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", **{"buttons": 1, **more})

    def press(self, key: str) -> None:
        """One key, e.g. "a", "Enter", "Shift+ArrowUp"."""
        *held, name = key.split("+") if len(key) > 1 else [key]
        modifiers = sum(MODIFIERS[word] for word in held)
        code, number, text = KEYS.get(name, (f"Key{name.upper()}", ord(name.upper()[0]), name))
        params = {"key": name, "code": code, "windowsVirtualKeyCode": number, "modifiers": modifiers}
        if text and not modifiers & ~MODIFIERS["Shift"]:
            params["text"] = text
        self.call("Input.dispatchKeyEvent", type="keyDown", **params)
        params.pop("text", None)
        self.call("Input.dispatchKeyEvent", type="keyUp", **params)

    def type(self, text: str) -> None:
        """Text into what has the focus."""
        self.call("Input.insertText", text=text)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))


def _until(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + SECONDS
    while True:
        if found := condition():
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"waited {SECONDS:g} s for {what}")
        time.sleep(0.02)
