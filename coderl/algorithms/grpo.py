"""GRPO and its relatives: a policy gradient whose baseline needs no critic (Shao et al. 2024, arXiv:2402.03300).

loss_t = w_t * surrogate_t(r_t, A_t) + beta * KL_t       (eq. 3 and 4; A is the same for all tokens of a sample)

The surrogate is the clipped one, or CISPO's; r_t is the ratio of the token, of the completion, or its geometric mean (GSPO);
w_t corrects for a sampler that is not the trainer. On a batch used once, old_logprobs equals the current
log-probabilities: the loss is near 0, its gradient is not, so watch the gradient norm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from coderl.functional import (
    Surrogate,
    clipped_surrogate,
    group_advantages,
    kl_penalty,
    leave_one_out_advantages,
    log_ratios,
    weight_clipped_surrogate,
)


def grpo_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    ref_logprobs: Tensor | None,
    advantages: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    kl_coef: float,
    kl_estimator: str = "k3",
    ratio: str = "token",
    surrogate: str = "clip",
    mask: Tensor | None = None,
    sequences: Tensor | None = None,
    weights: Tensor | None = None,
) -> Surrogate:
    """Per-token loss; all inputs (N, T), ref_logprobs only needed when kl_coef > 0, mask and sequences for ratios of sequences.

    `weights` are the importance weights of the sampler; they do not touch the KL term. Raises ValueError for unknown names.
    """
    rows = torch.arange(len(logprobs), device=logprobs.device).unsqueeze(1).expand_as(logprobs)
    log_ratio = log_ratios(
        logprobs,
        old_logprobs,
        torch.ones_like(logprobs) if mask is None else mask,
        rows if sequences is None else sequences,
        level=ratio,
    )
    if surrogate == "clip":
        out = clipped_surrogate(log_ratio, advantages, clip_low=clip_low, clip_high=clip_high)
    elif surrogate == "cispo":
        out = weight_clipped_surrogate(logprobs, log_ratio, advantages, clip_low=clip_low, clip_high=clip_high)
    else:
        raise ValueError(f"surrogate {surrogate!r}: use clip or cispo")
    if weights is not None:
        out = out._replace(loss=out.loss * weights)
    if kl_coef == 0:
        return out
    if ref_logprobs is None:
        raise ValueError("kl_coef > 0 needs ref_logprobs")
    return out._replace(loss=out.loss + kl_coef * kl_penalty(logprobs, ref_logprobs, kl_estimator))


def sample_advantages(
    rewards: Tensor, groups: Tensor, *, baseline: str, scale: str, greedy: Tensor | None = None
) -> Tensor:
    """Reward minus its baseline, one number per sample; 0 for a sample whose reward, or baseline, is NaN.

    rewards, groups (N,); greedy (N,) the reward of the greedy completion of the same prompt, for baseline "greedy" (ReMax).
    scale "std" divides by the group's deviation; any other leaves that to the caller. Raises ValueError for unknown names.
    """
    if baseline == "group":
        return group_advantages(rewards, groups, scale=scale)
    if baseline == "leave_one_out":
        return leave_one_out_advantages(rewards, groups)
    if baseline == "none":
        return rewards.nan_to_num(0.0)
    if baseline == "greedy" and greedy is not None:
        return (rewards - greedy).nan_to_num(0.0)
    raise ValueError(
        f"baseline {baseline!r}: use group, leave_one_out, none, or greedy with the rewards of greedy samples"
    )


def normalized_parts(parts: Sequence[Mapping[str, float]], groups: Tensor) -> Tensor:
    """(N,) the sum over the parts of a reward of (part - mean) / std within the group (GDPO, arXiv:2601.05242).

    So a part with a large spread does not drown the others. A sample with no parts is unscorable and gets 0; a part that a
    sample lacks is 0.
    """
    total = torch.zeros(len(parts))
    for name in dict.fromkeys(name for own in parts for name in own):
        values = torch.tensor([own.get(name, 0.0) if own else float("nan") for own in parts])
        total += group_advantages(values, groups, scale="std")
    return total


def reward_to_go(penalties: Tensor, mask: Tensor) -> Tensor:
    """Sum of penalties (N, T) from each token to the end of its row: what REINFORCE++ subtracts as KL (eq. 6)."""
    return (penalties * mask).flip(1).cumsum(1).flip(1) * mask
