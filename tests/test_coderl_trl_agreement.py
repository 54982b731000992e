"""Losses and gradients of the GRPO family against those of TRL, on random tensors and on a tiny model, to 1e-5.

TRL's own code computes its side: the trainer's `_compute_loss`, on a stand-in for a trainer that holds nothing but settings.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from coderl.algorithms.grpo import grpo_loss, sample_advantages  # noqa: E402
from coderl.functional import token_weights  # noqa: E402

N, T, MAX_TOKENS = 6, 9, 12


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


class Settings(SimpleNamespace):
    """A trainer without a model: what `_compute_loss` reads, and nothing else."""


def settings(**changes):
    reduce = lambda values, reduction="sum": values
    accelerator = SimpleNamespace(
        is_main_process=True,
        num_processes=1,
        gather=lambda x: x,
        reduce=reduce,
        gather_for_metrics=lambda x: x,
        autocast=contextlib.nullcontext,
    )
    defaults = {
        "aux_loss_enabled": False,
        "top_entropy_quantile": 1.0,
        "off_policy_mask_threshold": None,
        "importance_sampling_level": "token",
        "beta": 0.0,
        "epsilon_low": 0.2,
        "epsilon_high": 0.2,
        "loss_type": "dapo",
        "max_completion_length": MAX_TOKENS,
        "use_vllm": False,
        "vllm_importance_sampling_correction": False,
        "_entropy_bonus_enabled": False,
        "use_adaptive_entropy": False,
        "current_gradient_accumulation_steps": 1,
        "accelerator": accelerator,
        "model": SimpleNamespace(training=True),
        "_metrics": {"train": defaultdict(list)},
        "args": SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1),
    }
    return Settings(**{**defaults, **changes})


def trl_loss(trainer, stand_in, logprobs, mask, inputs):
    """TRL's loss with `logprobs` (N, T) in place of a model's."""
    entropies = torch.zeros_like(logprobs)
    stand_in._get_per_token_logps_and_entropies = lambda *args, **kwargs: (logprobs, entropies, None)
    batch = {
        "prompt_ids": torch.zeros(len(mask), 1, dtype=torch.long),
        "prompt_mask": torch.ones(len(mask), 1),
        "completion_ids": torch.zeros_like(mask, dtype=torch.long),
        "completion_mask": mask,
        "num_items_in_batch": mask.sum(),
        **inputs,
    }
    return trainer._compute_loss(stand_in, None, batch)


def batch():
    torch.manual_seed(3)
    lengths = torch.tensor([9, 1, 4, 7, 2, 9])
    mask = (torch.arange(T) < lengths.unsqueeze(1)).float()
    old = -torch.rand(N, T) * 3
    logprobs = (old + 0.4 * torch.randn(N, T)).requires_grad_()
    ref = old + 0.3 * torch.randn(N, T)
    advantages = torch.tensor([1.5, -0.7, 0.2, -1.1, 0.0, 0.9])
    return logprobs, old, ref, mask, lengths, advantages


def ours(logprobs, old, ref, mask, lengths, advantages, *, normalize, **options):
    weights = token_weights(
        lengths,
        torch.ones(len(lengths), dtype=torch.bool),
        normalize=normalize,
        max_tokens=MAX_TOKENS,
        total_tokens=float(lengths.sum()),
        total_sequences=float(len(lengths)),
    )
    options = {"clip_low": 0.2, "clip_high": 0.2, "kl_coef": 0.0, **options}
    per_token = grpo_loss(
        logprobs, old, ref, advantages.unsqueeze(1).expand(len(lengths), T), mask=mask, **options
    ).loss
    return (weights.unsqueeze(1) * mask * per_token).sum()


CASES = {
    "grpo": ({"loss_type": "grpo", "beta": 0.04}, {"normalize": "sequence", "kl_coef": 0.04}),
    "dr_grpo": ({"loss_type": "dr_grpo"}, {"normalize": "constant"}),
    "dapo": ({"loss_type": "dapo", "epsilon_high": 0.28}, {"normalize": "token", "clip_high": 0.28}),
    "gspo": (
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon_low": 0.1, "epsilon_high": 0.1},
        {"normalize": "sequence", "ratio": "geometric", "clip_low": 0.1, "clip_high": 0.1},
    ),
    "cispo": (
        {"loss_type": "cispo", "epsilon_high": 1.3},
        {"normalize": "token", "surrogate": "cispo", "clip_low": 1.0, "clip_high": 0.3},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_grpo_family_on_random_tensors(name):
    from trl import GRPOTrainer

    theirs, options = CASES[name]
    logprobs, old, ref, mask, lengths, advantages = batch()
    other = logprobs.detach().clone().requires_grad_()
    inputs = {"advantages": advantages, "old_per_token_logps": old, "ref_per_token_logps": ref}
    expected = trl_loss(GRPOTrainer, settings(**theirs), other, mask, inputs)
    loss = ours(logprobs, old, ref, mask, lengths, advantages, **options)
    close(loss, expected)
    loss.backward()
    expected.backward()
    close(logprobs.grad, other.grad)
    assert logprobs.grad.abs().max() > 1e-3  # or the comparison would say nothing


def test_rloo_on_random_tensors():
    from trl import RLOOTrainer

    logprobs, old, ref, mask, lengths, advantages = batch()
    logprobs = (old + 0.05 * torch.randn(N, T)).requires_grad_()  # a ratio of sequences: some inside the clip, some not
    other = logprobs.detach().clone().requires_grad_()
    inputs = {"advantages": advantages, "old_logps": (old * mask).sum(1)}
    expected = trl_loss(RLOOTrainer, settings(), other, mask, inputs)
    loss = ours(logprobs, old, ref, mask, lengths, advantages, normalize="sequence", ratio="sequence")
    close(loss, expected)
    loss.backward()
    expected.backward()
    close(logprobs.grad, other.grad)
    assert 0 < int((logprobs.grad.abs().sum(1) > 0).sum()) < N


def test_truncated_importance_sampling_multiplies_the_surrogate_as_in_trl():
    from trl import GRPOTrainer

    from coderl.functional import importance_weights

    logprobs, old, ref, mask, lengths, advantages = batch()
    sampler = old + 0.8 * torch.randn(N, T)
    weights = importance_weights(old, sampler, correction="truncate", cap=2.0)
    assert bool((weights == 2.0).any()) and bool((weights < 1).any())
    other = logprobs.detach().clone().requires_grad_()
    inputs = {
        "advantages": advantages,
        "old_per_token_logps": old,
        "importance_sampling_ratio": torch.exp(old - sampler).clamp(max=2.0),
    }
    stand_in = settings(use_vllm=True, vllm_importance_sampling_correction=True)
    expected = trl_loss(GRPOTrainer, stand_in, other, mask, inputs)
    loss = ours(logprobs, old, ref, mask, lengths, advantages, normalize="token", weights=weights)
    close(loss, expected)
    loss.backward()
    expected.backward()
    close(logprobs.grad, other.grad)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("packed", [False, True])
def test_the_gradient_of_a_tiny_model(name, packed):
    """Our batches, layouts, positions and log-probabilities against theirs: every parameter's gradient agrees."""
    from trl import GRPOTrainer
    from trl.trainer import add_fused_lm_head

    from coderl.config import NewModelConfig, PolicyConfig
    from coderl.experience import Example, collate
    from coderl.policy import load_policy

    theirs, options = CASES[name]
    new = NewModelConfig(hidden_size=32, intermediate_size=64, num_layers=2, num_heads=2, vocab_size=270)
    policy = load_policy(PolicyConfig(model="new:", new=new, packing=packed), seed=0, corpus=["def f(x): return x"])
    torch.manual_seed(5)
    lengths = [5, 2, 7, 7]
    prompts = [(3, 4), (3, 4), (9, 8, 7, 6), (9, 8, 7, 6)]
    completions = [tuple(torch.randint(5, 200, (n,)).tolist()) for n in lengths]
    old = [torch.randn(n) * 0.3 - 5.6 for n in lengths]  # near log(1/270), so that ratios are near 1
    ref = [torch.randn(n) * 0.3 - 5.6 for n in lengths]
    advantages = torch.tensor([1.0, -1.0, 0.5, -0.5])
    examples = [
        Example(
            prompt_ids=p,
            completion_ids=c,
            advantages=a.expand(len(c)),
            old_logprobs=o,
            ref_logprobs=r,
        )
        for p, c, a, o, r in zip(prompts, completions, advantages, old, ref, strict=True)
    ]
    total = float(sum(lengths))
    weights = token_weights(
        torch.tensor(lengths),
        torch.ones(4, dtype=torch.bool),
        normalize=options["normalize"],
        max_tokens=MAX_TOKENS,
        total_tokens=total,
        total_sequences=4.0,
    )
    rows = collate(examples, weights.tolist(), policy.pad_id, torch.device("cpu"), packed=packed)
    settings_of_loss = {"clip_low": 0.2, "clip_high": 0.2, "kl_coef": 0.0, **options}
    settings_of_loss.pop("normalize")
    out = grpo_loss(
        policy.logprobs(rows, 0.8),
        rows.old_logprobs,
        rows.ref_logprobs,
        rows.advantages,
        mask=rows.mask,
        sequences=rows.sequences,
        **settings_of_loss,
    )
    loss = (rows.weights * out.loss).sum()
    loss.backward()
    gradient = {k: p.grad.clone() for k, p in policy.model.named_parameters()}
    policy.model.zero_grad()

    pad = lambda parts, fill=0.0: torch.nn.utils.rnn.pad_sequence(
        [torch.as_tensor(p) for p in parts], batch_first=True, padding_value=fill
    )
    width = max(map(len, prompts))
    prompt_ids = torch.tensor([(0,) * (width - len(p)) + p for p in prompts])
    prompt_mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    add_fused_lm_head(policy.model, temperature=0.8, outputs=("log_probs", "entropy"))
    stand_in = settings(**theirs)
    stand_in._get_per_token_logps_and_entropies = lambda *args, **kwargs: (
        GRPOTrainer._get_per_token_logps_and_entropies(stand_in, *args, **kwargs)
    )
    inputs = {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": pad(completions, 0),
        "completion_mask": pad([torch.ones(n, dtype=torch.long) for n in lengths], 0),
        "advantages": advantages,
        "old_per_token_logps": pad(old),
        "ref_per_token_logps": pad(ref),
        "num_items_in_batch": torch.tensor(total),
    }
    expected = GRPOTrainer._compute_loss(stand_in, policy.model, inputs)
    expected.backward()
    close(loss, expected)
    for key, parameter in policy.model.named_parameters():
        close(gradient[key], parameter.grad)
    assert max(float(g.abs().max()) for g in gradient.values()) > 1e-3


def test_group_advantages_are_trls():
    """TRL divides by std + 1e-4 over the group, leaves unscorable samples out, and gives a flat group 0, as we do."""
    from trl.trainer.utils import nanstd

    rewards = torch.tensor([1.0, 0.0, float("nan"), 1.0, 0.5, 0.5, 0.5, 0.5])
    groups = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    table = rewards.view(2, 4)
    expected = (table - table.nanmean(1, keepdim=True)) / (nanstd(table, dim=1, keepdim=True) + 1e-4)
    mine = sample_advantages(rewards, groups, baseline="group", scale="std")
    close(mine, expected.view(-1).nan_to_num(0.0))


def test_leave_one_out_advantages_are_those_of_trls_formula():
    rewards = torch.tensor([1.0, 0.0, float("nan"), 1.0, 0.5, float("nan"), float("nan"), float("nan")])
    groups = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    grouped = rewards.view(2, 4)
    scorable = (~grouped.isnan()).sum(1, keepdim=True)
    baselines = (grouped.nansum(1, keepdim=True) - grouped) / (scorable - 1)
    mine = sample_advantages(rewards, groups, baseline="leave_one_out", scale="none")
    close(mine, (grouped - baselines).nan_to_num(0.0, posinf=0.0, neginf=0.0).view(-1))
    # by hand: samples 1, 0, 1 of group 0: 1 - 1/2, 0 - 1, 1 - 1/2; one scorable sample alone: 0
    close(mine, torch.tensor([0.5, -1.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0]))
