"""GRPO and PPO on a tiny policy with a scripted grader: what becomes of each verdict."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
accelerate = pytest.importorskip("accelerate")

from coderl.config import NewModelConfig, PolicyConfig, parse  # noqa: E402
from coderl.errors import TrainingStopped  # noqa: E402
from coderl.loop import Trainer  # noqa: E402
from coderl.methods.grpo import Grpo  # noqa: E402
from coderl.methods.ppo import Ppo  # noqa: E402
from coderl.policy import load_policy  # noqa: E402
from coderl.prompts import PromptRenderer  # noqa: E402
from sandbox.verdict import CaseResult, Integrity, Isolation, Outcome, Verdict  # noqa: E402
from tasks.registry import load  # noqa: E402

NEW = NewModelConfig(hidden_size=32, intermediate_size=64, num_layers=1, num_heads=2, vocab_size=300, max_positions=96)


class ScriptedGrader:
    """Gives the outcomes it was told, request after request."""

    def __init__(self, outcomes):
        self._outcomes = outcomes

    def grade(self, requests):
        return [self._verdict(self._outcomes[i % len(self._outcomes)]) for i in range(len(requests))]

    @staticmethod
    def _verdict(outcome):
        return Verdict(
            outcome=Outcome(outcome),
            cases=(CaseResult(outcome=Outcome(outcome)),),
            integrity=Integrity.SEPARATED,
            isolation=Isolation(backend="scripted"),
        )


def bench(outcomes, **changes):
    config = parse(
        {
            "stages": ["grpo"],
            "policy": {"model": "new:"},
            "tasks": {"train": ["generated"]},
            "generation": {"max_new_tokens": 12},
            "reward": {"cases": "all"},
            "grpo": {"prompts_per_step": 3, "samples_per_prompt": 4},
            "ppo": {"prompts_per_step": 3, "samples_per_prompt": 2},
            "sandbox": {"max_unscorable": 0.5},
            **changes,
        }
    )
    tasks = load("generated?family=compose&level=1&split=train&count=5&seed=0")
    policy = load_policy(PolicyConfig(model="new:", new=NEW), seed=0, corpus=[t.reference for t in tasks])
    return SimpleNamespace(
        config=config,
        accelerator=accelerate.Accelerator(cpu=True),
        policy=policy,
        renderer=PromptRenderer(policy.tokenizer, config.prompt),
        grader=ScriptedGrader(outcomes),
        train_tasks=tasks,
        share=lambda items: items,
    )


def test_grpo_rewards_the_sample_that_passes_and_leaves_the_unscorable_one_out():
    # group of 4: AC, WA, IE, WA -> rewards 1, 0, NaN, 0; mean 1/3, unbiased std 0.57735
    method = Grpo(b := bench(["AC", "WA", "IE", "WA"]), b.config.grpo, "0_grpo")
    experience = method.collect(0)
    first = [r.advantage for r in experience.rollouts[:4]]
    scale = 0.5773502691896257 + 1e-4
    assert first == pytest.approx([(2 / 3) / scale, -(1 / 3) / scale, 0.0, -(1 / 3) / scale], rel=1e-5)
    assert [e.valid for e in experience.examples[:4]] == [True, True, False, True]
    assert experience.metrics["rollout/unscorable"] == pytest.approx(0.25)
    assert experience.metrics["rollout/pass_rate"] == pytest.approx(1 / 3)  # of the scorable ones


def test_groups_without_signal_are_idle_and_counted():
    method = Grpo(b := bench(["AC"]), b.config.grpo, "0_grpo")
    experience = method.collect(0)
    assert all(e.idle and e.valid for e in experience.examples)
    assert experience.metrics["rollout/groups_without_signal"] == 1.0


def test_when_every_group_is_flat_the_gate_gives_up_and_nothing_is_learned():
    grpo = {"prompts_per_step": 3, "samples_per_prompt": 4, "curriculum": {"gate": "replace", "max_rounds": 2}}
    b = bench(["AC"], grpo=grpo)
    before = b.policy.weights()
    [(experience, metrics)] = list(Trainer(b, Grpo(b, b.config.grpo, "0_grpo"), "0_grpo").run(1))
    assert metrics["curriculum/rounds"] == 2
    assert metrics["curriculum/dropped_groups"] == 6 and metrics["curriculum/missing_groups"] == 3
    assert len(experience.examples) == 4 and not any(e.valid for e in experience.examples)
    assert len({r.seed for r in experience.rollouts}) == 6 * 4  # all go to the store
    assert all(torch.equal(before[k], v) for k, v in b.policy.weights().items())


def test_too_many_unscorable_verdicts_stop_the_run():
    method = Grpo(b := bench(["IE", "IE", "IE", "AC"]), b.config.grpo, "0_grpo")
    with pytest.raises(TrainingStopped, match=r"9 of 12 verdicts are unscorable.*sandbox doctor"):
        method.collect(0)


def test_the_sampled_data_do_not_depend_on_the_generation_batch_size():
    first = Grpo(b := bench(["WA"]), b.config.grpo, "0_grpo").collect(3).rollouts
    small = bench(["WA"], generation={"max_new_tokens": 12, "batch_size": 5})
    second = Grpo(small, small.config.grpo, "0_grpo").collect(3).rollouts
    assert [r.completion_ids for r in first] == [r.completion_ids for r in second]
    assert [r.seed for r in first] == [r.seed for r in second]
    assert len({r.seed for r in first}) == len(first)


@pytest.mark.parametrize("settings", [{}, {"epochs": 2, "minibatches": 2}, {"kl_coef": 0.1}])
def test_a_first_grpo_step_starts_from_ratio_one_and_kl_zero(settings):
    b = bench(["AC", "WA"], grpo={"prompts_per_step": 3, "samples_per_prompt": 4, **settings})
    trainer = Trainer(b, Grpo(b, b.config.grpo, "0_grpo"), "0_grpo")
    [(_, metrics)] = list(trainer.run(1))
    assert metrics["grad_norm/policy"] > 0
    if not settings.get("epochs"):
        assert metrics["policy/ratio_max"] == 1.0
        assert metrics["policy/approx_kl"] == 0.0
    if settings.get("kl_coef"):
        assert metrics["policy/ref_kl"] == pytest.approx(0.0, abs=1e-6)


def test_ppo_starts_from_kl_zero_and_values_zero_so_that_returns_are_the_scores():
    method = Ppo(b := bench(["AC", "WA"]), b.config.ppo, "0_ppo")
    experience = method.collect(0)
    assert experience.metrics["policy/ref_kl_sequence"] == pytest.approx(0.0, abs=1e-5)
    for example, rollout in zip(experience.examples, experience.rollouts, strict=True):
        assert example.old_values.abs().max() == 0
        # gamma 1, lam 0.95, V = 0: the return of token t is 0.95^(T-1-t) * score
        powers = torch.arange(len(example.completion_ids) - 1, -1, -1).float()
        torch.testing.assert_close(example.returns, rollout.reward * 0.95**powers, atol=1e-4, rtol=1e-4)


def test_ppo_moves_the_critic_only_while_it_warms_up():
    b = bench(["AC", "WA"], ppo={"prompts_per_step": 3, "samples_per_prompt": 2, "critic_warmup_steps": 1})
    method = Ppo(b, b.config.ppo, "0_ppo")
    before = b.policy.weights()
    trainer = Trainer(b, method, "0_ppo")
    steps = trainer.run(2)
    _, metrics = next(steps)
    assert metrics["grad_norm/critic"] > 0
    assert all(torch.equal(before[k], v) for k, v in b.policy.weights().items())
    next(steps)
    assert not all(torch.equal(before[k], v) for k, v in b.policy.weights().items())


def test_the_value_of_a_state_does_not_see_the_token_that_follows():
    b = bench(["AC"])
    critic = Ppo(b, b.config.ppo, "0_ppo")._critic
    torch.nn.init.normal_(critic.head.weight)
    from coderl.experience import Example, collate

    def values(completion):
        example = Example(prompt_ids=(60, 61), completion_ids=completion)
        return critic(collate([example], [1.0], b.policy.pad_id, torch.device("cpu"))).detach()[0]

    one, other = values((70, 71, 72)), values((70, 80, 72))
    torch.testing.assert_close(one[:2], other[:2])  # V_0 and V_1 are read before token 1
    assert float((one[2] - other[2]).abs()) > 1e-4


def test_adaptive_kl_is_part_of_the_state():
    b = bench(["AC", "WA"], ppo={"prompts_per_step": 3, "samples_per_prompt": 2, "kl_target": 0.001, "kl_coef": 0.1})
    method = Ppo(b, b.config.ppo, "0_ppo")
    method.after_step({"policy/ref_kl_sequence": 5.0})
    # error clipped to 0.2, 6 episodes over a horizon of 2048
    assert method.state()["kl_coef"] == pytest.approx(0.1 * (1 + 0.2 * 6 / 2048))
    other = Ppo(b, b.config.ppo, "0_ppo")
    other.load_state(method.state())
    assert other.after_step({"policy/ref_kl_sequence": 5.0}) == {"policy/kl_coef": method.state()["kl_coef"]}
