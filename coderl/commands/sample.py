"""`coderl sample --best-of N`: choose the best of N samples by what a user has, and count what passes the hidden tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coderl.commands.extras import needing_extra
from coderl.errors import ConfigError, RunFolderError

if TYPE_CHECKING:
    from coderl.config import RunConfig


def register(app: typer.Typer) -> None:
    app.command("sample")(sample)


def sample(
    model: Annotated[
        str, typer.Argument(metavar="RUN|MODEL", help="The folder of a run, a model folder, or a hub id.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, e.g. generation.max_new_tokens=128.")
    ] = None,
    best_of: Annotated[int, typer.Option(min=1, help="N: curves go from 1 to N by powers of two.")] = 8,
    by: Annotated[
        list[str] | None,
        typer.Option(help="visible, agreement, reward_model or visible_then_reward_model; may be repeated."),
    ] = None,
    tasks: Annotated[list[str] | None, typer.Option(help="A task source; may be repeated.")] = None,
    reward_model: Annotated[
        Path | None, typer.Option(help="The folder of a reward model; a run's own by default.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Take only the first tasks.")] = None,
    out: Annotated[Path, typer.Option(help="The JSON file; plot and samples go beside it.")] = Path("best_of.json"),
) -> None:
    """Sample each task N times, choose one by visible tests, agreement of outputs or a reward model; count on hidden tests."""
    if out.exists():
        raise RunFolderError(f"{out}: already there; name another file with --out, or delete it")
    if not out.parent.is_dir():
        raise RunFolderError(f"{out}: there is no folder {out.parent}; make it, or name another file with --out")
    sizes = [n for n in (2**k for k in range(20)) if n < best_of] + [best_of]
    asked = {"samples_per_task": best_of, "n": sizes, "by": by or ["visible", "agreement"], "limit": limit}
    settings = _settings(model, overrides or [], asked, tasks, reward_model)
    with needing_extra():
        from coderl.best_of import sample_best_of
    choices = sample_best_of(settings, out)
    for choice in choices:
        if choice.n == best_of:
            typer.echo(f"{choice.by:<28} {choice.pass_rate:.1%}  (95 % interval {choice.low:.1%} to {choice.high:.1%})")
    typer.echo(f"{len(choices[0].per_task)} tasks, best of {best_of}; written to {out} and {out.with_suffix('.svg')}")


def _settings(
    model: str, overrides: list[str], asked: dict[str, Any], tasks: list[str] | None, reward_model: Path | None
) -> RunConfig:
    from coderl import config as configs
    from coderl.run_folder import RunFolder

    wants_model = any("reward_model" in by for by in asked["by"])
    raw: dict[str, Any] = {"policy": {"model": model}, "generation": {"max_new_tokens": 256}}
    if (Path(model) / "versions.json").is_file():
        folder = RunFolder.open(model)
        raw = folder.config().model_dump(mode="json")
        raw["policy"]["model"] = (
            str(folder.last_model()) if (folder.path / "models").is_dir() else raw["policy"]["model"]
        )
        if wants_model and reward_model is None:
            with needing_extra():
                from coderl.best_of import last_reward_model
            reward_model = last_reward_model(folder)
    elif not tasks:
        raise ConfigError("sample: a model alone has no tasks: name some with --tasks")
    raw["stages"] = ["best_of_n"]
    raw["tasks"] = {**raw.get("tasks", {}), **({"test": tasks} if tasks else {})}
    raw["best_of_n"] = {**raw.get("best_of_n", {}), **asked}
    raw["reward"] = {**raw.get("reward", {}), "learned": None}
    if wants_model:
        if reward_model is None:
            raise ConfigError("sample --by reward_model: name one with --reward-model")
        raw["reward"]["learned"] = {"model": str(reward_model)}
    for override in overrides:
        configs.apply_override(raw, override)
    return configs.parse(raw, origin="sample")
