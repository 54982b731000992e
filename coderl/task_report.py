"""What came of checking the tests of whole sources, in files that a later run goes on from?

OUT/findings.jsonl has a line per task, appended chunk by chunk; OUT/report.json what a person or a program asks first;
OUT/clean.jsonl the tasks without a fault, in our format, in the order of the sources.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coderl.errors import RunFolderError
from coderl.run_folder import atomic_write, json_bytes, make_directory
from tasks import jsonl
from tasks.registry import load_many
from tasks.task import Task
from tasks.validation import Finding, Settings
from tasks.validation.findings import Reference, append_findings, read_findings
from tasks.validation.runner import key_of, validate

SCHEMA = 1


class Validation:
    """The findings on the tasks of `specs`, and where they are written. Raises TaskError for specs that share an id."""

    def __init__(self, *, specs: Sequence[str], out: Path, min_score: float) -> None:
        self.specs, self.out, self.min_score = list(specs), out, min_score
        self.tasks: dict[str, list[Task]] = load_many(specs)
        self.findings: dict[str, Finding] = {}
        self.seconds, self.num_graded, self.isolation = 0.0, 0, ""

    @property
    def report_path(self) -> Path:
        return self.out / "report.json"

    def run(self, settings: Settings, *, backend: str, workers: int | None) -> None:
        """Grade what is not on file, then write report and clean list."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from sandbox import Grader

        if self.out.is_file():
            raise RunFolderError(f"{self.out}: is a file; name a folder with --out")
        make_directory(self.out)
        path = self.out / "findings.jsonl"
        known = read_findings(path)
        keys = {task.id: key_of(task, settings) for tasks in self.tasks.values() for task in tasks}
        everything = [task for tasks in self.tasks.values() for task in tasks]
        todo = [task for task in everything if keys[task.id] not in known]
        started = time.monotonic()
        columns = (TextColumn("checked"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        if todo:
            with Grader(backend=backend, workers=workers) as grader, Progress(*columns) as progress:
                bar = progress.add_task("", total=len(everything), completed=len(everything) - len(todo))
                for start in range(0, len(todo), settings.chunk):
                    found = list(validate(todo[start : start + settings.chunk], grader, settings))
                    append_findings(path, found)
                    known |= {finding.key: finding for finding in found}
                    progress.update(bar, advance=len(found))
        self.seconds, self.num_graded = time.monotonic() - started, len(todo)
        self.findings = {task_id: known[key] for task_id, key in keys.items()}
        clean = [task for task in everything if not self.findings[task.id].faults(self.min_score)]
        jsonl.write(self.out / "clean.jsonl", clean)
        atomic_write(self.report_path, json_bytes(self.to_json()))

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "min_score": self.min_score,
            "num_tasks": len(self.findings),
            "num_graded_now": self.num_graded,
            "wall_seconds": round(self.seconds, 1),
            "sources": {spec: self._counts([self.findings[t.id] for t in tasks]) for spec, tasks in self.tasks.items()},
            "findings": [
                {
                    **finding.to_json(),
                    "score": finding.score,
                    "score_all": finding.score_all,
                    "faults": list(finding.faults(self.min_score)),
                }
                for finding in self.findings.values()
            ],
        }

    def faulty(self) -> list[tuple[str, tuple[str, ...]]]:
        """The tasks with faults, those that reject their reference or accept a null program first."""
        found = [(f, f.faults(self.min_score)) for f in self.findings.values()]
        bad = [(f, faults) for f, faults in found if faults]
        bad.sort(key=lambda pair: (pair[0].reference is Reference.PASS and not pair[0].null_passes, pair[0].score or 0))
        return [(f.task_id, faults) for f, faults in bad]

    def rows(self) -> list[tuple[str, ...]]:
        """One row per source, for a table."""
        rows = []
        for spec, tasks in self.tasks.items():
            counts = self._counts([self.findings[task.id] for task in tasks])
            score = counts["mutation_score"]
            fields = [str(counts[name]) for name in ("tasks", "clean", "reference_fails", "flaky", "null_passes")]
            rows.append(
                (_label(spec), *fields, "-" if score is None else f"{score:.3f}", f"{counts['program_seconds']:.0f}")
            )
        return rows

    def summary(self) -> str:
        runs = sum(finding.num_runs for finding in self.findings.values())
        rest = f"{len(self.findings) - self.num_graded} of them from {self.out / 'findings.jsonl'}"
        return (
            f"{len(self.findings)} tasks, {rest}; {runs} runs of programs; {self.seconds:.0f} s; "
            f"clean tasks in {self.out / 'clean.jsonl'}, all findings in {self.report_path}"
        )

    def _counts(self, findings: Sequence[Finding]) -> dict[str, Any]:
        num_mutants = sum(finding.num_mutants for finding in findings)
        num_survivors = sum(len(finding.survivors) for finding in findings)
        num_survivors_all = sum(survivor.visible for finding in findings for survivor in finding.survivors)
        fails = (Reference.FAIL, Reference.UNSCORABLE)
        return {
            "tasks": len(findings),
            "clean": sum(not finding.faults(self.min_score) for finding in findings),
            "reference_fails": sum(finding.reference in fails for finding in findings),
            "no_reference": sum(finding.reference is Reference.NONE for finding in findings),
            "flaky": sum(bool(finding.flaky) for finding in findings),
            "null_passes": sum(bool(finding.null_passes) for finding in findings),
            "null_passes_all": sum(bool(finding.null_passes_all) for finding in findings),
            "mutants": num_mutants,
            "survivors": num_survivors,
            "survivors_all": num_survivors_all,
            "mutation_score": (num_mutants - num_survivors) / num_mutants if num_mutants else None,
            "mutation_score_all": (num_mutants - num_survivors_all) / num_mutants if num_mutants else None,
            "program_runs": sum(finding.num_runs for finding in findings),
            "program_seconds": round(sum(finding.seconds for finding in findings), 1),
        }


def _label(spec: str) -> str:
    """A spec without the folders of its path.

    >>> _label("mbpp:/data/mbpp/mbpp.jsonl?limit=3")
    'mbpp:mbpp.jsonl?limit=3'
    """
    name, colon, argument = spec.partition(":")
    return name + colon + argument.rstrip("/").rpartition("/")[2]
