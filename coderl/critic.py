"""What return does the policy expect from here? A scalar head on hidden states: on a trunk of its own, or on the policy's.

The value of state t is read before token t is seen: at the position that predicts it. The head is in float32 and starts at
zero, or very small, so the first advantages are the plain returns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coderl.config import PolicyConfig
from coderl.errors import ModelError
from coderl.experience import MicroBatch
from coderl.pairs import tokenizer_fingerprint
from coderl.policy import Policy, load_policy
from coderl.reward_model import load_reward_model
from coderl.trunk import causal_of, hidden_states, trunk_copy


def critic_trunk(policy: Policy, config: PolicyConfig, model: str = "") -> Any:
    """What a critic of its own starts from: the policy's trunk, or that of `model`, a causal LM or a reward model.

    A reward model knows already what a good program looks like (InstructGPT, Ouyang et al. 2022, appendix C.4). A causal LM is
    loaded as `config` loads the policy. Raises ModelError, also for a model that reads another tokenizer's ids.
    """
    if not model:
        return trunk_copy(policy.model)
    if (Path(model).expanduser() / "reward_model.json").is_file():
        return load_reward_model(Path(model).expanduser(), policy)[0][0].trunk.requires_grad_(True)
    other = load_policy(config.model_copy(update={"model": model, "lora": None}), seed=0)
    if tokenizer_fingerprint(other.tokenizer) != tokenizer_fingerprint(policy.tokenizer):
        raise ModelError(f"ppo.critic_model {model!r}: reads another tokenizer's ids than the policy writes")
    return trunk_copy(other.model).to(policy.device)


class ValueHead(nn.Module):
    """Values (N, T), float32, of hidden states (N, T, H) of `model`."""

    def __init__(self, model: Any, init_std: float = 0.0) -> None:
        super().__init__()
        causal = causal_of(model)
        self.linear = nn.Linear(causal.config.get_text_config().hidden_size, 1, dtype=torch.float32)
        nn.init.normal_(self.linear.weight, std=init_std) if init_std else nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.to(next(causal.parameters()).device)

    def forward(self, states: Tensor) -> Tensor:
        values: Tensor = self.linear(states.float()).squeeze(-1)
        return values


class Critic(nn.Module):
    """Values of the states of a completion, by a trunk with a head."""

    def __init__(self, trunk: Any, autocast: torch.dtype | None = None, init_std: float = 0.0) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = ValueHead(trunk, init_std)
        self._autocast = autocast

    def forward(self, batch: MicroBatch) -> Tensor:
        """(N, T) float32."""
        num_tokens = batch.completion_ids.shape[1]
        hidden = hidden_states(self.trunk, batch, self._autocast)
        values: Tensor = self.head(
            hidden[:, -num_tokens - 1 : -1] if batch.predict is None else hidden[:, batch.predict]
        )
        return values
