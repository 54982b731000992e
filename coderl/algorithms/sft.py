"""Supervised fine-tuning: maximise log p(completion | prompt); prompt tokens carry no loss.

loss = sum_t w_t * -log p(y_t | x, y_<t), with weights that sum to 1 over the optimizer step.
"""

from __future__ import annotations

from torch import Tensor


def sft_loss(logprobs: Tensor) -> Tensor:
    """Negative log-likelihood per completion token; logprobs (N, T) -> (N, T)."""
    return -logprobs
