"""What can a stage be told? One record per kind of stage; a run takes the settings of a stage from the section of its name."""

from __future__ import annotations

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

    batch_size: int = Field(64, gt=0)


class EvalConfig(Section):
    """pass@k on tasks.test with a bootstrap interval over problems."""

    samples_per_task: int = Field(4, gt=0)
    k: list[int] = Field([1])
    temperature: float = Field(0.8, ge=0)  # 0: greedy
    max_new_tokens: int | None = Field(None, gt=0)  # null: generation.max_new_tokens
    limit: int | None = Field(None, gt=0)  # take only the first tasks
    bootstrap: int = Field(2000, gt=0)

    @property
    def num_samples(self) -> int:
        """Of each task: greedy ones would all be the same."""
        return self.samples_per_task if self.temperature else 1

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
        if max(self.k) > self.num_samples:
            raise ValueError(
                f"k={max(self.k)} needs several samples, and temperature 0 has one: raise it, or set k to [1]"
            )
        return self
