"""What can the methods that learn from their own samples be told? PPO, and GRPO with its relatives.

The relatives are one method: each is a section with other defaults, so a config can move from any of them to any other one
setting at a time.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from coderl.config.sections import Section
from coderl.config.stages import StageConfig


class CurriculumConfig(Section):
    """Which tasks a step takes, and what becomes of groups that teach nothing."""

    sampler: Literal["uniform", "pools", "signal"] = "uniform"  # by level, or by task, where p(1-p) is largest
    decay: float = Field(0.8, gt=0, le=1)  # of older results in a task's pass rate, each time that it is sampled again
    gate: Literal["keep", "replace"] = (
        "keep"  # replace: drop groups whose rewards are all equal, and sample others (DAPO)
    )
    max_rounds: int = Field(4, gt=0)  # rounds of sampling in one step with gate: replace, the first included


class ReplacingCurriculumConfig(CurriculumConfig):
    gate: Literal["keep", "replace"] = "replace"


class RolloutStageConfig(StageConfig):
    prompts_per_step: int = Field(16, gt=0)
    samples_per_prompt: int = Field(8, gt=0)
    epochs: int = Field(1, gt=0)  # passes over one batch of rollouts
    minibatches: int = Field(1, gt=0)  # optimizer steps per pass
    clip_low: float = Field(0.2, gt=0)
    clip_high: float = Field(0.2, gt=0)
    curriculum: CurriculumConfig = CurriculumConfig()
    entropy_coef: float = Field(0.0, ge=0)  # weight of the entropy bonus in the loss
    target_kl: float | None = Field(None, gt=0)  # stop the epochs of a step when approx_kl passes it
    overlong_share: float = Field(
        0.0, ge=0, lt=1
    )  # last share of the token limit in which the reward falls (DAPO, eq. 13)
    overlong_penalty: float = Field(1.0, gt=0)  # what it has fallen by at the limit
    coverage_mask: bool = False  # no credit for tokens of lines that no test ran (StepCoder); Python programs only
    failing_line_penalty: float = Field(0.0, ge=0)  # taken off the tokens of the line that raised (RLTF)
    importance: Literal["none", "truncate", "mask"] = (
        "none"  # correct for a sampler whose probabilities are not the trainer's
    )
    importance_cap: float = Field(
        2.0, gt=1
    )  # truncate: largest weight of a token; mask: tokens outside [1/cap, cap] count 0
    off_policy_steps: int = Field(
        0, ge=0, le=1
    )  # 1: the next batch is sampled and graded during the update, by the policy from before it

    @model_validator(mode="after")
    def _off_policy_is_corrected_for(self) -> RolloutStageConfig:
        if self.off_policy_steps and self.importance == "none":
            raise ValueError(
                "off_policy_steps 1: samples are of the policy before the last update: set importance to truncate or mask"
            )
        return self


class GrpoConfig(RolloutStageConfig):
    """Group-relative policy optimisation (Shao et al. 2024, arXiv:2402.03300), and the settings of all its relatives."""

    samples_per_prompt: int = Field(8, gt=1)
    baseline: Literal["group", "leave_one_out", "greedy", "none"] = "group"  # what is subtracted from the reward
    scale: Literal["std", "batch", "none"] = "std"  # divide by the group's deviation, whiten over the batch, or neither
    reward_parts: Literal["sum", "normalize"] = (
        "sum"  # normalize: each part over its group before they are added (GDPO)
    )
    ratio: Literal["token", "sequence", "geometric"] = (
        "token"  # of each token, of the whole completion, or its geometric mean
    )
    surrogate: Literal["clip", "cispo"] = "clip"  # clip the objective, or only the weight of the gradient
    normalize: Literal["token", "sequence", "constant"] = "token"  # how token losses are averaged over the step
    kl_coef: float = Field(0.0, ge=0)  # weight of the KL to the reference
    kl_in: Literal["loss", "reward", "token_reward"] = (
        "loss"  # token_reward: each token pays for itself and what follows it
    )
    kl_estimator: Literal["k1", "k2", "k3", "k3+"] = "k3"  # k3+: the value of k3 with the gradient of k2
    truncation: Literal["keep", "mask"] = "keep"  # mask: no gradient from completions without a stop token

    @model_validator(mode="after")
    def _makes_sense(self) -> GrpoConfig:
        if self.baseline in ("group", "leave_one_out") and self.samples_per_prompt < 2:
            raise ValueError(f"baseline {self.baseline} needs samples_per_prompt of 2 or more")
        if self.scale == "std" and self.baseline != "group":
            raise ValueError(f"scale std goes with baseline group, not {self.baseline}: use batch or none")
        if self.reward_parts == "normalize" and (self.baseline != "group" or self.kl_in == "reward"):
            raise ValueError("reward_parts normalize goes with baseline group, and with kl_in loss or token_reward")
        if self.kl_in == "loss" and self.kl_estimator == "k1":
            raise ValueError(
                "kl_estimator k1 in the loss has a gradient of mean zero: use k2, k3 or k3+, or kl_in reward"
            )
        if self.kl_in != "loss" and self.kl_estimator != "k1":
            raise ValueError(f"kl_estimator {self.kl_estimator} in the reward is biased: use k1, or kl_in loss")
        if self.truncation == "mask" and self.overlong_share:
            raise ValueError("truncation mask and overlong_share punish the same completions twice: use one")
        return self


class DrGrpoConfig(GrpoConfig):
    """Dr. GRPO (Liu et al. 2025, arXiv:2503.20783): no bias from the length of a completion or the difficulty of a task."""

    scale: Literal["std", "batch", "none"] = "none"
    normalize: Literal["token", "sequence", "constant"] = "constant"


class DapoConfig(GrpoConfig):
    """DAPO (Yu et al. 2025, arXiv:2503.14476): token mean, clip-higher, dynamic sampling, soft overlong penalty."""

    clip_high: float = Field(0.28, gt=0)
    curriculum: ReplacingCurriculumConfig = ReplacingCurriculumConfig()
    overlong_share: float = Field(0.2, ge=0, lt=1)


class GspoConfig(GrpoConfig):
    """GSPO (Zheng et al. 2025, arXiv:2507.18071): the length-normalised ratio of the whole completion is clipped."""

    ratio: Literal["token", "sequence", "geometric"] = "geometric"
    normalize: Literal["token", "sequence", "constant"] = "sequence"
    clip_low: float = Field(3e-4, gt=0)
    clip_high: float = Field(4e-4, gt=0)


class CispoConfig(GrpoConfig):
    """CISPO (MiniMax-M1, 2025, arXiv:2506.13585): no token loses its gradient; its importance weight is bounded."""

    surrogate: Literal["clip", "cispo"] = "cispo"
    clip_low: float = Field(1.0, gt=0)  # 1 and more: no bound from below
    clip_high: float = Field(4.0, gt=0)


class RlooConfig(GrpoConfig):
    """RLOO (Ahmadian et al. 2024, arXiv:2402.14740): a completion is one action, the others of its prompt the baseline."""

    baseline: Literal["group", "leave_one_out", "greedy", "none"] = "leave_one_out"
    scale: Literal["std", "batch", "none"] = "none"
    ratio: Literal["token", "sequence", "geometric"] = "sequence"
    normalize: Literal["token", "sequence", "constant"] = "sequence"
    kl_in: Literal["loss", "reward", "token_reward"] = "reward"
    kl_estimator: Literal["k1", "k2", "k3", "k3+"] = "k1"


class ReinforcePpConfig(GrpoConfig):
    """REINFORCE++ (Hu 2025, arXiv:2501.03262): no critic and no group; advantages whitened over the whole batch."""

    samples_per_prompt: int = Field(4, gt=0)
    baseline: Literal["group", "leave_one_out", "greedy", "none"] = "none"
    scale: Literal["std", "batch", "none"] = "batch"
    kl_coef: float = Field(0.001, ge=0)
    kl_in: Literal["loss", "reward", "token_reward"] = "token_reward"
    kl_estimator: Literal["k1", "k2", "k3", "k3+"] = "k1"


class RemaxConfig(GrpoConfig):
    """ReMax (Li et al. 2023, arXiv:2310.10505): the baseline is the reward of the greedy completion of the same prompt."""

    samples_per_prompt: int = Field(4, gt=0)
    baseline: Literal["group", "leave_one_out", "greedy", "none"] = "greedy"
    scale: Literal["std", "batch", "none"] = "none"


class PpoConfig(RolloutStageConfig):
    """PPO with a critic (Schulman et al. 2017; Ziegler et al. 2019 for the KL in the reward)."""

    samples_per_prompt: int = Field(4, gt=0)
    gamma: float = Field(1.0, gt=0, le=1)
    lam: float = Field(0.95, ge=0, le=1)
    kl_coef: float = Field(0.02, ge=0)  # k1 estimate per token, in the reward
    kl_target: float | None = Field(None, gt=0)  # adaptive controller towards this KL per sequence; null keeps kl_coef
    kl_horizon: int = Field(2048, gt=0)  # episodes
    critic: Literal["separate", "shared"] = (
        "separate"  # a trunk of its own that starts as the policy's, or a head on the policy's
    )
    critic_model: str = ""  # separate: a folder or hub id, or a reward model's folder, whose trunk it starts as instead
    value_init_std: float = Field(0.0, ge=0)  # of the value head's first weights
    value_clip: float = Field(0.2, gt=0)
    value_coef: float = Field(0.5, ge=0)
    value_learning_rate: float = Field(1e-4, gt=0)
    critic_warmup_steps: int = Field(0, ge=0)  # steps in which only the critic learns
    dual_clip: float | None = Field(3.0, gt=1)
    whiten_advantages: bool = True
    reward_clip: float = Field(10.0, gt=0)
    whiten_rewards: bool = False  # token rewards of a step get deviation 1 and keep their mean
    scale_rewards: bool = False  # scores are divided by the running deviation of all scores so far
    truncation: Literal["keep", "mask", "bootstrap"] = (
        "keep"  # a cut completion ends, is left out, or goes on as the critic says
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> PpoConfig:
        if self.critic_model and self.critic == "shared":
            raise ValueError("critic_model is for critic separate: a shared one has the policy's trunk")
        if self.truncation != "keep" and self.overlong_share:
            raise ValueError(f"truncation {self.truncation} and overlong_share contradict each other: use one")
        return self
