"""Preference losses, KTO and the reward model against those of TRL, on random tensors and on a tiny model, to 1e-5.

TRL's own code computes its side: the trainers' loss methods, on a stand-in for a trainer that holds nothing but settings.
cDPO, DPOP and RPO are not in TRL 1.16: their references are written here from the papers' equations.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

import test_coderl_dpo as preferences  # noqa: E402

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
from coderl.algorithms.reward_model import bradley_terry_loss, centring  # noqa: E402
from coderl.loop import Trainer  # noqa: E402
from coderl.methods.dpo import Dpo  # noqa: E402
from coderl.methods.reward_model import RewardModelling  # noqa: E402

P, T = 5, 7


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def stand_in(**changes):
    """A trainer without a model: what the loss methods read, and nothing else."""
    same = lambda x: x
    accelerator = SimpleNamespace(gather=same, gather_for_metrics=same, device=torch.device("cpu"))
    defaults = {
        "accelerator": accelerator,
        "model": SimpleNamespace(training=True),
        "aux_loss_enabled": False,
        "ld_alpha": None,
        "precompute_ref_logps": True,
        "f_divergence_type": "reverse_kl",
        "loss_weights": [1.0],
        "label_smoothing": 0.0,
        "use_weighting": False,
        "beta": 0.1,
        "desirable_weight": 1.0,
        "undesirable_weight": 1.0,
        "calculate_KL": True,
        "loss_type": "kto",
        "alpha": 0.0,
        "simpo_gamma": 0.5,
        "args": SimpleNamespace(gradient_checkpointing_kwargs=None, center_rewards_coefficient=None),
        "_total_train_tokens": 0,
        "_tp_size": 1,
        "_metrics": {"train": defaultdict(list)},
    }
    return SimpleNamespace(**{**defaults, **changes})


@dataclass
class Outputs:
    log_probs: Any

    def __getattr__(self, name: str) -> Any:  # entropy, mean_logits, is_top1: for TRL's metrics only
        return torch.zeros_like(self.log_probs, dtype=torch.bool if name == "is_top1" else torch.float32)


def batch():
    """Log-probabilities per token (2P, T), chosen rows first, the mask of their completions, and the references' sums."""
    torch.manual_seed(4)
    lengths = torch.tensor([7, 1, 4, 3, 6, 2, 7, 5, 3, 1])
    mask = (torch.arange(T) < lengths.unsqueeze(1)).float()
    logprobs = (-torch.rand(2 * P, T) * 2).requires_grad_()
    ref = ((logprobs.detach() + 0.5 * torch.randn(2 * P, T)) * mask).sum(1)
    return logprobs, mask, ref


def ours(logprobs, mask, ref):
    sums, lengths = (logprobs * mask).sum(1), mask.sum(1)
    return PairLogprobs(*sums.chunk(2), *ref.chunk(2), *lengths.chunk(2))


def compare(function, expected_of):
    logprobs, mask, ref = batch()
    other = logprobs.detach().clone().requires_grad_()
    loss = function(ours(logprobs, mask, ref)).mean()
    expected = expected_of(other, mask, ref)
    close(loss, expected)
    loss.backward()
    expected.backward()
    close(logprobs.grad, other.grad)
    assert logprobs.grad.abs().max() > 1e-3  # or the comparison would say nothing


def trl_dpo(loss_type, **settings):
    from trl import DPOTrainer

    def expected(logprobs, mask, ref):
        # TRL's mask and ids have one more column in front, the last token of the prompt; its log-probs are those of the rest.
        whole = torch.cat([torch.zeros(2 * P, 1), mask], dim=1)
        inputs = {
            "input_ids": torch.zeros_like(whole, dtype=torch.long),
            "attention_mask": torch.ones_like(whole),
            "completion_mask": whole,
            "ref_chosen_logps": ref[:P],
            "ref_rejected_logps": ref[P:],
        }
        model = lambda **kwargs: Outputs(logprobs * mask)
        return DPOTrainer._compute_loss(stand_in(loss_types=[loss_type], **settings), model, inputs, False)

    return expected


DPO_FAMILY = {
    "dpo": (lambda p: dpo_loss(p, beta=0.1), trl_dpo("sigmoid")),
    "robust": (
        lambda p: robust_loss(p, beta=0.1, label_smoothing=0.2),
        trl_dpo("robust", label_smoothing=0.2),
    ),
    "ipo": (lambda p: ipo_loss(p, beta=0.1), trl_dpo("ipo")),
}


@pytest.mark.parametrize("name", DPO_FAMILY)
def test_the_dpo_family_on_random_tensors(name):
    compare(*DPO_FAMILY[name])


def test_simpo_on_random_tensors():
    from trl.experimental.cpo import CPOTrainer

    def expected(logprobs, mask, ref):
        means = (logprobs * mask).sum(1) / mask.sum(1)
        return CPOTrainer.cpo_loss(stand_in(loss_type="simpo", beta=2.0), means[:P], means[P:])[0].mean()

    compare(lambda p: simpo_loss(p, beta=2.0, margin=0.5), expected)


def test_orpo_on_random_tensors_with_the_likelihood_averaged_per_completion():
    """TRL adds the mean over all tokens of the batch, the paper's equation 6 the mean over completions of their means."""
    from trl.experimental.orpo import ORPOTrainer

    def expected(logprobs, mask, ref):
        means = (logprobs * mask).sum(1) / mask.sum(1)
        odds = ORPOTrainer.odds_ratio_loss(stand_in(), means[:P], means[P:])[0]
        return -means[:P].mean() - odds.mean()

    compare(lambda p: orpo_loss(p, beta=0.1), expected)


def test_what_trl_has_not_from_the_papers_equations():
    def logistic(x):
        return 1 / (1 + torch.exp(-x))

    def d(logprobs, mask, ref):
        sums = (logprobs * mask).sum(1)
        return 0.1 * ((sums[:P] - ref[:P]) - (sums[P:] - ref[P:])), sums

    def cdpo(logprobs, mask, ref):
        x, _ = d(logprobs, mask, ref)
        return (-0.8 * torch.log(logistic(x)) - 0.2 * torch.log(1 - logistic(x))).mean()

    def dpop(logprobs, mask, ref):
        x, sums = d(logprobs, mask, ref)
        return -torch.log(logistic(x - 0.1 * 5 * torch.relu(ref[:P] - sums[:P]))).mean()

    compare(lambda p: cdpo_loss(p, beta=0.1, label_smoothing=0.2), cdpo)
    compare(lambda p: dpop_loss(p, beta=0.1, penalty=5.0), dpop)


def test_kto_on_random_tensors():
    from trl import KTOTrainer

    logprobs, mask, ref = batch()
    other = logprobs.detach().clone().requires_grad_()
    mismatched = -torch.rand(2 * P, T) * mask
    ref_mismatched = mismatched.sum(1) - 0.7
    desirable = torch.tensor([True] * P + [False] * P)
    whole = torch.cat([torch.zeros(2 * P, 1), mask], dim=1)
    ids = torch.zeros_like(whole, dtype=torch.long)
    inputs = {
        "label": desirable,
        "input_ids": ids,
        "attention_mask": torch.ones_like(whole),
        "completion_mask": whole,
        "KL_input_ids": ids + 1,
        "KL_attention_mask": torch.ones_like(whole),
        "KL_completion_mask": whole,
        "ref_logps": ref,
        "ref_KL_logps": ref_mismatched,
    }
    model = lambda input_ids, **kwargs: Outputs(mismatched if input_ids[0, 0] else other * mask)
    settings = stand_in(desirable_weight=1.5, undesirable_weight=0.5)
    settings._compute_kl_logps = lambda *args: KTOTrainer._compute_kl_logps(settings, *args)
    expected = KTOTrainer._compute_loss(settings, model, inputs, False)
    loss = kto_loss(
        (logprobs * mask).sum(1),
        ref,
        desirable.float(),
        torch.tensor(max(0.0, float((mismatched.sum(1) - ref_mismatched).mean()))),
        beta=0.1,
        desirable_weight=1.5,
        undesirable_weight=0.5,
    ).mean()
    close(loss, expected)
    loss.backward()
    expected.backward()
    close(logprobs.grad, other.grad)


def test_the_reward_model_on_random_tensors():
    from trl import RewardTrainer

    torch.manual_seed(2)
    scores = torch.randn(2 * P, requires_grad=True)
    other = scores.detach().clone().requires_grad_()
    margins = torch.rand(P)
    settings = stand_in(args=SimpleNamespace(center_rewards_coefficient=0.01))
    model = lambda **kwargs: SimpleNamespace(logits=other.unsqueeze(1))
    expected = RewardTrainer.compute_loss(settings, model, {"margin": margins, "attention_mask": torch.ones(2 * P, 3)})
    chosen, rejected = scores.chunk(2)
    loss = (bradley_terry_loss(chosen, rejected, margins, torch.ones(P)) + 0.01 * centring(chosen, rejected)).mean()
    close(loss, expected)
    loss.backward()
    expected.backward()
    close(scores.grad, other.grad)


def padded(rows, fill=0):
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(r) for r in rows], batch_first=True, padding_value=fill)


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("loss", ["dpo", "robust", "ipo", "kto", "simpo", "orpo"])
def test_the_gradient_of_a_tiny_model(tmp_path, loss, packing):
    """Our pairs, batches, references and log-probabilities against theirs: every parameter's gradient agrees."""
    from trl import DPOTrainer, KTOTrainer
    from trl.experimental.cpo import CPOTrainer
    from trl.experimental.orpo import ORPOTrainer
    from trl.trainer import add_fused_lm_head

    settings = {"robust": {"label_smoothing": 0.2}, "simpo": {"beta": 2.0}}.get(loss, {})
    optimizer = {"learning_rate": 1e-2, "max_grad_norm": 1e9}
    b = preferences.bench(tmp_path, loss=loss, packing=packing, batch_size=6, optimizer=optimizer, **settings)
    method = Dpo(b, b.config.dpo, "0_dpo")  # the reference: the policy as it is now
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in b.policy.trainable().values():
            parameter.add_(0.05 * torch.randn_like(parameter))
    start = b.policy.weights()
    trainer = Trainer(b, method, "0_dpo")
    _, metrics = next(iter(trainer.run(1)))
    gradient = {name: p.grad.clone() for name, p in b.policy.trainable().items()}
    b.policy.load_weights(start)
    b.policy.model.zero_grad()

    pairs = method._pairs  # a batch of all six, in whatever order: the mean is the same
    sides = [[(p.prompt_ids, getattr(p, side)) for p in pairs] for side in ("chosen_ids", "rejected_ids")]
    rows = sides[0] + sides[1]

    def inputs_of(rows):
        return {
            "input_ids": padded([p + c for p, c in rows]),
            "attention_mask": padded([[1] * len(p + c) for p, c in rows]),
            "completion_mask": padded([[0] * len(p) + [1] * len(c) for p, c in rows]),
        }

    inputs = inputs_of(rows)
    ref = torch.stack([t.sum() for t in method._ref[::2] + method._ref[1::2]])
    if loss in ("dpo", "robust", "ipo", "kto"):
        add_fused_lm_head(b.policy.model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    if loss in ("dpo", "robust", "ipo"):
        name = {"dpo": "sigmoid"}.get(loss, loss)
        stand = stand_in(loss_types=[name], label_smoothing=0.2)
        inputs |= {"ref_chosen_logps": ref[:6], "ref_rejected_logps": ref[6:]}
        expected = DPOTrainer._compute_loss(stand, b.policy.model, inputs, False)
    elif loss == "kto":
        shifted = [(e.prompt_ids, e.completion_ids) for e in method._mismatched]
        inputs |= {f"KL_{k}": v for k, v in inputs_of(shifted).items()}
        inputs["label"] = torch.tensor([True] * 6 + [False] * 6)
        inputs |= {"ref_logps": ref, "ref_KL_logps": torch.stack([t.sum() for t in method._mismatched_ref])}
        stand = stand_in()
        stand._compute_kl_logps = lambda *args: KTOTrainer._compute_kl_logps(stand, *args)
        expected = KTOTrainer._compute_loss(stand, b.policy.model, inputs, False)
    else:
        logits = b.policy.model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
        means = ORPOTrainer.get_batch_logps(logits, labels, average_log_prob=True)
        if loss == "simpo":
            expected = CPOTrainer.cpo_loss(stand_in(loss_type="simpo", beta=2.0), means[:6], means[6:])[0].mean()
        else:
            expected = -means[:6].mean() - ORPOTrainer.odds_ratio_loss(stand_in(), means[:6], means[6:])[0].mean()
    expected.backward()
    assert metrics["loss"] == pytest.approx(expected.item(), abs=1e-5)
    for name, parameter in b.policy.trainable().items():
        close(gradient[name], parameter.grad)
    assert max(float(g.abs().max()) for g in gradient.values()) > 1e-3


def test_the_gradient_of_a_tiny_reward_model(tmp_path):
    import test_coderl_reward_model as reward
    from trl import RewardTrainer

    optimizer = {"learning_rate": 1e-2, "max_grad_norm": 1e9}
    b = reward.bench(tmp_path, optimizer=optimizer, margin_coef=1.0, batch_size=6)
    method = RewardModelling(b, b.config.reward_model, "0_reward_model")
    [member] = method._members
    start = {k: v.clone() for k, v in member.state_dict().items()}
    trainer = Trainer(b, method, "0_reward_model")
    experience, metrics = next(iter(trainer.run(1)))
    gradient = {k: p.grad.clone() for k, p in member.named_parameters()}
    member.load_state_dict(start)
    member.zero_grad()
    examples = experience.examples[::2] + experience.examples[1::2]
    rows = [e.prompt_ids + e.completion_ids for e in examples]
    inputs = {"input_ids": padded(rows), "attention_mask": padded([[1] * len(r) for r in rows])}

    def model(
        input_ids, attention_mask, **kwargs
    ):  # as transformers' sequence classification: the last token that is no pad
        hidden = member.trunk(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        last = attention_mask.sum(1) - 1
        return SimpleNamespace(logits=member.head(hidden[torch.arange(len(last)), last]))

    settings = stand_in(args=SimpleNamespace(center_rewards_coefficient=0.01))
    expected = RewardTrainer.compute_loss(settings, model, inputs)
    expected.backward()
    assert metrics["loss"] == pytest.approx(expected.item(), abs=1e-5)
    for name, parameter in member.named_parameters():
        close(gradient[name], parameter.grad)


def test_rpo_is_the_papers_sum_where_trls_mixture_averages_over_tokens():
    """RPO (Pang et al. 2024, eq. 1) divides by each completion's length; TRL's `sft` term by the tokens of the batch."""
    logprobs, mask, ref = batch()
    logprobs = logprobs.detach()
    pairs = ours(logprobs, mask, ref)
    ours_nll = float((-pairs.chosen / pairs.chosen_length).mean())
    per_token = float(-(logprobs * mask)[:P].sum() / mask[:P].sum())
    both = trl_dpo("sigmoid", loss_weights=[1.0])(logprobs, mask, ref)
    import trl

    whole = torch.cat([torch.zeros(2 * P, 1), mask], dim=1)
    inputs = {
        "input_ids": torch.zeros_like(whole, dtype=torch.long),
        "attention_mask": torch.ones_like(whole),
        "completion_mask": whole,
        "ref_chosen_logps": ref[:P],
        "ref_rejected_logps": ref[P:],
    }
    stand = stand_in(loss_types=["sigmoid", "sft"], loss_weights=[1.0, 1.0])
    theirs = trl.DPOTrainer._compute_loss(stand, lambda **kwargs: Outputs(logprobs * mask), inputs, False)
    assert float(theirs - both) == pytest.approx(per_token, abs=1e-5)
    assert not math.isclose(ours_nll, per_token, abs_tol=1e-3)
