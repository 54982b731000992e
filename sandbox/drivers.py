"""What runs a candidate inside its jail? One entry per kind of case: script, call, player, referee.

Loaded into the zygote before it forks; standard library only. Nothing here is trusted: the program shares this process
and may rewrite all of it, which makes it answer differently, and no more than that. The judge sends one case at a
time, holds the expected values and decodes every answer strictly.

- script: the program as `__main__`, with real stdin and stdout; the control socket is closed before it starts.
- first, again: a script that is run several times; the first run tells the judge, before it starts, what it was compiled to,
  and the others are given that.
- tool: the same with command line arguments.
- call: the program as a module; one frame in (function, args, kwargs), one frame out.
- exec: the words of the source, as JSON, become the process; the control socket is closed by that. "exec sealed": the first of
  them is the file behind the descriptor after the control socket.
- player, referee: the two ends of an assert case, see `sandbox.player` and `sandbox.referee`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import marshal
import os
import signal
import sys
import typing
from atexit import register
from collections.abc import Callable, Sequence
from gc import collect
from marshal import loads as load_code
from os import close
from sys import argv, modules
from types import CodeType, ModuleType
from typing import Any

from sandbox import tracing
from sandbox.codec import CodecError, decode, encode
from sandbox.guest import FILE, MAX_CODE, MAX_TEXT, Channel, compiled, describe, keep_text, leave, load, note, show
from sandbox.player import play
from sandbox.referee import referee


def main(driver: str, source: bytes, control: int) -> None:
    """Run `source` under the driver of that name; returns or raises SystemExit as the program does."""
    run = _DRIVERS.get(driver)
    if run is None:
        tracing.start()
        run = _DRIVERS[driver.removeprefix(tracing.TRACED)]
    run(source, control)


def run_tool(source: bytes, control: int) -> None:
    """A script with arguments; both are in the source, as JSON."""
    order = json.loads(source)
    run_script(order["source"].encode(), control, order["argv"])


def run_script(source: bytes, control: int, arguments: Sequence[str] = ()) -> None:
    channel = Channel(control)
    code = compiled(source, channel)
    channel.close()
    run_main(code, arguments)


def run_first(source: bytes, control: int) -> None:
    channel = Channel(control)
    code = compiled(source, channel)
    with contextlib.suppress(ValueError):  # nested too deep for marshal, and not for Python
        data = marshal.dumps(code)
        if len(data) <= MAX_CODE:
            channel.send({"code": data.hex()})
    channel.close()
    run_main(code)


def run_again(source: bytes, control: int) -> None:
    """The source is 4 bytes of length, the code, and the text, which tracebacks show."""
    close(control)
    start = 4 + int.from_bytes(source[:4], "little")
    code = load_code(memoryview(source)[4:start])
    keep_text(source[start:])
    run_main(code)


def run_main(code: CodeType, arguments: Sequence[str] = ()) -> None:
    module = ModuleType("__main__")
    module.__file__ = FILE
    modules["__main__"] = module
    argv[:] = [FILE, *arguments]
    register(_end)  # first in, so last to run
    try:
        exec(code, module.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        note(error)
        show(error)
        raise SystemExit(1) from None


def _end() -> None:
    """As at the end of an interpreter: what is still in the program's own stdout and stderr, then finalizers."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()  # it may be the program's own class, which needs the names
        except Exception:
            continue
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    sys.modules.pop("__main__", None)
    collect()  # what is in cycles, too, and before the names that finalizers use are gone


def run_exec(source: bytes, control: int, binary: int | None = None) -> None:
    """Become another program, with signals as a program expects them; what cannot start is not the program's fault."""
    channel = Channel(control)
    order = json.loads(source)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    try:
        own = {name: os.path.expandvars(value) for name, value in order["env"].items()}
        os.execve(order["argv"][0] if binary is None else binary, order["argv"], {**os.environ, **own})
    except OSError as error:
        text = f"{order['argv'][0]}: {error.strerror}"
        if order["argv"][0].startswith("./") and is_own_fault(error, order["argv"][0] if binary is None else binary):
            os.write(2, text.encode())
            raise SystemExit(126) from None
        channel.send({"exec": text})
        raise SystemExit(127) from None


def is_own_fault(error: OSError, binary: str | int) -> bool:
    """Has the source made a file that no system starts? A section of it may ask for another loader, or for nonsense."""
    if error.errno not in (errno.ENOENT, errno.EACCES):
        return error.errno in (errno.ENOEXEC, errno.EINVAL, errno.ELIBBAD)
    with open(os.dup(binary) if isinstance(binary, int) else binary, "rb") as file:
        head = file.read(64)
        start, size, count = (int.from_bytes(head[a:b], "little") for a, b in ((32, 40), (54, 56), (56, 58)))
        for number in range(count):  # ELF-64, section 2-1: 3 is PT_INTERP
            file.seek(start + number * size)
            part = file.read(size)
            if part[:4] == b"\3\0\0\0":
                file.seek(int.from_bytes(part[8:16], "little"))
                loader = file.read(4096).partition(b"\0")[0]
                of_system = loader.startswith((b"/lib", b"/usr/lib")) and b".." not in loader
                return not (of_system and os.path.isfile(loader) and os.access(loader, os.X_OK))
    return False


def run_sealed(source: bytes, control: int) -> None:
    run_exec(source, control, control + 1)


def serve_calls(source: bytes, control: int) -> None:
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
        kwargs = {name: decode(tree) for name, tree in message["kwargs"]} if message["kwargs"] else {}
        value = find(namespace, message["call"])(*args, **kwargs)
    except SystemExit:
        raise
    except BaseException as error:
        note(error)
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


_DRIVERS: dict[str, Callable[[bytes, int], None]] = {
    "script": run_script, "first": run_first, "again": run_again, "tool": run_tool, "exec": run_exec,
    "exec sealed": run_sealed, "call": serve_calls, "player": play, "referee": referee,
}  # fmt: skip
