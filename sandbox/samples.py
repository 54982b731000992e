"""How are tasks and samples read from files, with faults that name the line and the field?

Tasks, one JSON object a line (.gz is fine), in one of two forms:

- ours: {"id": .., "cases": [..], "groups": [..], "limits": {..}, "checker": .., "language": ..}, the last four optional, in
  the grammar of `sandbox.forms`.
- HumanEval's: {"task_id": .., "prompt": .., "entry_point": .., "test": ..}.

Samples, one a line: {"task_id": .., "completion": ..}, where a HumanEval prompt goes before the completion, or
{"task_id": .., "solution": ..} with a whole program. A row with both is a fault.
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sandbox.errors import BadInput
from sandbox.forms import FormFault, read_case, read_group, read_limits, read_rule
from sandbox.languages import get
from sandbox.lift import humaneval
from sandbox.limits import Limits
from sandbox.spec import Case, GradeRequest, Group, Program, Rule

_OURS = {"id", "cases", "groups", "limits", "checker", "language"}
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTask:
    """A task of a file; `prompt` goes before a completion."""

    id: str
    cases: tuple[Case, ...]
    limits: Limits = Limits()
    checker: Rule | None = None
    groups: tuple[Group, ...] = ()
    prompt: str = ""
    language: str = "python"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSample:
    """A sample of a file, joined with its task."""

    task_id: str
    request: GradeRequest


def read_tasks(path: Path) -> dict[str, FileTask]:
    """The tasks of a file by id. Raises BadInput."""
    tasks: dict[str, FileTask] = {}
    for where, row in _rows(path):
        task = _humaneval(where, row) if "entry_point" in row else _ours(where, row)
        if task.id in tasks:
            raise BadInput(f"{where}: id {task.id!r} is there already: give every task its own")
        tasks[task.id] = task
    if not tasks:
        raise BadInput(f"{path}: holds no tasks: give one JSON object a line")
    return tasks


def read_samples(path: Path, tasks: dict[str, FileTask]) -> list[FileSample]:
    """The samples of a file. Raises BadInput."""
    samples = []
    for where, row in _rows(path):
        task_id = _get(where, row, "task_id", str)
        if task_id not in tasks:
            raise BadInput(f"{where}: task_id {task_id!r} is not in the tasks file, which has {len(tasks)} tasks")
        if ("completion" in row) == ("solution" in row):
            raise BadInput(f"{where}: give completion or solution, one of them")
        task = tasks[task_id]
        whole = "solution" in row
        source = _get(where, row, "solution", str) if whole else task.prompt + _get(where, row, "completion", str)
        request = GradeRequest(
            program=Program(source=source, language=task.language),
            cases=task.cases,
            limits=task.limits,
            checker=task.checker,
            groups=task.groups,
        )
        samples.append(FileSample(task_id=task_id, request=request))
    if not samples:
        raise BadInput(f"{path}: holds no samples: give one JSON object a line")
    return samples


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write JSON lines to `path` in one step: the old file stays until the new one is whole. Raises BadInput."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error.strerror}): choose another place") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            for record in records:
                file.write(json.dumps(record, separators=(",", ":")) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise BadInput(f"{path}: cannot be written ({error.strerror}): choose another place") from None
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"{path}: cannot be read ({reason}): check the path and the file") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: is not UTF-8 at byte {error.start}: save it as UTF-8") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{where}: is not JSON ({error}): write one object a line") from None
        if not isinstance(row, dict):
            raise BadInput(f"{where}: is not a JSON object: write one object a line")
        yield where, row


def _get(where: str, row: dict[str, Any], field: str, kind: type, default: Any = None) -> Any:
    if field not in row and default is not None:
        return default
    if field not in row:
        raise BadInput(f"{where}: {field} is missing: add it, as a {kind.__name__}")
    if not isinstance(row[field], kind):
        raise BadInput(f"{where}: {field} is a {type(row[field]).__name__}: write a {kind.__name__}")
    return row[field]


def _known(where: str, record: dict[str, Any], valid: Iterable[str]) -> None:
    for key in record:
        if key not in valid:
            raise BadInput(f"{where}: {key!r} is not a field here: use {', '.join(sorted(valid))}")


def _humaneval(where: str, row: dict[str, Any]) -> FileTask:
    prompt, entry_point = _get(where, row, "prompt", str), _get(where, row, "entry_point", str)
    try:
        case = humaneval(prompt, entry_point, _get(where, row, "test", str))
    except (SyntaxError, ValueError) as error:
        raise BadInput(f"{where}: prompt or test: {error}: give Python that defines {entry_point!r}") from None
    return FileTask(id=_get(where, row, "task_id", str), cases=(case,), prompt=prompt)


def _ours(where: str, row: dict[str, Any]) -> FileTask:
    _known(where, row, _OURS)
    cases = _get(where, row, "cases", list)
    if not cases:
        raise BadInput(f"{where}: cases is empty: a program cannot pass nothing")
    checker = row.get("checker")
    groups = _get(where, row, "groups", list, [])
    language = _get(where, row, "language", str, "python")
    try:
        get(language)
    except KeyError as error:
        raise BadInput(f"{where}: {error.args[0]}") from None
    return FileTask(
        id=_get(where, row, "id", str),
        groups=tuple(_read(f"{where}: groups[{i}]", read_group, group) for i, group in enumerate(groups)),
        cases=tuple(_read(f"{where}: cases[{i}]", read_case, case) for i, case in enumerate(cases)),
        limits=_read(where, read_limits, row.get("limits", {})),
        checker=None if checker is None else _read(where, read_rule, checker),
        language=language,
    )


def _read(where: str, read: Callable[[Any], T], record: Any) -> T:
    try:
        return read(record)
    except FormFault as fault:
        raise BadInput(f"{where}: {fault}") from None
