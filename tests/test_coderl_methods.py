"""GRPO and PPO on a tiny policy with a scripted grader: what becomes of each verdict."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
accelerate = pytest.importorskip("accelerate")

from coderl.collect import collect  # noqa: E402
from coderl.config import NewModelConfig, PolicyConfig, parse  # noqa: E402
from coderl.critic import critic_trunk  # noqa: E402
from coderl.engines import OwnLoop  # noqa: E402
from coderl.errors import ConfigError, ModelError, TrainingStopped  # noqa: E402
from coderl.experience import collate  # noqa: E402
from coderl.generate import generate  # noqa: E402
from coderl.loop import Trainer  # noqa: E402
from coderl.methods.grpo import Grpo  # noqa: E402
from coderl.methods.ppo import Ppo  # noqa: E402
from coderl.policy import load_policy  # noqa: E402
from coderl.prompts import PromptRenderer  # noqa: E402
from sandbox.verdict import CaseResult, Integrity, Isolation, Outcome, Verdict  # noqa: E402
from tasks.registry import load  # noqa: E402

NEW = NewModelConfig(hidden_size=32, intermediate_size=64, num_layers=1, num_heads=2, vocab_size=300, max_positions=96)


class ScriptedGrader:
    """Gives the outcomes it was told, request after request; samples of one length arrive in their order."""

    def __init__(self, outcomes):
        self._outcomes = outcomes

    def grade(self, requests):
        return [self._verdict(self._outcomes[i % len(self._outcomes)]) for i in range(len(requests))]

    def stream(self, requests):
        return enumerate(self.grade(list(requests)))

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
        engine=OwnLoop(),
        grader=ScriptedGrader(outcomes),
        train_tasks=tasks,
        learned=None,
        share=lambda items: items,
    )


def test_grpo_rewards_the_sample_that_passes_and_leaves_the_unscorable_one_out():
    """Correctness, point 22."""
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
    """Correctness, point 21."""
    method = Grpo(b := bench(["AC"]), b.config.grpo, "0_grpo")
    experience = method.collect(0)
    assert all(e.idle and e.valid for e in experience.examples)
    assert experience.metrics["rollout/groups_without_signal"] == 1.0


PRESETS = ["grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "reinforce_pp", "remax"]


@pytest.mark.parametrize("name", PRESETS)
def test_every_relative_of_grpo_makes_a_step_from_ratio_one(name):
    """Correctness, points 8 and 24: the ratio of the first minibatch is exactly 1, and the gradient is not 0."""
    changes = {"prompts_per_step": 3, "samples_per_prompt": 4, "kl_coef": 0.01}
    b = bench(["AC", "WA", "WA"], **{name: changes})
    trainer = Trainer(b, Grpo(b, getattr(b.config, name), f"0_{name}"), f"0_{name}")
    [(experience, metrics)] = list(trainer.run(1))
    assert metrics["policy/ratio_max"] == 1.0
    assert metrics["grad_norm/policy"] > 0
    assert metrics["policy/ref_kl"] == pytest.approx(0.0, abs=1e-6)
    assert metrics["sampler/effective_sample_size"] == pytest.approx(1.0, abs=1e-3)
    assert metrics["sampler/ratio"] == pytest.approx(1.0, abs=1e-3)
    assert any(r.advantage for r in experience.rollouts)


def test_rloo_measures_each_sample_against_the_others():
    method = Grpo(b := bench(["AC", "WA", "WA", "WA"], rloo={"prompts_per_step": 1}), b.config.rloo, "0_rloo")
    first = [r.advantage for r in method.collect(0).rollouts[:4]]
    assert first == pytest.approx([1 - 1 / 7, -2 / 7, -2 / 7, -2 / 7])  # eight samples, two of them right


def test_remax_measures_against_the_greedy_completion():
    b = bench(["AC", "WA"], remax={"prompts_per_step": 2, "samples_per_prompt": 2})
    method = Grpo(b, b.config.remax, "0_remax")
    method.greedy_rewards = lambda rollouts, step: torch.tensor([1.0, 1.0, 0.0, 0.0])
    rollouts = method.collect(0).rollouts
    assert [r.advantage for r in rollouts] == [0.0, -1.0, 1.0, 0.0]
    del method.greedy_rewards
    [first] = [t for t in b.train_tasks if t.id == rollouts[0].task_id]
    b.grader = Solves(first)
    assert method.greedy_rewards(rollouts, 0).tolist() == [1.0, 1.0, 0.0, 0.0]


class Adds:
    """A reward model that adds 10 to what passes."""

    def mix(self, rollouts, passed, samples_per_task):
        assert len(rollouts) == len(passed)
        parts = [{**r.reward_parts, "learned": 10.0 * p} for r, p in zip(rollouts, passed, strict=True)]
        return [
            r.with_(reward_parts=own, reward=sum(own.values()), learned_score=0.0)
            for r, own in zip(rollouts, parts, strict=True)
        ]


def test_the_greedy_completion_has_the_reward_that_the_samples_have():
    b = bench(["AC"], remax={"prompts_per_step": 2, "samples_per_prompt": 2})
    b.learned = Adds()
    method = Grpo(b, b.config.remax, "0_remax")
    rollouts = method.sample(0)[0].rollouts
    assert [r.reward for r in rollouts] == [11.0] * 4
    assert method.greedy_rewards(rollouts, 0).tolist() == [11.0] * 4


class FailsHidden(ScriptedGrader):
    def grade(self, requests):
        found = []
        for request in requests:
            cases = tuple(CaseResult(outcome=Outcome.AC if i < 2 else Outcome.WA) for i in range(len(request.cases)))
            found.append(replace(self._verdict("WA"), cases=cases))
        return found


@pytest.mark.parametrize(("cases", "reward"), [("visible", 11.0), ("all", 0.0)])
def test_a_reward_model_is_told_of_a_pass_by_the_cases_that_the_reward_looks_at(cases, reward):
    b = bench([], reward={"cases": cases})
    assert all(len(task.visible) == 2 < len(task.cases) for task in b.train_tasks)
    b.grader, b.learned = FailsHidden([]), Adds()
    assert {r.reward for r in Grpo(b, b.config.grpo, "0_grpo").sample(0)[0].rollouts} == {reward}


def test_reinforce_pp_whitens_over_all_tokens_of_the_batch():
    b = bench(["AC", "WA", "IE"], reinforce_pp={"prompts_per_step": 3, "samples_per_prompt": 2, "kl_coef": 0.0})
    examples = Grpo(b, b.config.reinforce_pp, "0_reinforce_pp").collect(0).examples
    tokens = torch.cat([e.advantages for e in examples if e.valid])
    assert tokens.mean().item() == pytest.approx(0.0, abs=1e-5)
    assert tokens.std().item() == pytest.approx(1.0, abs=1e-3)
    assert sorted({round(float(t), 4) for t in tokens})[0] < 0


class Solves(ScriptedGrader):
    """Only programs for one task pass."""

    def __init__(self, task):
        self._cases = task.request("").cases

    def grade(self, requests):
        return [self._verdict("AC" if r.cases == self._cases else "WA") for r in requests]


class ByTask(ScriptedGrader):
    """Tasks in `solved` pass always, others pass every second sample."""

    def __init__(self, solved):
        self._solved = solved

    def grade(self, requests):
        self.asked = [r.cases for r in requests]
        return [self._verdict("AC" if r.cases in self._solved or i % 2 else "WA") for i, r in enumerate(requests)]


def test_dapo_samples_until_every_group_has_a_signal():
    """Correctness, point 25: rounds are capped, dropped groups counted, the draws kept, metrics those before the filter."""
    settings = {"prompts_per_step": 3, "samples_per_prompt": 4, "overlong_share": 0, "curriculum": {"max_rounds": 9}}
    b = bench([], dapo=settings)
    b.grader = ByTask([t.request("").cases for t in b.train_tasks[:3]])  # three of five tasks say nothing
    method = Grpo(b, b.config.dapo, "0_dapo")
    experience = method.collect(0)
    assert len(experience.examples) == 12
    assert all(e.valid and e.advantages.any() for e in experience.examples)
    assert experience.metrics["curriculum/dropped_groups"] == len(experience.rollouts) // 4 - 3 > 0
    assert len({r.seed for r in experience.rollouts}) == len(experience.rollouts)
    assert experience.metrics["rollout/pass_rate"] > 0.5  # what was dropped counts here
    resumed = Grpo(b, b.config.dapo, "0_dapo")
    resumed.load_state(method.state())
    assert [r.task_id for r in resumed.collect(1).rollouts] == [r.task_id for r in method.collect(1).rollouts]


def test_a_masked_truncated_sample_stays_in_the_baseline_but_carries_no_gradient():
    """Correctness, points 4 and 26. A new policy rarely stops within 12 tokens, so nearly all are truncated."""
    settings = {"prompts_per_step": 3, "samples_per_prompt": 4, "truncation": "mask"}
    method = Grpo(b := bench(["AC", "WA"], grpo=settings), b.config.grpo, "0_grpo")
    experience = method.collect(0)
    truncated = [r.truncated for r in experience.rollouts]
    assert any(truncated)
    assert [e.valid for e in experience.examples] == [not t for t in truncated]
    assert all(r.advantage != 0 for r in experience.rollouts)


def test_the_overlong_penalty_is_a_part_of_the_reward():
    settings = {"prompts_per_step": 3, "samples_per_prompt": 4, "overlong_share": 0.5, "overlong_penalty": 2.0}
    method = Grpo(b := bench(["AC"], grpo=settings), b.config.grpo, "0_grpo")
    for rollout in method.collect(0).rollouts:
        excess = max(0, len(rollout.completion_ids) - 6) / 6  # 12 tokens at most, the last 6 cost
        assert rollout.reward == pytest.approx(1.0 - 2.0 * excess)
        assert rollout.reward_parts.get("overlong", 0.0) == pytest.approx(-2.0 * excess)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grpo": {"kl_estimator": "k1"}}, "gradient of mean zero"),
        ({"grpo": {"kl_in": "reward"}}, "in the reward is biased"),
        ({"grpo": {"truncation": "mask", "overlong_share": 0.2}}, "twice"),
        ({"grpo": {"truncation": "mask"}, "reward": {"truncated_penalty": 0.1}}, "twice"),
        ({"rloo": {"scale": "std"}}, "goes with baseline group"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        bench(["AC"], **changes)


def test_a_sampler_with_other_probabilities_is_seen_and_corrected():
    settings = {"prompts_per_step": 3, "samples_per_prompt": 4, "importance": "truncate", "importance_cap": 1.5}
    b = bench(["AC", "WA"], grpo=settings)
    method = Grpo(b, b.config.grpo, "0_grpo")
    collect = method.collect

    def elsewhere(step):
        """As if the sampler had found every second token twice less likely than the trainer does."""
        experience = collect(step)
        shifted = [
            replace(e, sampler_logprobs=e.sampler_logprobs - 0.6931472 * (torch.arange(len(e.completion_ids)) % 2))
            for e in experience.examples
        ]
        return replace(experience, examples=shifted)

    method.collect = elsewhere
    [(experience, metrics)] = list(Trainer(b, method, "0_grpo").run(1))
    lengths = [len(e.completion_ids) for e in experience.examples if not e.idle]
    odd, count = sum(n // 2 for n in lengths), sum(lengths)
    assert metrics["sampler/ratio"] == pytest.approx(1 + odd / count, rel=1e-3)
    assert metrics["sampler/ratio_max"] == pytest.approx(2.0, rel=1e-3)
    mean, square = (count + 0.5 * odd) / count, (count + 1.25 * odd) / count  # weights 1 and 1.5
    assert metrics["sampler/effective_sample_size"] == pytest.approx(mean**2 / square, rel=1e-3)


def test_an_entropy_bonus_raises_the_entropy():
    found = {}
    for coef in (0.0, 0.5):
        settings = {"prompts_per_step": 3, "samples_per_prompt": 4, "entropy_coef": coef}
        b = bench(["AC"], grpo={**settings, "optimizer": {"learning_rate": 1e-2}})
        torch.nn.init.normal_(b.policy.model.get_input_embeddings().weight, std=0.2)  # not uniform to begin with
        *_, (_, found[coef]) = Trainer(b, Grpo(b, b.config.grpo, "0_grpo"), "0_grpo").run(4)
    assert found[0.5]["rollout/entropy"] > found[0.0]["rollout/entropy"] + 0.01


def test_ppo_takes_the_entropy_bonus_off_its_loss():
    method = Ppo(b := bench(["AC", "WA"]), b.config.ppo, "0_ppo")
    examples = method.collect(0).examples
    batch = collate(examples, [1.0] * len(examples), b.policy.pad_id, b.policy.device)
    plain = method.loss(batch, 0).loss
    method.config = method._rollout_config = method.config.model_copy(update={"entropy_coef": 0.5})
    loss, watch = method.loss(batch, 0)
    assert float((watch["policy/entropy"] * batch.mask).max()) > 1
    torch.testing.assert_close(loss * batch.mask, (plain - 0.5 * watch["policy/entropy"]) * batch.mask)


@pytest.mark.parametrize("kl_in", ["reward", "token_reward"])
def test_a_completion_pays_for_its_kl_as_a_whole_or_token_by_token(kl_in):
    """A KL of 1 nat per token at 0.1 each: a pass of T tokens is worth 1 - T / 10; token t pays for itself and the rest."""
    settings = {"prompts_per_step": 2, "samples_per_prompt": 2, "kl_coef": 0.1, "kl_in": kl_in, "scale": "none"}
    b = bench(["AC"], reinforce_pp=settings)
    method = Grpo(b, b.config.reinforce_pp, "0_reinforce_pp")
    method.all_logprobs = lambda examples, weights=None: [
        torch.full((len(e.completion_ids),), -3.0 if weights is None else -4.0) for e in examples
    ]
    for example in method.collect(0).examples:
        left = torch.arange(len(example.completion_ids), 0, -1)
        paid = left if kl_in == "token_reward" else left[0].expand(len(left))
        torch.testing.assert_close(example.advantages, 1 - 0.1 * paid)


def test_epochs_stop_at_the_target_kl():
    settings = {"prompts_per_step": 3, "samples_per_prompt": 4, "epochs": 6, "optimizer": {"learning_rate": 5e-3}}
    steps = {}
    for target in (None, 1e-4):
        b = bench(["AC", "WA"], grpo={**settings, "target_kl": target})
        trainer = Trainer(b, Grpo(b, b.config.grpo, "0_grpo"), "0_grpo")
        list(trainer.run(1))
        steps[target] = int(next(iter(trainer._optimizer.state_dict()["state"].values()))["step"])
    assert steps[None] == 6 and 1 <= steps[1e-4] < 6


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


def test_what_only_keeps_a_process_busy_is_in_no_statistic():
    """Of several processes each keeps one of its flat groups, where all are: as many as there are processes."""
    changes = {"curriculum": {"gate": "replace", "max_rounds": 1}, "scale_rewards": True, "kl_target": 1.0}
    ppo = {"prompts_per_step": 2, "samples_per_prompt": 2, **changes}
    method = Ppo(b := bench(["AC"], ppo=ppo), b.config.ppo, "0_ppo")
    experience = method.collect(0)
    assert len(experience.examples) == 2 and not any(e.valid for e in experience.examples)
    before = method.state()
    assert before["scores"] == [0.0, 0.0, 0.0] and "policy/ref_kl_sequence" not in experience.metrics
    method.after_step(experience.metrics)
    assert method.state()["kl_coef"] == before["kl_coef"]
    grpo = Grpo(
        b := bench(["AC"], grpo={"prompts_per_step": 1, "samples_per_prompt": 2, "curriculum": changes["curriculum"]}),
        b.config.grpo,
        "0_grpo",
    )
    assert grpo.collect(0).metrics["rollout/groups_without_signal"] == 0.0


def test_too_many_unscorable_verdicts_stop_the_run():
    method = Grpo(b := bench(["IE", "IE", "IE", "AC"]), b.config.grpo, "0_grpo")
    with pytest.raises(TrainingStopped, match=r"9 of 12 verdicts are unscorable.*sandbox doctor"):
        method.collect(0)


@pytest.mark.parametrize(
    ("own", "other", "fault"),
    [  # (unscorable, all, example) of the other process; this one has 12 verdicts, the limit is 0.5
        (["AC"], (11, 12, "task x: IE lost"), ""),
        (["IE"], (0, 12, ""), ""),
        (["AC"], (24, 24, "task x: IE lost"), r"24 of 36 verdicts are unscorable \(limit 50%\), e.g. task x: IE lost"),
        (["IE"], (1, 12, "task x: IE lost"), r"13 of 24 verdicts are .*, e.g. task generated/compose"),
        (["IE"], (0, 0, ""), "12 of 12 verdicts are unscorable"),  # it had nothing to sample
    ],
)
def test_the_share_of_unscorable_verdicts_is_that_of_all_processes(monkeypatch, own, other, fault):
    monkeypatch.setattr("coderl.collect.gather", lambda _, items: [*items, other])
    method = Grpo(b := bench(own), b.config.grpo, "0_grpo")
    with pytest.raises(TrainingStopped, match=fault) if fault else nullcontext():
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
    torch.nn.init.normal_(critic.head.linear.weight)
    from coderl.experience import Example, collate

    def values(completion):
        example = Example(prompt_ids=(60, 61), completion_ids=completion)
        return critic(collate([example], [1.0], b.policy.pad_id, torch.device("cpu"))).detach()[0]

    one, other = values((70, 71, 72)), values((70, 80, 72))
    torch.testing.assert_close(one[:2], other[:2])  # V_0 and V_1 are read before token 1
    assert float((one[2] - other[2]).abs()) > 1e-4


def test_adaptive_kl_is_part_of_the_state():
    """Correctness, point 19."""
    b = bench(["AC", "WA"], ppo={"prompts_per_step": 3, "samples_per_prompt": 2, "kl_target": 0.001, "kl_coef": 0.1})
    method = Ppo(b, b.config.ppo, "0_ppo")
    method.after_step({"policy/ref_kl_sequence": 5.0})
    # error clipped to 0.2, 6 episodes over a horizon of 2048
    assert method.state()["kl_coef"] == pytest.approx(0.1 * (1 + 0.2 * 6 / 2048))
    other = Ppo(b, b.config.ppo, "0_ppo")
    other.load_state(method.state())
    assert other.after_step({"policy/ref_kl_sequence": 5.0}) == {"policy/kl_coef": method.state()["kl_coef"]}


@pytest.mark.parametrize("critic", ["separate", "shared"])
def test_no_gradient_reaches_the_policy_while_the_critic_warms_up(critic):
    """Correctness, point 17."""
    settings = {"prompts_per_step": 3, "samples_per_prompt": 2, "critic_warmup_steps": 1, "critic": critic}
    b = bench(["AC", "WA"], ppo={**settings, "value_init_std": 0.01})
    before = b.policy.weights()
    steps = Trainer(b, Ppo(b, b.config.ppo, "0_ppo"), "0_ppo").run(2)
    _, metrics = next(steps)
    assert metrics["grad_norm/critic"] > 0 and metrics["grad_norm/policy"] == 0
    assert all(torch.equal(before[k], v) for k, v in b.policy.weights().items())
    _, metrics = next(steps)
    assert metrics["grad_norm/policy"] > 0
    assert metrics["policy/ratio_max"] == 1.0


@pytest.mark.parametrize("packing", [False, True])
def test_a_shared_critic_reads_the_states_that_a_copy_of_the_trunk_would_have(packing):
    from coderl.experience import Example, collate

    b = bench(["AC"], ppo={"critic": "shared", "value_init_std": 0.1})
    b.policy.packed = packing
    shared = Ppo(b, b.config.ppo, "0_ppo")
    separate = Ppo(b, b.config.ppo.model_copy(update={"critic": "separate"}), "0_ppo")
    separate._critic.head.load_state_dict(shared._critic.state_dict())
    examples = [
        Example(prompt_ids=(60, 61), completion_ids=(5, 6, 7)),
        Example(prompt_ids=(62,), completion_ids=(8, 9)),
    ]
    batch = collate(examples, [1.0, 1.0], b.policy.pad_id, torch.device("cpu"), packed=packing)
    for one, other in zip(batch.split(shared._values(batch)), batch.split(separate._values(batch)), strict=True):
        torch.testing.assert_close(one, other)
        assert one.abs().max() > 0


def test_running_reward_scale_is_part_of_the_state():
    """Correctness, point 15."""
    b = bench(["AC", "WA"], ppo={"prompts_per_step": 3, "samples_per_prompt": 2, "scale_rewards": True})
    method = Ppo(b, b.config.ppo, "0_ppo")
    experience = method.collect(0)
    deviation = torch.tensor([1.0, 0.0] * 3).std().item()
    assert experience.metrics["rollout/reward_scale"] == pytest.approx(deviation)
    last = [float(e.returns[-1]) for e in experience.examples]
    assert last == pytest.approx([1 / deviation, 0.0] * 3, abs=1e-4)
    other = Ppo(b, b.config.ppo, "0_ppo")
    other.load_state(method.state())
    assert other.collect(1).metrics["rollout/reward_scale"] == method.collect(1).metrics["rollout/reward_scale"]


@pytest.mark.parametrize(
    ("truncation", "last_return", "valid"), [("keep", 1.0, 1), ("bootstrap", 1.5, 1), ("mask", 1, 0)]
)
def test_what_becomes_of_a_truncated_completion(truncation, last_return, valid):
    """Correctness, point 13: terminal by default; or it goes on as the critic says; or it is left out."""
    b = bench(["AC"], ppo={"prompts_per_step": 3, "samples_per_prompt": 2, "truncation": truncation, "kl_coef": 0})
    method = Ppo(b, b.config.ppo, "0_ppo")
    torch.nn.init.constant_(method._critic.head.linear.bias, 0.5)
    sample = method.sample

    def first_ends(step):
        found, metrics = sample(step)
        ended = found.rollouts[0].with_(truncated=False)
        return replace(found, rollouts=[ended, *found.rollouts[1:]]), metrics

    method.sample = first_ends
    experience = method.collect(0)
    assert float(experience.examples[0].returns[-1]) == pytest.approx(1.0) and experience.examples[0].valid
    chosen = [e for e, r in zip(experience.examples, experience.rollouts, strict=True) if r.truncated]
    assert chosen
    for example in chosen:
        assert float(example.returns[-1]) == pytest.approx(last_return)
        assert example.valid == valid


def test_a_critic_starts_as_the_model_that_the_config_names_and_learns(tmp_path):
    from coderl.reward_model import Normaliser, new_reward_model, save_reward_model

    b = bench(["AC", "WA"])
    for parameter in b.policy.model.parameters():
        parameter.data.add_(0.01)
    b.policy.save(tmp_path / "other")
    moved = [p.detach().clone() for p in critic_trunk(b.policy, b.config.policy).parameters()]
    for parameter in b.policy.model.parameters():
        parameter.data.sub_(0.02)
    member = new_reward_model(b.policy, seed=0)
    save_reward_model([member], b.policy, Normaliser(mean=0.0, std=1.0), tmp_path / "reward")
    expected = {"other": moved, "reward": list(member.trunk.parameters())}
    for name, start in expected.items():
        settings = {"prompts_per_step": 3, "samples_per_prompt": 2, "critic_model": str(tmp_path / name)}
        config = b.config.ppo.model_copy(update=settings)
        method = Ppo(b, config, "0_ppo")
        own = list(method._critic.trunk.parameters())
        assert all(torch.equal(one, other) for one, other in zip(own, start, strict=True))
        assert not torch.equal(own[0], next(iter(b.policy.model.parameters())))
        for _ in Trainer(b, method, "0_ppo").run(2):
            pass
        assert not all(torch.equal(one, other) for one, other in zip(own, start, strict=True))


def test_a_critic_that_reads_other_ids_and_one_that_is_shared_are_refused(tmp_path):
    b = bench(["AC"])
    other = load_policy(PolicyConfig(model="new:", new=NEW), seed=0, corpus=["x = 1\n"] * 20)
    other.save(tmp_path / "other")
    with pytest.raises(ModelError, match=r"ppo.critic_model .*another tokenizer's ids"):
        critic_trunk(b.policy, b.config.policy, str(tmp_path / "other"))
    with pytest.raises(ModelError, match="no model folder there"):
        critic_trunk(b.policy, b.config.policy, str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="critic_model is for critic separate"):
        bench(["AC"], ppo={"critic": "shared", "critic_model": "x"})


def test_a_program_is_handed_to_the_grader_before_the_last_sample_is_drawn(monkeypatch):
    """And gets the verdict that it would have got afterwards."""
    b = bench([])
    drawn, graded = [], threading.Event()

    class Eager(Solves):
        def stream(self, requests):
            for index, request in enumerate(requests):
                graded.set()
                yield index, self.grade([request])[0]

    def slow(*args, **kwargs):
        for sample in generate(*args, **kwargs):
            drawn.append(sample.key)
            yield sample
            assert graded.wait(20), "nothing was graded while samples were still being drawn"

    monkeypatch.setattr("coderl.engines.generate", slow)
    b.grader = Eager(b.train_tasks[0])
    settings = {"stage": "0_grpo", "step": 0, "temperature": 1.0, "max_new_tokens": 12, "stop_early": True}
    rollouts = collect(b, b.train_tasks[:3], samples_per_task=2, **settings).rollouts
    assert len(drawn) == 6
    assert [(r.task_id, r.sample_index) for r in rollouts] == [(t.id, i) for t in b.train_tasks[:3] for i in (0, 1)]
    assert [r.reward for r in rollouts] == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]


def test_a_grader_that_fails_while_samples_are_drawn_stops_the_step():
    class Closed(ScriptedGrader):
        def stream(self, requests):
            raise RuntimeError("the grader is closed: make a new one")

    b = bench([])
    b.grader = Closed([])
    settings = {"stage": "0_grpo", "step": 0, "temperature": 1.0, "max_new_tokens": 4, "stop_early": True}
    with pytest.raises(RuntimeError, match="closed"):
        collect(b, b.train_tasks[:2], samples_per_task=2, **settings)
