"""Every method, killed with SIGKILL at random moments and resumed: metrics and weights are the same, bit for bit."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from coderl.config import parse  # noqa: E402
from coderl.config.run import ONLINE as ONLINE_STAGES  # noqa: E402
from coderl.verify_resume import _differences, verify_resume  # noqa: E402

TASKS = "generated?family=compose&level=1&split={}&count={}&seed=0"
ONLINE = {"prompts_per_step": 3, "samples_per_prompt": 2, "kl_coef": 0.01}
PREFETCH = {"off_policy_steps": 1, "importance": "truncate"}
STAGES = {
    "sft": ["sft", "eval"],
    "ppo": ["sft", "ppo"],
    "ppo_shared": ["sft", "ppo"],
    "rejection": ["sft", "sample", "rejection"],
    "dpo": ["sft", "sample", "pairs", "dpo"],
    "reward_model": ["sft", "sample", "pairs", "reward_model"],
    "learned": ["sft", "sample", "pairs", "reward_model", "ppo", "best_of_n"],
    "credit": ["sft", "grpo"],
    "prefetch": ["sft", "grpo"],
    "prefetch_ppo": ["sft", "ppo"],
    **{name: ["sft", name] for name in ("grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "reinforce_pp", "remax")},
}
# What learns from programs that pass needs some: six tasks, learned by heart as far as they go in 40 steps.
OFFLINE = {
    "tasks": {"train": [TASKS.format("train", 6)], "test": [TASKS.format("test", 4)]},
    "generation": {"max_new_tokens": 24},
    "sample": {"num_tasks": 12, "samples_per_task": 8},
    "pairs": {"min_rejected": -1},
}
CHANGES = {
    "ppo": {"ppo": {**ONLINE, "epochs": 2, "minibatches": 2, "kl_target": 1.0, "scale_rewards": True}},
    "ppo_shared": {"ppo": {**ONLINE, "critic": "shared", "critic_warmup_steps": 1, "whiten_rewards": True}},
    **dict.fromkeys(("dpo", "rejection"), OFFLINE),
    "reward_model": {**OFFLINE, "reward_model": {"batch_size": 4, "members": 2}},
    "learned": {
        **OFFLINE,
        "reward": {"scheme": "rltf", "learned": {"mix": "sum", "coef": 0.1, "pessimism": 1.0}},
        "reward_model": {"batch_size": 4, "members": 2},
        "best_of_n": {"samples_per_task": 4, "n": [1, 4], "by": ["visible", "reward_model", "agreement"]},
    },
    "credit": {"grpo": {**ONLINE, "coverage_mask": True, "failing_line_penalty": 0.5}},
    "prefetch": {
        "grpo": {**ONLINE, **PREFETCH, "coverage_mask": True, "curriculum": {"sampler": "signal", "gate": "replace"}}
    },
    "prefetch_ppo": {"ppo": {**ONLINE, **PREFETCH, "epochs": 2, "minibatches": 2, "kl_target": 1.0}},
    "grpo": {"grpo": {**ONLINE, "epochs": 2, "minibatches": 2, "curriculum": {"sampler": "signal"}}},
}


def config(name):
    new = {"hidden_size": 32, "intermediate_size": 64, "num_layers": 1, "num_heads": 2, "vocab_size": 400}
    stages = STAGES[name]
    online = {stage: ONLINE for stage in stages if stage in ONLINE_STAGES}
    return parse(
        {
            "stages": stages,
            "policy": {"model": "new:", "new": {**new, "max_positions": 96}},
            "tasks": {"train": [TASKS.format("train", 30)], "test": [TASKS.format("test", 4)]},
            "generation": {"max_new_tokens": 12},
            "reward": {"scheme": "rltf"},
            "sft": {"batch_size": 8, "optimizer": {"learning_rate": 1e-2}},
            **online,
            **CHANGES.get(name, {}),
            "eval": {"samples_per_task": 1},
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
def test_every_method_killed_and_resumed_is_the_same(name, tmp_path):
    """Correctness, point 39: optimizer, critic, KL coefficient, reward scale, curriculum and generators are all kept."""
    steps = 40 if "tasks" in CHANGES.get(name, {}) else 4  # as many as it takes to pass some
    result = verify_resume(config(name), tmp_path, steps=steps, kills=3, seed=len(name))
    assert result.differences == []
    assert result.num_lines > 4 and result.num_tensors > 5


def test_a_difference_is_named():
    one = [{"stage": "0_sft", "step": 1, "values": {"loss": 1.0}}, {"stage": "0_sft", "step": 2, "values": {}}]
    other = [{"stage": "0_sft", "step": 1, "values": {"loss": 1.5}}]
    assert _differences(one, one) == []
    assert _differences(one, other) == [
        "2 lines of metrics straight through, 1 when resumed",
        "0_sft step 1: loss 1.0 and 1.5",
    ]
