"""Is the run stuck? A thread that says where, once nothing has moved for a while.

Work announces itself: `with doing("2_grpo step 7", "grading ..."):`. If one announcement stands for longer than the patience,
the watchdog names it on stderr and writes the stacks of all threads into the run folder, as hang.txt; the run goes on.
"""

from __future__ import annotations

import contextlib
import faulthandler
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

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
def watchdog(folder: Path, patience_seconds: float) -> Iterator[None]:
    """Watch over the block."""
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(folder, patience_seconds, ended), name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _watch(folder: Path, patience_seconds: float, ended: threading.Event) -> None:
    named: tuple[str, float] | None = None
    while not ended.wait(min(patience_seconds / 4, 10.0)):
        current = _current
        if current is None or current == named or time.monotonic() - current[1] < patience_seconds:
            continue
        named = current
        path = folder / "hang.txt"
        print(
            f"coderl: nothing has moved for {patience_seconds:.0f} s in {current[0]}; stacks are in {path}",
            file=sys.stderr,
        )
        with contextlib.suppress(OSError), open(path, "a", encoding="utf-8") as file:
            file.write(f"{current[0]}\n")
            file.flush()
            faulthandler.dump_traceback(file=file)
