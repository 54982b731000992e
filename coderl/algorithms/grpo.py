"""GRPO: a clipped policy gradient whose baseline is the mean reward of the group (Shao et al. 2024, arXiv:2402.03300).

loss_t = -min(r_t A, clip(r_t, 1-low, 1+high) A) + beta * k3_t       (eq. 3 and 4; A is the same for all tokens of a sample)

On a batch used once, old_logprobs equals the current log-probabilities: the loss is near 0, its gradient is not, so watch
the gradient norm.
"""

from __future__ import annotations

from torch import Tensor

from coderl.functional import Surrogate, clipped_surrogate, kl_estimates


def grpo_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    ref_logprobs: Tensor | None,
    advantages: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    kl_coef: float,
) -> Surrogate:
    """Per-token loss; all inputs (N, T), ref_logprobs only needed when kl_coef > 0."""
    surrogate = clipped_surrogate(logprobs, old_logprobs, advantages, clip_low=clip_low, clip_high=clip_high)
    if kl_coef == 0:
        return surrogate
    if ref_logprobs is None:
        raise ValueError("kl_coef > 0 needs ref_logprobs")
    k3 = kl_estimates(logprobs, ref_logprobs)[2]
    return surrogate._replace(loss=surrogate.loss + kl_coef * k3)
