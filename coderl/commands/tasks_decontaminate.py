"""`coderl tasks decontaminate`: training tasks without those that hold text of an evaluation set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SHOWN = 10


def register(group: typer.Typer) -> None:
    group.command("decontaminate")(decontaminate)


def decontaminate(
    specs: Annotated[list[str], typer.Argument(metavar="SPEC...", help="The tasks to train on.")],
    against: Annotated[list[str], typer.Option(help="An evaluation set; may be repeated.")],
    out: Annotated[Path, typer.Option(help="The tasks that are left: NAME.jsonl, NAME.parquet or a folder.")],
    n: Annotated[int, typer.Option("--n", min=4, help="Words in a row that two prompts must not share.")] = 10,
    report: Annotated[Path | None, typer.Option(help="Write every overlap here (JSON).")] = None,
) -> None:
    """Leave out tasks that share a prompt, a reference or a long phrase with an evaluation set."""
    from collections import Counter
    from dataclasses import asdict

    from coderl.run_folder import atomic_write, json_bytes
    from sandbox import printable
    from tasks.contamination import overlaps
    from tasks.export import check_target, export
    from tasks.registry import load_all

    check_target(out)
    tasks, evaluation = load_all(specs), load_all(against)
    found = overlaps(tasks, evaluation, n=n)
    if report is not None:
        record = {"schema": 1, "n": n, "tasks": specs, "against": against, **asdict(found)}
        atomic_write(report, json_bytes(record))
    for match in found.matches[:SHOWN]:
        typer.echo(printable(f"{match.task_id} ~ {match.evaluation_id}: {match.how}: {match.shared}", keep=""))
    if len(found.matches) > SHOWN:
        typer.echo(f"... and {len(found.matches) - SHOWN} more")
    for how, count in Counter(match.how for match in found.matches).most_common():
        typer.echo(f"{count:6} {how}")
    left = [task for task in tasks if task.id not in found.task_ids]
    templates = f"{len(found.templates)} phrases of templates ignored"
    typer.echo(f"{len(left)} of {len(tasks)} tasks left ({templates}); read them with {export(out, left)}")
