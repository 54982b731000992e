"""`coderl verify-resume`: does a run that is killed and resumed end as if nothing had happened?"""

from __future__ import annotations

from typing import Annotated

import typer

from coderl.commands.extras import needing_extra
from coderl.errors import CoderlError

SHOWN = 10


def register(app: typer.Typer) -> None:
    app.command("verify-resume")(verify)


def verify(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a shipped config.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change, e.g. grpo.kl_coef=0.1.")
    ] = None,
    steps: Annotated[int, typer.Option(min=2, help="Steps of each training stage.")] = 4,
    kills: Annotated[int, typer.Option(min=1, help="How often the run is killed.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the moments at which it is killed.")] = 0,
) -> None:
    """Run a short copy straight through and one that is killed (SIGKILL) and resumed; compare them bit for bit."""
    import tempfile
    from pathlib import Path

    from coderl.config import load

    settings = load(config, overrides)
    with needing_extra():
        from coderl.verify_resume import verify_resume
    with tempfile.TemporaryDirectory(prefix="coderl-verify-") as folder:
        result = verify_resume(settings, Path(folder), steps=steps, kills=kills, seed=seed)
    killed = ", ".join(map(str, result.killed_after))
    if not result.differences:
        typer.echo(
            f"the same, bit for bit: {result.num_lines} lines of metrics and {result.num_tensors} weight tensors; "
            f"killed after lines {killed}"
        )
        return
    for line in result.differences[:SHOWN]:
        typer.echo(line)
    raise CoderlError(f"verify-resume: {len(result.differences)} differences, killed after lines {killed}")
