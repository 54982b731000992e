"""`coderl tradeoff` and `coderl overoptimisation`: what do finished runs say of harm, and of their reward model?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coderl.commands.extras import needing_extra


def register(app: typer.Typer) -> None:
    app.command("tradeoff")(tradeoff)
    app.command("overoptimisation")(overoptimisation)


def tradeoff(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="The folders of runs.")],
    out: Annotated[
        Path | None,
        typer.Option(help="The JSON file, the plot beside it (default: tradeoff.json in the first run's evals)."),
    ] = None,
) -> None:
    """Helpful against harmless: pass rate and rate of programs with harmful calls, over training, of one run or several."""
    with needing_extra():
        from coderl.findings import tradeoff as compute
    paths, file = compute(runs, out)
    for line in (line for path in paths for line in path.told()):
        typer.echo(line)
    if len(paths) > 1:
        typer.echo("not beaten in both: " + ", ".join(path.name for path in paths if path.on_front))
    typer.echo(f"written to {file} and {file.with_suffix('.svg')}")


def overoptimisation(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|FILE...", help="Runs with a learned reward, or files of `coderl sample --best-of`."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The JSON file, the plot beside it (default: overoptimisation.json in the run's evals)."),
    ] = None,
) -> None:
    """The reward model's score against the pass rate as the KL to the start grows, by RL and by best of N."""
    with needing_extra():
        from coderl.findings import over_optimisation
    curves, file = over_optimisation(sources, out)
    for line in (line for curve in curves for line in curve.told()):
        typer.echo(line)
    typer.echo(f"written to {file} and {file.with_suffix('.svg')}")
