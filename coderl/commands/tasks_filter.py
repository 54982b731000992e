"""`coderl tasks filter`: tasks by level, language, length, date, and how often a given policy solves them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(group: typer.Typer) -> None:
    group.command("filter")(filter_tasks)


def filter_tasks(
    specs: Annotated[list[str], typer.Argument(metavar="SPEC...", help="Task sources.")],
    out: Annotated[Path, typer.Option(help="The tasks that are left: NAME.jsonl, NAME.parquet or a folder.")],
    level: Annotated[str | None, typer.Option(help="Difficulty: 2 or 1-3.")] = None,
    language: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    min_prompt: Annotated[int | None, typer.Option(min=0, help="Characters of the prompt, at least.")] = None,
    max_prompt: Annotated[int | None, typer.Option(min=0, help="Characters of the prompt, at most.")] = None,
    max_reference: Annotated[int | None, typer.Option(min=0, help="Characters of the reference, at most.")] = None,
    since: Annotated[str, typer.Option(help="First day, 2024-05-31; tasks without a date are left out.")] = "",
    until: Annotated[str, typer.Option(help="Last day.")] = "",
    pass_rate: Annotated[str | None, typer.Option(help="LOW-HIGH, e.g. 0.1-0.9, of --config or --model.")] = None,
    config: Annotated[str | None, typer.Option(help="Its config, or the folder of a run, as for `eval`.")] = None,
    model: Annotated[str | None, typer.Option(help="A model folder or hub id, as for `eval`.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples of each task for --pass-rate.")] = 8,
    temperature: Annotated[float, typer.Option(min=0, help="Of those samples.")] = 1.0,
    cache: Annotated[Path, typer.Option(help="Pass rates that are known, by content hash.")] = Path("pass_rates.jsonl"),
) -> None:
    """Choose tasks by what they are, and by how often a policy solves them."""
    from collections import Counter

    from coderl.errors import ConfigError
    from tasks.criteria import Criteria
    from tasks.export import check_target, export
    from tasks.registry import load_all
    from tasks.source import interval

    check_target(out)
    criteria = Criteria(
        levels=interval("--level", "level", level) if level else None, languages=tuple(language or ()),
        min_prompt_chars=min_prompt, max_prompt_chars=max_prompt, max_reference_chars=max_reference,
        since=since, until=until,
    )  # fmt: skip
    if (pass_rate is None) != (config is None and model is None):
        raise ConfigError("tasks filter: --pass-rate needs --config or --model, and the other way round")
    bounds = _bounds(pass_rate) if pass_rate else None
    tasks = load_all(specs)
    reasons = {task.id: criteria.reason(task) for task in tasks}
    left = [task for task in tasks if not reasons[task.id]]
    if bounds and left:
        from coderl.commands.evaluate import eval_config
        from coderl.commands.extras import needing_extra

        given = {"samples_per_task": samples, "temperature": temperature}
        settings = eval_config(config, [], model, specs, given)
        with needing_extra():
            from coderl.pass_rates import pass_rates
        rates = pass_rates(settings, left, cache=cache)
        for task in left:
            rate = rates[task.id]
            if rate is None or not bounds[0] <= rate <= bounds[1]:
                reasons[task.id] = "pass rate unknown" if rate is None else "pass rate"
        left = [task for task in left if not reasons[task.id]]
    for reason, count in Counter(filter(None, reasons.values())).most_common():
        typer.echo(f"{count:6} left out: {reason}")
    typer.echo(f"{len(left)} of {len(tasks)} tasks left; read them with {export(out, left)}")


def _bounds(text: str) -> tuple[float, float]:
    from coderl.errors import ConfigError

    try:
        low, high = map(float, text.split("-"))
        if 0 <= low <= high <= 1:
            return low, high
    except ValueError:
        pass
    raise ConfigError(f"--pass-rate {text}: give the lowest and the highest rate, e.g. 0.1-0.9")
