"""Where do the keys and values of a decoding batch lie? In caches that grow in place, instead of copying all for each token.

`GrowingLayer` is for transformers' own forward pass; `GroupCache`, for a decoder of ours, also keeps a prompt once for all
rows that begin with it, which saves memory, and the time to read it.

Legend: P prompts, N rows, G the most rows of a prompt, K heads of keys and values, Q query heads for each of them, D size of
a head, L prompt tokens (left-padded), S new tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer

STEP = 64  # positions that are allocated at a time


def grow_in_place(cache: Any) -> None:
    """Change the plain layers of a transformers cache after the prefill; others (sliding windows, states) stay as they are."""
    for layer in cache.layers:
        if type(layer) is DynamicLayer:
            layer.__class__ = GrowingLayer


def is_plain(cache: Any) -> bool:
    """Whether it holds keys and values of every position and nothing else."""
    return all(type(layer) is DynamicLayer for layer in cache.layers)


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """`keys` and `values` are views of the filled part of two larger tensors."""

    room: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        assert self.keys is not None and self.values is not None, "it grows from a prefill"
        length = self.keys.shape[-2]
        end = length + key_states.shape[-2]
        if self.room is None or self.room[0].shape[-2] < end:
            self.room = _larger(self.keys, end + STEP), _larger(self.values, end + STEP)
        for room, states in zip(self.room, (key_states, value_states), strict=True):
            room[..., length:end, :] = states
        self.keys, self.values = (room[..., :end, :] for room in self.room)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self.room = None


def _larger(states: Tensor, size: int) -> Tensor:
    room = states.new_empty((*states.shape[:-2], size, states.shape[-1]))
    room[..., : states.shape[-2], :] = states
    return room


class GroupCache:
    """Keys and values of prompts, from a prefill, and behind them those of new tokens of rows, row n after prompt group[n]."""

    def __init__(self, prefilled: Any, mask: Tensor, group: Tensor, most: int) -> None:
        """`prefilled` is a transformers cache of plain layers; mask (P, L) is 0 where padding is; `most` new tokens come."""
        self.prompts = [(layer.keys.float(), layer.values.float()) for layer in prefilled.layers]  # each (P, K, L, D)
        keys = self.prompts[0][0]
        self.mask = keys.new_zeros(mask.shape).masked_fill_(mask == 0, -torch.inf)[:, None, None]  # added to scores
        self.room = keys.new_empty((len(self.prompts), 2, len(group), keys.shape[1], 0, keys.shape[3]))
        self.length, self.most = 0, most  # S, and the largest S
        self._arrange(group)

    def _arrange(self, group: Tensor) -> None:
        """Tables between rows in their order, (N, K), and rows by prompt, (P, K, G), where some places are empty."""
        self.group, heads, prompts = group, self.room.shape[3], len(self.mask)
        counts = torch.bincount(group, minlength=prompts)
        size, order = int(counts.max()), group.argsort(stable=True)
        place = torch.empty_like(group)  # of a row among those of its prompt
        place[order] = torch.arange(len(group)) - (counts.cumsum(0) - counts)[group[order]]
        head = torch.arange(heads)
        self.places = ((group[:, None] * heads + head) * size + place[:, None]).flatten()
        # An empty place repeats the first row, and is not read.
        self.rows = self.places.new_zeros(prompts * heads * size)
        self.rows[self.places] = torch.arange(len(self.places))

    def select(self, rows: Tensor) -> None:
        """Keep these rows only, in this order; those that stay where they are cost nothing."""
        moved = (rows != torch.arange(len(rows))).nonzero().squeeze(1)
        filled = self.room[..., : self.length, :]
        filled[:, :, moved] = filled[:, :, rows[moved]]
        self.room = self.room[:, :, : len(rows)]
        self._arrange(self.group[rows])

    def grow(self) -> None:
        """Make room for one more token per row; then every layer writes its own and attends."""
        if self.length == self.room.shape[4]:
            self.room = _larger(self.room, min(self.length + STEP, self.most))
        self.length += 1

    def attend(self, at: int, queries: Tensor, keys: Tensor, values: Tensor, scaling: float) -> Tensor:
        """Write the newest keys and values of layer `at`, (N, K, D); return what the queries find, both (N, K, Q, D)."""
        (prompt_keys, prompt_values), room = self.prompts[at], self.room[at, :, :, :, : self.length]
        room[0, :, :, -1], room[1, :, :, -1] = keys, values
        width = prompt_keys.shape[2]
        before = torch.matmul(self._by_prompt(queries), prompt_keys.transpose(2, 3)).add_(self.mask)
        scores = torch.cat([self._by_row(before), torch.matmul(queries, room[0].transpose(2, 3))], dim=3)
        weights = torch.softmax(scores.mul_(scaling), dim=3)  # (N, K, Q, L + S)
        found = torch.matmul(weights[..., width:], room[1])
        return found.add_(self._by_row(torch.matmul(self._by_prompt(weights[..., :width]), prompt_values)))

    def _by_prompt(self, states: Tensor) -> Tensor:
        """(N, K, Q, X) -> (P, K, G Q, X)"""
        _, heads, _, size = states.shape
        return states.flatten(0, 1)[self.rows].view(len(self.mask), heads, -1, size)

    def _by_row(self, states: Tensor) -> Tensor:
        """(P, K, G Q, X) -> (N, K, Q, X)"""
        prompts, heads, columns, size = states.shape
        queries = columns * prompts * heads // len(self.rows)
        return states.view(-1, queries, size)[self.places].view(-1, heads, queries, size)
