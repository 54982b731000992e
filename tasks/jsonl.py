"""Our own file format: one task a line, every field of `Task`, all three kinds of cases, bit for bit both ways.

docs/tasks.md describes it. Values travel in the tagged JSON of `sandbox.codec`. Reading also takes the short form,
for tasks that call one function: "function" at the top, and cases of the form {"args": [..], "expected": ..}. A bad
row is a TaskError with path:line, field and fault. Writing is atomic: the
old file stays until the new one is whole.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sandbox.forms import case_to_json, group_to_json, limits_to_json, rule_to_json
from tasks.cases import cases_from_row, groups_from_row, limits_from_row, rule_from_row
from tasks.errors import TaskError, nearest, writing
from tasks.reading import known_language, tasks_of
from tasks.rows import Row, scan_rows
from tasks.source import Options, Source
from tasks.task import Split, Style, Task, is_day

SCHEMA = 1
_FIELDS = ("id", "prompt", "style", "split", "visible", "hidden", "entry_point", "signature", "language", "reference",
           "checker", "groups", "limits", "level", "tags", "stop", "date",
           "schema")  # fmt: skip
_SHORT = ("id", "prompt", "function", "signature", "reference", "visible", "hidden", "level", "tags", "split")


def read(path: Path) -> list[Task]:
    """The tasks of a file. Raises TaskError for the first bad row."""
    return tasks_of(str(path), scan_rows(path), from_row, {"on_error": "stop"})


def write(path: Path, tasks: Iterable[Task]) -> None:
    """Write `tasks` to `path` in one step. Raises TaskError if it cannot be written."""
    text = "".join(json.dumps(to_json(task), separators=(",", ":")) + "\n" for task in tasks)
    with writing(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def to_json(task: Task) -> dict[str, Any]:
    return {
        "schema": SCHEMA, "id": task.id, "prompt": task.prompt, "style": task.style.value, "split": task.split.value,
        "visible": list(map(case_to_json, task.visible)), "hidden": list(map(case_to_json, task.hidden)),
        "entry_point": task.entry_point, "signature": task.signature, "language": task.language,
        "reference": task.reference, "checker": None if task.checker is None else rule_to_json(task.checker),
        "groups": list(map(group_to_json, task.groups)),
        "limits": limits_to_json(task.limits), "level": task.level, "tags": list(task.tags), "stop": list(task.stop),
        "date": task.date,
    }  # fmt: skip


def from_row(row: Row) -> Task:
    function = row.text("function", "")
    valid = _SHORT if function else _FIELDS
    for unknown in (key for key in row.record if key not in valid):
        raise row.fault(unknown, "is no field of a task", nearest(unknown, valid))
    if row.get("schema", int, SCHEMA) != SCHEMA:
        raise row.fault("schema", f"is {row.record['schema']}", f"this version reads schema {SCHEMA}")
    return Task(
        id=row.text("id"),
        prompt=row.text("prompt"),
        style=Style(_choice(row, "style", Style, Style.INSTRUCTION)),
        split=Split(_choice(row, "split", Split, Split.TRAIN)),
        visible=cases_from_row(row, "visible", function),
        hidden=cases_from_row(row, "hidden", function),
        entry_point=function or row.text("entry_point", ""),
        signature=row.text("signature", ""),
        language=_language(row),
        reference=row.text("reference", ""),
        checker=rule_from_row(row),
        groups=groups_from_row(row),
        limits=limits_from_row(row),
        level=row.get("level", int, 0),
        tags=row.texts("tags", ()),
        stop=row.texts("stop", ()),
        date=_day(row),
    )


def _day(row: Row) -> str:
    text = row.text("date", "")
    if not is_day(text):
        raise row.fault("date", f"is {text[:40]!r}", "write the day as 2024-05-31")
    return text


def _language(row: Row) -> str:
    """As written, so that it is written back so; an alias is fine."""
    name = row.text("language", "python")
    known_language(row, "language", name)
    return name


def _choice(row: Row, field: str, valid: Iterable[str], default: str) -> str:
    value = row.text(field, default)
    if value not in set(valid):
        raise row.fault(field, f"is {value!r}", nearest(value, valid))
    return value


def _load(argument: str, options: Options) -> list[Task]:
    if not argument:
        raise TaskError("jsonl", "names no file", remedy="write jsonl:PATH")
    return tasks_of(argument, scan_rows(Path(argument)), from_row, options)


SOURCE = Source(name="jsonl", summary="a file in our format, docs/tasks.md", load=_load, argument="PATH")
