"""A cache of keys and values that grows in place: a new token is written behind the others, instead of copying all of them."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicLayer

STEP = 64  # positions that are allocated at a time


def grow_in_place(cache: Any) -> None:
    """Change the plain layers of a transformers cache after the prefill; others (sliding windows, states) stay as they are."""
    for layer in cache.layers:
        if type(layer) is DynamicLayer:
            layer.__class__ = GrowingLayer


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
