"""What can the stages be told that learn from stored programs and pairs of them, or choose among samples?"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from coderl.config.sections import LoraSection, Section
from coderl.config.stages import StageConfig


class SampleConfig(Section):
    """Samples of the current policy on training tasks, graded on every case, into the rollout store."""

    num_tasks: int = Field(256, gt=0)  # the next ones of an endless stream of permutations of tasks.train
    samples_per_task: int = Field(8, gt=0)
    temperature: float | None = Field(None, gt=0)  # null: generation.temperature


class PairsConfig(Section):
    """Pairs from execution: score(chosen) > score(rejected) + gap, score(chosen) > min_chosen, score(rejected) > min_rejected.

    The score is the share of a task's cases that pass (AceCoder, Zeng et al. 2025, arXiv:2502.01718, section 2.2).
    """

    source: str = (
        ""  # the folder of another run, whose training rollouts are taken; empty: the last sampling stage of this run
    )
    gap: float = Field(0.4, ge=0, lt=1)
    min_chosen: float = Field(0.8, ge=-1, lt=1)
    min_rejected: float = Field(0.0, ge=-1, lt=1)  # -1 takes programs that pass nothing or do not compile, too
    max_per_task: int = Field(4, gt=0)
    order: Literal["hard", "random"] = "hard"  # hard: the rejected programs nearest to the chosen ones come first
    min_distance: int = Field(1, ge=1)  # edited tokens; below it a pair is left out
    balance_lengths: bool = True  # choose so that the longer program is not the chosen one more often than not
    confirm: bool = True  # grade both programs once more and drop the pair if a verdict changes


class PreferenceData(StageConfig):
    pairs: list[str] = Field(
        []
    )  # JSONL files of pairs (docs/pairs.md); empty: those of the last `pairs` stage of this run
    batch_size: int = Field(32, gt=0)  # pairs per optimizer step


class DpoConfig(PreferenceData):
    """Direct preference optimisation and its relatives, on pairs; no environment is touched."""

    loss: Literal["dpo", "cdpo", "robust", "ipo", "simpo", "orpo", "dpop", "kto"] = "dpo"
    beta: float = Field(0.1, gt=0)  # IPO: tau; ORPO: lambda
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)  # cdpo, robust: the share of pairs that are the wrong way round
    nll_coef: float = Field(0.0, ge=0)  # RPO: weight of the mean negative log-likelihood of the chosen completion
    margin: float = Field(0.5, ge=0)  # SimPO: gamma
    penalty: float = Field(50.0, ge=0)  # DPOP: lambda
    desirable_weight: float = Field(1.0, gt=0)  # KTO
    undesirable_weight: float = Field(1.0, gt=0)  # KTO

    @model_validator(mode="after")
    def _smoothing_has_a_user(self) -> DpoConfig:
        if self.loss in ("cdpo", "robust") and self.label_smoothing == 0:
            raise ValueError(f"loss {self.loss} needs label_smoothing above 0")
        if self.loss not in ("cdpo", "robust") and self.label_smoothing > 0:
            raise ValueError(f"label_smoothing is for the losses cdpo and robust, not {self.loss}")
        return self


class RejectionConfig(StageConfig):
    """Imitation of the samples that pass (RAFT, Dong et al. 2023; expert iteration where `sample` and this stage alternate)."""

    source: str = ""  # as for pairs
    batch_size: int = Field(64, gt=0)
    max_per_task: int = Field(2, gt=0)  # programs kept of a task, unique up to names and layout
    max_pass_rate: float = Field(0.99, gt=0, le=1)  # a task that passes more often than this has nothing to teach


class RewardModelConfig(PreferenceData):
    """A Bradley-Terry reward model on pairs: the trunk of the policy as it is now, with a scalar head."""

    batch_size: int = Field(
        32, gt=0
    )  # tasks per optimizer step, one pair of each: a task with many pairs weighs no more
    members: int = Field(1, gt=0)  # of an ensemble; they differ in their heads' first weights
    lora: LoraSection | None = None  # null: train of the trunk what the policy trains of it
    ties: Literal["half", "davidson"] = "half"  # a tie is half a win for each side, or an outcome of its own
    tie_strength: float = Field(1.0, gt=0)  # davidson: nu
    margin_coef: float = Field(0.0, ge=0)  # how much of a pair's margin the difference of scores has to reach
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    centring_coef: float = Field(0.01, ge=0)
    holdout: float = Field(0.2, gt=0, lt=1)  # share of the tasks that the model is evaluated on and never learns from


class BestOfNConfig(Section):
    """Choose among n samples of each test task by what a user has: visible tests, a reward model, agreement of outputs."""

    samples_per_task: int = Field(16, gt=0)
    n: list[int] = Field([1, 2, 4, 8, 16])
    by: list[Literal["visible", "reward_model", "visible_then_reward_model", "agreement"]] = Field(
        ["visible", "agreement"]
    )
    inputs: int = Field(8, ge=0)  # agreement: inputs made by changing the visible ones, besides those
    temperature: float = Field(1.0, gt=0)
    limit: int | None = Field(None, gt=0)  # take only the first tasks
    bootstrap: int = Field(2000, gt=0)

    @model_validator(mode="after")
    def _enough_samples(self) -> BestOfNConfig:
        if not self.n or min(self.n) < 1 or max(self.n) > self.samples_per_task:
            raise ValueError(f"n: give numbers from 1 to samples_per_task ({self.samples_per_task}), got {self.n}")
        return self
