"""The whole configuration of a run, and what its parts ask of each other."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, model_validator

from coderl.config.offline import (
    BestOfNConfig,
    DpoConfig,
    PairsConfig,
    RejectionConfig,
    RewardModelConfig,
    SampleConfig,
)
from coderl.config.online import (
    CispoConfig,
    DapoConfig,
    DrGrpoConfig,
    GrpoConfig,
    GspoConfig,
    PpoConfig,
    ReinforcePpConfig,
    RemaxConfig,
    RlooConfig,
)
from coderl.config.sections import (
    GenerationConfig,
    PolicyConfig,
    PromptConfig,
    RewardConfig,
    SandboxConfig,
    Section,
    TasksConfig,
)
from coderl.config.stages import EvalConfig, SftConfig

Stage = Literal[
    "sft",
    "grpo",
    "dr_grpo",
    "dapo",
    "gspo",
    "cispo",
    "rloo",
    "reinforce_pp",
    "remax",
    "ppo",
    "sample",
    "pairs",
    "dpo",
    "rejection",
    "reward_model",
    "best_of_n",
    "eval",
]
ONLINE = ("grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "reinforce_pp", "remax", "ppo")

SAMPLING = {*ONLINE, "sample"}  # the stages that leave rollouts of training tasks in the store


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
    dr_grpo: DrGrpoConfig = DrGrpoConfig()
    dapo: DapoConfig = DapoConfig()
    gspo: GspoConfig = GspoConfig()
    cispo: CispoConfig = CispoConfig()
    rloo: RlooConfig = RlooConfig()
    reinforce_pp: ReinforcePpConfig = ReinforcePpConfig()
    remax: RemaxConfig = RemaxConfig()
    ppo: PpoConfig = PpoConfig()
    sample: SampleConfig = SampleConfig()
    pairs: PairsConfig = PairsConfig()
    dpo: DpoConfig = DpoConfig()
    rejection: RejectionConfig = RejectionConfig()
    reward_model: RewardModelConfig = RewardModelConfig()
    best_of_n: BestOfNConfig = BestOfNConfig()
    eval: EvalConfig = EvalConfig()
    watchdog_seconds: float = Field(1800.0, gt=0)  # without a sign of life, after which the run says where it is
    trackers: list[Literal["tensorboard", "wandb", "trackio"]] = Field(["tensorboard"])

    @model_validator(mode="after")
    def _adapters_have_a_base(self) -> RunConfig:
        if self.policy.model == "new:" and self.policy.lora is not None:
            raise ValueError(
                "policy.lora: a new model has no base that adapters could be saved apart from: leave it out, or name a model"
            )
        return self

    @model_validator(mode="after")
    def _tasks_for_stages(self) -> RunConfig:
        if not self.stages:
            raise ValueError(f"stages is empty: name at least one of {', '.join(get_args(Stage))}")
        if {*SAMPLING, "pairs", "rejection"} & set(self.stages) and not self.tasks.train:
            raise ValueError("tasks.train is empty: all stages but sft, dpo and eval need tasks to train on")
        if "sft" in self.stages and not (self.tasks.sft or self.tasks.train):
            raise ValueError("tasks.sft and tasks.train are empty: sft needs tasks with reference solutions")
        if {"eval", "best_of_n"} & set(self.stages) and not self.tasks.test:
            raise ValueError("tasks.test is empty: eval and best_of_n need tasks to evaluate on")
        for stage in self.stages:
            if getattr(getattr(self, stage), "eval_every", 0) and not self.tasks.test:
                raise ValueError(
                    f"tasks.test is empty: {stage}.eval_every needs tasks to evaluate on; set it to 0, or name some"
                )
        return self

    @model_validator(mode="after")
    def _stages_find_their_data(self) -> RunConfig:
        for at, stage in enumerate(self.stages):
            before = set(self.stages[:at])
            if stage in ("pairs", "rejection") and not (getattr(self, stage).source or before & SAMPLING):
                raise ValueError(
                    f"stages: {stage} needs rollouts: put one of {', '.join(sorted(SAMPLING))} before it, or name a run in "
                    f"{stage}.source"
                )
            if stage in ("dpo", "reward_model") and not (getattr(self, stage).pairs or "pairs" in before):
                raise ValueError(f"stages: {stage} needs pairs: put pairs before it, or name files in {stage}.pairs")
            learned = self.reward.learned
            has_model = "reward_model" in before or (learned is not None and learned.model)
            if stage in ONLINE and learned is not None and not has_model:
                raise ValueError(
                    f"reward.learned: {stage} has no reward model: put reward_model before it, or name a folder"
                )
            if stage == "best_of_n" and any("reward_model" in by for by in self.best_of_n.by) and not has_model:
                raise ValueError(
                    "best_of_n.by: no reward model: put reward_model before it, or set reward.learned.model"
                )
        return self

    @model_validator(mode="after")
    def _engine_is_corrected_for(self) -> RunConfig:
        if self.generation.engine == "torch":
            return self
        for name in (stage for stage in self.stages if stage in ONLINE):
            if getattr(self, name).importance == "none":
                raise ValueError(
                    f"generation.engine {self.generation.engine}: its probabilities are not the trainer's: "
                    f"set {name}.importance to truncate or mask"
                )
            if self.generation.engine == "continuous" and getattr(self, name).off_policy_steps:
                raise ValueError(
                    f"{name}.off_policy_steps 1: engine continuous samples in step with training: take torch or vllm, or set "
                    "it to 0"
                )
            if self.generation.engine_url and self.generation.temperature != 1.0:
                raise ValueError(
                    "generation.engine_url: a vllm server's log-probabilities are those before temperature: set "
                    "generation.temperature to 1, or leave out engine_url"
                )
        return self

    @model_validator(mode="after")
    def _chunked_head_is_of_use(self) -> RunConfig:
        for name in (stage for stage in self.stages if stage in ONLINE and self.policy.chunked_head):
            shared = name == "ppo" and self.ppo.critic == "shared"
            if shared or getattr(self, name).entropy_coef:
                cause = "critic shared" if shared else "entropy_coef"
                raise ValueError(f"policy.chunked_head: {name}.{cause} needs all logits at once: leave one of them out")
        return self

    @model_validator(mode="after")
    def _punish_truncation_once(self) -> RunConfig:
        for name in self.stages:
            stage = getattr(self, name)
            if not isinstance(stage, GrpoConfig | PpoConfig) or not self.reward.truncated_penalty:
                continue
            if stage.truncation != "keep" or stage.overlong_share:
                raise ValueError(
                    f"reward.truncated_penalty and {name}.truncation or overlong_share punish the same completions twice: "
                    "use one"
                )
        return self
