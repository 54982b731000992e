"""Which programs of a run are worth reading, and on which tests did they fail?

Of the first, middle and last step of each stage: the best and the worst scored rollout. A test is told as it was asked, with
what was expected and what came; where the run's tasks cannot be loaded any more, with what came alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from coderl.prompts import show_case
from coderl.rollout import Rollout
from coderl.store import RolloutStore, read_segment
from sandbox import CallCase, Outcome, StdioCase
from tasks.task import Task

SHOWN_STEPS = 3  # of each stage: samples of the first, middle and last step
SHOWN_TESTS = 3  # of each sample: the first ones that failed


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTest:
    """`number` counts from 1; `asked` and `expected` are "" where they are not known, or the test has no such part."""

    number: int
    hidden: bool
    outcome: str
    asked: str
    expected: str
    got: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A rollout, and why it is shown; `stage` and `step` are those of the metrics. `task` is None where it is not known."""

    stage: str
    step: int
    why: str
    rollout: Rollout
    task: Task | None = None

    @property
    def failed(self) -> list[FailedTest]:
        return failed_tests(self.rollout, self.task)


def chosen_samples(store: RolloutStore) -> list[Sample]:
    """Raises RunFolderError for a damaged segment among those that are read."""
    samples = []
    segments = store.segments()
    for stage in dict.fromkeys(segment.stage for segment in segments):
        own = [segment for segment in segments if segment.stage == stage]
        chosen = sorted({round(i * (len(own) - 1) / (SHOWN_STEPS - 1)) for i in range(SHOWN_STEPS)})
        for segment in (own[i] for i in chosen):
            scored = [r for r in read_segment(segment.path) if not math.isnan(r.reward)]
            if not scored:
                continue
            best, worst = max(scored, key=lambda r: r.reward), min(scored, key=lambda r: r.reward)
            same = best.reward == worst.reward
            chosen_rollouts = {"all rewards": best} if same else {"highest reward": best, "lowest reward": worst}
            samples += [
                Sample(stage=segment.stage, step=segment.step, why=why, rollout=rollout)
                for why, rollout in chosen_rollouts.items()
            ]
    return samples


def with_tasks(samples: list[Sample], tasks: Mapping[str, Task]) -> list[Sample]:
    return [replace(sample, task=tasks.get(sample.rollout.task_id)) for sample in samples]


def failed_tests(rollout: Rollout, task: Task | None) -> list[FailedTest]:
    """The tests that ran and did not pass, in order. A verdict on other tests than the task has now is told without them."""
    if rollout.verdict is None:
        return []
    results = rollout.verdict.cases
    known = task.cases if task is not None and len(task.cases) == len(results) else None
    num_visible = len(task.visible) if task is not None and known is not None else 0
    found = []
    for i, result in enumerate(results):
        if result.outcome in (Outcome.AC, Outcome.SKIP):
            continue
        asked, expected = "", ""
        if known is not None:
            case = known[i]
            if isinstance(case, CallCase):
                arguments = [repr(a) for a in case.args] + [f"{k}={v!r}" for k, v in case.kwargs.items()]
                asked, expected = f"{case.function}({', '.join(arguments)})", repr(case.expected)
            elif isinstance(case, StdioCase):
                asked, expected = case.stdin, case.stdout
            else:
                asked = show_case(case)
        found.append(
            FailedTest(
                number=i + 1,
                hidden=known is not None and i >= num_visible,
                outcome=str(result.outcome),
                asked=asked,
                expected=expected,
                got=result.output_head,
                detail=result.detail,
            )
        )
    return found
