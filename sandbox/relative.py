"""How long may a program take, where the task's own reference solution is the measure?

Every task's reference is graded once, under a generous limit, on the backend and the machine that judge the samples; a
multiple of its slowest run is then the limit of cpu time of the task, and a little over twice that by the clock. No factor of
the language or of the machine comes on top: the reference was as slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sandbox.errors import BadInput
from sandbox.grader import Grader
from sandbox.jury import MEASURED_SECONDS, relative_limit, slowest, timed
from sandbox.samples import FileSample, FileTask
from sandbox.verdict import Status

RESOLUTION = 0.5  # seconds: below that, start-up and noise are most of what was measured


def relative_limits(
    samples: Sequence[FileSample], tasks: Mapping[str, FileTask], multiplier: float, grader: Grader
) -> list[FileSample]:
    """`samples` under `multiplier` times what the references need. Raises BadInput where none is accepted."""
    wanted = [tasks[task_id] for task_id in dict.fromkeys(sample.task_id for sample in samples)]
    for task in wanted:
        if not task.reference:
            raise BadInput(
                f"task {task.id!r}: has no reference solution to measure: add `reference`, or use --time-factor"
            )
    requests = [replace(task.request(task.reference), limits=timed(task.limits, MEASURED_SECONDS)) for task in wanted]
    seconds = {}
    for task, verdict in zip(wanted, grader.grade(requests), strict=True):
        if verdict.status is not Status.PASS:
            why = f"{verdict.outcome}{': ' if verdict.detail else ''}{verdict.detail}"
            raise BadInput(
                f"task {task.id!r}: its reference solution is not accepted ({why}): mend the task, or leave it out"
            )
        seconds[task.id] = relative_limit(slowest(verdict), multiplier, RESOLUTION)
    return [
        replace(sample, request=replace(sample.request, limits=timed(sample.request.limits, seconds[sample.task_id])))
        for sample in samples
    ]
