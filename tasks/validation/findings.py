"""What was found out about the tests of one task, and how is it kept?

A finding is a line of JSON with a key: a hash of the task, of the programs tried and of the settings. A finding whose key is
on file need not be made again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tasks.errors import TaskError, writing


class Reference(StrEnum):
    """What the reference solution came to, in all its runs."""

    PASS = "pass"
    FAIL = "fail"  # a false negative: the tests reject what the source calls right
    FLAKY = "flaky"  # not the same in every run
    NONE = "none"  # the source gives no reference
    UNSCORABLE = "unscorable"  # the tests are faulty, or this machine lacks the language


@dataclass(frozen=True, slots=True, kw_only=True)
class Survivor:
    """A mutant that every hidden case accepts; `visible` says whether the visible ones do, too."""

    operator: str
    line: int
    change: str
    visible: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What the checks of one task found; `seconds` is the time its programs ran, by the clock.

    >>> Finding(key="", task_id="a", reference=Reference.PASS, num_mutants=8, survivors=()).score
    1.0
    """

    key: str
    task_id: str
    reference: Reference
    detail: str = ""  # why the reference did not pass
    flaky: tuple[str, ...] = ()  # programs whose runs did not agree
    null_passes: tuple[str, ...] = ()  # null programs that every hidden case accepts: false positives
    null_passes_all: tuple[str, ...] = ()  # those that the visible cases accept, too
    num_nulls: int = 0
    num_mutants: int = 0  # that compile and could be scored
    survivors: tuple[Survivor, ...] = ()
    num_cases: int = 0
    num_runs: int = 0
    seconds: float = 0.0

    @property
    def score(self) -> float | None:
        """Share of mutants that a hidden case rejects; None where there are none."""
        return (self.num_mutants - len(self.survivors)) / self.num_mutants if self.num_mutants else None

    @property
    def score_all(self) -> float | None:
        """Share of mutants that any case rejects."""
        num_survivors = sum(survivor.visible for survivor in self.survivors)
        return (self.num_mutants - num_survivors) / self.num_mutants if self.num_mutants else None

    def faults(self, min_score: float) -> tuple[str, ...]:
        """Why the task is not clean, a line each; empty for a clean one."""
        found = []
        if self.reference in (Reference.FAIL, Reference.UNSCORABLE):
            found.append(f"reference {self.reference.value}: {self.detail}")
        if self.flaky:
            found.append(f"flaky: {', '.join(self.flaky)}")
        if self.null_passes:
            found.append(f"accepts {', '.join(self.null_passes)}")
        if self.score is not None and self.score < min_score:
            found.append(f"mutation score {self.score:.2f} ({len(self.survivors)} of {self.num_mutants} survive)")
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Finding:
        """Inverse of `to_json`. Raises KeyError, TypeError or ValueError on a record of another shape."""
        texts = {name: tuple(record[name]) for name in ("flaky", "null_passes", "null_passes_all")}
        survivors = tuple(Survivor(**survivor) for survivor in record["survivors"])
        return cls(**{**record, **texts, "reference": Reference(record["reference"]), "survivors": survivors})


def read_findings(path: Path) -> dict[str, Finding]:
    """The findings on file by key; none if there is no file. Half a line at the end, of a run that was killed, is dropped."""
    if not path.exists():
        return {}
    found: dict[str, Finding] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), start=1):
        if not line.endswith("\n"):
            break
        try:
            finding = Finding.from_json(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise TaskError(
                f"{path}:{number}", "is no finding", remedy="delete the file, or name another --out"
            ) from None
        found[finding.key] = finding
    return found


def append_findings(path: Path, findings: Iterable[Finding]) -> None:
    """Add whole lines at the end, cutting off half a line that a killed run left. Raises TaskError."""
    text = "".join(json.dumps(finding.to_json()) + "\n" for finding in findings)
    with writing(path), open(path, "ab+") as file:
        file.seek(0)
        data = file.read()
        file.truncate(data.rfind(b"\n") + 1)
        file.write(text.encode())
        file.flush()
