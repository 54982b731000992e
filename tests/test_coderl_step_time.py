"""The parts of a step add up to it, and the setting that is named is one that is left to set."""

from __future__ import annotations

import pytest

from coderl.config import parse
from coderl.step_time import budget, knob, parts, shares, whole


def config(**changes):
    raw = {"stages": ["grpo"], "policy": {"model": "new:"}, "tasks": {"train": ["generated"]}, **changes}
    return parse(raw)


def test_parts_add_up_to_the_step():
    values = {"time/generate": 2.0, "time/grade": 0.5}
    values |= parts(values, 3.0, 4.0)  # 3 to collect, of which 0.5 are neither sampling nor waiting for verdicts
    assert values == {"time/generate": 2.0, "time/grade": 0.5, "time/score": 0.5, "time/update": 4.0}
    values |= whole(values, 10.0)  # 10 - 3 - 4
    assert values["time/idle"] == pytest.approx(3.0)
    assert sum(shares(values).values()) == pytest.approx(1.0)


def test_the_line_names_the_largest_part_and_a_setting_for_it():
    values = {"time/generate": 6.0, "time/grade": 0.01, "time/score": 0.0, "time/update": 3.99, "time/step": 10.0}
    settings = config(generation={"batch_size": 64}, grpo={"prompts_per_step": 16, "samples_per_prompt": 8})
    line = budget(values, settings, "grpo", has_bfloat16=False)
    assert line == "generate 60% update 40%; to speed up generate: generation.batch_size=128"
    assert budget({}, settings, "grpo", has_bfloat16=False) == ""


@pytest.mark.parametrize(
    ("part", "changes", "named"),
    [
        ("update", {}, "policy.packing=true"),
        ("update", {"policy": {"model": "m", "packing": True}}, "policy.autocast=bfloat16"),
        ("update", {"policy": {"model": "m", "packing": True, "dtype": "bfloat16"}}, "policy.lora"),
        (
            "update",
            {"policy": {"model": "new:", "packing": True, "gradient_checkpointing": True}},
            "checkpointing=false",
        ),
        ("update", {"policy": {"model": "m", "packing": True, "autocast": "bfloat16"}}, "policy.lora"),
        ("grade", {"sandbox": {"workers": 2}}, "sandbox.workers=8"),
        ("grade", {"sandbox": {"workers": 8}}, "more machines"),
        ("grade", {}, "more machines"),
        ("score", {"grpo": {"kl_coef": 0.1}}, "grpo.kl_coef=0"),
        ("generate", {"policy": {"model": "m"}}, "policy.autocast=bfloat16"),
        ("generate", {}, "max_new_tokens"),
        ("generate", {"policy": {"model": "new:", "dtype": "bfloat16"}}, "max_new_tokens"),
        ("idle", {}, "processes"),
    ],
)
def test_a_setting_that_is_already_made_is_not_named(part, changes, named):
    assert named in knob(part, config(**changes), "grpo", has_bfloat16=True, num_cores=8)


def test_adapters_are_not_advised_where_there_is_no_model_to_adapt():
    assert (
        knob("update", config(policy={"model": "new:", "packing": True}), "sft", has_bfloat16=True, num_cores=8) == ""
    )


def test_a_reference_that_ppo_needs_all_the_same_is_not_advised_against():
    assert config(stages=["ppo"]).ppo.kl_coef > 0
    assert "kl_coef" not in knob("score", config(stages=["ppo"]), "ppo", has_bfloat16=False)


def test_a_stage_without_sampling_has_advice_too():
    settings = config(stages=["sft"])
    assert "packing" in budget({"time/update": 1.0, "time/step": 1.0}, settings, "sft", has_bfloat16=True)
