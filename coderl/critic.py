"""What return does the policy expect from here? A scalar head on hidden states: on a trunk of its own, or on the policy's.

The value of state t is read before token t is seen: at the position that predicts it. The head is in float32 and starts at
zero, or very small, so the first advantages are the plain returns.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coderl.experience import MicroBatch
from coderl.trunk import causal_of, hidden_states, trunk_copy


class ValueHead(nn.Module):
    """Values (N, T), float32, of hidden states (N, T, H)."""

    def __init__(self, policy_model: Any, init_std: float = 0.0) -> None:
        super().__init__()
        causal = causal_of(policy_model)
        self.linear = nn.Linear(causal.config.get_text_config().hidden_size, 1, dtype=torch.float32)
        nn.init.normal_(self.linear.weight, std=init_std) if init_std else nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.to(next(causal.parameters()).device)

    def forward(self, states: Tensor) -> Tensor:
        values: Tensor = self.linear(states.float()).squeeze(-1)
        return values


class Critic(nn.Module):
    """Values of the states of a completion, by a copy of the policy's trunk with a head."""

    def __init__(self, policy_model: Any, autocast: torch.dtype | None = None, init_std: float = 0.0) -> None:
        super().__init__()
        self.trunk = trunk_copy(policy_model)
        self.head = ValueHead(policy_model, init_std)
        self._autocast = autocast

    def forward(self, batch: MicroBatch) -> Tensor:
        """(N, T) float32."""
        num_tokens = batch.completion_ids.shape[1]
        hidden = hidden_states(self.trunk, batch, self._autocast)
        values: Tensor = self.head(
            hidden[:, -num_tokens - 1 : -1] if batch.predict is None else hidden[:, batch.predict]
        )
        return values
