"""Which lines of a program ran, and on which did it fail? Noted inside the jail, beside the candidate.

Every line is written into a file of the work folder when it runs for the first time, so that nothing is lost when the program
is killed; the place of an exception that nobody caught follows. The program can write into that file, too: what it holds
is a claim of the program about itself, read by `sandbox.coverage`, and no verdict rests on it.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from types import CodeType, FrameType
from typing import Any

from sandbox import guest

CLAIM = ".lines"  # the name of that file
TRACED = "traced "  # before the name of a driver: do this first


def start() -> None:
    """Trace everything that runs from now on in this thread and in those it starts."""
    descriptor = os.open(CLAIM, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    write, seen = os.write, set[int]()
    # Lines of which no event has come; that of a `def` belongs to what is around it.
    missing: dict[CodeType, set[int]] = {}

    def claim(text: bytes) -> None:
        with suppress(OSError):  # a program may have closed every descriptor
            write(descriptor, text)

    def enter(frame: FrameType, event: str, _argument: Any) -> Any:
        code = frame.f_code
        if code.co_filename != guest.FILE:
            return None
        if code not in missing:
            head = 0 if code.co_name == "<module>" else code.co_firstlineno
            missing[code] = {line for *_, line in code.co_lines() if line and line != head} - seen
        return step if missing[code] else None

    def step(frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line" and frame.f_lineno not in seen:
            seen.add(frame.f_lineno)
            claim(b"%d\n" % frame.f_lineno)
        left = missing[frame.f_code]
        left.discard(frame.f_lineno)
        if not left:
            frame.f_trace_lines = False  # a loop goes on at nearly its own speed
        return step

    def failed(line: int) -> None:
        claim(b"!%d\n" % line)

    guest.on_failure(failed)
    threading.settrace(enter)
    sys.settrace(enter)
