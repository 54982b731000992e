"""Which tasks does the policy solve now that it did not solve before, and which has it lost?

Two evaluations on the same tasks; a task is solved if at least half of its scorable samples pass. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.task import Task

SOLVED = 0.5
MIN_GROUP = 4  # tasks that make a row of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChange:
    """Shares of the samples of one task that passed."""

    task_id: str
    level: int
    before: float
    after: float

    @property
    def gained(self) -> bool:
        return self.before < SOLVED <= self.after

    @property
    def lost(self) -> bool:
        return self.after < SOLVED <= self.before


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskGroup:
    """The tasks that share a level, a source or a tag; `before` and `after` are mean shares."""

    name: str
    num_tasks: int
    before: float
    after: float
    solved_before: int
    solved_after: int
    num_gained: int
    num_lost: int


def task_changes(
    before: Mapping[str, tuple[int, int, int]], after: Mapping[str, tuple[int, int, int]]
) -> list[TaskChange]:
    """Both map a task id to (level, samples, passed). The tasks with samples in both, by level, then by how they did before."""
    found = [
        TaskChange(task_id=task_id, level=level, before=before[task_id][2] / before[task_id][1], after=passed / samples)
        for task_id, (level, samples, passed) in after.items()
        if samples and task_id in before and before[task_id][1]
    ]
    return sorted(found, key=lambda c: (c.level, -c.before, -c.after, c.task_id))


def task_groups(changes: Sequence[TaskChange], tasks: Mapping[str, Task]) -> list[TaskGroup]:
    """All tasks, then levels, sources and tags, where they tell tasks apart and have at least MIN_GROUP of them."""
    names: dict[str, list[TaskChange]] = {}
    for change in changes:
        task = tasks.get(change.task_id)
        source = change.task_id.partition("/")[0]
        own = [f"level {change.level}" if change.level else "", f"source {source}"]
        own += [f"tag {tag}" for tag in task.tags if tag != source] if task is not None else []
        for name in filter(None, own):
            names.setdefault(name, []).append(change)
    order = {"level": 0, "source": 1, "tag": 2}
    groups = [
        _group(name, own)
        for name, own in sorted(names.items(), key=lambda item: (order[item[0].partition(" ")[0]], item[0]))
        if MIN_GROUP <= len(own) < len(changes)
    ]
    return [_group("all", changes), *groups] if changes else []


def _group(name: str, changes: Sequence[TaskChange]) -> TaskGroup:
    return TaskGroup(
        name=name,
        num_tasks=len(changes),
        before=math.fsum(c.before for c in changes) / len(changes),
        after=math.fsum(c.after for c in changes) / len(changes),
        solved_before=sum(c.before >= SOLVED for c in changes),
        solved_after=sum(c.after >= SOLVED for c in changes),
        num_gained=sum(c.gained for c in changes),
        num_lost=sum(c.lost for c in changes),
    )
