"""`coderl arena`: which model is better, by execution, judges and people together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coderl.errors import RunFolderError


def register(app: typer.Typer) -> None:
    app.command("arena")(arena)


def arena(
    players: Annotated[
        list[str],
        typer.Argument(metavar="RUN|EVAL.json...", help="Two or more; NAME=RUN gives one a name of its own."),
    ],
    pairs: Annotated[
        list[Path] | None, typer.Option(help="A file of pairs judged by people or models; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the resamples and the orders of games.")] = 0,
    out: Annotated[Path, typer.Option(help="The JSON file; the page goes beside it (.html).")] = Path("arena.json"),
) -> None:
    """Rate models against each other on the tasks they share: win rates, Elo and Bradley-Terry with intervals.

    Games by execution come from the evaluations; those of --pairs belong to whichever models wrote the two completions.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from coderl.arena import page
    from coderl.arena.play import play
    from coderl.run_folder import atomic_write
    from sandbox import printable

    if out.exists():
        raise RunFolderError(f"{out}: already there; name another file with --out, or delete it")
    if not out.parent.is_dir():
        raise RunFolderError(f"{out}: there is no folder {out.parent}; make it, or name another file with --out")
    tables, notes = play(players, pairs or [], seed=seed)
    console = Console()
    for found in tables:
        console.print(f"\n{page.heading(found)}", highlight=False, markup=False)
        for header, rows in (
            (page.STANDINGS, map(page.standing_cells, found.standings)),
            (page.MEETINGS, map(page.meeting_cells, found.meetings)),
        ):
            shown = Table(*header)
            for row in rows:
                shown.add_row(*(Text(printable(cell, keep="")) for cell in row))
            console.print(shown)
    for note in notes:
        typer.echo(note)
    atomic_write(out, page.to_json(tables, notes))
    atomic_write(out.with_suffix(".html"), page.render(tables, notes).encode())
    typer.echo(f"written to {out} and {out.with_suffix('.html')}")
