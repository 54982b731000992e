"""Which tasks does the policy solve? The map of difficulty: before beside after, by level, source and tag."""

from __future__ import annotations

from collections.abc import Sequence

from coderl.report.difficulty import SOLVED, TaskChange
from coderl.report.evidence import Comparison
from coderl.report.markup import Html, facts, join, table, tag

MAX_SQUARES = 1000  # tasks in the map: with more, a square shows nothing
NAMED = 5  # tasks named that gained or lost most
SHADES = ("none", "under half", "half or more", "all")


def difficulty(found: Comparison) -> Html:
    changes = found.changes
    if not changes:
        return Html()
    gained, lost = [c for c in changes if c.gained], [c for c in changes if c.lost]
    told = (
        f"Solved means that at least {SOLVED:.0%} of a task's samples pass. Of {len(changes)} tasks, "
        f"{sum(c.before >= SOLVED for c in changes)} were solved before and {sum(c.after >= SOLVED for c in changes)} after: "
        f"{len(gained)} were gained, {len(lost)} lost."
    )
    rows = [
        [
            group.name,
            str(group.num_tasks),
            f"{group.before:.1%}",
            f"{group.after:.1%}",
            f"{100 * (group.after - group.before):+.1f}",
            f"{group.solved_before} → {group.solved_after}",
            str(group.num_gained),
            str(group.num_lost),
        ]
        for group in found.groups
    ]
    header = ["tasks", "number", "pass@1 before", "after", "points", "solved", "gained", "lost"]
    most = sorted(gained, key=lambda c: c.before - c.after)[:NAMED]
    least = sorted(lost, key=lambda c: c.after - c.before)[:NAMED]
    named = facts([("gained most", _named(most)), ("lost most", _named(least))])
    return join([tag("p", told), _map(found), table(header, rows), named])


def _map(found: Comparison) -> Html:
    if len(found.changes) > MAX_SQUARES:
        return Html()
    shades = [tag("span", name, cls=f"key m{i}") for i, name in enumerate(SHADES)]
    order = "A square is a task, in the same place on both sides: by level, then by how often it was solved before."
    maps = [
        _squares(f"before ({found.before.title})", [(c, c.before) for c in found.changes]),
        _squares(f"after ({found.after.title})", [(c, c.after) for c in found.changes]),
    ]
    return join([tag("p", order, " Samples that pass: ", *shades, cls="note"), tag("div", *maps, cls="maps")])


def _squares(title: str, rates: Sequence[tuple[TaskChange, float]]) -> Html:
    rows: dict[int, list[Html]] = {}
    for change, rate in rates:
        square = tag("i", cls=f"m{_shade(rate)}", title=f"{change.task_id}: {rate:.0%}")
        rows.setdefault(change.level, []).append(square)
    levels = [
        join([tag("div", f"level {level}", cls="ends")] if len(rows) > 1 else []) + tag("div", *squares, cls="squares")
        for level, squares in rows.items()
    ]
    return tag("figure", tag("figcaption", tag("b", title)), *(Html(level) for level in levels))


def _shade(rate: float) -> int:
    return 0 if rate == 0 else 3 if rate == 1 else 2 if rate >= SOLVED else 1


def _named(changes: Sequence[TaskChange]) -> str:
    return ", ".join(f"{c.task_id} ({c.before:.0%} → {c.after:.0%})" for c in changes)
