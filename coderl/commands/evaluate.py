"""`coderl eval`: how often does a model solve tasks by language, level and source, and is choosing among samples worth it?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coderl.commands.extras import needing_extra
from coderl.errors import ConfigError, RunFolderError

if TYPE_CHECKING:
    from coderl.config import RunConfig
    from coderl.evaluate.passrate import Evaluation


def register(app: typer.Typer) -> None:
    app.command("eval")(evaluate)


def evaluate(
    config: Annotated[str | None, typer.Argument(metavar="[CONFIG]", help="A config, or the folder of a run.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change, e.g. eval.k=[1,4].")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A model folder or hub id.")] = None,
    tasks: Annotated[list[str] | None, typer.Option(help="A task source; may be repeated.")] = None,
    samples: Annotated[int | None, typer.Option(help="Samples per task.")] = None,
    k: Annotated[list[int] | None, typer.Option("--k", help="k of pass@k; may be repeated.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0: greedy.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Longest completion.")] = None,
    limit: Annotated[int | None, typer.Option(help="Take only the first tasks.")] = None,
    tax: Annotated[
        str | None,
        typer.Option(metavar="BEFORE", help="Alignment tax: what did the model lose against this one (run or model)?"),
    ] = None,
    text: Annotated[
        list[Path] | None,
        typer.Option(help="With --tax: a file of plain text to measure perplexity on; may be repeated."),
    ] = None,
    memorisation: Annotated[
        bool, typer.Option("--memorisation", help="Has the model learned its training tasks by heart?")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The result, samples beside it (default: eval.json; of a run: its evals/tax.json or evals/memorisation.json)."
        ),
    ] = None,
) -> None:
    """Measure pass@k of a model on tasks, with an interval over problems; or what it lost, or learned by heart."""
    if config is not None and "=" in config:  # no CONFIG was given: this is the first KEY=VALUE
        overrides = [config, *(overrides or [])]
        config = None
    asked = {"samples_per_task": samples, "k": k, "temperature": temperature, "max_new_tokens": max_new_tokens}
    given = {name: value for name, value in {**asked, "limit": limit}.items() if value is not None}
    settings = eval_config(config, overrides or [], model, tasks, given)
    if tax is not None and memorisation:
        raise ConfigError("eval --tax and --memorisation: each samples on its own; give one of them")
    if text and tax is None:
        raise ConfigError("eval --text: perplexity is measured for --tax BEFORE: give both, or neither")
    if tax is not None:
        _alignment_tax(settings, tax, text or [], _free(out, config, "tax"))
        return
    if memorisation:
        _memorisation(settings, _free(out, config, "memorisation"))
        return
    out = _free(out, None, "eval")
    with needing_extra():
        from coderl.train import evaluate_model
    evaluation = evaluate_model(settings, out)
    for line in [*pass_rates(evaluation.metrics()), *details(evaluation)]:
        typer.echo(line)
    typer.echo(f"{len(evaluation.scores)} tasks; written to {out}")


def _free(out: Path | None, run: str | None, name: str) -> Path:
    """Where the result goes: `out`, or by default a file of that name among a run's evals or here. Raises RunFolderError."""
    evals = Path(run) / "evals" if run is not None else Path()
    chosen = out or (evals if evals.is_dir() else Path()) / f"{name}.json"
    if chosen.exists():
        raise RunFolderError(f"{chosen}: already there; name another file with --out, or delete it")
    if not chosen.parent.is_dir():
        raise RunFolderError(f"{chosen}: there is no folder {chosen.parent}; make it, or name another file with --out")
    return chosen


def _alignment_tax(settings: RunConfig, before: str, texts: list[Path], out: Path) -> None:
    with needing_extra():
        from coderl.alignment_tax import alignment_tax
        from coderl.evaluate.losses import read_texts
    for line in alignment_tax(settings, before, read_texts(texts), out).told():
        typer.echo(line)
    typer.echo(f"written to {out}")


def _memorisation(settings: RunConfig, out: Path) -> None:
    with needing_extra():
        from coderl.memory_check import memorisation
    for line in memorisation(settings, out).told():
        typer.echo(line)
    typer.echo(f"written to {out}")


def pass_rates(values: dict[str, float]) -> Iterator[str]:
    """One line per k, e.g. "pass@1 24.2%  (95 % interval 20.7% to 27.9%)"."""
    for name, value in values.items():
        if f"{name}_low" in values:
            interval = f"95 % interval {values[f'{name}_low']:.1%} to {values[f'{name}_high']:.1%}"
            yield f"{name.removeprefix('eval/')} {value:.1%}  ({interval})"


def details(evaluation: Evaluation) -> Iterator[str]:
    """A line per language, level and source (where there are several), per N to choose from, and for diversity."""
    for group in evaluation.groups:
        rates = "  ".join(
            f"pass@{k} {p:.1%} ({low:.1%} to {high:.1%})" for k, (p, low, high) in group.pass_at_k.items()
        )
        yield f"{group.by} {group.value}: {rates}  {group.num_tasks} tasks"
    for best in evaluation.best_of_n[1:]:
        yield (
            f"best of {best.n} by visible tests {best.visible:.1%} ({best.visible_low:.1%} to {best.visible_high:.1%}), "
            f"at random {best.random:.1%}, oracle {best.oracle:.1%}"
        )
    if (found := evaluation.diversity) is not None:
        yield (
            f"diversity: distinct-2 {found.distinct_2:.2f}, distinct syntax trees {found.unique_asts:.2f}, self-BLEU "
            f"{found.self_bleu:.2f}, edit distance {found.edit_distance:.2f}, pass@n - pass@1 {found.pass_gain:+.1%}"
        )


def eval_config(
    config: str | None, overrides: list[str], model: str | None, tasks: list[str] | None, given: dict[str, Any]
) -> RunConfig:
    """The config of an evaluation: from a run's folder (and its last model), a config, or a model and tasks alone."""
    from coderl import config as configs
    from coderl.run_folder import RunFolder

    if config is None:
        if model is None or not tasks:
            raise ConfigError("eval: name a config, the folder of a run, or both --model and --tasks")
        raw: dict[str, Any] = {"policy": {"model": model}, "tasks": {"test": tasks}}
    elif Path(config).is_dir():
        folder = RunFolder.open(config)
        raw = folder.config().model_dump(mode="json")
        raw["policy"]["model"] = model or str(folder.last_model())
    else:
        raw = configs.load(config).model_dump(mode="json")
        raw["policy"]["model"] = model or raw["policy"]["model"]
    raw["stages"] = ["eval"]
    raw["tasks"]["test"] = tasks or raw["tasks"]["test"]
    raw["eval"] = {**raw.get("eval", {}), **given}
    for override in overrides:
        configs.apply_override(raw, override)
    return configs.parse(raw, origin="eval")
