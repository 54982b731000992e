"""The group `coderl tasks`: which sources there are, what their tasks look like, and the commands of its other files."""

from __future__ import annotations

from typing import Annotated

import typer

from coderl.commands import tasks_decontaminate, tasks_export, tasks_filter, tasks_validate


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Look at tasks, check them, choose among them.", no_args_is_help=True)
    app.add_typer(group, name="tasks")
    group.command("list")(list_tasks)
    group.command("show")(show_tasks)
    for module in (tasks_validate, tasks_filter, tasks_decontaminate, tasks_export):
        module.register(group)


def list_tasks() -> None:
    """One line per source of tasks."""
    from tasks.registry import describe

    typer.echo(describe())


def show_tasks(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A task source, e.g. 'easy?split=test'.")],
    limit: Annotated[int, typer.Option(help="How many to show.", min=1)] = 3,
) -> None:
    """Print tasks as a person would read them: prompt, tests, limits, reference."""
    from rich.console import Console

    from coderl.show_task import rendered
    from tasks.registry import load

    found = load(spec)
    console = Console()
    for task in found[:limit]:
        console.print(rendered(task))
    console.print(f"{min(limit, len(found))} of {len(found)} tasks of {spec}", markup=False, highlight=False)
