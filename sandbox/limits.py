"""What may one run of a program use?

`Limits` is part of the cache key of a verdict: two verdicts compare only under equal limits. CPU time is the limit that
judges; wall time is a back-stop for programs that sleep or block.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

MEBIBYTE = 1 << 20
MOST_SECONDS, MOST_BYTES, MOST_PROCESSES = 1e6, 1 << 50, 1 << 20  # what systems can count, and wait for


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
            most: float = MOST_PROCESSES if field.name == "processes" else MOST_BYTES
            if field.name.endswith("seconds"):
                most = MOST_SECONDS
            if not 0 < value <= most:
                raise ValueError(f"limits.{field.name} is {value!r}: give a number above 0, and at most {most:g}")
