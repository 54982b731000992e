"""How are the rows of a data file read, so that every fault names the file, the line and the field?

Reads .jsonl, .json (one array), both with .gz, and .parquet. A row is never repaired: a wrong field is a TaskError.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import TaskError


@dataclass(frozen=True, slots=True)
class Row:
    """One record and where it stands, e.g. Row("mine.jsonl:3", {"id": "a"})."""

    where: str
    record: Mapping[str, Any]
    split: str = ""  # that of the file or data set it came from; "" where nothing tells

    def fault(self, field: str, fault: str, remedy: str) -> TaskError:
        return TaskError(self.where, fault, field=field, remedy=remedy)

    def get(self, field: str, kind: type, default: Any = None) -> Any:
        """The field, of type `kind`; `default` where it is absent, and a TaskError if there is no default."""
        value = self.record.get(field)
        if value is None and (field not in self.record or default is not None):
            if default is None:
                raise self.fault(field, "is missing", f"add it as {_NAMES[kind]}")
            return default
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise self.fault(field, f"is {_shown(value)}", f"write it as {_NAMES[kind]}")
        return value

    def text(self, field: str, default: str | None = None) -> str:
        return str(self.get(field, str, default))

    def texts(self, field: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        values = self.get(field, list, None if default is None else list(default))
        if not all(isinstance(value, str) for value in values):
            raise self.fault(field, "holds something other than text", "write it as an array of strings")
        return tuple(values)

    def parsed(self, field: str, kind: type) -> Any:
        """A field that holds JSON as text, of type `kind`."""
        return Row(self.where, {field: self.value(field, self.text(field))}).get(field, kind)

    def value(self, field: str, text: str) -> Any:
        """What `text`, a part of the field, is as JSON."""
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.fault(field, f"is not JSON ({str(error)[:60]}): {text[:40]!r}", "write it as JSON") from None


_NAMES = {
    str: "a string", list: "an array", dict: "an object", int: "a whole number", float: "a number", bool: "true or false",
}  # fmt: skip


def _shown(value: Any) -> str:
    try:
        return json.dumps(value)[:40]
    except (TypeError, ValueError, RecursionError):
        return f"a {type(value).__name__}"


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, with line numbers from 1 (for .json: positions in the array, as path[0])."""
    for row in scan_rows(path):
        if isinstance(row, TaskError):
            raise row
        yield row


def scan_rows(path: Path, split: str = "") -> Iterator[Row | TaskError]:
    """As `read_rows`, but a row that cannot be read is there as its error, so that the others still come."""
    if path.suffix == ".parquet":
        yield from _parquet(path, split)
        return
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    except FileNotFoundError:
        raise TaskError(str(path), "there is no such file", remedy="check the path") from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise TaskError(str(path), f"cannot be read ({error})", remedy="give UTF-8 text, or gzip of it") from None
    if path.name.removesuffix(".gz").endswith(".json"):
        records = _parse(str(path), text)
        if not isinstance(records, list):
            raise TaskError(str(path), "is not an array", remedy="write one JSON array of objects, or use .jsonl")
        yield from (_row(f"{path}[{i}]", record, split) for i, record in enumerate(records))
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{path}:{number}"
            try:
                yield _row(where, _parse(where, line), split)
            except TaskError as error:
                yield error


def _parquet(path: Path, split: str) -> Iterator[Row | TaskError]:
    try:
        from pyarrow import ArrowException, parquet  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        remedy = "pip install pyarrow (it comes with datasets), or write the rows as .jsonl"
        raise TaskError(str(path), "needs the package `pyarrow`", remedy=remedy) from None
    if not path.exists():
        raise TaskError(str(path), "there is no such file", remedy="check the path")
    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=256):
            for record in batch.to_pylist():
                yield _row(f"{path}[{number}]", record, split)
                number += 1
    except (OSError, ArrowException) as error:
        raise TaskError(str(path), f"cannot be read ({str(error)[:80]})", remedy="give a parquet file") from None


def wrap(where: str, records: Iterable[Mapping[str, Any]], split: str = "") -> list[Row]:
    """Rows of a data set that is not a file, e.g. one of the hub."""
    return [Row(f"{where}[{i}]", record, split) for i, record in enumerate(records)]


def _parse(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TaskError(where, f"is not JSON ({error})", remedy="write one object a line") from None


def _row(where: str, record: Any, split: str = "") -> Row:
    if not isinstance(record, dict):
        raise TaskError(where, f"is {_shown(record)}", remedy="write an object with the fields of a task")
    return Row(where, record, split)
