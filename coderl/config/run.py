"""The whole configuration of a run, and what its parts ask of each other."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from coderl.config.sections import (
    GenerationConfig,
    PolicyConfig,
    PromptConfig,
    RewardConfig,
    SandboxConfig,
    Section,
    TasksConfig,
)
from coderl.config.stages import EvalConfig, GrpoConfig, PpoConfig, SftConfig

Stage = Literal["sft", "grpo", "ppo", "eval"]


class RunConfig(Section):
    """A whole run. Stages run in order on one policy; each takes its settings from the section of its name."""

    name: str = "run"
    seed: int = Field(0, ge=0)
    output: str = "runs"  # the run folder is output/name
    stages: list[Stage]
    policy: PolicyConfig
    prompt: PromptConfig = PromptConfig()
    tasks: TasksConfig
    sandbox: SandboxConfig = SandboxConfig()
    generation: GenerationConfig = GenerationConfig()
    reward: RewardConfig = RewardConfig()
    sft: SftConfig = SftConfig()
    grpo: GrpoConfig = GrpoConfig()
    ppo: PpoConfig = PpoConfig()
    eval: EvalConfig = EvalConfig()
    trackers: list[Literal["tensorboard", "wandb", "trackio"]] = Field(["tensorboard"])

    @model_validator(mode="after")
    def _tasks_for_stages(self) -> RunConfig:
        if not self.stages:
            raise ValueError("stages is empty: name at least one of sft, grpo, ppo, eval")
        if {"grpo", "ppo"} & set(self.stages) and not self.tasks.train:
            raise ValueError("tasks.train is empty: grpo and ppo need tasks to train on")
        if "sft" in self.stages and not (self.tasks.sft or self.tasks.train):
            raise ValueError("tasks.sft and tasks.train are empty: sft needs tasks with reference solutions")
        if "eval" in self.stages and not self.tasks.test:
            raise ValueError("tasks.test is empty: eval needs tasks to evaluate on")
        return self
