"""What runs a candidate inside its jail? One entry per kind of case: script, call, player, referee.

Loaded into the zygote before it forks; standard library only. Nothing here is trusted: the program shares this process
and may rewrite all of it, which makes it answer differently, and no more than that. The judge sends one case at a
time, holds the expected values and decodes every answer strictly.

- script: the program as `__main__`, with real stdin and stdout; the control socket is closed before it starts.
- call: the program as a module; one frame in (function, args, kwargs), one frame out.
- player, referee: the two ends of an assert case, see `sandbox.player` and `sandbox.referee`.
"""

from __future__ import annotations

import atexit
import linecache
import os
import socket
import sys
import types
import typing
from collections.abc import Callable
from traceback import print_exception
from typing import Any, NoReturn

from sandbox.codec import HEADER, CodecError, decode, encode, frame, loads

FILE = "main.py"  # what tracebacks call the program
MODULE = "program"  # its name as a module
MAX_TEXT = 300  # characters of an error that are passed on


def main(driver: str, source: bytes, control: socket.socket) -> None:
    """Run `source` under the driver of that name; returns or raises SystemExit as the program does."""
    from sandbox.player import play
    from sandbox.referee import referee

    drivers: dict[str, Callable[[bytes, socket.socket], None]] = {
        "script": run_script, "call": serve_calls, "player": play, "referee": referee,
    }  # fmt: skip
    drivers[driver](source, control)


class Channel:
    """Frames on the control socket."""

    def __init__(self, control: socket.socket):
        self._control = control
        self._receive_into, self._send = control.recv_into, control.sendall

    def receive(self) -> Any:
        """The next message; None when the judge has closed the socket."""
        head = self._exactly(HEADER.size)
        if head is None:
            return None
        data = self._exactly(HEADER.unpack(head)[0])
        return None if data is None else loads(bytes(data))

    def send(self, message: Any) -> None:
        self._send(frame(message))

    def close(self) -> None:
        self._control.close()

    def _exactly(self, size: int) -> bytearray | None:
        data = bytearray(size)
        view, done = memoryview(data), 0
        while done < size:
            count = self._receive_into(view[done:])
            if count == 0:
                return None
            done += count
        return data


def run_script(source: bytes, control: socket.socket) -> None:
    channel = Channel(control)
    code = compiled(source, channel)
    channel.close()
    module = types.ModuleType("__main__")
    module.__file__ = FILE
    sys.modules["__main__"] = module
    sys.argv[:] = [FILE]
    atexit.register(module.__dict__.clear)  # first in, so last to run: finalizers, as at the end of an interpreter
    try:
        exec(code, module.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        show(error)
        raise SystemExit(1) from None


def serve_calls(source: bytes, control: socket.socket) -> None:
    channel = Channel(control)
    code = compiled(source, channel)
    message = channel.receive()
    if message is None:
        leave()
    in_class = "." in message["call"]
    namespace = load(code, channel, typing_names() if in_class else {})
    while message is not None:
        channel.send(answer(namespace, message))
        message = channel.receive()
    leave()


def answer(namespace: dict[str, Any], message: Any) -> Any:
    try:
        args = [decode(tree) for tree in message["args"]]
        kwargs = {name: decode(tree) for name, tree in message["kwargs"]}
        value = find(namespace, message["call"])(*args, **kwargs)
    except SystemExit:
        raise
    except BaseException as error:
        return {"raised": describe(error)}
    try:
        return {"ok": encode(value)}
    except CodecError as error:
        return {"bad": str(error)[:MAX_TEXT]}


def find(namespace: dict[str, Any], path: str) -> Callable[..., Any]:
    """`name`, or `Class.name` of an instance made without arguments."""
    owner, _, method = path.rpartition(".")
    name = owner or method
    if name not in namespace:
        raise NameError(f"name {name!r} is not defined")
    found: Callable[..., Any] = getattr(namespace[owner](), method) if owner else namespace[method]
    return found


def typing_names() -> dict[str, Any]:
    """Policy: a program that is called as `Class.method` may use these without an import, as on LeetCode."""
    names = ("Any", "Callable", "Deque", "Dict", "FrozenSet", "Iterable", "Iterator", "List", "Optional", "Set", "Tuple",
             "Union")  # fmt: skip
    return {name: getattr(typing, name) for name in names}


def compiled(source: bytes, channel: Channel) -> types.CodeType:
    """The code of the program; if it does not compile, tells the judge and exits."""
    try:
        code = compile(source, FILE, "exec", dont_inherit=True)
    except Exception as error:
        channel.send({"ce": describe(error)})
        show(error)
        raise SystemExit(1) from None
    text = source.decode("utf-8", "replace")
    linecache.cache[FILE] = (len(text), None, text.splitlines(True), FILE)
    return code  # type: ignore[no-any-return]


def load(code: types.CodeType, channel: Channel, names: dict[str, Any]) -> dict[str, Any]:
    """Execute the program as a module, and give its names; if that fails, tells the judge and exits."""
    module = types.ModuleType(MODULE)
    module.__file__ = FILE
    sys.modules[MODULE] = module
    namespace = module.__dict__
    namespace.update(names)
    try:
        exec(code, namespace)
    except SystemExit:
        raise
    except BaseException as error:
        channel.send({"raised": describe(error), "load": True})
        show(error)
        raise SystemExit(1) from None
    return namespace


def describe(error: BaseException) -> str:
    """`ValueError: text` on one line; a hostile `__str__` costs only its text."""
    try:
        text = str(error)
    except BaseException:
        text = ""
    name = type(error).__name__
    line = " ".join(f"{name}: {text}"[:MAX_TEXT].split()) if text else name
    return line.encode("utf-8", "replace").decode()


def show(error: BaseException) -> None:
    """The traceback on stderr, from the program's first frame on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != FILE:
        trace = trace.tb_next
    try:
        if sys.excepthook is sys.__excepthook__:
            print_exception(type(error), error, trace, file=sys.stderr)
        else:
            sys.excepthook(type(error), error, trace)
    except BaseException:
        pass


def leave() -> NoReturn:
    os._exit(0)
