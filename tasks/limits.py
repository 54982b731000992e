"""How do a contest's limits become those of the sandbox?

A time limit is cpu time; wall time is a back-stop of three times that, and at least that of the sandbox's default. Limits are
those of the published language; slower languages get more from the sandbox (`Language.time_factor`). Memory is never under
MIN_MEMORY, since an interpreter needs some for itself, nor over MAX_MEMORY.
"""

from __future__ import annotations

import math
from dataclasses import replace

from sandbox.limits import MEBIBYTE, Limits
from tasks.rows import Row

MAX_SECONDS = 60.0
MIN_MEMORY, MAX_MEMORY = 128 * MEBIBYTE, 4096 * MEBIBYTE


def limits_of(row: Row, *, seconds: float | None, memory_bytes: float | None) -> Limits:
    """None and 0 mean: not given. Raises TaskError for a limit that is no limit."""
    limits = Limits()
    if seconds is not None and seconds != 0:
        if not 0 < seconds <= MAX_SECONDS or math.isnan(seconds):
            raise row.fault("time_limit", f"is {seconds:g} seconds", f"give more than 0, at most {MAX_SECONDS:g}")
        limits = replace(limits, cpu_seconds=seconds, wall_seconds=max(limits.wall_seconds, 3 * seconds))
    if memory_bytes is not None and memory_bytes > 0:
        limits = replace(limits, memory_bytes=int(min(max(memory_bytes, MIN_MEMORY), MAX_MEMORY)))
    return limits
