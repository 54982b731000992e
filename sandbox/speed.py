"""By how much are limits of time stretched, for a slow language and on a slow machine?

Task authors set limits for C++ and Python, on their machine. A language has a factor of its own (`Language.time_factor`); a
machine's is measured once, by running a fixed program in the sandbox, and is off unless asked for. Both multiply cpu and wall
limits, and every verdict says by how much (`time_factor`). The machine's factor is that of its interpreter as well: a faster
Python makes it smaller.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from sandbox.backend import SandboxUnavailable
from sandbox.languages import get
from sandbox.limits import Limits

REFERENCE_SECONDS = 0.2  # of cpu, for PROGRAM, on the machine whose factor is 1
ROUNDS = 5  # the fastest counts: whatever else runs only slows it down
PROGRAM = """
def sieve(n):
    flags = [True] * n
    for i in range(2, n):
        if flags[i]:
            for j in range(i * i, n, i): flags[j] = False
    return sum(flags[2:])
def words(n):
    counts = {}
    for i in range(n):
        word = str(i * i % 9973)
        counts[word] = counts.get(word, 0) + len(word)
    return max(counts.values())
print(sieve(2000000), words(600000))
"""
ANSWER = "148933 484\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeFactors:
    """`machine` multiplies all limits of time, and with `languages` each language's own factor does.

    >>> TimeFactors(machine=1.5).of("java")
    3.0
    """

    machine: float = 1.0
    languages: bool = True

    def __post_init__(self) -> None:
        if not 0.05 <= self.machine <= 100:
            raise ValueError(f"time_factor is {self.machine!r}: give a number from 0.05 to 100")

    def of(self, language: str) -> float:
        return self.machine * (get(language).time_factor if self.languages else 1.0)


BY_LANGUAGE = TimeFactors()


def read_factor(text: str, backend: str) -> float:
    """A number, or `machine` for what is measured here. Raises ValueError, SandboxUnavailable."""
    if text == "machine":
        return machine_factor(backend)
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"time_factor is {text!r}: give a number, or `machine` to measure it") from None


def stretched(limits: Limits, factor: float) -> Limits:
    if factor == 1.0:
        return limits
    return replace(limits, cpu_seconds=limits.cpu_seconds * factor, wall_seconds=limits.wall_seconds * factor)


@functools.cache
def machine_factor(backend: str = "auto") -> float:
    """How many times slower than the reference this machine runs PROGRAM, to two digits. Raises SandboxUnavailable."""
    from sandbox.grader import Grader
    from sandbox.spec import GradeRequest, Program, StdioCase

    limits = Limits(cpu_seconds=30.0, wall_seconds=90.0)
    cases = (StdioCase(stdin="", stdout=ANSWER),) * ROUNDS
    with Grader(backend=backend, workers=1) as grader:
        (verdict,) = grader.grade([GradeRequest(program=Program(source=PROGRAM), cases=cases, limits=limits)])
    if verdict.num_passed != ROUNDS:
        raise SandboxUnavailable(f"the speed of this machine cannot be measured: {verdict.outcome} {verdict.detail}")
    return float(f"{min(case.cpu_ms for case in verdict.cases) / 1000 / REFERENCE_SECONDS:.2g}")
