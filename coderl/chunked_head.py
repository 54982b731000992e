"""How are log-probabilities found without ever holding all logits? Head, log-softmax and their gradients go chunk by chunk.

Legend: M tokens, H hidden size, V vocabulary. Of what the plain way keeps, (M, V) logits and their gradient, one chunk at most
is held here; the backward pass makes the logits of a chunk again. Less memory for one more product of the head.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from coderl.functional import logprob_slope
from coderl.linear import product

CHUNK_TOKENS = 128


def head_logprobs(
    states: Tensor,
    weight: Tensor,
    tokens: Tensor,
    temperature: float,
    *,
    dtype: torch.dtype,
    chunk_tokens: int = CHUNK_TOKENS,
) -> Tensor:
    """log softmax(states @ weight^T / temperature) at `tokens`, in float32, with products in `dtype`.

    states (N, T, H), weight (V, H), tokens (N, T) -> (N, T). Sums over chunks are in float32. Raises ValueError for a
    temperature that is not above 0.
    """
    if temperature <= 0:
        raise ValueError(f"temperature {temperature}: log-probabilities need a temperature above 0")
    chosen: Tensor = _Head.apply(  # type: ignore[no-untyped-call]
        states.flatten(0, 1), weight, tokens.flatten(), temperature, dtype, chunk_tokens
    )
    return chosen.view(tokens.shape)


class _Head(torch.autograd.Function):
    """states (M, H), weight (V, H), tokens (M,) -> (M,)."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, tokens: Tensor, temperature: float, dtype: torch.dtype, chunk: int
    ) -> Tensor:
        cast = weight.to(dtype)
        chosen, normalizers = [], []
        for part, ids in zip(states.split(chunk), tokens.split(chunk), strict=True):
            scaled = product(part.to(dtype), cast).float() / temperature
            chosen.append(scaled.gather(-1, ids.unsqueeze(-1)).squeeze(-1))
            normalizers.append(scaled.logsumexp(-1))
        normalizer = torch.cat(normalizers)
        ctx.save_for_backward(states, weight, tokens, normalizer)
        ctx.temperature, ctx.dtype, ctx.chunk = temperature, dtype, chunk
        return torch.cat(chosen) - normalizer

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None, None]:
        states, weight, tokens, normalizer = ctx.saved_tensors
        needs_states, needs_weight = ctx.needs_input_grad[:2]
        cast = weight.to(ctx.dtype)
        grad_states = torch.empty_like(states) if needs_states else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_weight else None
        for start in range(0, len(tokens), ctx.chunk):
            rows = slice(start, start + ctx.chunk)
            part = states[rows].to(ctx.dtype)
            scaled = product(part, cast).float() / ctx.temperature
            slope = logprob_slope(scaled, normalizer[rows], tokens[rows], grad[rows] / ctx.temperature)
            of_logits = slope.to(ctx.dtype)
            if grad_states is not None:
                grad_states[rows] = product(of_logits, cast.t()).to(states.dtype)
            if grad_weight is not None:
                grad_weight += product(of_logits.t(), part.t())
        return grad_states, None if grad_weight is None else grad_weight.to(weight.dtype), None, None, None, None


def plain_head(causal: Any) -> bool:
    """Whether the logits of this causal language model are one linear layer of its last states, without bias or adapters."""
    head = causal.get_output_embeddings()
    if not isinstance(head, nn.Linear) or head.bias is not None or hasattr(head, "base_layer"):
        return False
    ids = torch.arange(8, device=head.weight.device).unsqueeze(0)  # not only a pad token, whose states may be 0
    was_training = causal.training
    causal.eval()
    try:
        with torch.no_grad():
            logits = causal(input_ids=ids, use_cache=False).logits
            with without_head(causal):
                states = causal(input_ids=ids, use_cache=False).logits
            return states.shape[-1] == head.in_features and torch.equal(head(states), logits)  # not scaled or capped
    finally:
        causal.train(was_training)


@contextlib.contextmanager
def without_head(causal: Any) -> Iterator[None]:
    """Inside, what the model calls logits are the states that its head would have read."""
    head = causal.get_output_embeddings()
    head.forward = _same
    try:
        yield
    finally:
        del head.forward


def _same(states: Tensor) -> Tensor:
    return states
