"""`coderl tasks export`: the tasks of some sources as one file or folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(group: typer.Typer) -> None:
    group.command("export")(export)


def export(
    specs: Annotated[list[str], typer.Argument(metavar="SPEC...", help="Task sources.")],
    out: Annotated[Path, typer.Option(help="NAME.jsonl, NAME.parquet, or a folder for datasets.load_from_disk.")],
) -> None:
    """Write tasks as JSONL, parquet or a datasets folder; each is read back bit for bit."""
    from tasks.export import check_target
    from tasks.export import export as write
    from tasks.registry import load_all

    check_target(out)
    tasks = load_all(specs)
    typer.echo(f"{len(tasks)} tasks; read them with {write(out, tasks)}")
