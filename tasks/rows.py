"""How are the rows of a data file read, so that every fault names the file, the line and the field?

Reads .jsonl, .json (one array) and both with .gz. A row is never repaired: a wrong field is a TaskError.
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

    def fault(self, field: str, fault: str, remedy: str) -> TaskError:
        return TaskError(self.where, fault, field=field, remedy=remedy)

    def get(self, field: str, kind: type, default: Any = None) -> Any:
        """The field, of type `kind`; `default` where it is absent, and a TaskError if there is no default."""
        if field not in self.record:
            if default is None:
                raise self.fault(field, "is missing", f"add it as {_NAMES[kind]}")
            return default
        value = self.record[field]
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise self.fault(field, f"is {json.dumps(value)[:40]}", f"write it as {_NAMES[kind]}")
        return value

    def text(self, field: str, default: str | None = None) -> str:
        return str(self.get(field, str, default))

    def texts(self, field: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        values = self.get(field, list, None if default is None else list(default))
        if not all(isinstance(value, str) for value in values):
            raise self.fault(field, "holds something other than text", "write it as an array of strings")
        return tuple(values)


_NAMES = {str: "a string", list: "an array", dict: "an object", int: "a whole number", bool: "true or false"}


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, with line numbers from 1 (for .json: positions in the array, as path[0])."""
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
        yield from (_row(f"{path}[{i}]", record) for i, record in enumerate(records))
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{path}:{number}"
            yield _row(where, _parse(where, line))


def wrap(where: str, records: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Rows of a data set that is not a file, e.g. one of the hub."""
    return [Row(f"{where}[{i}]", record) for i, record in enumerate(records)]


def _parse(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TaskError(where, f"is not JSON ({error})", remedy="write one object a line") from None


def _row(where: str, record: Any) -> Row:
    if not isinstance(record, dict):
        raise TaskError(where, f"is {json.dumps(record)[:40]}", remedy="write an object with the fields of a task")
    return Row(where, record)
