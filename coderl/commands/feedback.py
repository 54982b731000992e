"""`coderl feedback`: preferences of a model that judges by a constitution."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from coderl.commands.extras import needing_extra
from coderl.errors import ConfigError, RunFolderError


def register(app: typer.Typer) -> None:
    app.command("feedback")(feedback)


def feedback(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|PAIRS.jsonl...",
            help="A run (samples of its training tasks), a file of pairs, or two or more runs (their evaluations).",
        ),
    ],
    judge: Annotated[
        str,
        typer.Option(help="A model folder or hub id; or the address of an endpoint, e.g. http://127.0.0.1:8000/v1."),
    ],
    model: Annotated[str, typer.Option(help="The name of the model at the endpoint.")] = "",
    constitution: Annotated[
        Path | None, typer.Option(help="A YAML file of principles (default: the shipped one).")
    ] = None,
    revise: Annotated[
        bool, typer.Option("--revise", help="Criticise and revise programs, then compare before and after.")
    ] = False,
    per_task: Annotated[int, typer.Option(min=1, help="Pairs per task.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only the first pairs.")] = None,
    tie_below: Annotated[float, typer.Option(min=0, max=1, help="A weaker preference is a tie.")] = 0.1,
    concurrency: Annotated[int, typer.Option(min=1, help="Questions at a time to an endpoint.")] = 8,
    prices: Annotated[
        tuple[float, float] | None, typer.Option(help="Dollars per million tokens read and written.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of pairs and principles.")] = 0,
    out: Annotated[Path, typer.Option(help="The pairs; report and journal go beside it.")] = Path("feedback.jsonl"),
) -> None:
    """Let a model judge pairs of programs, in both orders, and say how far it can be trusted; run again to go on.

    The key of an endpoint is read from OPENAI_API_KEY. Pairs are of the form that reward models and DPO train on.
    """
    from coderl.feedback.constitution import read_constitution

    if out.exists():
        raise RunFolderError(f"{out}: already there; name another file with --out, or delete it")
    if not out.parent.is_dir():
        raise RunFolderError(f"{out}: there is no folder {out.parent}; make it, or name another file with --out")
    principles = read_constitution(constitution)
    with needing_extra():
        from coderl.feedback.give import Request, give
    request = Request(
        sources=tuple(sources),
        constitution=principles,
        out=out,
        revise=revise,
        per_task=per_task,
        limit=limit,
        tie_below=tie_below,
        seed=seed,
        prices=prices,
    )
    try:
        found = give(request, _chat(judge, model, concurrency))
    except KeyboardInterrupt:
        typer.echo("\ninterrupted; the same command goes on from here", err=True)
        raise typer.Exit(130) from None
    if found.revisions is not None:
        typer.echo(found.revisions.line())
    for line in found.summary.lines():
        typer.echo(line)
    typer.echo(found.bill.line())
    typer.echo(f"{len(found.pairs)} pairs written to {out}, the report to {out.with_suffix('.json')}")


def _chat(judge: str, model: str, concurrency: int) -> Any:
    if "://" in judge:
        from coderl.feedback.endpoint import EndpointChat, key_from_environment

        if not model:
            raise ConfigError("feedback: an endpoint has many models: name one with --model")
        return EndpointChat(judge, model, key=key_from_environment(), concurrency=concurrency)
    if model:
        raise ConfigError(
            f"feedback: --model names a model at an endpoint, and {judge!r} is a model of its own: leave it out"
        )
    with needing_extra():
        from coderl.feedback.local import LocalChat
    return LocalChat(judge)
