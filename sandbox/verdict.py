"""What did the judge decide, and how far can it be trusted?

A `Verdict` says PASS, FAIL or UNSCORABLE. UNSCORABLE (IE, JE) is never a reward: the infrastructure or the task is at
fault, not the program. Several flags can be true at once; `worst` picks the one to display in a fixed order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

SCHEMA = 1


class Outcome(StrEnum):
    """One letter code per way a run can end, in the order in which they are displayed (first wins)."""

    IE = "IE"  # the infrastructure failed: never a reward
    JE = "JE"  # the task's tests or checker are faulty
    CE = "CE"  # compile error, or no code found
    SV = "SV"  # a forbidden operation
    MLE = "MLE"  # memory limit
    OLE = "OLE"  # output limit
    FLE = "FLE"  # file size, disk or inode limit
    PLE = "PLE"  # process limit
    TLE = "TLE"  # cpu time limit
    WTLE = "WTLE"  # wall time limit (slept or blocked)
    RE = "RE"  # runtime error: exit code, signal, exception, no or bad result
    WA = "WA"  # wrong answer
    PA = "PA"  # partly accepted: some of the points, not all
    AC = "AC"  # accepted
    SKIP = "SKIP"  # not run, because an earlier test decided


class Status(StrEnum):
    PASS = "PASS"  # every test accepted
    FAIL = "FAIL"  # the program is at fault
    UNSCORABLE = "UNSCORABLE"  # nobody knows: retry, then leave it out


class Integrity(StrEnum):
    """How far the verdict is out of the candidate's reach, strongest first."""

    SEPARATED = "separated"  # expected values and comparison never in the candidate's jail
    PROXIED = "proxied"  # test code in another jail, sees the candidate through plain values and handles
    COOPERATIVE = "cooperative"  # test code beside the candidate: a hostile program can forge it


_ORDER = {outcome: rank for rank, outcome in enumerate(Outcome)}


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome to display: the first in the order of `Outcome`; SKIP only if there is nothing else.

    Raises ValueError for no outcomes at all: an empty test list is a fault of the task, not a pass.
    """
    return min(outcomes, key=_ORDER.__getitem__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """What was enforced, as found at run time, e.g. Isolation(backend="jail", layers=("userns", "seccomp"))."""

    backend: str
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """The result of one test case."""

    outcome: Outcome
    flags: tuple[Outcome, ...] = ()  # all that were true, `outcome` among them
    detail: str = ""  # one line for a person, never holds an expected value of a hidden test
    cpu_ms: float = 0.0
    wall_ms: float = 0.0
    memory_bytes: int = 0  # peak
    processes: int = 0  # peak seen (0: not measured)
    exit_code: int | None = None
    signal: int | None = None
    output_head: str = ""  # first 2 kB of stdout, or of the returned value; control characters escaped
    output_digest: str = ""  # sha256 of all output kept
    output_truncated: bool = False
    share: float | None = None  # of the case's points, where its checker gave one


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What a program claims of itself: the lines that ran, from 1, e.g. Coverage(lines=(1, 2, 4), failed_line=4).

    Noted inside its jail, after the verdict and apart from it, so a hostile program can lie here and nowhere else.
    """

    lines: tuple[int, ...]  # rising
    failed_line: int | None = None  # of the exception that ended it, or that it does not compile for


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The verdict on one program: an outcome, per-case results, what was enforced.

    >>> v = Verdict(outcome=Outcome.AC, cases=(CaseResult(outcome=Outcome.AC),), integrity=Integrity.SEPARATED,
    ...             isolation=Isolation(backend="jail"))
    >>> v.status, v.fraction
    (<Status.PASS: 'PASS'>, 1.0)
    """

    outcome: Outcome
    cases: tuple[CaseResult, ...]
    integrity: Integrity
    isolation: Isolation
    detail: str = ""
    attempts: int = 1
    points: float | None = None  # where the request has groups, and the verdict is PASS or FAIL
    max_points: float | None = None
    time_factor: float = 1.0  # what the request's limits of time were multiplied by
    coverage: Coverage | None = None  # where the request asked for it, and the program could be traced
    schema: int = field(default=SCHEMA)

    @property
    def status(self) -> Status:
        if self.outcome is Outcome.AC:
            return Status.PASS
        return Status.UNSCORABLE if self.outcome in (Outcome.IE, Outcome.JE, Outcome.SKIP) else Status.FAIL

    @property
    def num_passed(self) -> int:
        return sum(case.outcome is Outcome.AC for case in self.cases)

    @property
    def fraction(self) -> float:
        """Passed cases over all cases; skipped cases count as not passed; 0.0 when there are none."""
        return self.num_passed / len(self.cases) if self.cases else 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Verdict:
        """Inverse of `to_json`. Raises KeyError, TypeError or ValueError on a record of another shape or schema."""
        if record["schema"] != SCHEMA:
            raise ValueError(f"verdict schema {record['schema']!r}: this version reads schema {SCHEMA}")
        cases = tuple(
            CaseResult(**{**c, "outcome": Outcome(c["outcome"]), "flags": tuple(map(Outcome, c["flags"]))})
            for c in record["cases"]
        )
        isolation = Isolation(backend=record["isolation"]["backend"], layers=tuple(record["isolation"]["layers"]))
        covered = record.get("coverage")
        coverage = covered and Coverage(lines=tuple(covered["lines"]), failed_line=covered["failed_line"])
        return cls(
            **{
                **record,
                "coverage": coverage,
                "outcome": Outcome(record["outcome"]),
                "cases": cases,
                "integrity": Integrity(record["integrity"]),
                "isolation": isolation,
                "time_factor": float(record.get("time_factor", 1.0)),
            }
        )
