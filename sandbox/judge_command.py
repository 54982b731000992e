"""The command `sandbox judge`: the submissions of a problem package, and whether each gets what its folder demands."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sandbox.errors import BadInput
from sandbox.grader import Grader
from sandbox.speed import TimeFactors
from sandbox.text import printable

EQUAL = TimeFactors(languages=False)  # the format has one limit for all languages


def judge_package(
    folder: Path, paths: list[Path], backend: str, min_isolation: str, workers: int | None, seconds: float | None
) -> bool:
    """Judge and print a table; whether every submission that ran got the verdict that it must. Raises BadInput."""
    from sandbox import jury
    from sandbox.kattis import read_problem

    if not folder.is_dir():
        raise BadInput(f"{folder}: no folder: name that of a problem package, with a problem.yaml in it")
    problem = read_problem(folder)
    found = jury.submissions(problem, paths)
    with Grader(backend=backend, workers=workers, min_isolation=min_isolation, times=EQUAL) as grader:
        if seconds is None:
            references = jury.submissions(problem) if paths and problem.time.seconds is None else found
            seconds = jury.time_limit(problem, references, grader)
        lines = jury.judge(problem, found, grader, seconds)
    table = Table("submission", "must get", "verdict", "score", "cpu s", "", "note")
    for line in lines:
        mark = {True: "ok", False: "WRONG", None: "-"}[line.right]
        demand = line.submission.demand
        table.add_row(
            escape(printable(line.submission.name)),
            "/".join(demand.outcomes) or "-",
            line.outcome or "not run",
            "" if line.score is None else f"{line.score:g}",
            f"{line.seconds:.2f}" if line.outcome else "",
            mark,
            escape(printable(line.note)),
        )
    console = Console(soft_wrap=True)
    console.print(table)
    right, wrong = (sum(line.right is value for line in lines) for value in (True, False))
    rest = [line for line in lines if line.right is None]
    not_run = sum(line.outcome is None for line in rest)
    console.print(
        f"{right} as demanded, {wrong} not, {len(rest) - not_run} with no demand, {not_run} not run; "
        f"{len(problem.cases)} tests, {seconds:g} s each",
        highlight=False,
    )
    return not wrong
