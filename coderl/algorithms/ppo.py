"""PPO for language models: score at the last token, KL to the reference in the reward, GAE, clipped policy and value loss.

r_t = -beta (log pi_old - log pi_ref)_t + [t last] * score          (Ziegler et al. 2019, eq. 2; k1 per token)
loss_t = policy_t + c_v * value_t - c_e * entropy_t                 (Schulman et al. 2017, eq. 9)

"Last" is the stop token, or the last token of a truncated completion. After a stop token the next value is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from coderl.functional import gae, kl_estimates, whiten


def token_rewards(
    scores: Tensor, old_logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, *, kl_coef: float, clip: float
) -> Tensor:
    """Rewards per token (N, T): scores (N,) clipped to +-clip on the last masked token, -kl_coef * k1 on all of them."""
    k1 = kl_estimates(old_logprobs, ref_logprobs)[0]
    rewards = -kl_coef * k1 * mask
    last = mask.sum(1).long() - 1
    rows = torch.arange(len(scores), device=scores.device)
    rewards[rows, last] += scores.clamp(-clip, clip)
    return rewards


def advantages_and_returns(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    valid: Tensor,
    *,
    gamma: float,
    lam: float,
    whiten_advantages: bool,
    bootstrap: Tensor | None = None,
    total: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """GAE, returns taken before whitening, whitening over all valid tokens of the batch; (N, T) each.

    valid (N,) is 0 for samples with no score: they take no part in the statistics. `total` adds up over processes.
    """
    advantages, returns = gae(rewards, values, mask, gamma=gamma, lam=lam, bootstrap=bootstrap)
    counted = mask * valid.unsqueeze(1)
    return (whiten(advantages, counted, total=total) if whiten_advantages else advantages * counted), returns


class RunningMoments(NamedTuple):
    """Number, sum and sum of squares of all scores of a run so far: plain numbers, for a checkpoint."""

    number: float = 0.0
    summed: float = 0.0
    squares: float = 0.0

    def with_(self, scores: Tensor, total: Callable[[Tensor], Tensor] | None = None) -> RunningMoments:
        """With more scores (N,); `total` adds up over processes."""
        scores = scores.double()
        sums = torch.stack([torch.ones_like(scores).sum(), scores.sum(), (scores**2).sum()])
        sums = total(sums) if total else sums
        return RunningMoments(*(old + new for old, new in zip(self, sums.tolist(), strict=True)))

    @property
    def deviation(self) -> float:
        """The unbiased standard deviation; 1 while there is none."""
        if self.number < 2:
            return 1.0
        variance = (self.squares - self.summed**2 / self.number) / (self.number - 1)
        return math.sqrt(variance) if variance > 1e-8 else 1.0
