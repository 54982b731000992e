"""What does a run do? The whole configuration as validated records.

A config is one YAML file. `load` finds it by path or by the name of a shipped config, applies `key=value` overrides,
and rejects unknown keys with the nearest valid name. Nothing is ever auto-corrected. The resolved config is written into
the run folder, and a run is a function of it (rule 4 of the architecture).
"""

from coderl.config.offline import (
    BestOfNConfig,
    DpoConfig,
    PairsConfig,
    PreferenceData,
    RejectionConfig,
    RewardModelConfig,
    SampleConfig,
)
from coderl.config.online import (
    CispoConfig,
    CurriculumConfig,
    DapoConfig,
    DrGrpoConfig,
    GrpoConfig,
    GspoConfig,
    PpoConfig,
    ReinforcePpConfig,
    RemaxConfig,
    RlooConfig,
    RolloutStageConfig,
)
from coderl.config.reading import apply_override, find, load, parse
from coderl.config.run import RunConfig
from coderl.config.sections import (
    GenerationConfig,
    LearnedRewardConfig,
    LoraSection,
    NewModelConfig,
    OptimizerConfig,
    PolicyConfig,
    PromptConfig,
    RewardConfig,
    SandboxConfig,
    Section,
    TasksConfig,
)
from coderl.config.stages import (
    EvalConfig,
    SftConfig,
    StageConfig,
)

__all__ = [
    "BestOfNConfig",
    "CispoConfig",
    "CurriculumConfig",
    "DapoConfig",
    "DpoConfig",
    "DrGrpoConfig",
    "EvalConfig",
    "GenerationConfig",
    "GrpoConfig",
    "GspoConfig",
    "LearnedRewardConfig",
    "LoraSection",
    "NewModelConfig",
    "OptimizerConfig",
    "PairsConfig",
    "PolicyConfig",
    "PpoConfig",
    "PreferenceData",
    "PromptConfig",
    "ReinforcePpConfig",
    "RejectionConfig",
    "RemaxConfig",
    "RewardConfig",
    "RewardModelConfig",
    "RlooConfig",
    "RolloutStageConfig",
    "RunConfig",
    "SampleConfig",
    "SandboxConfig",
    "Section",
    "SftConfig",
    "StageConfig",
    "TasksConfig",
    "apply_override",
    "find",
    "load",
    "parse",
]
