"""The mathematics that several algorithms share, as pure functions on tensors.

Legend: N sequences, T completion tokens (right-padded), V vocabulary. Every mask is explicit, float, 1 on a token that
counts; nothing here infers a mask from a pad id. No models, files or clocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LOG_RATIO_LIMIT = 20.0  # exp(20) is 5e8: beyond that a ratio carries no information, only overflow


def selected_logprobs(logits: Tensor, tokens: Tensor, temperature: float, chunk_tokens: int = 128) -> Tensor:
    """log softmax(logits / temperature) at `tokens`, in float32.

    logits (N, T, V) of any float type, tokens (N, T) -> (N, T). Works through `chunk_tokens` at a time, so that besides the
    logits and their gradient only one chunk is ever held, in float32. Raises ValueError for a temperature that is not above 0.
    """
    if temperature <= 0:
        raise ValueError(f"temperature {temperature}: log-probabilities need a temperature above 0")
    chosen: Tensor = _Selected.apply(  # type: ignore[no-untyped-call]
        logits.flatten(0, 1), tokens.flatten(), temperature, chunk_tokens
    )
    return chosen.view(tokens.shape)


class _Selected(torch.autograd.Function):
    """logits (M, V), tokens (M,) -> (M,). Keeps the logits alone: the backward pass makes the softmax again, chunk by chunk."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor, temperature: float, chunk_tokens: int) -> Tensor:
        chosen, normalizers = [], []
        for part, ids in zip(logits.split(chunk_tokens), tokens.split(chunk_tokens), strict=True):
            scaled = part.float() / temperature
            chosen.append(scaled.gather(-1, ids.unsqueeze(-1)).squeeze(-1))
            normalizers.append(scaled.logsumexp(-1))
        normalizer = torch.cat(normalizers)
        ctx.save_for_backward(logits, tokens, normalizer)
        ctx.temperature, ctx.chunk_tokens = temperature, chunk_tokens
        return torch.cat(chosen) - normalizer

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        logits, tokens, normalizer = ctx.saved_tensors
        result = torch.empty_like(logits)
        for start in range(0, len(tokens), ctx.chunk_tokens):
            rows = slice(start, start + ctx.chunk_tokens)
            scaled = logits[rows].float() / ctx.temperature
            result[rows] = logprob_slope(scaled, normalizer[rows], tokens[rows], grad[rows] / ctx.temperature)
        return result, None, None, None


def logprob_slope(scaled: Tensor, normalizer: Tensor, tokens: Tensor, grad: Tensor) -> Tensor:
    """What log softmax at `tokens` passes back: grad (one-hot - softmax); scaled (M, V), all others (M,) -> (M, V)."""
    slope = grad.unsqueeze(-1)
    softmax = (scaled - normalizer.unsqueeze(-1)).exp_()
    return softmax.mul_(-slope).scatter_add_(-1, tokens.unsqueeze(-1), slope)


def entropy(logits: Tensor, temperature: float) -> Tensor:
    """Entropy in nats of softmax(logits / temperature); logits (N, T, V) -> (N, T)."""
    logprobs = torch.log_softmax(logits.float() / temperature, dim=-1)
    return -(logprobs.exp() * logprobs).sum(-1)


def whiten(
    values: Tensor,
    mask: Tensor,
    *,
    shift_mean: bool = True,
    eps: float = 1e-8,
    total: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """(values - mean) / std over the masked positions, 0 elsewhere; with `shift_mean` False the mean is added back.

    Variance is the unbiased one. With fewer than two masked positions, or no variance, the values come back centred
    (or as they were) but never blown up. `total` adds up a sum over all processes, where each holds a part of the batch.
    """
    sums = torch.stack([(values * mask).sum(), mask.sum()]).double()
    summed, count = (total(sums) if total else sums).unbind()
    mean = (summed / count.clamp(min=1)).to(values.dtype)
    centred = (values - mean) * mask
    squares = (centred**2).sum().double()
    variance = ((total(squares) if total else squares) / (count - 1).clamp(min=1)).to(values.dtype)
    scaled: Tensor = centred / (variance + eps).sqrt() if bool(variance > eps) else centred
    return scaled if shift_mean else (scaled + mean) * mask


def kl_estimates(logprobs: Tensor, ref_logprobs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """k1, k2, k3 of KL(policy || reference) per token, for tokens sampled by the policy (Schulman 2020).

    With r = log p - log q: k1 = r (unbiased, may be negative), k2 = r^2 / 2, k3 = e^-r - 1 + r (unbiased, >= 0).
    All (N, T). Use k1 in a reward and k2 or k3 in a loss: the gradient of k1 as a loss has mean zero.
    """
    log_ratio = (logprobs - ref_logprobs).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return log_ratio, log_ratio**2 / 2, torch.exp(-log_ratio) - 1 + log_ratio


def kl_penalty(logprobs: Tensor, ref_logprobs: Tensor, estimator: str) -> Tensor:
    """The KL to the reference per token, to be minimised; (N, T).

    For tokens sampled by the policy the mean gradient of k2 is that of KL(policy || reference). That of k3 is the gradient
    of the KL the other way round, and that of k1 is 0. "k3+" has the value of k3 (unbiased, >= 0, calm) and the gradient
    of k2. Raises ValueError for another name.
    """
    k1, k2, k3 = kl_estimates(logprobs, ref_logprobs)
    named = {"k1": k1, "k2": k2, "k3": k3, "k3+": k2 + (k3 - k2).detach()}
    if estimator not in named:
        raise ValueError(f"kl_estimator {estimator!r}: use one of {', '.join(named)}")
    return named[estimator]


def sequence_sums(values: Tensor, mask: Tensor, sequences: Tensor) -> Tensor:
    """(S,) sums of values (N, T) over the tokens of each sequence; sequences (N, T) numbers them from 0."""
    start = values.new_zeros(int(sequences.max()) + 1)
    return start.index_add(0, sequences.flatten(), (values * mask).flatten())


def log_ratios(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor, sequences: Tensor, *, level: str) -> Tensor:
    """log(p_new / p_old) as each token sees it, clamped to +-20; all (N, T).

    level "token": of the token. "sequence": of the whole completion, the sum (Ahmadian et al. 2024). "geometric": the sum over
    the length (GSPO, arXiv:2507.18071, eq. 7). Raises ValueError for another level.
    """
    ratios = logprobs - old_logprobs
    if level == "token":
        return ratios.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    if level not in ("sequence", "geometric"):
        raise ValueError(f"ratio {level!r}: use token, sequence or geometric")
    sums = sequence_sums(ratios, mask, sequences)
    if level == "geometric":
        sums = sums / sequence_sums(torch.ones_like(ratios), mask, sequences).clamp(min=1)
    return sums.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)[sequences]


class Surrogate(NamedTuple):
    """Per-token policy loss and what to watch while it falls."""

    loss: Tensor  # (N, T)
    ratio: Tensor  # (N, T) p_new / p_old
    clipped: Tensor  # (N, T) bool: the clip decided


def clipped_surrogate(
    log_ratio: Tensor, advantages: Tensor, *, clip_low: float, clip_high: float, dual_clip: float | None = None
) -> Surrogate:
    """-min(r A, clip(r, 1-low, 1+high) A) per token (Schulman et al. 2017, eq. 7), all inputs (N, T).

    With `dual_clip` c the loss of a token with A < 0 is at most -c A (Ye et al. 2020, eq. 5): a ratio that exploded
    on a bad token cannot drive the update alone.
    """
    ratio = torch.exp(log_ratio)
    unclipped = -ratio * advantages
    limited = -ratio.clamp(1 - clip_low, 1 + clip_high) * advantages
    loss = torch.maximum(unclipped, limited)
    clipped = limited > unclipped
    if dual_clip is not None:
        ceiling = -dual_clip * advantages
        dual = (advantages < 0) & (loss > ceiling)
        loss = torch.where(dual, ceiling, loss)
        clipped = clipped | dual
    return Surrogate(loss, ratio, clipped)


def weight_clipped_surrogate(
    logprobs: Tensor, log_ratio: Tensor, advantages: Tensor, *, clip_low: float, clip_high: float
) -> Surrogate:
    """-sg(clip(r, 1-low, 1+high)) A log p per token (CISPO, arXiv:2506.13585, eq. 4 and 5), all inputs (N, T).

    No gradient goes through the ratio, so a clipped token still learns, with a bounded weight.
    """
    ratio = torch.exp(log_ratio.detach())
    bounded = ratio.clamp(1 - clip_low, 1 + clip_high)
    return Surrogate(-bounded * advantages * logprobs, ratio, bounded != ratio)


def importance_weights(trainer_logprobs: Tensor, sampler_logprobs: Tensor, *, correction: str, cap: float) -> Tensor:
    """What a token counts because another program than the trainer sampled it: w = p_trainer / p_sampler; (N, T), no gradient.

    "truncate": min(w, cap) (truncated importance sampling). "mask": w inside [1/cap, cap], else 0. "none": 1.
    Raises ValueError for another name.
    """
    difference = (trainer_logprobs - sampler_logprobs).detach()
    weights = torch.exp(difference.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT))
    if correction == "none":
        return torch.ones_like(weights)
    if correction == "truncate":
        return weights.clamp(max=cap)
    if correction == "mask":
        return weights * ((weights >= 1 / cap) & (weights <= cap))
    raise ValueError(f"importance {correction!r}: use none, truncate or mask")


def overlong_penalty(length: int, limit: int, share: float) -> float:
    """0 to 1: how far a completion of `length` tokens is into the last `share` of `limit` (DAPO, eq. 13, negated).

    >>> [overlong_penalty(n, 100, 0.2) for n in (80, 90, 100)]
    [0.0, 0.5, 1.0]
    """
    buffer = share * limit
    return min(max((length - (limit - buffer)) / buffer, 0.0), 1.0) if buffer else 0.0


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """0.5 max((V - R)^2, (clip(V, V_old +- clip) - R)^2) per token, and where the clip decided; all (N, T)."""
    limited = old_values + (values - old_values).clamp(-clip, clip)
    plain, bounded = (values - returns) ** 2, (limited - returns) ** 2
    return 0.5 * torch.maximum(plain, bounded), bounded > plain


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, lam: float, bootstrap: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates and returns (Schulman et al. 2016, eq. 16), computed backwards.

    rewards, values, mask (N, T); `bootstrap` (N,) is the value after the last token: 0 where the completion ended,
    V of the last state where it was cut and the caller wants to bootstrap. mask is 1 on a prefix of each row.
    advantage_t = delta_t + gamma lam advantage_{t+1}, delta_t = r_t + gamma V_{t+1} - V_t; returns = advantages + values.
    """
    num_tokens = rewards.shape[1]
    advantages = torch.zeros_like(rewards)
    after_end = torch.zeros_like(rewards[:, 0]) if bootstrap is None else bootstrap
    next_value, running = after_end, torch.zeros_like(after_end)
    for t in reversed(range(num_tokens)):
        alive = mask[:, t]
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        running = (delta + gamma * lam * running) * alive
        advantages[:, t] = running
        next_value = torch.where(alive > 0, values[:, t], after_end)
    return advantages, (advantages + values) * mask


def group_advantages(rewards: Tensor, groups: Tensor, *, scale: str, eps: float = 1e-4) -> Tensor:
    """Reward minus the mean of its group, over the group's standard deviation if scale is "std"; NaN-aware.

    rewards (N,) with NaN for unscorable samples, groups (N,) integer ids. NaN samples take no part in the baseline and
    get 0; a group with fewer than two valid samples, or with no variance, gets 0 (DeepSeekMath, eq. in 4.1.2; the
    standard deviation is the unbiased one).
    """
    advantages = torch.zeros_like(rewards)
    for group in groups.unique():
        members = (groups == group) & ~rewards.isnan()
        values = rewards[members]
        if len(values) < 2 or bool((values == values[0]).all()):
            continue
        centred = values - values.mean()
        advantages[members] = centred / (values.std(correction=1) + eps) if scale == "std" else centred
    return advantages


def leave_one_out_advantages(rewards: Tensor, groups: Tensor) -> Tensor:
    """Reward minus the mean reward of the others of its group (Ahmadian et al. 2024, eq. 10); NaN-aware."""
    advantages = group_advantages(rewards, groups, scale="none")
    sizes = torch.stack([((groups == group) & ~rewards.isnan()).sum() for group in groups])
    return advantages * sizes / (sizes - 1).clamp(min=1)


def token_weights(
    lengths: Tensor, valid: Tensor, *, normalize: str, max_tokens: int, total_tokens: float, total_sequences: float
) -> Tensor:
    """The weight (N,) of each token of each sequence, over one whole optimizer step.

    lengths (N,) completion tokens that count, valid (N,): how much a sequence counts, 0 or False not at all; the totals are
    those of the whole step, each sequence as often as it counts, all ranks and micro-batches together.
    "token": 1 / total_tokens; "sequence": 1 / (total_sequences * length); "constant": 1 / (total_sequences * max_tokens)
    (Dr. GRPO, arXiv:2503.20783). The first two make the weights of all tokens of the step sum to 1.
    """
    if normalize == "token":
        weight = torch.full(lengths.shape, 1.0 / (total_tokens or 1))
    elif normalize == "sequence":
        weight = 1.0 / ((total_sequences or 1) * lengths.clamp(min=1))
    elif normalize == "constant":
        weight = torch.full(lengths.shape, 1.0 / ((total_sequences or 1) * max_tokens))
    else:
        raise ValueError(f"normalize {normalize!r}: use token, sequence or constant")
    return weight * valid


def explained_variance(
    values: Tensor, returns: Tensor, mask: Tensor, *, total: Callable[[Tensor], Tensor] | None = None
) -> float:
    """1 - Var(returns - values) / Var(returns) over the mask: 1 for a perfect critic, 0 for a constant one, 0 if flat.

    `total` adds up a sum over all processes, where each holds a part of the batch.
    """
    add = total or (lambda part: part)
    pair = torch.stack([returns, returns - values]).double() * mask  # (2, N, T)
    sums = add(torch.cat([pair.flatten(1).sum(1), mask.sum().double().unsqueeze(0)]))
    count = float(sums[2])
    if count < 2:
        return 0.0
    centred = (pair - (sums[:2] / count).view(2, *[1] * mask.dim())) * mask
    spread, left = (add((centred**2).flatten(1).sum(1)) / (count - 1)).tolist()
    return 0.0 if spread < 1e-12 else float(1 - left / spread)


def adapt_kl_coef(coef: float, kl: float, target: float, episodes: int, horizon: int) -> float:
    """The next KL coefficient: coef * (1 + clip(KL / target - 1, -0.2, 0.2) * episodes / horizon) (Ziegler et al. 2019)."""
    error = min(max(kl / target - 1, -0.2), 0.2)
    return coef * (1 + error * episodes / horizon)


def learning_rate_factor(schedule: str, step: int, num_steps: int, warmup_steps: int) -> float:
    """The factor on the learning rate at `step`: linear warm-up from 1/warmup, then constant, or to 0 at `num_steps`."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    done = (step - warmup_steps) / max(num_steps - warmup_steps, 1)
    return 1 - done if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
