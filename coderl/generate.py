"""Sample completions: prompts prefilled once per group, finished rows leave the batch, one random stream per sample.

Legend: P prompts, G samples of each, N = P*G rows, L prompt tokens (left-padded), T new tokens. The next token is found
by inverting the cumulative distribution at a uniform number that belongs to (sample, position), so neither the batch a
sample is in nor its order changes what is drawn (up to the rounding of the matrix products). Log-probabilities are those
of the sampling distribution: logits / temperature, no top-p or top-k.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from coderl.kv_cache import GroupCache, grow_in_place, is_plain
from coderl.llama_decode import LlamaDecoder, decoder_of
from coderl.seeds import uniforms
from coderl.threads import for_sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRequest:
    """One sample to draw: which prompt, which random stream, which strings end it besides the stop tokens."""

    key: Any  # the caller's name for it
    prompt_ids: tuple[int, ...]
    seed: int
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A finished completion; `ids` ends with the stop token, or completes the stop string, unless `truncated`."""

    key: Any
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    truncated: bool


@torch.no_grad()
def generate(
    model: Any,
    tokenizer: Any,
    requests: Sequence[SampleRequest],
    *,
    eos_ids: frozenset[int],
    pad_id: int,
    max_new_tokens: int,
    temperature: float,
    batch_size: int,
    autocast: torch.dtype | None = None,
) -> Iterator[Sample]:
    """Yield each sample as it ends. temperature 0 is greedy (log-probabilities then are those at temperature 1).

    Requests with the same prompt are prefilled once when they fall into the same batch. The model is put into eval mode
    while it generates and back after.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    ordered = sorted(requests, key=lambda r: (len(r.prompt_ids), r.prompt_ids))
    try:
        with for_sampling(model), torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            decoder = None
            if ordered and max_new_tokens > 1:
                decoder = decoder_of(model, len(ordered[-1].prompt_ids) + max_new_tokens, autocast)
            for start in range(0, len(ordered), batch_size):
                batch = ordered[start : start + batch_size]
                decoding = _Decoding(model, decoder, batch, pad_id, max_new_tokens, device)
                yield from decoding.run(tokenizer, eos_ids, temperature)
    finally:
        model.train(was_training)


def is_ended(ids: Sequence[int], stop: Sequence[str], eos_ids: frozenset[int], tokenizer: Any) -> bool:
    """Whether the last of these tokens is a stop token, or completes a stop string."""
    if ids[-1] in eos_ids or not stop:
        return ids[-1] in eos_ids
    text = tokenizer.decode(ids[-(max(map(len, stop)) + 4) :])  # tokens that can hold a stop string
    return any(string in text for string in stop)


class _Looks(dict[int, bool]):
    """May this token complete a stop string? Not if its own text holds none of their last characters.

    It is looked at behind itself, as some tokenizers leave out a space at the beginning; a part of a character always may.
    """

    def __init__(self, tokenizer: Any, last: frozenset[str]) -> None:
        super().__init__()
        self._tokenizer, self._last = tokenizer, last | {"\ufffd"} if last else last

    def __missing__(self, token: int) -> bool:
        self[token] = bool(self._last) and not self._last.isdisjoint(self._tokenizer.decode([token, token]))
        return self[token]


class _Decoding:
    """One batch that decodes together."""

    def __init__(
        self,
        model: Any,
        decoder: LlamaDecoder | None,
        requests: Sequence[SampleRequest],
        pad_id: int,
        max_new_tokens: int,
        device: torch.device,
    ) -> None:
        self.model, self.requests, self.max_new_tokens, self.device = model, requests, max_new_tokens, device
        unique = list(dict.fromkeys(r.prompt_ids for r in requests))
        group = torch.tensor([unique.index(r.prompt_ids) for r in requests], device=device)  # (N,)
        width = max(map(len, unique))
        ids = torch.full((len(unique), width), pad_id, device=device)  # (P, L)
        mask = torch.zeros((len(unique), width), dtype=torch.long, device=device)
        for row, prompt in enumerate(unique):
            ids[row, width - len(prompt) :] = torch.tensor(prompt, device=device)
            mask[row, width - len(prompt) :] = 1
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        output = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1)
        self.logits = output.logits[group, -1]  # (N, V)
        cache = output.past_key_values
        self.steps: _Steps = (
            _OwnSteps(decoder, GroupCache(cache, mask, group, max_new_tokens - 1))
            if decoder is not None and is_plain(cache)
            else _ModelSteps(model, cache, mask, group)
        )
        self.next_position = positions[group, -1:] + 1  # (N, 1)
        self.rows = list(range(len(requests)))
        noise = np.stack([uniforms(r.seed, max_new_tokens) for r in requests])
        self.noise = torch.from_numpy(noise).to(device)  # (N, T)

    def run(self, tokenizer: Any, eos_ids: frozenset[int], temperature: float) -> Iterator[Sample]:
        tokens: list[list[int]] = [[] for _ in self.requests]
        logprobs: list[list[float]] = [[] for _ in self.requests]
        looks = _Looks(tokenizer, frozenset(string[-1] for r in self.requests for string in r.stop))
        for step in range(self.max_new_tokens):
            chosen, chosen_logprobs = _draw(self.logits, self.noise[:, step], temperature)
            keep: list[int] = []
            for at, (row, token, logprob) in enumerate(
                zip(self.rows, chosen.tolist(), chosen_logprobs.tolist(), strict=True)
            ):
                tokens[row].append(token)
                logprobs[row].append(logprob)
                stopped = token in eos_ids or (
                    looks[token] and is_ended(tokens[row], self.requests[row].stop, eos_ids, tokenizer)
                )
                if stopped or step == self.max_new_tokens - 1:
                    yield Sample(
                        key=self.requests[row].key,
                        ids=tuple(tokens[row]),
                        logprobs=tuple(logprobs[row]),
                        truncated=not stopped,
                    )
                else:
                    keep.append(at)
            if not keep:
                return
            self._advance(chosen, keep)

    def _advance(self, chosen: Tensor, keep: list[int]) -> None:
        if len(keep) < len(self.rows):
            late = iter(at for at in reversed(keep) if at >= len(keep))  # they take the places that became free
            kept = set(keep)
            keep = [at if at in kept else next(late) for at in range(len(keep))]
            index = torch.tensor(keep, device=self.device)
            self.steps.select(index)
            self.rows = [self.rows[at] for at in keep]
            chosen, self.noise = chosen[index], self.noise[index]
            self.next_position = self.next_position[index]
        self.logits = self.steps.next_logits(chosen, self.next_position)
        self.next_position = self.next_position + 1


class _Steps(Protocol):
    """The rows that still decode, as the cache knows them."""

    def select(self, rows: Tensor) -> None:
        """Keep these rows only."""

    def next_logits(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Logits (N, V) behind tokens (N,) at positions (N, 1)."""


class _OwnSteps:
    def __init__(self, decoder: LlamaDecoder, cache: GroupCache) -> None:
        self.decoder, self.cache = decoder, cache

    def select(self, rows: Tensor) -> None:
        self.cache.select(rows)

    def next_logits(self, tokens: Tensor, positions: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):  # it knows itself what to round
            return self.decoder(tokens, positions.squeeze(1), self.cache)


class _ModelSteps:
    """By the forward pass of the model itself, whatever it is."""

    def __init__(self, model: Any, cache: Any, mask: Tensor, group: Tensor) -> None:
        self.model, self.cache, self.mask = model, cache, mask[group]
        cache.batch_select_indices(group)
        grow_in_place(cache)

    def select(self, rows: Tensor) -> None:
        self.cache.batch_select_indices(rows)
        self.mask = self.mask[rows]

    def next_logits(self, tokens: Tensor, positions: Tensor) -> Tensor:
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
        output = self.model(
            input_ids=tokens.unsqueeze(1),
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
        )
        logits: Tensor = output.logits[:, -1]
        return logits


def _draw(logits: Tensor, noise: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """One token per row and its log-probability; logits (N, V), noise (N,) in [0, 1)."""
    scaled = logits.float() if temperature in (0, 1) else logits.float() / temperature
    probabilities = torch.softmax(scaled, dim=-1)
    log_total = scaled.amax(-1) - probabilities.amax(-1).log()  # the likeliest token tells what they were divided by
    if temperature == 0:
        chosen = scaled.argmax(-1)
    else:
        cumulative = probabilities.cumsum_(-1)
        total = cumulative[:, -1:]
        target = (noise.unsqueeze(1) * total).float()
        target = target.minimum(total.nextafter(torch.zeros_like(total)))  # rounded up to it, no token would be left
        chosen = torch.searchsorted(cumulative, target, right=True).squeeze(1).clamp(max=logits.shape[1] - 1)
    return chosen, scaled.gather(1, chosen.unsqueeze(1)).squeeze(1) - log_total
