"""`coderl try`: type a task, watch what a model makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coderl.commands.extras import needing_extra
from coderl.errors import ConfigError

if TYPE_CHECKING:
    from coderl.config import RunConfig
    from coderl.trial import Attempt
    from tasks.task import Task


def register(app: typer.Typer) -> None:
    app.command("try")(try_model)


def try_model(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The folder of a run, a model folder, or a hub id.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, e.g. generation.temperature=0.5.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="A task source instead of typing, e.g. 'easy?limit=1'.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="How many programs to sample.")] = 4,
) -> None:
    """Type a task with tests; see each sample as it ends, with its verdict. Prompt and sampling are those of the run."""
    from rich.console import Console

    settings = _settings(model, overrides or [])
    console = Console()
    with needing_extra():
        from coderl.trial import attempts
    if task is not None:
        from tasks.registry import load

        chosen = load(task)[0]
    else:
        chosen = _ask(console)
    from coderl.show_task import rendered

    console.print(rendered(chosen))
    passed = 0
    with console.status("sampling"):
        for attempt in attempts(settings, chosen, num_samples=samples):
            passed += attempt.verdict.outcome == "AC"
            _show(console, attempt)
    console.print(f"{passed} of {samples} samples pass", highlight=False)


def _settings(model: str, overrides: list[str]) -> RunConfig:
    """Of a run: its own, with its last model; else the defaults."""
    from coderl import config as configs
    from coderl.run_folder import RunFolder

    raw: dict[str, Any] = {"policy": {"model": model}, "generation": {"max_new_tokens": 256, "temperature": 0.8}}
    if (Path(model) / "versions.json").is_file():
        folder = RunFolder.open(model)
        raw = folder.config().model_dump(mode="json")
        raw["policy"] |= {"model": str(folder.last_model())}
    raw |= {"stages": ["eval"], "tasks": {"test": ["typed"]}}
    for override in overrides:
        configs.apply_override(raw, override)
    return configs.parse(raw, origin="try")


def _ask(console: Any) -> Task:
    from coderl.trial import typed_task

    try:
        prompt = console.input("[bold]What should the function do?[/] ")
        signature = console.input("[bold]Its first line[/] (def double(n):) ")
        console.print("[bold]Tests[/], one a line, e.g. double(2) == 4; an empty line ends them")
        tests: list[str] = []
        while line := console.input("  ").strip():
            tests.append(line)
    except EOFError:
        raise ConfigError("the task ended before its tests did: end them with an empty line, or use --task") from None
    return typed_task(prompt, signature, tests)


def _show(console: Any, attempt: Attempt) -> None:
    from rich.panel import Panel
    from rich.syntax import Syntax
    from rich.text import Text

    from sandbox import printable

    verdict = attempt.verdict
    passed = f"{verdict.num_passed} of {len(verdict.cases)} cases"
    title = f"{attempt.number}  {verdict.outcome}  {passed}{'  cut off' if attempt.truncated else ''}"
    text = printable(attempt.program or attempt.completion)
    body = Syntax(text.rstrip(), "python", background_color="default", word_wrap=True)
    style = "green" if verdict.outcome == "AC" else "red"
    detail = Text(printable(verdict.detail)) if verdict.detail else None
    console.print(
        Panel(body, title=title, title_align="left", subtitle=detail, subtitle_align="left", border_style=style)
    )
