"""What do the parts of a run share? Policy, prompts, tasks, sandbox, sampling, rewards, optimizer: a record each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator


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

    @model_validator(mode="after")
    def _heads_share_the_hidden_size(self) -> NewModelConfig:
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(
                f"hidden_size {self.hidden_size}: make it a multiple of twice num_heads ({self.num_heads}): heads are of one, "
                "even, size"
            )
        return self


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
    chunked_head: bool = False  # never hold all logits of a micro-batch: less memory, one more product of the head
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
    """Where programs are graded."""

    backend: Literal["auto", "jail", "docker", "landlock", "plain", "remote", "ray"] = (
        "auto"  # plain isolates nothing: only for programs you trust
    )
    endpoints: list[str] = []  # of backend remote: `sandbox serve` at http://host:port; the token is in SANDBOX_TOKEN
    min_isolation: Literal["", "plain", "landlock", "docker", "jail"] = (
        ""  # refuse a backend, or a server's, that is weaker
    )
    workers: int | None = Field(
        None, gt=0
    )  # programs at once; default: a few more than cores; remote: connections; ray: a node
    preload: list[str] = []  # modules that programs find already imported, e.g. [numpy]
    time_factor: Annotated[float, Field(ge=0.05, le=100)] | Literal["machine"] = (
        1.0  # multiplies limits of time; machine: by what is measured at the start
    )
    case_order: Literal["given", "deciding"] = (
        "given"  # deciding: where the first failure decides, first the cases that failed most programs for their price
    )
    recheck: float = Field(0.02, ge=0, le=1)  # share of remembered verdicts that is graded again; 1: all
    max_unscorable: float = Field(0.1, ge=0, le=1)  # share of a batch above which the run stops

    @model_validator(mode="after")
    def _endpoints_belong_to_remote(self) -> SandboxConfig:
        if (self.backend == "remote") != bool(self.endpoints):
            raise ValueError("backend remote and endpoints go together: give both, or neither")
        if self.backend in ("remote", "ray") and self.preload:
            raise ValueError(f"backend {self.backend} preloads nothing: leave out preload")
        if self.backend == "remote" and self.time_factor != 1.0:
            raise ValueError("backend remote stretches no times: give --time-factor to `sandbox serve`")
        return self


class GenerationConfig(Section):
    max_new_tokens: int = Field(64, gt=0)
    temperature: float = Field(1.0, gt=0)
    batch_size: int = Field(128, gt=0)  # sequences that decode together
    stop: list[str] = []  # strings that end a completion, besides the model's stop tokens, e.g. "\n```"
    engine: Literal["torch", "continuous", "vllm"] = "torch"  # continuous: transformers' continuous batching
    engine_url: str = ""  # of engine vllm: its server, e.g. http://localhost:8000; empty: inside the training process
    engine_folder: str = ""  # of a vllm server: the model folder that it serves; the policy is saved there
    engine_memory: float = Field(
        0.4, gt=0, lt=1
    )  # of vllm inside the process: its share of the GPU's (a CPU: all) memory

    @model_validator(mode="after")
    def _vllm_is_somewhere(self) -> GenerationConfig:
        if bool(self.engine_url) != bool(self.engine_folder) or (self.engine_url and self.engine != "vllm"):
            raise ValueError(
                "engine_url and engine_folder are for a vllm server: give both with engine vllm, or neither"
            )
        return self


class LearnedRewardConfig(Section):
    """How a reward model's score joins the verdict; no mix lets a program that fails outrank one that passes."""

    mix: Literal["gate", "tie_break", "sum"] = "gate"  # among passing programs; among equal rewards; a bounded sum
    coef: float = Field(0.2, gt=0, lt=0.5)  # the score counts at most this much either way
    pessimism: float = Field(0.0, ge=0)  # standard deviations of the ensemble that are taken off the score
    model: str = ""  # the folder of a reward model; empty: that of the last stage reward_model


PARTS = [
    "execution",
    "truncated",
    "overlong",
    "format",
    "length",
    "ast",
    "dataflow",
    "harm",
    "forbidden",
    "time",
    "learned",
]
FunctionSpec = Annotated[str, Field(pattern=r"^.+\.py:[A-Za-z_]\w*$")]


class RewardConfig(Section):
    """Reward of one verdict. `cases`: which cases the reward may look at."""

    scheme: Literal["all_pass", "fraction", "points", "coderl", "rltf"] = "all_pass"
    cases: Literal["visible", "all"] = "all"
    truncated_penalty: float = Field(0.0, ge=0)  # subtracted when a completion ran out of tokens
    format_weight: float = Field(0.0, ge=0)  # added where there is a program that parses
    length_weight: float = Field(0.0, ge=0)  # subtracted: times the share of the token limit that a completion took
    ast_weight: float = Field(0.0, ge=0)  # added: times the share of the reference's sub-trees that the program has
    dataflow_weight: float = Field(0.0, ge=0)  # added: times the share of the reference's data-flow edges
    harm_weight: float = Field(0.0, ge=0)  # subtracted: times the severity of calls like os.system, at most 1
    harm_source: Literal["rules", "bandit"] = "rules"  # who says what is harmful: our rules, or bandit (extra `harm`)
    forbidden_weight: float = Field(0.0, ge=0)  # subtracted where the sandbox saw a forbidden operation (SV)
    time_weight: float = Field(0.0, ge=0)  # times log2 of the speed-up over the reference, -1 to 1; not reproducible
    functions: dict[FunctionSpec, FiniteFloat] = {}  # parts of your own: weights by "FILE.py:FUNCTION"
    learned: LearnedRewardConfig | None = None  # null: execution alone

    @model_validator(mode="after")
    def _functions_have_names_of_their_own(self) -> RewardConfig:
        taken = set(PARTS)
        for spec in self.functions:
            name = spec.rpartition(":")[2]
            if name in taken:
                raise ValueError(f"functions: the reward has a part {name} already: give the function another name")
            taken.add(name)
        return self

    @model_validator(mode="after")
    def _points_are_of_all_cases(self) -> RewardConfig:
        if self.scheme == "points" and self.cases == "visible":
            raise ValueError("scheme points counts groups of all cases: set cases to all, or scheme to fraction")
        return self


Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(Section):
    learning_rate: float = Field(1e-5, gt=0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: int = Field(0, ge=0)
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
