"""What does the reward model add to the rewards of execution, and do the two still agree?

`LearnedReward` scores rollouts with a frozen reward model, normalised on samples of the reference policy, and mixes the scores
in by coderl.mixing. `Divergence` watches the two over a stage: a learned score that rises while fewer programs pass is a
policy that has found what the model likes and the tests do not (Gao et al. 2022, arXiv:2210.10760).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coderl.config import LearnedRewardConfig
from coderl.experience import Example
from coderl.mixing import mixed
from coderl.policy import Policy
from coderl.reward_model import Normaliser, RewardModel, load_reward_model, scores
from coderl.rewards import total
from coderl.rollout import Rollout
from sandbox import Status

MICRO_BATCH_TOKENS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedReward:
    """A frozen reward model and how its score is mixed in."""

    members: list[RewardModel]
    norm: Normaliser
    policy: Policy
    config: LearnedRewardConfig

    def scores(self, rollouts: Sequence[Rollout]) -> tuple[list[float], list[float]]:
        """Normalised scores (mean of the members, less `pessimism` times their spread), and the spread; one per rollout."""
        examples = [Example(prompt_ids=r.prompt_ids, completion_ids=r.completion_ids) for r in rollouts]
        raw = scores(self.members, self.policy, examples, micro_batch_tokens=MICRO_BATCH_TOKENS)
        z = (raw.double() - self.norm.mean) / self.norm.std  # (M, N)
        spread = z.std(0) if len(self.members) > 1 else z[0] * 0
        return (z.mean(0) - self.config.pessimism * spread).tolist(), spread.tolist()

    def mix(self, rollouts: Sequence[Rollout], passed: Sequence[bool], samples_per_task: int) -> list[Rollout]:
        """The rollouts with a reward part "learned"; `samples_per_task` neighbours are of one task.

        `passed` says which of them pass as far as the reward may look: see `coderl.collect.solved`.
        """
        values, _ = self.scores(rollouts)
        result: list[Rollout] = []
        for start in range(0, len(rollouts), samples_per_task):
            at = slice(start, start + samples_per_task)
            group, own = rollouts[at], values[at]
            execution = [r.reward_parts.get("execution", math.nan) for r in group]
            rewards = mixed(execution, passed[at], own, mix=self.config.mix, coef=self.config.coef)
            for rollout, before, reward, score in zip(group, execution, rewards, own, strict=True):
                parts = {**rollout.reward_parts, "learned": reward - before}
                result.append(rollout.with_(reward_parts=parts, reward=total(parts), learned_score=score))
        return result


def load_learned(config: LearnedRewardConfig, folder: Path, policy: Policy) -> LearnedReward:
    """Raises ModelError where `folder` holds no reward model for this policy."""
    members, norm = load_reward_model(folder, policy)
    return LearnedReward(members=members, norm=norm, policy=policy, config=config)


def learned_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Both parts of the reward apart, and their correlation over the batch (0 where one of them does not vary)."""
    known = [r for r in rollouts if r.learned_score is not None and not math.isnan(r.reward)]
    if not known:
        return {}
    learned = np.array([r.learned_score for r in known], dtype=np.float64)
    passed = np.array([_passed(r) for r in known], dtype=np.float64)
    varies = learned.std() > 0 and passed.std() > 0
    return {
        "learned/score": float(learned.mean()),
        "learned/part": float(np.mean([r.reward_parts["learned"] for r in known])),
        "learned/execution_part": float(np.mean([r.reward_parts["execution"] for r in known])),
        "learned/correlation": float(np.corrcoef(learned, passed)[0, 1]) if varies else 0.0,
    }


class Divergence:
    """Compares the means of two windows of steps, one after the other."""

    def __init__(self, window: int = 10, *, rise: float = 0.1, fall: float = 0.05) -> None:
        self._window, self._rise, self._fall = window, rise, fall
        self._seen: deque[tuple[float, float]] = deque(maxlen=2 * window)

    def update(self, values: dict[str, float]) -> str:
        """ "" or one line that says what went apart; then it starts anew, so that an alarm is not given at every step.

        Takes the metrics of a step: learned/score, in standard deviations of the reference policy's scores, and
        rollout/pass_rate; a step without them is passed over.
        """
        score, pass_rate = values.get("learned/score"), values.get("rollout/pass_rate")
        if score is None or pass_rate is None or math.isnan(pass_rate):
            return ""
        self._seen.append((score, pass_rate))
        if len(self._seen) < 2 * self._window:
            return ""
        earlier, later = np.split(np.array(self._seen), 2)
        score_change, pass_change = (later.mean(0) - earlier.mean(0)).tolist()
        if score_change < self._rise or pass_change > -self._fall:
            return ""
        self._seen.clear()
        return (
            f"over {2 * self._window} steps the reward model's score rose by {score_change:.2f} standard deviations while the "
            f"pass rate fell by {-pass_change:.2f}: the policy may be exploiting the reward model; lower reward.learned.coef, "
            "raise kl_coef, or train the reward model on samples of the present policy"
        )


def _passed(rollout: Rollout) -> bool:
    return rollout.verdict is not None and rollout.verdict.status is Status.PASS
