"""Which rows become tasks, and what becomes of bad ones?

A bad row (it cannot be read, a field is missing or wrong, its id is there already) is left out, and one warning counts them
and names the first; with `on_error=stop` the first one is a TaskError. Rows that are all bad are an error either way.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable

from sandbox import languages
from tasks.errors import TaskError, nearest
from tasks.rows import Row
from tasks.source import Options
from tasks.task import Split, Task

_SPLITS = {
    "train": Split.TRAIN, "training": Split.TRAIN, "valid": Split.VALIDATION, "validation": Split.VALIDATION,
    "dev": Split.VALIDATION, "test": Split.TEST,
}  # fmt: skip


def tasks_of(
    where: str, rows: Iterable[Row | TaskError], make: Callable[[Row], Task | None], options: Options
) -> list[Task]:
    """What `make` makes of each row, in order; it raises TaskError for a bad one, and returns None for one not asked for."""
    tasks: dict[str, Task] = {}
    errors: list[TaskError] = []
    for row in rows:
        try:
            if isinstance(row, TaskError):
                raise row
            task = make(row)
            if task is None:
                continue
            if task.id in tasks:
                raise row.fault("id", f"{task.id!r} is there already", "give every row its own id")
            tasks[task.id] = task
        except TaskError as error:
            if options.get("on_error") == "stop":
                raise
            errors.append(error)
    if len(errors) == 1 and not tasks:
        raise errors[0]
    if errors and not tasks:
        raise TaskError(where, f"all {len(errors)} rows are bad, the first: {errors[0]}", remedy="mend them")
    if errors:
        rows_ = "1 row" if len(errors) == 1 else f"{len(errors)} rows"
        warnings.warn(f"{where}: {rows_} left out, first: {errors[0]}", stacklevel=2)
    return list(tasks.values())


def split_of(row: Row, default: Split) -> Split:
    """The split that the row's file or data set is called after."""
    return _SPLITS.get(row.split, default)


def known_language(row: Row, field: str, name: str) -> str:
    """The sandbox's name of a language."""
    try:
        return languages.get(name).name
    except KeyError:
        raise row.fault(field, f"is {name[:40]!r}", nearest(name, languages.names())) from None
