"""What may one run of a program use?

`Limits` is part of the cache key of a verdict: two verdicts compare only under equal limits. CPU time is the limit that
judges; wall time is a back-stop for programs that sleep or block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one run (one test case, or all call cases of one program); every field is a hard bound.

    >>> Limits(cpu_seconds=1.0).wall_seconds
    10.0
    """

    cpu_seconds: float = 4.0
    wall_seconds: float = 10.0
    memory_bytes: int = 512 * MEBIBYTE
    output_bytes: int = 8 * MEBIBYTE  # stdout and stderr together; a returned value counts too
    file_bytes: int = 64 * MEBIBYTE  # the private work folder
    files: int = 4096  # inodes of the work folder
    processes: int = 32  # processes and threads
    stack_bytes: int = 64 * MEBIBYTE

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < math.inf:
                raise ValueError(f"limits.{field.name} is {value!r}: give a finite number above 0")
