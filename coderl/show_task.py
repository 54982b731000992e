"""How does a task look to a person? Prompt, tests, limits and reference, in a terminal that none of them can steer."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from coderl.prompts import show_case
from sandbox import printable
from sandbox.limits import Limits
from sandbox.spec import Case
from tasks.task import Task

MAX_CASES, MAX_LINES, MAX_WIDTH = 6, 40, 400  # of what is shown; what is left out is counted


def rendered(task: Task) -> RenderableType:
    counts = f"{len(task.visible)} visible and {len(task.hidden)} hidden cases"
    parts: list[RenderableType] = [_text(task.prompt)]
    if task.signature:
        parts.append(_text(task.signature, "cyan"))
    parts += _cases("visible", task.visible) + _cases("hidden", task.hidden)
    parts.append(Text(_facts(task), style="dim"))
    if task.reference:
        parts += [Text("reference", style="bold"), _text(task.reference, "green")]
    title = Text(printable(f"{task.id}  ({task.split}, level {task.level}, {counts})", keep=""))
    return Panel(Group(*parts), title=title, title_align="left")


def _cases(name: str, cases: tuple[Case, ...]) -> list[RenderableType]:
    if not cases:
        return []
    shown: list[RenderableType] = [_text(show_case(case)) for case in cases[:MAX_CASES]]
    if len(cases) > MAX_CASES:
        shown.append(Text(f"... and {len(cases) - MAX_CASES} more", style="dim"))
    return [Text(name, style="bold"), *shown]


def _facts(task: Task) -> str:
    limits = [f"{name} {value}" for name, value in asdict(task.limits).items() if value != getattr(Limits(), name)]
    facts = [task.language, task.style.value, *(limits or ["default limits"])]
    if task.checker is not None:
        facts.append(f"checker {getattr(task.checker, 'value', task.checker)}")
    if task.tags:
        facts.append(f"tags {', '.join(task.tags)}")
    return printable("; ".join(facts), keep="")


def _text(text: str, style: str = "") -> Text:
    """Up to MAX_LINES lines of up to MAX_WIDTH characters, every other character than letters, signs and spaces escaped."""
    lines = text.strip("\n").split("\n")
    cut = [line if len(line) <= MAX_WIDTH else f"{line[:MAX_WIDTH]} ... ({len(line)} characters)" for line in lines]
    shown = [printable(line.expandtabs(4), keep="") for line in cut[:MAX_LINES]]
    if len(cut) > MAX_LINES:
        shown.append(f"... ({len(cut) - MAX_LINES} more lines)")
    return Text("\n".join(shown), style=style)
