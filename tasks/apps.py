"""APPS: 10,000 problems with stdin programs or functions (Hendrycks et al. 2021, arXiv:2105.09938).

`apps` takes the hub; `apps:PATH` a .jsonl of the hub's rows, a released folder (train/0001/question.txt, ..) or one of its
problems. Which tests are visible: tasks/apps_rows.py. `level` is 1 to 3: introductory, interview, competition.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.apps_rows import task_of_row
from tasks.errors import TaskError
from tasks.hub import fetch, local
from tasks.reading import tasks_of
from tasks.rows import Row
from tasks.source import Options, Source
from tasks.task import Split, Task

HUB = "codeparrot/apps"
FILES = {"train": "train.jsonl", "test": "test.jsonl"}
LEVELS = {"introductory": 1, "interview": 2, "competition": 3}
_PARTS = ("question.txt", "input_output.json", "solutions.json", "starter_code.py", "metadata.json")


def task_of(row: Row) -> Task:
    difficulty = row.text("difficulty", "")
    number = row.record.get("problem_id", row.record.get("id", ""))
    return task_of_row(
        row,
        task_id=f"apps/{row.split or 'test'}/{number}",
        default_split=Split.TEST,
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
