"""Preference losses by hand, their defining properties, and the method: pairs in, the same gradient however they are split."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
accelerate = pytest.importorskip("accelerate")

from coderl.algorithms.dpo import (  # noqa: E402
    PairLogprobs,
    cdpo_loss,
    dpo_loss,
    dpop_loss,
    ipo_loss,
    kto_loss,
    orpo_loss,
    robust_loss,
    simpo_loss,
)
from coderl.config import NewModelConfig, PolicyConfig, parse  # noqa: E402
from coderl.errors import ConfigError  # noqa: E402
from coderl.experience import Example, collate, pack  # noqa: E402
from coderl.logprobs import content_key  # noqa: E402
from coderl.loop import Trainer  # noqa: E402
from coderl.methods.dpo import Dpo  # noqa: E402
from coderl.pairs import Pair, tokenizer_fingerprint, write_pairs  # noqa: E402
from coderl.policy import load_policy  # noqa: E402
from coderl.run_folder import RunFolder  # noqa: E402


def one(chosen=-2.0, rejected=-3.0, ref_chosen=-2.5, ref_rejected=-2.0, lengths=(4, 2)):
    values = (chosen, rejected, ref_chosen, ref_rejected, *map(float, lengths))
    return PairLogprobs(*(torch.tensor([v], dtype=torch.float64) for v in values))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


# beta 0.1: r(chosen) = 0.1 * (-2 + 2.5) = 0.05, r(rejected) = 0.1 * (-3 + 2) = -0.1, d = 0.15
def test_dpo_by_hand():
    """Correctness, point 28."""
    assert dpo_loss(one(), beta=0.1).item() == pytest.approx(-math.log(sigmoid(0.15)))


def test_cdpo_and_robust_by_hand_and_they_differ():
    """Correctness, point 29."""
    good, bad = -math.log(sigmoid(0.15)), -math.log(sigmoid(-0.15))
    assert cdpo_loss(one(), beta=0.1, label_smoothing=0.2).item() == pytest.approx(0.8 * good + 0.2 * bad)
    assert robust_loss(one(), beta=0.1, label_smoothing=0.2).item() == pytest.approx((0.8 * good - 0.2 * bad) / 0.6)


def test_robust_is_unbiased_under_flipped_labels():
    # with probability e the sides are exchanged: the expectation over flips is the loss of the clean label
    e, pairs = 0.3, one()
    flipped = PairLogprobs(pairs.rejected, pairs.chosen, pairs.ref_rejected, pairs.ref_chosen, *pairs[4:])
    expected = (1 - e) * robust_loss(pairs, beta=0.1, label_smoothing=e) + e * robust_loss(
        flipped, beta=0.1, label_smoothing=e
    )
    assert expected.item() == pytest.approx(dpo_loss(pairs, beta=0.1).item())


def test_cdpo_is_least_where_the_margin_says_what_the_labels_are_worth():
    # d = log((1-e)/e); with e = 0.2 that is log 4
    chosen = torch.linspace(0, 30, 3001, dtype=torch.float64)
    zero = torch.zeros_like(chosen)
    losses = cdpo_loss(PairLogprobs(chosen, zero, zero, zero, zero, zero), beta=0.1, label_smoothing=0.2)
    assert 0.1 * chosen[losses.argmin()].item() == pytest.approx(math.log(4), abs=1e-3)


def test_ipo_uses_means_and_is_zero_at_its_target():
    """Correctness, point 28."""
    # (-2 + 2.5) / 4 - (-3 + 2) / 2 = 0.625; 1 / (2 * 0.1) = 5
    assert ipo_loss(one(), beta=0.1).item() == pytest.approx((0.625 - 5) ** 2)
    assert ipo_loss(one(), beta=0.8).item() == pytest.approx(0.0)  # 1 / 1.6 = 0.625


def test_simpo_by_hand_looks_at_no_reference():
    """Correctness, point 28."""
    # 2 * (-2/4 + 3/2) = 2; minus gamma 0.5
    assert simpo_loss(one(), beta=2, margin=0.5).item() == pytest.approx(-math.log(sigmoid(1.5)))
    assert simpo_loss(one(ref_chosen=-99), beta=2, margin=0.5).item() == pytest.approx(-math.log(sigmoid(1.5)))


def test_orpo_by_hand():
    """Correctness, point 29."""
    # p = e^-0.5 = 0.60653, odds 1.54149; q = e^-1.5 = 0.22313, odds 0.28722; ratio 5.36694
    odds = [p / (1 - p) for p in (math.exp(-0.5), math.exp(-1.5))]
    expected = 0.5 - 0.1 * math.log(sigmoid(math.log(odds[0] / odds[1])))
    assert orpo_loss(one(), beta=0.1).item() == pytest.approx(expected)


def test_orpo_is_finite_for_a_completion_of_probability_one():
    certain = one(chosen=0.0)
    certain.chosen.requires_grad_(True)
    loss = orpo_loss(certain, beta=0.1)
    loss.backward()
    assert torch.isfinite(loss).all() and torch.isfinite(certain.chosen.grad).all()


def test_dpop_pays_only_where_the_chosen_side_became_less_likely():
    """Correctness, point 30."""
    assert dpop_loss(one(), beta=0.1, penalty=5).item() == pytest.approx(dpo_loss(one(), beta=0.1).item())
    # chosen -3 under a reference of -2.5: d = 0.1 * (-0.5) + 0.1 = 0.05, minus 0.1 * 5 * 0.5
    fallen = one(chosen=-3.0)
    assert dpop_loss(fallen, beta=0.1, penalty=5).item() == pytest.approx(-math.log(sigmoid(0.05 - 0.25)))


def test_kto_by_hand_and_its_kl_carries_no_gradient():
    """Correctness, point 29."""
    logprobs = torch.tensor([-2.0, -3.0], dtype=torch.float64, requires_grad=True)
    kl = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    losses = kto_loss(
        logprobs,
        torch.tensor([-2.5, -2.0]),
        torch.tensor([1.0, 0.0]),
        kl,
        beta=0.1,
        desirable_weight=1.0,
        undesirable_weight=1.5,
    )
    # r - z = 0.05 - 0.2 for the good one; z - r = 0.2 + 0.1 for the bad one
    assert losses.tolist() == pytest.approx([1 - sigmoid(-0.15), 1.5 * (1 - sigmoid(0.3))])
    losses.sum().backward()
    assert kl.grad is None
    assert logprobs.grad[0] < 0 < logprobs.grad[1]  # the good one becomes likelier, the bad one less so


ALL = {
    "dpo": {},
    "cdpo": {"label_smoothing": 0.1},
    "robust": {"label_smoothing": 0.1},
    "ipo": {},
    "simpo": {"beta": 2.0},
    "orpo": {"beta": 5.0},
    "dpop": {"penalty": 5.0},
    "kto": {},
}
NEW = NewModelConfig(hidden_size=32, intermediate_size=64, num_layers=1, num_heads=2, vocab_size=300, max_positions=96)
WORDS = ["return x", "return x + 1", "return (x * 2) - 3", "x"]


def bench(tmp_path, *, packing=False, micro_batch_tokens=8192, ties=False, **dpo):
    config = parse(
        {
            "name": "run",
            "output": str(tmp_path),
            "stages": ["dpo"],
            "policy": {"model": "new:", "packing": packing},
            "tasks": {},
            "dpo": {
                "steps": 3,
                "batch_size": 4,
                "pairs": [str(tmp_path / "pairs.jsonl")],
                "micro_batch_tokens": micro_batch_tokens,
                "optimizer": {"learning_rate": 1e-2},
                **dpo,
            },
        }
    )
    policy = load_policy(PolicyConfig(model="new:", new=NEW, packing=packing), seed=0, corpus=WORDS)

    def ids(text):
        return tuple(policy.tokenizer(text)["input_ids"])

    pairs = [
        Pair(
            prompt=f"# task {n % 3}",
            chosen=WORDS[n % 4],
            rejected=WORDS[(n + 1) % 4],
            task_id=str(n % 3),
            source="human",
            tie=ties,
            prompt_ids=ids(f"# task {n % 3}"),
            chosen_ids=(*ids(WORDS[n % 4]), policy.tokenizer.eos_token_id),
            rejected_ids=(*ids(WORDS[(n + 1) % 4]), policy.tokenizer.eos_token_id),
            tokenizer=tokenizer_fingerprint(policy.tokenizer),
        )
        for n in range(6)
    ]
    write_pairs(tmp_path / "pairs.jsonl", pairs)
    return SimpleNamespace(
        config=config,
        accelerator=accelerate.Accelerator(cpu=True),
        policy=policy,
        folder=RunFolder(tmp_path),
        share=lambda items: items,
    )


def gradients(b):
    trainer = Trainer(b, Dpo(b, b.config.dpo, "0_dpo"), "0_dpo")
    [(_, metrics)] = list(trainer.run(1))
    return metrics, {name: p.grad.clone() for name, p in b.policy.trainable().items()}


@pytest.mark.parametrize("loss", ALL)
def test_the_gradient_is_the_same_however_the_pairs_are_split_and_packed(tmp_path, loss):
    whole, first = gradients(bench(tmp_path, loss=loss, nll_coef=0.5, **ALL[loss]))
    for layout in ({"micro_batch_tokens": 1}, {"packing": True}, {"packing": True, "micro_batch_tokens": 1}):
        split, second = gradients(bench(tmp_path, loss=loss, nll_coef=0.5, **ALL[loss], **layout))
        for name, value in first.items():
            torch.testing.assert_close(second[name], value, atol=1e-6, rtol=1e-4)
        for name in ("loss", "pairs/reward_margin", "pairs/logprob_chosen"):
            assert split[name] == pytest.approx(whole[name], abs=1e-5)


@pytest.mark.parametrize("loss", ALL)
def test_every_loss_pulls_the_sides_of_a_pair_apart(tmp_path, loss):
    b = bench(tmp_path, loss=loss, **ALL[loss])
    b.config = b.config.model_copy(update={"dpo": b.config.dpo.model_copy(update={"steps": 12, "batch_size": 6})})
    trainer = Trainer(b, Dpo(b, b.config.dpo, "0_dpo"), "0_dpo")
    metrics = [values for _, values in trainer.run(12)]
    gains = [m["pairs/logprob_chosen"] - m["pairs/logprob_rejected"] for m in metrics]
    if loss in ("simpo", "ipo", "orpo"):  # these compare means over tokens
        gains = [
            m["pairs/logprob_chosen"] / m["pairs/length_chosen"]
            - m["pairs/logprob_rejected"] / m["pairs/length_rejected"]
            for m in metrics
        ]
    assert gains[-1] - gains[0] > 0.01
    if loss not in ("simpo", "orpo"):
        # the policy starts at its reference: every reward is 0
        assert metrics[0]["pairs/reward_chosen"] == pytest.approx(0, abs=1e-5)
        assert metrics[0]["pairs/reward_rejected"] == pytest.approx(0, abs=1e-5)


def test_the_loss_is_the_mean_over_pairs_of_the_pure_function(tmp_path):
    b = bench(tmp_path, loss="cdpo", label_smoothing=0.1)
    trainer = Trainer(b, Dpo(b, b.config.dpo, "0_dpo"), "0_dpo")
    experience, metrics = next(iter(trainer.run(1)))
    assert len(experience.examples) == 8
    assert metrics["loss"] == pytest.approx(math.log(2), abs=1e-5)  # d = 0 for all: -(0.9 + 0.1) log 0.5


def test_the_reference_is_computed_once_and_found_again_by_content(tmp_path, monkeypatch):
    b = bench(tmp_path)
    first = Dpo(b, b.config.dpo, "0_dpo")
    [cached] = (tmp_path / "cache" / "ref_logprobs").glob("*.pt")
    monkeypatch.setattr("coderl.logprobs.per_token", None)  # not called again
    second = Dpo(b, b.config.dpo, "0_dpo")
    for a, c in zip(first._ref, second._ref, strict=True):
        assert torch.equal(a, c)
    assert cached.stem == content_key(b.policy, first._examples)


def test_the_key_of_the_cache_changes_with_any_weight_and_any_token(tmp_path):
    """Correctness, point 31."""
    b = bench(tmp_path)
    examples = [Example(prompt_ids=(1, 2), completion_ids=(3, 4))]
    key = content_key(b.policy, examples)
    assert key != content_key(b.policy, [Example(prompt_ids=(1, 2), completion_ids=(3, 5))])
    assert key != content_key(b.policy, [Example(prompt_ids=(1, 2, 3), completion_ids=(4,))])
    with torch.no_grad():
        next(iter(b.policy.trainable().values())).view(-1)[0] += 1e-3
    assert key != content_key(b.policy, examples)


def test_only_ties_teach_nothing_and_say_so(tmp_path):
    b = bench(tmp_path, ties=True)
    with pytest.raises(ConfigError, match="all pairs are ties"):
        Dpo(b, b.config.dpo, "0_dpo")


@pytest.mark.parametrize("packed", [False, True])
def test_the_sides_of_a_pair_stay_together_and_the_last_token_is_found(packed):
    lengths = [(3, 1), (2, 5), (4, 2), (1, 1)]
    examples = []
    for unit, (chosen, rejected) in enumerate(lengths):
        prompt = (100 + unit % 2, 7)  # shared by two pairs
        for side, length in ((1, chosen), (2, rejected)):
            ids = tuple(range(1000 * unit + 100 * side, 1000 * unit + 100 * side + length))
            examples.append(Example(prompt_ids=prompt, completion_ids=ids, unit=unit))
    for max_tokens in (1, 20, 1000):
        batches = list(pack(examples, max_tokens, packed=packed))
        assert sorted(i for batch in batches for i in batch) == list(range(8))
        for rows in batches:
            assert rows[::2] == [i - 1 for i in rows[1::2]] and all(i % 2 == 0 for i in rows[::2])
            chosen = [examples[i] for i in rows]
            batch = collate(chosen, [1.0] * len(rows), 0, torch.device("cpu"), packed=packed)
            assert batch.input_ids.flatten()[batch.last].tolist() == [e.completion_ids[-1] for e in chosen]
            values = batch.spread(torch.arange(len(rows)).float())
            assert batch.sums(values).tolist() == [i * len(e.completion_ids) for i, e in enumerate(chosen)]


def test_the_likelihood_term_is_a_mean_over_the_tokens_of_the_chosen_side(tmp_path):
    """RPO, Pang et al. 2024, equation 1: of pair i it adds alpha * -log pi(chosen) / |chosen|."""
    method = Dpo(b := bench(tmp_path, nll_coef=0.5), b.config.dpo, "0_dpo")
    examples = method.collect(0).examples
    batch = collate(examples, [1.0] * len(examples), b.policy.pad_id, b.policy.device)
    with_term = method.loss(batch, 0).loss[:, 0]
    method.config = method.config.model_copy(update={"nll_coef": 0.0})
    added = with_term - method.loss(batch, 0).loss[:, 0]
    means = torch.stack([own.mean() for own in batch.split(b.policy.logprobs(batch, 1.0))])
    torch.testing.assert_close(added, -0.5 * means[::2].repeat_interleave(2))
