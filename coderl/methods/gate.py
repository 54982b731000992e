"""How does a step come by its groups? Draw tasks, sample them, and with the gate `replace` draw others for the flat ones.

A group is flat if its scorable samples all have the same reward: its baseline leaves nothing to learn (DAPO, Yu et al. 2025,
arXiv:2503.14476, eq. 11). With several processes each samples its share of every round, and all learn of all results, so
that the draws are the same whatever their number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from coderl.collect import Collected, collect, solved, with_learned
from coderl.config import RolloutStageConfig
from coderl.curriculum import Curriculum, Result, has_signal
from coderl.rollout import Rollout
from coderl.workbench import Workbench, gather

Group = list[Rollout]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """This process's share of a step: `kept` to learn from, `dropped` for the store alone.

    A process whose groups were all dropped keeps one, in `stand_in` too, since every process must take part in an update:
    nothing is learned from it. `places` numbers the rollouts of the step, by seed: the kept ones of all processes come first.
    """

    kept: Collected
    dropped: list[Rollout]
    stand_in: list[Rollout]
    places: dict[int, int]
    metrics: dict[str, float]  # of the step, over all processes


def gated(
    bench: Workbench,
    config: RolloutStageConfig,
    curriculum: Curriculum,
    *,
    stage: str,
    step: int,
    adjusted: Callable[[Rollout], Rollout] = lambda rollout: rollout,
) -> Gated:
    """The groups of one step. The gate stops after `max_rounds` rounds, with fewer groups than were asked for.

    `adjusted` adds to a rollout the parts of its reward that the stage pays, before the gate looks at it.
    """
    tasks, replacing = bench.train_tasks, config.curriculum.gate == "replace"
    kept: list[Group] = []
    dropped: list[Group] = []
    places: dict[int, int] = {}
    parts: list[Collected] = []
    size, max_rounds = config.samples_per_prompt, config.curriculum.max_rounds if replacing else 1
    missing, num_dropped = config.prompts_per_step, 0
    curriculum.begin_step()
    while missing and len(parts) < max_rounds:
        own = bench.share(list(enumerate(curriculum.draw(missing))))
        drawn = [tasks[draw.index] for _, draw in own]
        part = collect(
            bench,
            drawn,
            samples_per_task=size,
            stage=stage,
            step=step,
            temperature=bench.config.generation.temperature,
            max_new_tokens=bench.config.generation.max_new_tokens,
            stop_early=bench.config.reward.scheme == "all_pass",
            repeats=[draw.repeat for _, draw in own],
            coverage=config.coverage_mask or config.failing_line_penalty > 0,
        )
        part = with_learned(bench, part, drawn, size)
        parts.append(part)
        found = []
        for (place, draw), start in zip(own, range(0, len(part.rollouts), size), strict=True):
            group = [adjusted(r) for r in part.rollouts[start : start + size]]
            keep = not replacing or has_signal(r.reward for r in group)
            (kept if keep else dropped).append(group)
            number = place + config.prompts_per_step * (len(parts) - 1 + (0 if keep else max_rounds))
            places |= {rollout.seed: number * size + at for at, rollout in enumerate(group)}
            found.append((place, keep, _result(bench, draw.index, group)))
        everywhere = sorted(gather(bench, found), key=lambda item: item[0])
        curriculum.record(result for _, _, result in everywhere)
        num_kept = sum(keep for _, keep, _ in everywhere)
        num_dropped += len(everywhere) - num_kept
        missing = missing - num_kept if replacing else 0
    stand_in = [] if kept or not dropped else dropped.pop(0)
    return Gated(
        kept=Collected(
            rollouts=[rollout for group in kept for rollout in group] or stand_in,
            generate_seconds=sum(part.generate_seconds for part in parts),
            grade_seconds=sum(part.grade_seconds for part in parts),
        ),
        dropped=[rollout for group in dropped for rollout in group],
        stand_in=stand_in,
        places=places,
        metrics={
            "curriculum/rounds": float(len(parts)),
            "curriculum/dropped_groups": float(num_dropped),
            "curriculum/missing_groups": float(missing),
            **curriculum.metrics(),
        },
    )


def _result(bench: Workbench, index: int, group: list[Rollout]) -> Result:
    """A sample passes where the cases that the reward looks at pass."""
    scored = [r for r in group if not math.isnan(r.reward)]
    passed = sum(solved(bench, r, bench.train_tasks[index]) for r in scored)
    return Result(index=index, passed=passed, graded=len(scored))
