"""APPS: 10,000 problems with stdin programs or functions (Hendrycks et al. 2021, arXiv:2105.09938).

`apps` takes the hub; `apps:PATH` a .jsonl of the hub's rows, a released folder (train/0001/question.txt, ..) or one of its
problems. APPS marks no test as public: the first is visible, the others are hidden (a single one is both). `level` is 1 to 3:
introductory, interview, competition. The reference is the first published solution.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.errors import TaskError
from tasks.hub import fetch, local
from tasks.in_out import cases_of, rule_of
from tasks.reading import split_of, tasks_of
from tasks.rows import Row
from tasks.source import Options, Source
from tasks.task import Split, Style, Task

HUB = "codeparrot/apps"
FILES = {"train": "train.jsonl", "test": "test.jsonl"}
LEVELS = {"introductory": 1, "interview": 2, "competition": 3}
_PARTS = ("question.txt", "input_output.json", "solutions.json", "starter_code.py", "metadata.json")


def task_of(row: Row) -> Task:
    starter = row.text("starter_code", "").strip("\n")
    tests = row.parsed("input_output", dict) if row.text("input_output", "") else {}
    solutions = row.parsed("solutions", list) if row.text("solutions", "") else []
    reference = str(solutions[0]) if solutions else ""
    cases = cases_of(row, "input_output", tests, program=starter or reference)
    if not cases:
        raise row.fault("input_output", "holds no test", "leave out problems without tests")
    function = str(tests.get("fn_name") or "")
    wish = f"\n\nComplete this:\n{starter}" if starter else "\n\nRead from standard input and write to standard output."
    difficulty = row.text("difficulty", "")
    number = row.record.get("problem_id", row.record.get("id", ""))
    return Task(
        id=f"apps/{row.split or 'test'}/{number}",
        prompt=row.text("question").strip() + wish,
        style=Style.INSTRUCTION,
        split=split_of(row, Split.TEST),
        visible=cases[:1],
        hidden=cases[1:] or cases,
        entry_point=function,
        signature=next((line for line in starter.splitlines() if line.strip().startswith("def ")), "").strip(),
        reference=reference,
        checker=rule_of(cases),
        level=LEVELS.get(difficulty, 0),
        tags=("apps", difficulty) if difficulty else ("apps",),
    )


def folders(path: Path) -> Iterator[Row | TaskError]:
    """The rows of a released folder."""
    for question in sorted(path.rglob("question.txt")):
        folder = question.parent
        try:
            yield Row(str(folder), _record(folder), folder.parent.name)
        except (OSError, ValueError) as error:
            yield TaskError(str(folder), f"cannot be read ({error})", remedy="give the files as released")


def _record(folder: Path) -> dict[str, Any]:
    found = {part: (folder / part).read_text() for part in _PARTS if (folder / part).exists()}
    record: dict[str, Any] = {part.partition(".")[0]: text for part, text in found.items()}
    metadata = json.loads(record.pop("metadata", "{}"))
    return {**record, "problem_id": folder.name, "difficulty": metadata.get("difficulty", "")}


def _load(argument: str, options: Options) -> list[Task]:
    if not argument:
        return tasks_of(HUB, fetch("apps", HUB, files=FILES), task_of, options)
    path = Path(argument)
    released = path.is_dir() and next(path.rglob("question.txt"), None) is not None
    return tasks_of(argument, folders(path) if released else local(path), task_of, options)


SOURCE = Source(name="apps", summary="APPS, 10,000 stdin and function problems", load=_load, argument="PATH")
