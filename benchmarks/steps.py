"""Where does the time of one run go? The stations of a run, on the judge's side, the zygote's and the fork's.

All three read one monotonic clock. The zygote is started with a few lines more than usual, which note the time at the
borders of its steps in memory shared with the fork, and send the notes back in the report; the judge is timed by wrapping
its functions. One run at a time, on an otherwise idle grader: medians, in microseconds.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any
from unittest.mock import patch

from workload import Work

from sandbox import Grader, execute, slot
from sandbox.slot import BOOT

# Notes are (station, nanoseconds); stations of the fork go through shared memory, which it cannot outlive its run in.
TRACE = """
import mmap, struct, time
notes = mmap.mmap(-1, 8 * 32)
def note(place): notes[8 * place : 8 * place + 8] = struct.pack("<q", time.monotonic_ns())
def around(owner, name, before, after):
    inner = getattr(owner, name)
    def outer(*args, **kwargs):
        if before is not None: note(before)
        try: return inner(*args, **kwargs)
        finally:
            if after is not None: note(after)
    setattr(owner, name, outer)
import sandbox.zygote as zygote
import sandbox.inner as inner
import sandbox.drivers as drivers, sandbox.player as player
import sandbox.jailcell as jailcell
Cell = jailcell.JailCell
around(zygote, "parse", 0, None)
around(Cell, "prepare", None, 1)
around(zygote, "supervise", 2, None)
around(zygote, "become", 3, None)
around(Cell, "enter", 4, 5)
around(inner, "unpack", 6, 7)
around(drivers, "compiled", None, 8)
around(player, "compiled", None, 8)
around(player, "load", None, 9)
around(drivers, "load", None, 9)
around(inner, "end_interpreter", 10, None)
around(drivers, "leave", 10, None)
around(player, "leave", 10, None)
import sandbox.referee as referee
around(referee, "leave", 10, None)
around(zygote, "bury", 11, 12)
around(Cell, "counters", None, 13)
send = zygote.send_report
def send_report(channel, report):
    if "run" in report:
        note(14)
        report["detail"] = ",".join(map(str, struct.unpack("<32q", notes[:])))
        notes[:] = bytes(len(notes))
    send(channel, report)
zygote.send_report = send_report
"""
ZYGOTE = {
    "zygote: fresh work folder, counters reset": (0, 1), "zygote: fork (parent)": (1, 2), "zygote: bury the dead": (11, 12),
    "zygote: read counters, look at the folder": (12, 13), "zygote: write the report": (13, 14),
}  # fmt: skip
FORK = {
    "fork: until its first line": (1, 3), "fork: new session": (3, 4), "fork: isolate": (4, 5),
    "fork: descriptors, receive the program": (5, 6), "fork: place files": (6, 7), "fork: compile": (7, 8),
    "fork: run": (8, 10), "fork: from its last line to its collected death": (10, 11),
}  # fmt: skip


class Clock:
    """The judge's notes: seconds by step, for every run."""

    def __init__(self) -> None:
        self.steps: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, step: str, seconds: float) -> None:
        self.steps[step].append(1e6 * seconds)

    def wrap(self, step: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def outer(*args: Any, **kwargs: Any) -> Any:
            began = time.monotonic()
            try:
                return inner(*args, **kwargs)
            finally:
                self.add(step, time.monotonic() - began)

        return outer

    def report(self, role: str, detail: str, began_ns: int, sent_ns: int, now_ns: int) -> None:
        """Take up the notes of one run, which came in its report."""
        notes = list(map(int, detail.split(",")))
        self.add(f"{role}: judge starts the run", (sent_ns - began_ns) / 1e9)
        self.add(f"{role}: job on its way", (notes[0] - sent_ns) / 1e9)
        for step, (start, end) in (ZYGOTE | FORK).items():
            if notes[start] and notes[end]:
                self.add(f"{role}: {step}", (notes[end] - notes[start]) / 1e9)
        self.add(f"{role}: report on its way", (now_ns - notes[14]) / 1e9)


def report(work: Work) -> None:
    """Grade `work`, one program after another, and print the steps of a run."""
    clock = Clock()
    with tracing(clock), Grader(backend="jail", workers=1) as grader:
        for request in work.requests[:3]:
            grader.grade([request])
        clock.steps.clear()
        for request in work.requests:
            began = time.monotonic()
            grader.grade([request])
            clock.add(f"whole request ({work.runs} runs)", time.monotonic() - began)
    print(f"\n{work.kind}: median microseconds of a step (not all follow each other: fork and judge work side by side)")
    for step, found in sorted(clock.steps.items(), key=lambda item: item[0].split(":")[0]):
        print(f"  {step:64} {median(found):8.0f}   x{len(found) / len(work.requests):.0f}")


@contextmanager
def tracing(clock: Clock) -> Iterator[None]:
    boot = BOOT.replace("from sandbox.zygote import main", TRACE + "from sandbox.zygote import main")
    starts: dict[int, tuple[int, int, str]] = {}
    start, wait = slot.ZygoteSlot._start, slot.ZygoteSlot.wait_report

    def timed_start(self: Any, job: Any) -> Any:
        began = time.monotonic_ns()
        run = start(self, job)
        starts[id(self)] = (began, time.monotonic_ns(), job.driver)
        return run

    def timed_wait(self: Any, number: int, backstop: float) -> Any:
        ended = wait(self, number, backstop)
        began, sent, role = starts[id(self)]
        clock.report(role, ended.detail, began, sent, time.monotonic_ns())
        return ended

    with ExitStack() as stack:
        stack.enter_context(patch.object(slot, "BOOT", boot))
        stack.enter_context(patch.object(slot.ZygoteSlot, "_start", timed_start))
        stack.enter_context(patch.object(slot.ZygoteSlot, "wait_report", timed_wait))
        for name in ("stdio", "calls", "asserts"):
            inner = getattr(execute.Executor, name)
            stack.enter_context(patch.object(execute.Executor, name, clock.wrap(f"executor.{name}", inner)))
        yield
