"""What can a stage be told? One record per kind of stage; a run takes the settings of a stage from the section of its name."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from coderl.config.sections import OptimizerConfig, Section


class StageConfig(Section):
    steps: int = Field(100, gt=0)
    optimizer: OptimizerConfig = OptimizerConfig()
    micro_batch_tokens: int = Field(8192, gt=0)  # padded tokens of one forward pass
    checkpoint_every: int = Field(50, gt=0)
    keep_checkpoints: int = Field(2, gt=0)
    eval_every: int = Field(0, ge=0)  # steps between evaluations on tasks.test; 0: never inside the stage
    eval_tasks: int = Field(64, gt=0)  # how many test tasks such an evaluation takes


class SftConfig(StageConfig):
    """Supervised fine-tuning on reference solutions: -log p of the completion tokens, prompt masked."""

    method: Literal["sft"] = "sft"
    batch_size: int = Field(64, gt=0)


class CurriculumConfig(Section):
    """Which tasks a step takes, and what becomes of groups that teach nothing."""

    sampler: Literal["uniform", "pools", "signal"] = "uniform"  # by level, or by task, where p(1-p) is largest
    decay: float = Field(0.8, gt=0, le=1)  # of older results in a task's pass rate, each time that it is sampled again
    gate: Literal["keep", "replace"] = (
        "keep"  # replace: drop groups whose rewards are all equal, and sample others (DAPO)
    )
    max_rounds: int = Field(4, gt=0)  # rounds of sampling in one step with gate: replace, the first included


class RolloutStageConfig(StageConfig):
    prompts_per_step: int = Field(16, gt=0)
    samples_per_prompt: int = Field(8, gt=0)
    epochs: int = Field(1, gt=0)  # passes over one batch of rollouts
    minibatches: int = Field(1, gt=0)  # optimizer steps per pass
    clip_low: float = Field(0.2, gt=0)
    clip_high: float = Field(0.2, gt=0)
    curriculum: CurriculumConfig = CurriculumConfig()
    truncation: Literal["keep", "mask"] = "keep"  # mask: no gradient from completions without a stop token


class GrpoConfig(RolloutStageConfig):
    """Group-relative policy optimisation (Shao et al. 2024, arXiv:2402.03300)."""

    method: Literal["grpo"] = "grpo"
    samples_per_prompt: int = Field(8, gt=1)
    scale: Literal["std", "none"] = "std"  # divide the advantage by the group's standard deviation, or not (Dr. GRPO)
    normalize: Literal["token", "sequence", "constant"] = "token"  # how token losses are averaged over the step
    kl_coef: float = Field(0.0, ge=0)  # weight of the k3 estimate of KL to the reference in the loss


class PpoConfig(RolloutStageConfig):
    """PPO with a critic (Schulman et al. 2017; Ziegler et al. 2019 for the KL in the reward)."""

    method: Literal["ppo"] = "ppo"
    samples_per_prompt: int = Field(4, gt=0)
    gamma: float = Field(1.0, gt=0, le=1)
    lam: float = Field(0.95, ge=0, le=1)
    kl_coef: float = Field(0.02, ge=0)  # k1 estimate per token, in the reward
    kl_target: float | None = None  # adaptive controller towards this KL per sequence; null keeps kl_coef
    kl_horizon: int = Field(2048, gt=0)  # episodes
    value_clip: float = Field(0.2, gt=0)
    value_coef: float = Field(0.5, ge=0)
    value_learning_rate: float = Field(1e-4, gt=0)
    critic_warmup_steps: int = Field(0, ge=0)  # steps in which only the critic learns
    dual_clip: float = Field(3.0, gt=1)
    target_kl: float | None = None  # stop the epochs of a step when approx_kl passes it
    whiten_advantages: bool = True
    reward_clip: float = Field(10.0, gt=0)
    entropy_coef: float = Field(0.0, ge=0)
    bootstrap_truncated: bool = False  # True: a truncated completion continues with the critic's value


class EvalConfig(Section):
    """pass@k on tasks.test with a bootstrap interval over problems."""

    method: Literal["eval"] = "eval"
    samples_per_task: int = Field(4, gt=0)
    k: list[int] = Field([1])
    temperature: float = Field(0.8, ge=0)  # 0: greedy
    max_new_tokens: int | None = None  # null: generation.max_new_tokens
    limit: int | None = None  # take only the first tasks
    bootstrap: int = Field(2000, gt=0)

    @field_validator("k")
    @classmethod
    def _k_positive(cls, k: list[int]) -> list[int]:
        if not k or min(k) < 1:
            raise ValueError("give at least one k, each 1 or more")
        return k

    @model_validator(mode="after")
    def _enough_samples(self) -> EvalConfig:
        if max(self.k) > self.samples_per_task:
            raise ValueError(f"k={max(self.k)} needs samples_per_task >= {max(self.k)}, got {self.samples_per_task}")
        return self
