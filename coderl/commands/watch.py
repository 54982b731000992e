"""`coderl watch`: a run in the browser while it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coderl.commands.extras import needing_extra


def register(app: typer.Typer) -> None:
    app.command("watch")(watch)


def watch(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, finished or going on.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 0,
    host: Annotated[str, typer.Option(help="Where to listen; anybody who reaches it can read the run.")] = "127.0.0.1",
    seconds: Annotated[float, typer.Option(min=0.2, help="How often the page looks for news.")] = 5.0,
) -> None:
    """Show the report in a browser, renewed as the run goes on; Ctrl-C ends it."""
    from coderl.run_folder import RunFolder

    folder = RunFolder.open(run)
    with needing_extra():
        from coderl.watch import Watch
    live = Watch(folder, host=host, port=port, seconds=seconds)
    typer.echo(f"watching {run} at {live.url} (Ctrl-C ends it)")
    try:
        live.server.serve_forever()
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    finally:
        live.server.server_close()
