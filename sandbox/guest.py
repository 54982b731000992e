"""What do all drivers share? Frames on the control socket, and loading a program.

Runs inside the jail, beside the candidate: see `sandbox.drivers`.
"""

from __future__ import annotations

import functools
import linecache
import sys
from collections.abc import Callable
from os import _exit, close, read, readv, write
from traceback import print_exception
from types import CodeType, ModuleType
from typing import Any, NoReturn

from sandbox.codec import HEADER, frame, length, loads

FILE = "main.py"  # what tracebacks call the program
MODULE = "program"  # its name as a module
MAX_TEXT = 300  # characters of an error that are passed on
CHUNK = 1 << 16  # bytes that are read at once
MAX_CODE = 1 << 18  # bytes of a compiled script that are passed on


_watchers: list[Callable[[int], None]] = []  # told the line of an exception that nobody caught


class Channel:
    """Frames on the control socket, by its descriptor: a socket object is some fifty pages more in every fork."""

    def __init__(self, control: int):
        self._control, self._read, self._read_into, self._write = control, read, readv, write
        self._ahead = b""  # what was read, and is of the next message

    def receive(self) -> Any:
        """The next message; None when the judge has closed the socket."""
        data = self._ahead or self._read(self._control, CHUNK)
        if not data:
            return None
        data += self._exactly(HEADER.size - length(data))
        if length(data) < HEADER.size:
            return None
        end = HEADER.size + HEADER.unpack_from(data)[0]
        data += self._exactly(end - length(data))
        if length(data) < end:
            return None
        self._ahead = data[end:]
        return loads(data[HEADER.size : end])

    def send(self, message: Any) -> None:
        data = memoryview(frame(message))
        while data:
            data = data[self._write(self._control, data) :]

    def close(self) -> None:
        close(self._control)

    def _exactly(self, size: int) -> bytes:
        """The next `size` bytes; fewer where there are no more."""
        if size <= 0:
            return b""
        data = bytearray(size)
        view, done = memoryview(data), 0
        while done < size and (count := self._read_into(self._control, [view[done:]])):
            done += count
        return bytes(data[:done])


def compiled(source: bytes, channel: Channel) -> CodeType:
    """The code of the program; if it does not compile, tells the judge and exits."""
    try:
        code = compile(source, FILE, "exec", dont_inherit=True)
    except Exception as error:
        note(error)
        channel.send({"ce": describe(error)})
        show(error)
        raise SystemExit(1) from None
    keep_text(source)
    return code


def keep_text(source: bytes) -> None:
    """For tracebacks: cut into lines if ever asked for."""
    linecache.cache[FILE] = (functools.partial(source.decode, "utf-8", "replace"),)


def load(code: CodeType, channel: Channel, names: dict[str, Any]) -> dict[str, Any]:
    """Execute the program as a module, and give its names; if that fails, tells the judge and exits."""
    module = ModuleType(MODULE)
    module.__file__ = FILE
    sys.modules[MODULE] = module
    namespace = module.__dict__
    namespace.update(names)
    try:
        exec(code, namespace)
    except SystemExit:
        raise
    except BaseException as error:
        note(error)
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


def on_failure(watcher: Callable[[int], None]) -> None:
    """From now on call `watcher` with the program's innermost line of every exception that it does not catch."""
    _watchers.append(watcher)


def note(error: BaseException) -> None:
    """Tell who asked on which line of the program it failed, or does not compile."""
    line = error.lineno or 0 if isinstance(error, SyntaxError) else 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILE:
            line = trace.tb_lineno or line
        trace = trace.tb_next
    for watcher in _watchers if line else ():
        watcher(line)


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
    _exit(0)
