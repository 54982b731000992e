"""`coderl compare`: which method gets further from the same start, or which of some runs is better?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coderl.commands.extras import needing_extra
from coderl.errors import ConfigError


def register(app: typer.Typer) -> None:
    app.command("compare")(compare)


def compare(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMPARISON|RUN...]", help="A comparison file or name, or the folders of finished runs."
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="Where the runs of a comparison go.")] = Path("runs/compare"),
    out: Annotated[Path | None, typer.Option(help="Write the table to this Markdown file, too.")] = None,
) -> None:
    """Train every method of a comparison from the same start and print one table; or set finished runs side by side.

    Without an argument: SFT, PPO, GRPO, RLOO, REINFORCE++, DPO, iterated DPO, rejection sampling and best of N by a reward
    model, three seeds each, with the small policy. What is finished is not run again.
    """
    with needing_extra():
        from coderl import compare as comparing
    from coderl.run_folder import RunFolder, atomic_write

    names = what or ["methods"]
    if all(Path(name).is_dir() for name in names):
        table = comparing.rows({Path(name).name: [comparing.outcome(RunFolder.open(name))] for name in names})
    elif len(names) == 1:
        with needing_extra():
            from coderl.train import run
        comparison = comparing.read_comparison(names[0])
        table = comparing.carry_out(comparison, output, run, tell=lambda line: typer.echo(line, err=True))
    else:
        missing = next(name for name in names if not Path(name).is_dir())
        raise ConfigError(
            f"compare: {missing!r} is not the folder of a run; name one comparison, or folders of runs only"
        )
    text = comparing.markdown(table)
    typer.echo(text, nl=False)
    if out is not None:
        atomic_write(out, text.encode())
