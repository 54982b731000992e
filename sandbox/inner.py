"""What does the fork do, from its first breath to its last?

Isolate, put the descriptors in place, take the program from the control socket, hand over to the driver, and end as an
interpreter does. Until it has said that it is isolated (one byte on `armed`) no line of the program has run.
"""

from __future__ import annotations

import sys
import threading
from _thread import _count as num_threads
from atexit import _ncallbacks, _run_exitfuncs
from collections.abc import Callable
from contextlib import suppress

# By their own names: what is done once in every fork never becomes fast, and `os.setsid` touches five pages more than `setsid`.
from os import _exit, closerange, dup2, getcwd, read, setsid, write
from typing import NoReturn

from sandbox.cell import Cell, Work
from sandbox.workfiles import unpack

Driver = Callable[[str, bytes, int], None]
CONTROL = 3  # the only descriptor besides stdin, stdout and stderr, and BINARY if it is to be executed
BINARY = 4


def become(job: Work, fds: list[int], cell: Cell, run_driver: Driver, armed: int) -> NoReturn:
    """In the fork: isolate, take the program from the control socket, hand over, and end as an interpreter does."""
    try:
        setsid()
        cell.enter(job)
        for target, fd in enumerate(fds):
            # Never onto one still to come: the kernel gave them out in rising order.
            dup2(fd, target, target < CONTROL)
        write(armed, b"1")
        closerange(len(fds), 1 << 20)
        size = int.from_bytes(read_exactly(8), "little")
        source, placed = unpack(read_exactly(size))
        if placed:
            sys.path.append(getcwd())  # last, so that no file shadows what others import
    except BaseException as error:
        with suppress(BaseException):
            write(2, f"zygote: cannot isolate: {error!r}\n".encode())
        _exit(1)
    code = 0
    try:
        run_driver(job.driver, source, CONTROL)
    except SystemExit as stop:
        code = exit_code(stop)
    except BaseException:
        code = 1
        sys.excepthook(*sys.exc_info())
    end_interpreter(code)


def read_exactly(size: int) -> bytes:
    chunks, left = [], size
    while left:
        chunk = read(CONTROL, min(left, 1 << 20))
        if not chunk:
            raise EOFError("the judge went away")
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def exit_code(stop: SystemExit) -> int:
    if stop.code is None:
        return 0
    if isinstance(stop.code, int):
        return stop.code & 0xFF
    sys.stderr.write(f"{stop.code}\n")
    return 1


def end_interpreter(code: int) -> NoReturn:
    """Join threads, run exit handlers and flush, as an interpreter does; without the teardown, which costs more."""
    try:
        if num_threads():
            threading._shutdown()  # type: ignore[attr-defined]
        if _ncallbacks():
            _run_exitfuncs()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BaseException:
        code = code or 120
    try:
        sys.stderr.flush()
    finally:
        _exit(code)
