"""What can go wrong with a source of tasks? One error, whose text is one line: where, what is wrong, what to do.

>>> str(TaskError("mine.jsonl:3", "has no id", field="id", remedy="give every row its own id"))
'mine.jsonl:3: field "id": has no id; give every row its own id'
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.errors import nearest

__all__ = ["TaskError", "nearest", "writing"]


class TaskError(ValueError):
    """A source, file, row or option is at fault. `where` is the input as given: a spec, a path or path:line."""

    def __init__(self, where: str, fault: str, *, field: str = "", remedy: str) -> None:
        self.where, self.fault, self.field, self.remedy = where, fault, field, remedy
        middle = f'field "{field}": ' if field else ""
        super().__init__(" ".join(f"{where}: {middle}{fault}; {remedy}".split()))

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.where, self.fault, self.field, self.remedy)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around what writes `path`: a full disk, or a folder that may not be written, becomes one line. Raises TaskError."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        remedy = "free some space, or name another place"
        raise TaskError(str(path), f"cannot be written ({reason})", remedy=remedy) from error


def _rebuild(where: str, fault: str, field: str, remedy: str) -> TaskError:
    return TaskError(where, fault, field=field, remedy=remedy)
