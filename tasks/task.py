"""What is a task: a prompt for a policy, and two sets of cases for a grader.

`visible` cases are what a policy may be rewarded on (and may be shown); `hidden` cases are what it is checked on. The two
are separate fields so that nothing mixes them by accident.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from enum import StrEnum

from sandbox.limits import Limits
from sandbox.spec import Case, GradeRequest, Group, Program, Rule


def is_day(text: str) -> bool:
    """Is it a day as tasks carry it, 2024-05-31, or ""?"""
    try:
        return not text or datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


class Style(StrEnum):
    """How a completion becomes a program."""

    INSTRUCTION = "instruction"  # the prompt is English; the completion holds the whole program
    COMPLETION = "completion"  # the prompt is the head of a program; prompt + completion is the program


class Split(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One coding problem.

    >>> Task(id="demo/double", prompt="Write a function `double(n)` that returns twice n.",
    ...      style=Style.INSTRUCTION, split=Split.TRAIN, signature="def double(n):", entry_point="double",
    ...      visible=(), hidden=()).language
    'python'
    """

    id: str  # "source/name", unique in its source
    prompt: str
    style: Style
    split: Split
    visible: tuple[Case, ...]
    hidden: tuple[Case, ...]
    entry_point: str = ""  # the function asked for; "" for stdin programs
    signature: str = ""  # e.g. "def double(n):"; "" where there is none
    language: str = "python"
    reference: str = ""  # a whole program that passes; "" where there is none
    checker: Rule | None = None
    groups: tuple[Group, ...] = ()  # cases that earn points together, by their places in `cases`
    limits: Limits = Limits()
    level: int = 0  # difficulty, 0 where unknown; the scale is the source's own
    tags: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()  # strings that end a completion
    date: str = ""  # the day it was published, as 2024-05-31; "" where unknown

    @property
    def cases(self) -> tuple[Case, ...]:
        return self.visible + self.hidden

    def request(
        self, source: str, *, cases: tuple[Case, ...] | None = None, stop_early: bool = False, coverage: bool = False
    ) -> GradeRequest:
        """What to send to a grader for the whole program `source`; all cases, with their points, unless `cases` says which."""
        return GradeRequest(
            program=Program(source=source, language=self.language),
            cases=self.cases if cases is None else cases,
            limits=self.limits,
            checker=self.checker,
            stop_early=stop_early,
            groups=self.groups if cases is None else (),
            coverage=coverage,
        )
