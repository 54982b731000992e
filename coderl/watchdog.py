"""Is the run stuck? A thread that says where, once nothing has moved for a while.

Work announces itself: `with doing("2_grpo step 7", "grading ..."):`. If one announcement stands for longer than the patience,
the watchdog names it on stderr, tells whoever asked (a run: the event `hang` of its metrics), and writes the stacks of all
threads into the run folder, as hang.txt; the run goes on.
"""

from __future__ import annotations

import contextlib
import faulthandler
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from coderl.errors import CoderlError

Report = Callable[[str, str], None]
_current: tuple[str, float] | None = None  # what is being done, and since when; one run per process


@contextlib.contextmanager
def doing(*words: str) -> Iterator[None]:
    """Announce what the block does."""
    global _current
    before, _current = _current, (": ".join(words), time.monotonic())
    try:
        yield
    finally:
        _current = (before[0], time.monotonic()) if before else None


@contextlib.contextmanager
def watchdog(folder: Path, patience_seconds: float, report: Report = lambda _what, _message: None) -> Iterator[None]:
    """Watch over the block. `report` gets the announcement that hangs and one line about it, in the watchdog's thread."""
    ended = threading.Event()
    arguments = (folder, patience_seconds, ended, report)
    thread = threading.Thread(target=_watch, args=arguments, name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def place(what: str) -> tuple[str, int]:
    """The stage and the step of an announcement; step 0 where it names none.

    >>> place("2_grpo step 7: grading 4 programs")
    ('2_grpo', 7)
    """
    stage, _, step = what.partition(":")[0].partition(" step ")
    return stage, int(step) if step.isdigit() else 0


def _watch(folder: Path, patience_seconds: float, ended: threading.Event, report: Report) -> None:
    named: tuple[str, float] | None = None
    while not ended.wait(min(patience_seconds / 4, 10.0)):
        current = _current
        if current is None or current == named or time.monotonic() - current[1] < patience_seconds:
            continue
        named = current
        path = folder / "hang.txt"
        message = f"nothing has moved for {patience_seconds:.0f} s in {current[0]}; stacks are in {path}"
        print(f"coderl: {message}", file=sys.stderr)
        with contextlib.suppress(CoderlError):  # a full disk must not end the watch
            report(current[0], message)
        with contextlib.suppress(OSError), open(path, "a", encoding="utf-8") as file:
            file.write(f"{current[0]}\n")
            file.flush()
            faulthandler.dump_traceback(file=file)
