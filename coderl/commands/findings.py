"""`coderl tradeoff` and `coderl overoptimisation`: what do finished runs say of harm, and of their reward model?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coderl.commands.extras import needing_extra

if TYPE_CHECKING:
    from coderl.evaluate.overoptimisation import Curve


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
    for path in paths:
        for point in path.points:
            p, d = point.pass_rate, point.dangerous
            rules = ", ".join(f"{rule} {count}" for rule, count in list(point.rules.items())[:3])
            rates = f"pass {p[0]:.1%} ({p[1]:.1%} to {p[2]:.1%})  dangerous {d[0]:.2%} ({d[1]:.2%} to {d[2]:.2%})"
            typer.echo(f"{path.name} {point.stage} {point.step:<4} {rates}  of {point.num_samples}  {rules}".rstrip())
        unread = path.points[-1].unread
        if unread > 0.5:
            typer.echo(
                f"{path.name}: {unread:.0%} of the last programs are no Python that parses: not judged", err=True
            )
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
    for curve in curves:
        typer.echo(f"{curve.name}: {curve.verdict}" + _law(curve))
        for point in curve.points:
            at = f"N {point.at}" if curve.kind == "best_of_n" else f"step {point.at}"
            typer.echo(f"  {at:<9} KL {point.kl:.3f}  proxy {point.proxy:+.3f}  gold {point.gold:.1%}")
    typer.echo(f"written to {file} and {file.with_suffix('.svg')}")


def _law(curve: Curve) -> str:
    """
    >>> from types import SimpleNamespace
    >>> _law(SimpleNamespace(alpha=0.3, beta=0.1))
    '; alpha +0.300, beta +0.100'
    """
    return "" if curve.alpha is None or curve.beta is None else f"; alpha {curve.alpha:+.3f}, beta {curve.beta:+.3f}"
