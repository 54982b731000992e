"""How do tasks become columns, for parquet files and `datasets`, and come back bit for bit?

Text, numbers and lists of text are columns of that type. What has a form of its own (cases, checker, limits) is a column of
JSON text, in the grammar of our JSONL, so that no Arrow type can round, merge or drop anything. `dataset:PATH` reads both
kinds back. pyarrow and datasets (extra `train`) are imported here, when they are needed, and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tasks import jsonl
from tasks.errors import TaskError
from tasks.reading import tasks_of
from tasks.rows import Row, scan_rows, wrap
from tasks.source import Options, Source
from tasks.task import Task

_TEXT = ("id", "prompt", "style", "split", "entry_point", "signature", "language", "reference", "date")
_NUMBERS = ("level", "schema")
_TEXTS = ("tags", "stop")


def to_record(task: Task) -> dict[str, Any]:
    """One row; raises TaskError for text that Arrow cannot hold."""
    plain = {*_TEXT, *_NUMBERS, *_TEXTS}
    record = jsonl.to_json(task)
    for name in (*_TEXT, *_TEXTS):
        try:
            "".join(record[name]).encode()
        except UnicodeEncodeError:
            fault = "holds half of a surrogate pair, which Arrow has no room for"
            raise TaskError(repr(task.id), fault, field=name, remedy="export to .jsonl") from None
    return {name: value if name in plain else json.dumps(value) for name, value in record.items()}


def from_row(row: Row) -> Task:
    """Inverse of `to_record`. Raises TaskError."""
    plain = {*_TEXT, *_NUMBERS, *_TEXTS}
    whole = {}
    for name, value in row.record.items():
        try:
            whole[name] = value if name in plain else json.loads(value)
        except (ValueError, TypeError, RecursionError) as error:
            raise row.fault(
                str(name), f"is not JSON ({error})", "give a file that `coderl tasks export` wrote"
            ) from None
    return jsonl.from_row(Row(row.where, whole))


def write_parquet(path: Path, tasks: Iterable[Task]) -> None:
    parquet = _library("pyarrow.parquet", path)
    parquet.write_table(_table(path, tasks), path)


def write_dataset(path: Path, tasks: Iterable[Task]) -> None:
    """A folder for `datasets.load_from_disk`."""
    datasets = _library("datasets", path)
    datasets.disable_progress_bars()
    datasets.Dataset(_table(path, tasks)).save_to_disk(str(path))


def rows_of(path: Path) -> Iterator[Row | TaskError]:
    """The rows of a parquet file, or of a folder that `datasets` saved."""
    if not path.is_dir():
        yield from scan_rows(path)
        return
    try:
        rows = _library("datasets", path).load_from_disk(str(path), keep_in_memory=True)
    except OSError as error:
        remedy = "give a folder that `coderl tasks export` wrote"
        raise TaskError(str(path), f"cannot be read ({str(error)[:80]})", remedy=remedy) from None
    yield from wrap(str(path), rows)


def _table(path: Path, tasks: Iterable[Task]) -> Any:
    arrow = _library("pyarrow", path)
    rows = [to_record(task) for task in tasks]
    kinds = {**dict.fromkeys(_NUMBERS, arrow.int64()), **dict.fromkeys(_TEXTS, arrow.list_(arrow.string()))}
    names = list(rows[0]) if rows else []
    schema = arrow.schema([(name, kinds.get(name, arrow.string())) for name in names])
    return arrow.Table.from_pylist(rows, schema=schema)


def _library(name: str, path: Path) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        remedy = f"pip install 'coderl[train]' (for {package}), or use .jsonl"
        raise TaskError(path.name, f"needs the package `{package}`", remedy=remedy) from None


def _load(argument: str, options: Options) -> list[Task]:
    if not Path(argument).is_dir() and Path(argument).suffix != ".parquet":
        raise TaskError("dataset", f"{argument!r} is no folder and no .parquet file", remedy="write dataset:PATH")
    return tasks_of(argument, rows_of(Path(argument)), from_row, options)


SOURCE = Source(
    name="dataset", summary="a .parquet file or datasets folder of `coderl tasks export`", load=_load, argument="PATH"
)
