"""What lies below the head of a causal language model? Its trunk, to copy, and the hidden states that it gives."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from coderl.experience import MicroBatch


def causal_of(model: Any) -> Any:
    """The causal language model itself, also below adapters."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def trunk_copy(model: Any) -> Any:
    """A copy of the trunk, adapters in it included."""
    causal = causal_of(model)
    return copy.deepcopy(getattr(causal, causal.base_model_prefix))


def hidden_states(trunk: Any, batch: MicroBatch, autocast: torch.dtype | None) -> Tensor:
    """The last hidden states (N, L, H) of a micro-batch, matrix products in `autocast` where that is given."""
    with torch.autocast(batch.input_ids.device.type, dtype=autocast, enabled=autocast is not None):
        states: Tensor = trunk(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            use_cache=False,
        ).last_hidden_state
    return states
