"""`coderl export`: a run's model as a folder to share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coderl.commands.extras import needing_extra


def register(app: typer.Typer) -> None:
    app.command("export")(export)


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    out: Annotated[Path | None, typer.Option(help="The folder to write (default: RUN/export).")] = None,
    stage: Annotated[str, typer.Option(help="The stage whose model is taken, e.g. 2_grpo (default: the last).")] = "",
    adapter: Annotated[bool, typer.Option("--adapter", help="Keep LoRA weights apart from their base.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the folder.")] = False,
) -> None:
    """Write a model folder (LoRA merged) with a card of the measured results; prints its path."""
    from coderl.run_folder import RunFolder

    folder = RunFolder.open(run)
    with needing_extra():
        from coderl.export import export as write

        typer.echo(str(write(folder, out or run / "export", stage=stage, adapter=adapter, overwrite=overwrite)))
