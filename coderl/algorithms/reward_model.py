"""Losses of a reward model on comparisons: one number per pair from the scores of its two sides.

Legend: P pairs, d = r_a - r_b - margin. A tie has the label 1/2, all other pairs the label 1.

    Bradley-Terry   -y log s(d) - (1-y) log s(-d)                    Bradley & Terry 1952; Ouyang et al. 2022, eq. 1
    margin          d = r_a - r_b - c m                              Touvron et al. 2023 (Llama 2), eq. 2
    smoothing       y = (1-e) label + e (1 - label)                  Wang et al. 2024, arXiv:2401.06080
    centring        + k (r_a + r_b)^2                                Eisenstein et al. 2023, arXiv:2312.09244, eq. 6
    Davidson        win: -log(e^(d/2) / Z), tie: -log(nu / Z)        Davidson 1970, Z = e^(d/2) + e^(-d/2) + nu

s is the logistic function.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def bradley_terry_loss(
    chosen: Tensor, rejected: Tensor, margins: Tensor, labels: Tensor, *, label_smoothing: float = 0.0
) -> Tensor:
    """(P,) from scores, margins (0 where unknown) and labels (1, or 0.5 for a tie), (P,) each."""
    d = chosen - rejected - margins * (labels > 0.5)
    y = labels * (1 - label_smoothing) + (1 - labels) * label_smoothing
    return -y * logsigmoid(d) - (1 - y) * logsigmoid(-d)


def davidson_loss(
    chosen: Tensor, rejected: Tensor, margins: Tensor, labels: Tensor, *, label_smoothing: float = 0.0, nu: float
) -> Tensor:
    """As `bradley_terry_loss`, with ties as an outcome of their own; nu > 0: two equal sides tie with chance nu / (2 + nu)."""
    is_tie = labels <= 0.5
    half = (chosen - rejected - margins * ~is_tie) / 2
    log_nu = torch.full_like(half, math.log(nu))
    log_z = torch.logsumexp(torch.stack([half, -half, log_nu]), dim=0)
    win = log_z - (1 - 2 * label_smoothing) * half
    return torch.where(is_tie, log_z - log_nu, win)


def centring(chosen: Tensor, rejected: Tensor) -> Tensor:
    """(r_a + r_b)^2, (P,): keeps scores around 0, which no comparison alone can do."""
    return (chosen + rejected) ** 2
