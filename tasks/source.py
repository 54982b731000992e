"""What is a source of tasks: a name, a function that returns tasks, and the options that it understands.

A package adds one with an entry point in the group `coderl.tasks` whose value is a `Source`; docs/tasks.md shows it
in 20 lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tasks.errors import TaskError
from tasks.task import Task

Options = Mapping[str, str]  # the options of a spec that the source named in `Source.options`, as written


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One entry of the registry.

    `load(argument, options)` gets what stands after "NAME:" ("" if nothing does), the source's own options, and
    `on_error` (see `tasks.reading`). A source that names `split` or `level` among its options must honour them itself; for
    others the registry filters.
    """

    name: str
    summary: str  # one line for `describe`
    load: Callable[[str, Options], list[Task]]
    options: tuple[str, ...] = ()
    argument: str = ""  # what may stand after the colon, for `describe`; "" means nothing may


def integer(where: str, name: str, text: str, *, low: int = 0) -> int:
    """An option that must be a whole number of at least `low`."""
    if not text.strip().isdecimal() or int(text) < low:
        raise TaskError(where, f"is {text!r}", field=name, remedy=f"give a whole number of at least {low}")
    return int(text)


def interval(where: str, name: str, text: str) -> range:
    """The levels of "2" or "1-3".

    >>> list(interval("easy", "level", "1-3"))
    [1, 2, 3]
    """
    low, dash, high = text.partition("-")
    first = integer(where, name, low)
    last = integer(where, name, high) if dash else first
    if last < first:
        raise TaskError(where, f"is {text!r}", field=name, remedy="write the lower level first, e.g. level=1-3")
    return range(first, last + 1)


def words(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated option."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
