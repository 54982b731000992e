"""The reward model: losses by hand, where the score is read, what is held out, how it is mixed in and watched."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
accelerate = pytest.importorskip("accelerate")

from coderl.algorithms.reward_model import bradley_terry_loss, centring, davidson_loss  # noqa: E402
from coderl.config import LearnedRewardConfig, LoraSection, NewModelConfig, PolicyConfig, parse  # noqa: E402
from coderl.errors import ConfigError, ModelError  # noqa: E402
from coderl.evaluate.reward_quality import (  # noqa: E402
    ScoredPair,
    ScoredSample,
    auc,
    brier,
    calibration_error,
    pair_quality,
    sample_quality,
)
from coderl.experience import Example  # noqa: E402
from coderl.learned import Divergence, LearnedReward, learned_metrics  # noqa: E402
from coderl.loop import Trainer  # noqa: E402
from coderl.methods.reward_model import RewardModelling, split_by_task  # noqa: E402
from coderl.mixing import mixed  # noqa: E402
from coderl.pairs import EncodedPair, Pair, write_pairs  # noqa: E402
from coderl.policy import load_policy  # noqa: E402
from coderl.reward_model import (  # noqa: E402
    Normaliser,
    load_reward_model,
    new_reward_model,
    normaliser,
    save_reward_model,
    scores,
)
from coderl.rollout import Rollout  # noqa: E402
from coderl.run_folder import RunFolder  # noqa: E402
from sandbox.verdict import CaseResult, Integrity, Isolation, Outcome, Verdict  # noqa: E402


def tensors(*values):
    return [torch.tensor([v], dtype=torch.float64) for v in values]


def log_sigmoid(x):
    return -math.log(1 + math.exp(-x))


def test_bradley_terry_by_hand():
    """Correctness, point 34."""
    a, b, margin, label = tensors(1.5, 0.5, 0.25, 1.0)
    assert bradley_terry_loss(a, b, margin, label).item() == pytest.approx(-log_sigmoid(0.75))
    smooth = bradley_terry_loss(a, b, margin, label, label_smoothing=0.1).item()
    assert smooth == pytest.approx(-0.9 * log_sigmoid(0.75) - 0.1 * log_sigmoid(-0.75))


def test_a_tie_is_half_of_each_side_and_has_no_margin():
    """Correctness, point 34."""
    a, b, margin, half = tensors(1.5, 0.5, 9.0, 0.5)
    expected = -0.5 * log_sigmoid(1.0) - 0.5 * log_sigmoid(-1.0)
    assert bradley_terry_loss(a, b, margin, half).item() == pytest.approx(expected)
    assert bradley_terry_loss(b, a, margin, half).item() == pytest.approx(expected)  # symmetric


def test_davidsons_three_outcomes_are_a_distribution_and_equal_sides_tie_as_nu_says():
    a, b, margin, one = tensors(1.2, 0.4, 0.0, 1.0)
    half = one * 0.5
    win, loss = davidson_loss(a, b, margin, one, nu=0.7), davidson_loss(b, a, margin, one, nu=0.7)
    tie = davidson_loss(a, b, margin, half, nu=0.7)
    assert (torch.exp(-win) + torch.exp(-loss) + torch.exp(-tie)).item() == pytest.approx(1.0)
    assert torch.exp(-davidson_loss(a, a, margin, half, nu=0.7)).item() == pytest.approx(0.7 / 2.7)
    # a label that is wrong one time in ten
    smoothed = davidson_loss(a, b, margin, one, nu=0.7, label_smoothing=0.1)
    torch.testing.assert_close(smoothed, 0.9 * win + 0.1 * loss)
    # nu -> 0 leaves Bradley-Terry
    assert davidson_loss(a, b, margin, one, nu=1e-12).item() == pytest.approx(-log_sigmoid(0.8))


def test_centring_pulls_the_sum_to_zero_and_no_comparison_alone_does():
    a, b = tensors(3.0, 1.0)
    assert centring(a, b).item() == 16.0
    margin, one = tensors(0.0, 1.0)
    assert bradley_terry_loss(a, b, margin, one).item() == bradley_terry_loss(a + 7, b + 7, margin, one).item()


NEW = NewModelConfig(hidden_size=32, intermediate_size=64, num_layers=1, num_heads=2, vocab_size=300, max_positions=96)


def policy(**changes):
    config = PolicyConfig(model="new:", new=NEW, **changes)
    return load_policy(config, seed=0, corpus=["return x + 1", "return y * 2", "return z"])


EXAMPLES = [
    Example(prompt_ids=(5, 6, 7), completion_ids=(8, 9, 1)),
    Example(prompt_ids=(5, 6, 7), completion_ids=(8,)),
    Example(prompt_ids=(5,), completion_ids=(10, 11, 12, 13, 1)),
]


def test_the_score_is_the_heads_at_the_last_token_alone_or_in_any_batch():
    """Correctness, point 33."""
    p = policy()
    model = new_reward_model(p, seed=3)
    by_hand = []
    for e in EXAMPLES:
        hidden = model.trunk(input_ids=torch.tensor([e.prompt_ids + e.completion_ids])).last_hidden_state[0, -1]
        by_hand.append(float(model.head(hidden).detach()))
    together = scores([model], p, EXAMPLES, micro_batch_tokens=1000)[0].tolist()
    alone = scores([model], p, EXAMPLES, micro_batch_tokens=1)[0].tolist()
    packed = scores([model], policy(packing=True), EXAMPLES, micro_batch_tokens=1000)[0].tolist()
    for values in (together, alone, packed):
        assert values == pytest.approx(by_hand, abs=1e-5)


def test_the_head_is_a_function_of_the_seed_and_training_mode_is_restored():
    """Correctness, point 33."""
    p = policy()
    first, again, other = (new_reward_model(p, seed=s) for s in (1, 1, 2))
    assert torch.equal(first.head.weight, again.head.weight) and not torch.equal(first.head.weight, other.head.weight)
    first.train()
    scores([first], p, EXAMPLES, micro_batch_tokens=100)
    assert first.training


@pytest.mark.parametrize("lora", [None, LoraSection(rank=2, alpha=4)])
def test_a_saved_reward_model_scores_the_same_adapters_merged(tmp_path, lora):
    p = policy()
    members = [new_reward_model(p, seed=s, lora=lora) for s in (1, 2)]
    trained = [name for name, q in members[0].named_parameters() if q.requires_grad]
    assert all("lora_" in n or n.startswith("head.") for n in trained) == (lora is not None)
    with torch.no_grad():
        for member in members:
            for name, parameter in member.named_parameters():
                if "lora_B" in name:
                    parameter.add_(0.1)  # adapters start as nothing: make them count
    before = scores(members, p, EXAMPLES, micro_batch_tokens=1000)
    save_reward_model(members, p, Normaliser(mean=0.5, std=2.0), tmp_path / "rm")
    loaded, norm = load_reward_model(tmp_path / "rm", p)
    torch.testing.assert_close(scores(loaded, p, EXAMPLES, micro_batch_tokens=1000), before, atol=1e-5, rtol=1e-5)
    assert norm == Normaliser(mean=0.5, std=2.0)
    assert not any(q.requires_grad for m in loaded for q in m.parameters())


def test_a_reward_model_of_another_tokenizer_and_a_folder_that_is_none_are_refused(tmp_path):
    p = policy()
    save_reward_model([new_reward_model(p, seed=1)], p, Normaliser(mean=0, std=1), tmp_path / "rm")
    other = load_policy(PolicyConfig(model="new:", new=NEW), seed=0, corpus=["quite another text"] * 9)
    with pytest.raises(ModelError, match="another tokenizer"):
        load_reward_model(tmp_path / "rm", other)
    with pytest.raises(ModelError, match="cannot be used"):
        load_reward_model(tmp_path / "nothing", p)


def test_the_normaliser_makes_reference_scores_mean_0_and_std_1():
    """Correctness, point 36."""
    raw = torch.tensor([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]])  # means 2, 3, 4
    assert normaliser(raw) == Normaliser(mean=3.0, std=1.0)
    assert normaliser(torch.tensor([[2.0, 2.0]])).std == 1.0  # no spread: nothing to divide by


def encoded(task_id, tie=False, number=0):
    pair = Pair(prompt="p", chosen="a", rejected="b", task_id=task_id, source="human", tie=tie, annotator=str(number))
    return EncodedPair(pair=pair, prompt_ids=(1,), chosen_ids=(2, 0), rejected_ids=(3, 0))


def test_no_task_is_on_both_sides_of_the_split_and_ties_are_not_held_out():
    """Correctness, point 35."""
    pairs = [encoded(str(n % 10), number=n) for n in range(40)] + [encoded("1", tie=True)]
    train, held_out = split_by_task(pairs, 0.3, seed=0)
    apart = {p.pair.task_id for p in held_out}
    assert len(apart) == 3 and not apart & {p.pair.task_id for p in train}
    assert not any(p.pair.tie for p in held_out)
    assert split_by_task(pairs, 0.3, seed=0) == (train, held_out)


def bench(tmp_path, **reward_model):
    p = policy()
    ids = {text: p.encode_completion(text) for text in ("return x + 1", "return y * 2")}
    tasks = [f"t{n}" for n in range(8)]
    pairs = [
        Pair(
            prompt=f"# task {t}",
            chosen="return x + 1",
            rejected="return y * 2",
            task_id=t,
            source="human",
            annotator=str(k),
        )
        for n, t in enumerate(tasks)
        for k in range(1 + 5 * (n == 0))  # the first task has six pairs
    ]
    write_pairs(tmp_path / "pairs.jsonl", pairs)
    assert len(set(ids.values())) == 2
    config = parse(
        {
            "name": "run",
            "output": str(tmp_path),
            "stages": ["reward_model"],
            "policy": {"model": "new:"},
            "tasks": {},
            "reward_model": {
                "steps": 10,
                "batch_size": 6,
                "pairs": [str(tmp_path / "pairs.jsonl")],
                "optimizer": {"learning_rate": 1e-2},
                **reward_model,
            },
        }
    )
    return SimpleNamespace(
        config=config,
        accelerator=accelerate.Accelerator(cpu=True),
        policy=p,
        folder=RunFolder(tmp_path),
        share=lambda items: items,
    )


def test_a_reward_model_learns_from_pairs_and_leaves_the_policy_as_it_was(tmp_path):
    b = bench(tmp_path, members=2)
    before = b.policy.weights()
    method = RewardModelling(b, b.config.reward_model, "0_reward_model")
    metrics = [values for _, values in Trainer(b, method, "0_reward_model").run(10)]
    assert metrics[-1]["pairs/score_margin"] > metrics[0]["pairs/score_margin"] + 0.5
    for name, value in b.policy.weights().items():
        assert torch.equal(value, before[name])
    values = method.finish(b.folder, "0_reward_model")
    assert values["reward_model/accuracy"] == 1.0
    assert values["reward_model/problems"] == 2.0  # 0.2 of 8 tasks
    assert values["reward_model/spread"] > 0  # two heads differ
    members, _ = load_reward_model(b.folder.reward_model_dir("0_reward_model"), b.policy)
    assert len(members) == 2


def test_tasks_weigh_the_same_however_many_pairs_they_have(tmp_path):
    """Correctness, point 34."""
    b = bench(tmp_path)
    method = RewardModelling(b, b.config.reward_model, "0_reward_model")
    seen: dict[tuple[int, ...], int] = {}
    for step in range(5):  # 30 draws from 6 tasks
        for example in method.collect(step).examples[::2]:
            seen[example.prompt_ids] = seen.get(example.prompt_ids, 0) + 1
    assert set(seen.values()) == {5}


@pytest.mark.parametrize("settings", [{"ties": "davidson"}, {"margin_coef": 1.0, "label_smoothing": 0.1}])
def test_the_gradient_of_the_reward_model_is_the_same_however_it_is_split(tmp_path, settings):
    found = []
    for tokens in (8192, 1):
        b = bench(tmp_path, micro_batch_tokens=tokens, **settings)
        method = RewardModelling(b, b.config.reward_model, "0_reward_model")
        next(iter(Trainer(b, method, "0_reward_model").run(1)))
        found.append({n: q.grad.clone() for n, q in method._members[0].named_parameters() if q.grad is not None})
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, atol=1e-6, rtol=1e-4)


def test_pairs_of_one_task_leave_nothing_to_learn_from(tmp_path):
    b = bench(tmp_path)
    write_pairs(tmp_path / "pairs.jsonl", [encoded("t").pair])
    with pytest.raises(ConfigError, match="too few tasks"):
        RewardModelling(b, b.config.reward_model, "0_reward_model")


def scored(task_id, chosen, rejected, margin=1.0, lengths=(3, 3)):
    return ScoredPair(
        task_id=task_id,
        chosen=chosen,
        rejected=rejected,
        margin=margin,
        chosen_length=lengths[0],
        rejected_length=lengths[1],
    )


def test_accuracy_is_a_mean_over_problems_and_reported_by_margin_and_length():
    pairs = [
        scored("a", 1, 0),
        scored("a", 1, 0, lengths=(4, 3)),
        scored("a", 0, 1, margin=0.5),
        scored("b", 0, 0, lengths=(2, 3)),
    ]
    values = pair_quality(pairs, seed=0)
    assert values["reward_model/accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)  # not 2.5 / 4
    assert (
        values["reward_model/accuracy_low"] <= values["reward_model/accuracy"] <= values["reward_model/accuracy_high"]
    )
    assert values["reward_model/accuracy_margin_to_0.5"] == 0.0
    assert values["reward_model/accuracy_margin_above_0.5"] == pytest.approx(2.5 / 3)
    assert values["reward_model/accuracy_chosen_longer"] == 1.0
    assert values["reward_model/accuracy_rejected_longer"] == 0.5


def test_auc_is_the_share_of_ordered_couples():
    """Correctness, point 35."""
    generator = np.random.default_rng(0)
    values, labels = generator.integers(0, 5, 40).astype(float), generator.integers(0, 2, 40).astype(bool)
    couples = [(a > b) + 0.5 * (a == b) for a in values[labels] for b in values[~labels]]
    assert auc(values, labels) == pytest.approx(np.mean(couples))
    assert auc([1.0, 2.0], [True, True]) is None


def test_calibration_by_hand():
    """Correctness, point 35."""
    # s(0) = 1/2 and half right: no error; Brier 1/4
    assert calibration_error(np.zeros(4)) == 0.0
    assert brier(np.zeros(4)) == pytest.approx(0.25)
    # confidence 0.8807970779778823 in both, one of two right: |0.5 - 0.8808|
    assert calibration_error(np.array([2.0, -2.0])) == pytest.approx(0.3807970779778823)
    assert brier(np.array([2.0, -2.0])) == pytest.approx((0.11920292**2 + 0.88079708**2) / 2)


def test_best_of_n_stands_between_random_and_oracle():
    samples = [ScoredSample(task_id="a", score=s, passed=p) for s, p in ((3, True), (2, False), (1, True), (0, False))]
    values = sample_quality(samples, sizes=(1, 2, 8))
    assert values["reward_model/best_of_1"] == values["reward_model/best_of_1_random"] == 0.5
    # of the 6 couples the better-scored sample passes in (3,2), (3,1), (3,0), (1,0)
    assert values["reward_model/best_of_2"] == pytest.approx(4 / 6)
    assert values["reward_model/best_of_2_oracle"] == pytest.approx(5 / 6)
    assert "reward_model/best_of_8" not in values
    assert values["reward_model/auc"] == pytest.approx(3 / 4)


@pytest.mark.parametrize("mix", ["gate", "tie_break", "sum"])
@pytest.mark.parametrize("coef", [0.01, 0.2, 0.49])
def test_a_learned_score_never_outranks_a_pass(mix, coef):
    """Correctness, point 36."""
    generator = np.random.default_rng(0)
    for _ in range(200):
        passed = generator.integers(0, 2, 6).astype(bool)
        num_cases = int(generator.integers(1, 30))
        share = generator.integers(0, num_cases, 6) / num_cases
        execution = np.where(passed, 1.0, share).tolist()
        learned = (generator.normal(size=6) * 10.0 ** generator.integers(-2, 4)).tolist()
        rewards = np.array(mixed(execution, passed.tolist(), learned, mix=mix, coef=coef))
        if passed.any() and not passed.all():
            assert rewards[passed].min() > rewards[~passed].max()
        if mix == "tie_break":  # order by execution everywhere
            for i in range(6):
                for j in range(6):
                    assert not execution[i] > execution[j] or rewards[i] > rewards[j]


def test_mixing_by_hand():
    assert mixed([1, 1, 0], [True, True, False], [0.0, 100.0, 100.0], mix="gate", coef=0.2) == pytest.approx(
        [1.1, 1.2, 0]
    )
    # the smallest gap is 0.25: 0.2 * 0.25 * tanh(1)
    expected = [0.5, 0.75 + 0.05 * math.tanh(1)]
    assert mixed([0.5, 0.75], [False, False], [0.0, 1.0], mix="tie_break", coef=0.2) == pytest.approx(expected)
    assert mixed([1, 0], [True, False], [-1.0, 1.0], mix="sum", coef=0.2) == pytest.approx(
        [1 - 0.2 * math.tanh(1), 0.2 * math.tanh(1)]
    )
    assert math.isnan(mixed([math.nan, 1.0], [False, True], [0.0, 0.0], mix="sum", coef=0.2)[0])


def rollout(outcome, score=None, **changes):
    verdict = Verdict(
        outcome=Outcome(outcome),
        cases=(CaseResult(outcome=Outcome(outcome)),),
        integrity=Integrity.SEPARATED,
        isolation=Isolation(backend="scripted"),
    )
    execution = math.nan if outcome == "IE" else float(outcome == "AC")
    return Rollout(
        **{
            "stage": "0_ppo",
            "step": 0,
            "task_id": "t",
            "sample_index": 0,
            "seed": 0,
            "prompt_ids": (5,),
            "completion_ids": (8, 1),
            "logprobs": (0.0, 0.0),
            "truncated": False,
            "verdict": verdict,
            "reward_parts": {"execution": execution},
            "reward": execution,
            "learned_score": score,
            **changes,
        }
    )


def test_rollouts_get_a_part_of_their_own_and_unscorable_ones_stay_nan():
    p = policy()
    model = new_reward_model(p, seed=1)
    learned = LearnedReward(
        members=[model], norm=Normaliser(mean=0, std=1), policy=p, config=LearnedRewardConfig(mix="sum", coef=0.2)
    )
    group = [rollout("AC"), rollout("WA", completion_ids=(9, 9)), rollout("IE")]
    first, second, third = learned.mix(group, [True, False, False], samples_per_task=3)
    raw = scores([model], p, [Example(prompt_ids=(5,), completion_ids=(8, 1))], micro_batch_tokens=9)[0, 0]
    assert first.learned_score == pytest.approx(float(raw), abs=1e-5)
    assert first.reward_parts["learned"] == pytest.approx(0.2 * math.tanh(float(raw)), abs=1e-6)
    assert first.reward == pytest.approx(1 + first.reward_parts["learned"])
    assert second.reward < first.reward
    assert math.isnan(third.reward)


def test_pessimism_takes_the_spread_of_the_ensemble_off():
    p = policy()
    members = [new_reward_model(p, seed=s) for s in (1, 2, 3)]
    group = [rollout("AC")]
    means = {}
    for pessimism in (0.0, 2.0):
        config = LearnedRewardConfig(pessimism=pessimism)
        learned = LearnedReward(members=members, norm=Normaliser(mean=1, std=2), policy=p, config=config)
        (means[pessimism],), (spread,) = learned.scores(group)
    assert spread > 0
    assert means[2.0] == pytest.approx(means[0.0] - 2 * spread)


def test_both_parts_and_their_correlation_are_logged_apart():
    rollouts = [
        rollout("AC", 1.0, reward_parts={"execution": 1.0, "learned": 0.1}),
        rollout("WA", -1.0, reward_parts={"execution": 0.0, "learned": -0.1}),
        rollout("IE", 5.0),
    ]
    values = learned_metrics(rollouts)
    assert values == pytest.approx(
        {"learned/score": 0, "learned/part": 0, "learned/execution_part": 0.5, "learned/correlation": 1}
    )
    assert learned_metrics([rollout("AC")]) == {}


def test_the_alarm_rings_when_the_score_rises_while_the_pass_rate_falls_and_only_then():
    """Correctness, point 36."""

    def rings(score_slope, pass_slope):
        watch = Divergence(window=5)
        steps = [{"learned/score": score_slope * t, "rollout/pass_rate": 0.5 + pass_slope * t} for t in range(30)]
        return [t for t, values in enumerate(steps) if watch.update(values)]

    assert rings(0.05, -0.02) == [9, 19, 29]  # after two windows, then anew
    assert rings(0.05, 0.02) == []  # both rise: learning
    assert rings(-0.05, -0.02) == []  # both fall
    assert rings(0.05, 0.0) == []
    assert Divergence().update({"rollout/pass_rate": 0.1}) == ""
