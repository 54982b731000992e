"""What a stage's first step shows, and the watchdog: each check fires on the fault it is for, and not without it."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from coderl.config import NewModelConfig, PolicyConfig  # noqa: E402
from coderl.errors import ModelError, TrainingStopped  # noqa: E402
from coderl.experience import Example  # noqa: E402
from coderl.methods.base import Experience  # noqa: E402
from coderl.policy import load_policy  # noqa: E402
from coderl.rollout import Rollout  # noqa: E402
from coderl.self_checks import digest, first_step, probe_memory  # noqa: E402
from coderl.watchdog import doing, place, watchdog  # noqa: E402


def rollout(index, *, reward=0.0, truncated=False, program="def f(x): return x\n"):
    return Rollout(
        stage="0_grpo",
        step=0,
        task_id="t",
        sample_index=index,
        seed=index,
        prompt_ids=(5,),
        completion_ids=(6, 7),
        logprobs=(-1.0, -1.0),
        truncated=truncated,
        program=program,
        reward=reward,
    )


def names(rollouts, examples=(), **metrics):
    experience = Experience(examples=list(examples), rollouts=rollouts)
    return [alarm.name for alarm in first_step(experience, metrics, "0_grpo")]


def test_a_sound_first_step_raises_nothing():
    assert names([rollout(0, reward=1.0), rollout(1, truncated=True)]) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"truncated": True}, "eos_unreachable"),
        ({"program": ""}, "no_program"),
        ({"reward": 1.0}, "no_reward_variance"),
    ],
)
def test_each_event_is_for_a_fault_of_all_samples(change, name):
    sound = [rollout(0, reward=1.0), rollout(1)]
    assert names([r.with_(**change) for r in sound]) == [name]
    assert names([sound[0].with_(**change), sound[1]]) == []


def test_a_kl_that_is_not_zero_at_the_start_stops_the_run():
    sound = [rollout(0, reward=1.0), rollout(1)]
    assert names(sound, **{"policy/ref_kl": 1e-6}) == []
    with pytest.raises(TrainingStopped, match=r"KL to the reference is 0\.1"):
        names(sound, **{"policy/ref_kl": 0.1})
    experience = Experience(examples=[], rollouts=sound)  # after several updates it may be anything
    assert first_step(experience, {"policy/ref_kl": 0.1}, "0_grpo", num_updates=4) == []


def test_a_mask_of_another_length_than_the_completion_stops_the_run():
    example = Example(prompt_ids=(5,), completion_ids=(6, 7), advantages=torch.ones(2))
    sound = [rollout(0, reward=1.0), rollout(1)]
    assert names(sound, [example]) == []
    with pytest.raises(TrainingStopped, match="3 values for the 2 tokens"):
        names(sound, [replace(example, advantages=torch.ones(3))])


def tiny():
    new = NewModelConfig(hidden_size=32, intermediate_size=64, num_layers=1, num_heads=2, vocab_size=270)
    return load_policy(PolicyConfig(model="new:", new=new), seed=0, corpus=["def f(x): return x"])


def test_the_digest_sees_one_weight_move():
    weights = tiny().weights()
    before = digest(weights)
    assert digest({k: v.clone() for k, v in weights.items()}) == before
    next(iter(weights.values())).view(-1)[3] += 1e-4
    assert digest(weights) != before


def test_the_memory_probe_takes_the_longest_prompt_and_leaves_no_gradient():
    policy, seen = tiny(), []
    logprobs = policy.logprobs
    policy.logprobs = lambda batch, temperature: seen.append(batch.input_ids.shape) or logprobs(batch, temperature)
    probe_memory(policy, [(5, 6), (5, 6, 7, 8)], max_new_tokens=12, max_tokens=64)
    assert seen == [(4, 16)]  # 64 // (4 + 12) rows
    assert all(p.grad is None for p in policy.model.parameters())


def test_a_batch_that_does_not_fit_is_one_clear_line():
    policy = tiny()

    def full(batch, temperature):
        raise torch.OutOfMemoryError("CUDA out of memory")

    policy.logprobs = full
    with pytest.raises(ModelError, match=r"micro_batch_tokens 64.*gradient_checkpointing"):
        probe_memory(policy, [(5, 6)], max_new_tokens=14, max_tokens=64)


def test_a_reference_that_moves_with_the_policy_is_noticed():
    from coderl.methods.online import Online

    method = object.__new__(Online)
    method._label, method._reference = "0_grpo", {"w": torch.ones(3)}
    method._frozen = digest(method._reference)
    method._rollout_config, method._prefetch = SimpleNamespace(), None
    assert method.after_step({}) == {}
    method._reference["w"] += 0.5
    with pytest.raises(TrainingStopped, match="reference moved"):
        method.after_step({})


def test_the_watchdog_names_what_hangs_once_and_only_if_it_hangs(tmp_path, capfd):
    told = []
    with watchdog(tmp_path, 0.2, lambda what, message: told.append((*place(what), message))):
        for _ in range(5):
            with doing("1_sft step 3", "sampling"):
                time.sleep(0.02)
        with doing("2_grpo step 7", "grading 4 programs"):
            time.sleep(1.0)
    shown = capfd.readouterr().err
    assert shown.count("nothing has moved") == 1 and "2_grpo step 7: grading 4 programs" in shown
    assert [(stage, step) for stage, step, _ in told] == [("2_grpo", 7)] and "grading 4 programs" in told[0][2]
    text = (tmp_path / "hang.txt").read_text()
    assert "2_grpo step 7" in text and "test_the_watchdog" in text
