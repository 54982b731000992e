"""Preference losses: one number per pair (or, for KTO, per completion) from log-probabilities summed over completions.

Legend: P pairs. With beta and the implicit reward r(y) = beta (log pi(y|x) - log ref(y|x)), d = r(chosen) - r(rejected):

    dpo      -log s(d)                                            Rafailov et al. 2023, arXiv:2305.18290, eq. 7
    cdpo     -(1-e) log s(d) - e log s(-d)                        Mitchell 2023; e: share of labels that are wrong
    robust   (-(1-e) log s(d) + e log s(-d)) / (1-2e)             Chowdhury et al. 2024, arXiv:2403.00409, eq. 7
    ipo      (d' - 1/(2 beta))^2, d' from mean log-probs          Azar et al. 2023, arXiv:2310.12036, eq. 17
    dpop     -log s(d - beta l max(0, log ref(c) - log pi(c)))    Pal et al. 2024, arXiv:2402.13228, eq. 3
    simpo    -log s(beta (mean(c) - mean(r)) - gamma)             Meng et al. 2024, arXiv:2405.14734, eq. 6; no reference
    orpo     -mean(c) - beta log s(log odds(c) - log odds(r))     Hong et al. 2024, arXiv:2403.07691, eq. 6-7; no reference
    kto      w (1 - s(+-(r - z)))                                 Ethayarajh et al. 2024, arXiv:2402.01306, eq. 8
    + nll    alpha times -mean(c) added: RPO                      Pang et al. 2024, arXiv:2404.19733, eq. 1

s is the logistic function, mean(y) = log pi(y|x) / |y|. Prompt tokens are in none of these sums, the stop token is in all.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


class PairLogprobs(NamedTuple):
    """Summed log-probabilities of both sides under policy and reference, and lengths in tokens; (P,) each."""

    chosen: Tensor
    rejected: Tensor
    ref_chosen: Tensor
    ref_rejected: Tensor
    chosen_length: Tensor
    rejected_length: Tensor

    def rewards(self, beta: float) -> tuple[Tensor, Tensor]:
        """The implicit rewards beta (log pi - log ref) of the chosen and the rejected sides."""
        return beta * (self.chosen - self.ref_chosen), beta * (self.rejected - self.ref_rejected)


def dpo_loss(pairs: PairLogprobs, *, beta: float) -> Tensor:
    """-log s(d)."""
    chosen, rejected = pairs.rewards(beta)
    return -logsigmoid(chosen - rejected)


def cdpo_loss(pairs: PairLogprobs, *, beta: float, label_smoothing: float) -> Tensor:
    """Cross entropy with the label 1-e: stops pulling a pair apart at d = log((1-e)/e)."""
    chosen, rejected = pairs.rewards(beta)
    d = chosen - rejected
    return -(1 - label_smoothing) * logsigmoid(d) - label_smoothing * logsigmoid(-d)


def robust_loss(pairs: PairLogprobs, *, beta: float, label_smoothing: float) -> Tensor:
    """The unbiased estimate of dpo_loss under clean labels, from labels that are wrong with probability e; can be negative."""
    chosen, rejected = pairs.rewards(beta)
    d = chosen - rejected
    mixed = -(1 - label_smoothing) * logsigmoid(d) + label_smoothing * logsigmoid(-d)
    return mixed / (1 - 2 * label_smoothing)


def ipo_loss(pairs: PairLogprobs, *, beta: float) -> Tensor:
    """Squared distance of the mean log-ratio difference from 1 / (2 beta)."""
    chosen = (pairs.chosen - pairs.ref_chosen) / pairs.chosen_length
    rejected = (pairs.rejected - pairs.ref_rejected) / pairs.rejected_length
    return (chosen - rejected - 1 / (2 * beta)) ** 2


def dpop_loss(pairs: PairLogprobs, *, beta: float, penalty: float) -> Tensor:
    """DPO whose margin shrinks as soon as the chosen completion becomes less likely than under the reference."""
    chosen, rejected = pairs.rewards(beta)
    lost = (pairs.ref_chosen - pairs.chosen).clamp(min=0)
    return -logsigmoid(chosen - rejected - beta * penalty * lost)


def simpo_loss(pairs: PairLogprobs, *, beta: float, margin: float) -> Tensor:
    """Length-normalised, without a reference; `margin` is gamma itself."""
    d = beta * (pairs.chosen / pairs.chosen_length - pairs.rejected / pairs.rejected_length)
    return -logsigmoid(d - margin)


def orpo_loss(pairs: PairLogprobs, *, beta: float) -> Tensor:
    """Likelihood of the chosen side, and the odds of the chosen over the rejected side; odds(p) = p / (1 - p)."""
    chosen, rejected = pairs.chosen / pairs.chosen_length, pairs.rejected / pairs.rejected_length
    log_odds = (chosen - rejected) - (_log1mexp(chosen) - _log1mexp(rejected))
    return -chosen - beta * logsigmoid(log_odds)


def kto_loss(
    logprobs: Tensor,
    ref_logprobs: Tensor,
    desirable: Tensor,
    kl: Tensor,
    *,
    beta: float,
    desirable_weight: float,
    undesirable_weight: float,
) -> Tensor:
    """Per completion (N,): w_d (1 - s(r - z)) for a desirable one, w_u (1 - s(z - r)) for an undesirable one, z = beta kl.

    `desirable` (N,) is 1 or 0; `kl` (), at least 0, is the mean log-ratio on mismatched completions and carries no gradient.
    """
    reward = beta * (logprobs - ref_logprobs)
    z = beta * kl.detach()
    good = desirable_weight * (1 - torch.sigmoid(reward - z))
    bad = undesirable_weight * (1 - torch.sigmoid(z - reward))
    return torch.where(desirable > 0.5, good, bad)


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 - e^x) for x < 0, without cancellation (Maechler 2012, eq. 7)."""
    x = x.clamp(max=-1e-7)  # a completion of probability 1 has infinite odds
    return torch.where(x > -math.log(2), torch.log(-torch.expm1(x)), torch.log1p(-torch.exp(x)))
