"""How does the self-test show what it found? A table for each section, the gaps by name, and one line at the end."""

from __future__ import annotations

import itertools
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from sandbox.judge import one_line
from sandbox.selftest import Report, State

_WIDTHS = (30, 46, 10, 8)


def lines(report: Report) -> Iterator[str]:
    """For a terminal of 110 columns."""
    for section, rows in itertools.groupby(report.rows, key=lambda row: row.section):
        yield f"\n{section.replace('_', ' ')}"
        yield _columns("program", "what it does", "required", "got", "")
        for row in rows:
            yield _columns(row.name, row.what, row.must, row.got, row.state.value)
            if row.note:
                yield from textwrap.wrap(one_line(row.note), 106, initial_indent="    ", subsequent_indent="    ")
    for state, title in (
        (State.GAP, "known gaps of this backend"),
        (State.NOT_RUN, "not run"),
        (State.WRONG, "WRONG"),
    ):
        if found := [row for row in report.rows if row.state is state]:
            yield f"\n{title}:"
            yield from (f"  {row.name}: {one_line(row.note)}" for row in found)
    if report.left:
        yield "\nleft behind:"
        yield from (f"  {thing}" for thing in report.left)
    yield ""
    yield summary(report)


def summary(report: Report) -> str:
    """e.g. `selftest ok: jail: 365 ok, 0 wrong, 0 gaps, 24 not run, nothing left behind, 30 s`"""
    count = Counter(row.state for row in report.rows)
    left = f"{len(report.left)} things" if report.left else "nothing"
    return (
        f"selftest {'ok' if report.ok else 'FAILED'}: {report.isolation.backend}: {count[State.OK]} ok, "
        f"{count[State.WRONG]} wrong, {count[State.GAP]} known gaps, {count[State.NOT_RUN]} not run, {left} left behind, "
        f"{report.seconds:.0f} s (layers: {', '.join(report.isolation.layers)})"
    )


def to_json(report: Report) -> dict[str, Any]:
    return {"ok": report.ok, **asdict(report)}


def _columns(*cells: str) -> str:
    """One line; what is too long for its column pushes the rest to the right, but for a description, which is cut."""
    name, what, must, got, state = cells
    parts = (name, textwrap.shorten(what, _WIDTHS[1], placeholder=" .."), must, got)
    return (" ".join(part.ljust(width) for part, width in zip(parts, _WIDTHS, strict=True)) + f" {state}").rstrip()
