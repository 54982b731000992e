"""`coderl label`: people say which program is better."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coderl.commands.extras import needing_extra
from coderl.errors import ConfigError


def register(app: typer.Typer) -> None:
    app.command("label")(label)


def label(
    source: Annotated[
        Path, typer.Argument(metavar="RUN_OR_FILE", help="The folder of a run, or a file of pairs or comparisons.")
    ],
    db: Annotated[
        str | None, typer.Option(help="A SQLite file, or postgresql://...; labels.sqlite of the run by default.")
    ] = None,
    annotator: Annotated[
        list[str] | None, typer.Option(help="Who may label, by a token that is printed; may be repeated.")
    ] = None,
    new_tokens: Annotated[bool, typer.Option("--new-tokens", help="New tokens for those named.")] = False,
    host: Annotated[
        str, typer.Option(help="Where to listen; beyond this machine only with --annotator.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8090,
    ways: Annotated[int, typer.Option(min=2, max=9, help="Programs per item of a run; 3 or more are ranked.")] = 2,
    per_task: Annotated[int, typer.Option(min=1, help="Items per task of a run.")] = 2,
    overlap: Annotated[
        float, typer.Option(min=1, help="Answers per item; 1.2: a second for a fifth of the items.")
    ] = 1.0,
    gold: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of a run's items asked of everybody, as running has settled them."),
    ] = 0.0,
    reward_model: Annotated[
        Path | None, typer.Option(help="Ask first what this reward model is least sure of.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of every random choice: items, order, gold.")] = 0,
    export: Annotated[Path | None, typer.Option(help="Write the answers as pairs, and end.")] = None,
    agreement: Annotated[bool, typer.Option("--agreement", help="Print how far people agree, and end.")] = False,
) -> None:
    """Show tasks with programs side by side in a browser, and keep which is better; Ctrl-C ends it."""
    if not source.exists():
        raise ConfigError(f"{source}: no such run or file: name a run folder, or a JSONL file of pairs or comparisons")
    with needing_extra("label"):
        from coderl.label.store import LabelStore
    store = LabelStore(_address(db, source), overlap=overlap, seed=seed)
    try:
        if export is not None or agreement:
            from coderl.label.summary import summary, write_export

            if agreement:
                typer.echo(summary(store), nl=False)
            if export is not None:
                typer.echo(write_export(store, export))
            return
        if reward_model is not None:
            typer.echo(f"scoring programs with {reward_model}")
        with needing_extra("train" if source.is_dir() else "label"):
            from coderl.label.sources import fill
            from coderl.label.start import LabelServer

        # First what may be refused: reading a long run takes a while.
        server = LabelServer(store, host=host, port=port, annotators=annotator or [], new_tokens=new_tokens)
        if source.is_dir():
            typer.echo(f"reading the samples of {source}", err=True)
        typer.echo(fill(store, source, ways=ways, per_task=per_task, gold=gold, reward_model=reward_model, seed=seed))
        typer.echo("\n".join(server.lines))
        server.serve()
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    finally:
        store.close()


def _address(db: str | None, source: Path) -> str:
    """The database: a URL as it is, a file as SQLite's."""
    if db is not None and "://" in db:
        return db
    path = (
        Path(db)
        if db is not None
        else source / "labels.sqlite"
        if source.is_dir()
        else source.with_suffix(".labels.sqlite")
    )
    if not path.parent.is_dir():
        raise ConfigError(f"--db {path}: there is no folder {path.parent}; make it, or name another file")
    return f"sqlite:///{path}"
