"""Which tasks are wanted: by level, language, length and date? A task whose date is unknown is not in any range of dates."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.errors import TaskError
from tasks.task import Task, is_day


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """Every bound is inclusive; None and empty ones admit everything.

    >>> from tasks.registry import load
    >>> [Criteria(levels=range(2, 4)).reason(task) for task in load("easy?ids=easy/add")]
    ['level']
    """

    levels: range | None = None
    languages: tuple[str, ...] = ()
    min_prompt_chars: int | None = None
    max_prompt_chars: int | None = None
    max_reference_chars: int | None = None
    since: str = ""  # 2024-05-31
    until: str = ""

    def __post_init__(self) -> None:
        for name in ("since", "until"):
            if not is_day(getattr(self, name)):
                raise TaskError(f"--{name}", f"is {getattr(self, name)[:40]!r}", remedy="write the day as 2024-05-31")

    def reason(self, task: Task) -> str:
        """Why `task` is left out, in one word; "" for one that is wanted."""
        if self.levels is not None and task.level not in self.levels:
            return "level"
        if self.languages and task.language not in self.languages:
            return "language"
        if not _within(len(task.prompt), self.min_prompt_chars, self.max_prompt_chars):
            return "length of the prompt"
        if not _within(len(task.reference), None, self.max_reference_chars):
            return "length of the reference"
        if (self.since or self.until) and not task.date:
            return "no date"
        if (self.since and task.date < self.since) or (self.until and task.date > self.until):
            return "date"
        return ""


def _within(value: int, low: int | None, high: int | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)
