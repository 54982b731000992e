"""What does a run do? The whole configuration as validated records.

A config is one YAML file. `load` finds it by path or by the name of a shipped config, applies `key=value` overrides,
and rejects unknown keys with the nearest valid name. Nothing is ever auto-corrected. The resolved config is written into
the run folder, and a run is a function of it (rule 4 of the architecture).
"""

from __future__ import annotations

import contextlib
import difflib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from coderl.errors import ConfigError


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NewModelConfig(Section):
    """A Llama-type policy and a byte-level BPE tokenizer made from scratch (`policy.model: "new:"`)."""

    hidden_size: int = Field(128, gt=0)
    intermediate_size: int = Field(344, gt=0)
    num_layers: int = Field(4, gt=0)
    num_heads: int = Field(4, gt=0)
    vocab_size: int = Field(512, ge=260)
    max_positions: int = Field(256, gt=0)


class LoraSection(Section):
    rank: int = Field(16, gt=0)
    alpha: int = Field(32, gt=0)
    target_modules: str | list[str] = "all-linear"


class PolicyConfig(Section):
    """Which model is trained. `model` is "new:", a folder, or a hub id."""

    model: str
    new: NewModelConfig = NewModelConfig()
    lora: LoraSection | None = None  # null trains all weights
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    gradient_checkpointing: bool = False
    autocast: Literal["none", "bfloat16"] = "none"  # matrix products in bfloat16, weights as dtype says
    packing: bool = (
        False  # update without padding, each prompt once for its group; for models with plain full attention
    )
    pad_token: str | None = None  # for tokenizers that have none, e.g. "<|endoftext|>"; masks never look at it


class PromptConfig(Section):
    """How a task becomes the tokens of a prompt."""

    format: Literal["auto", "chat", "plain"] = "auto"  # auto: chat if the tokenizer has a template, else plain
    system: str = ""  # system message of chat prompts
    instruction: str = "{prompt}"  # how an INSTRUCTION task is phrased; fields: prompt, signature, tests
    completion: str = "{prompt}"  # how a COMPLETION task is phrased in chat; plain prompts are the head of the program
    response_prefix: str = ""  # text that begins every completion, e.g. "```python\n{signature}"; counted to the prompt


class TasksConfig(Section):
    """Task sources, as understood by `tasks.load`."""

    train: list[str] = []
    sft: list[str] = []  # tasks whose reference solutions SFT learns from; empty: `train`
    test: list[str] = []


class SandboxConfig(Section):
    backend: Literal["auto", "jail", "landlock", "plain"] = (
        "auto"  # plain isolates nothing: only for programs you trust
    )
    workers: int = Field(2, gt=0)
    max_unscorable: float = Field(0.1, ge=0, le=1)  # share of a batch above which the run stops


class GenerationConfig(Section):
    max_new_tokens: int = Field(64, gt=0)
    temperature: float = Field(1.0, gt=0)
    batch_size: int = Field(128, gt=0)  # sequences that decode together
    stop: list[str] = []  # strings that end a completion, besides the model's stop tokens, e.g. "\n```"


class RewardConfig(Section):
    """Reward of one verdict. `cases`: which cases the reward may look at."""

    scheme: Literal["all_pass", "fraction", "coderl", "rltf"] = "all_pass"
    cases: Literal["visible", "all"] = "all"
    truncated_penalty: float = Field(0.0, ge=0)  # subtracted when a completion ran out of tokens


class OptimizerConfig(Section):
    learning_rate: float = Field(1e-5, gt=0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: int = Field(0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)


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


class RolloutStageConfig(StageConfig):
    prompts_per_step: int = Field(16, gt=0)
    samples_per_prompt: int = Field(8, gt=0)
    epochs: int = Field(1, gt=0)  # passes over one batch of rollouts
    minibatches: int = Field(1, gt=0)  # optimizer steps per pass
    clip_low: float = Field(0.2, gt=0)
    clip_high: float = Field(0.2, gt=0)
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
    k: list[int] = [1]
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
    trackers: list[Literal["tensorboard", "wandb", "trackio"]] = ["tensorboard"]

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


def find(name_or_path: str) -> Path:
    """The config file: a path, or the name of a shipped config such as "quickstart". Raises ConfigError."""
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = Path(str(resources.files("configs")))
    candidate = shipped / f"{path.name.removesuffix('.yaml')}.yaml"
    if candidate.is_file() and (path.parent == Path(".") or path.parent.name == "configs"):
        return candidate
    names = sorted(p.stem for p in shipped.glob("*.yaml"))
    raise ConfigError(f"config {name_or_path!r}: no such file, and not a shipped config ({', '.join(names)})")


def load(name_or_path: str, overrides: list[str] | None = None) -> RunConfig:
    """Read, override, validate. Raises ConfigError with one line: the key, the fault, the remedy."""
    path = find(name_or_path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a mapping of settings at the top, found {type(raw).__name__}")
    for override in overrides or []:
        apply_override(raw, override)
    return parse(raw, origin=str(path))


def parse(raw: dict[str, Any], origin: str = "config") -> RunConfig:
    """Validate a mapping. Raises ConfigError for the first fault found."""
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {_explain(error)}") from error


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set one `key=value`, e.g. "grpo.steps=20", in a mapping. Raises ConfigError."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r}: write key=value, e.g. grpo.steps=20")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is not valid YAML") from error
    if isinstance(value, str):
        with contextlib.suppress(ValueError):  # YAML 1.1 reads 1e-5 as a string
            value = float(value)
    *parents, leaf = key.split(".")
    node = raw
    for parent in parents:
        child = node.get(parent)
        if child is None:
            child = node[parent] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"override {override!r}: {parent!r} is a value, not a section")
        node = child
    node[leaf] = value


def _explain(error: ValidationError) -> str:
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown key {where!r}{_nearest(fault['loc'])}"
    if fault["type"] == "missing":
        return f"{where!r} is missing: add it"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{where}: {message}, got {fault['input']!r}" if where else message


def _nearest(location: tuple[int | str, ...]) -> str:
    section: Any = RunConfig
    for part in location[:-1]:
        annotation = section.model_fields[str(part)].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        section = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    names = list(section.model_fields)
    close = difflib.get_close_matches(str(location[-1]), names, n=1)
    return f": did you mean {close[0]!r}?" if close else f": valid keys here are {', '.join(names)}"
