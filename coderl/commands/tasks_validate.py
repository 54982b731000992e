"""`coderl tasks validate`: are the tests of these tasks right, and do they reject what is wrong?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from coderl.task_report import Validation

SHOWN = 25  # tasks with faults that the terminal gets; the report has all


def register(group: typer.Typer) -> None:
    group.command("validate")(validate)


def validate(
    specs: Annotated[list[str], typer.Argument(metavar="SPEC...", help="Task sources, e.g. humaneval mbpp:PATH.")],
    out: Annotated[Path, typer.Option(help="Folder of findings.jsonl, report.json, clean.jsonl.")] = Path("validation"),
    mutants: Annotated[int, typer.Option(min=0, help="Wrong programs made from each reference, at most.")] = 20,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of the reference, to see if it is flaky.")] = 3,
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Mutation score of a clean task.")] = 0.5,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Programs at once (default: a few more than cores).")
    ] = None,
    backend: Annotated[str, typer.Option(help="Backend of the sandbox.")] = "auto",
) -> None:
    """Grade references (must pass), null programs (must fail) and mutants (should fail); write the clean tasks.

    What is in OUT/findings.jsonl already, by content hash, is not graded again: interrupt it and call it again.
    """
    from rich.console import Console

    from coderl.task_report import Validation
    from tasks.validation import Settings

    validation = Validation(specs=specs, out=out, min_score=min_score)
    settings = Settings(num_mutants=mutants, repeats=repeats)
    try:
        validation.run(settings, backend=backend, workers=workers)
    except KeyboardInterrupt:
        typer.echo("\ninterrupted; the same command goes on from here", err=True)
        raise typer.Exit(130) from None
    _show(validation, Console())


def _show(validation: Validation, console: Console) -> None:
    from rich.table import Table

    from sandbox import printable

    table = Table("source", "tasks", "clean", "ref fails", "flaky", "null passes", "score", "program s")
    for row in validation.rows():
        table.add_row(*(printable(cell, keep="") for cell in row))
    console.print(table)
    faulty = validation.faulty()
    for task_id, faults in faulty[:SHOWN]:
        console.print(
            printable(f"{task_id}: {'; '.join(faults)}", keep=""), markup=False, highlight=False, soft_wrap=True
        )
    if len(faulty) > SHOWN:
        console.print(f"... and {len(faulty) - SHOWN} more, in {validation.report_path}", markup=False, highlight=False)
    console.print(validation.summary(), markup=False, highlight=False, soft_wrap=True)
