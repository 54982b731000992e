"""What return does the policy expect from here? A copy of the policy's trunk with a scalar head.

The value of state t is read before token t is seen: at the position that predicts it. The head starts at zero, in float32,
so the first advantages are the plain returns.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from coderl.experience import MicroBatch


class Critic(nn.Module):
    """Values of the states of a completion. `trunk` maps (N, L) token ids to (N, L, H) hidden states."""

    def __init__(self, policy_model: Any, autocast: torch.dtype | None = None) -> None:
        super().__init__()
        causal = policy_model.get_base_model() if hasattr(policy_model, "get_base_model") else policy_model
        self.trunk = copy.deepcopy(getattr(causal, causal.base_model_prefix))
        self.head = nn.Linear(causal.config.get_text_config().hidden_size, 1, dtype=torch.float32)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.to(next(causal.parameters()).device)
        self._autocast = autocast

    def forward(self, batch: MicroBatch) -> Tensor:
        """(N, T) float32."""
        num_tokens = batch.completion_ids.shape[1]
        device = batch.input_ids.device.type
        with torch.autocast(device, dtype=self._autocast, enabled=self._autocast is not None):
            hidden = self.trunk(
                input_ids=batch.input_ids,
                attention_mask=batch.attention_mask,
                position_ids=batch.position_ids,
                use_cache=False,
            ).last_hidden_state
        states = hidden[:, -num_tokens - 1 : -1] if batch.predict is None else hidden[:, batch.predict]
        values: Tensor = self.head(states.float()).squeeze(-1)
        return values
