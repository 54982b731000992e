"""How good is a completion, in the eyes of a model? The trunk of any causal language model with a scalar head.

The score is read at the last token of the completion: its stop token, or the last sampled one where it was cut off; the same in
training, evaluation and RL. A folder of a reward model holds, for each member of the ensemble, a trunk that transformers'
AutoModel loads (adapters merged) and head.safetensors, and reward_model.json with what `LearnedReward` needs to know.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coderl.config import LoraSection
from coderl.errors import ModelError
from coderl.experience import Example, MicroBatch, collate, pack
from coderl.pairs import tokenizer_fingerprint
from coderl.policy import Policy
from coderl.run_folder import atomic_write, json_bytes, make_directory
from coderl.trunk import hidden_states, trunk_copy

SCHEMA = 1


class RewardModel(nn.Module):
    """`trunk` maps (N, L) token ids to (N, L, H) hidden states; the head is float32."""

    def __init__(self, trunk: Any, autocast: torch.dtype | None = None) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(trunk.config.get_text_config().hidden_size, 1, dtype=torch.float32)
        self.to(next(trunk.parameters()).device)
        self._autocast = autocast

    def forward(self, batch: MicroBatch) -> Tensor:
        """One score per example, (E,) float32."""
        hidden = hidden_states(self.trunk, batch, self._autocast)
        scores: Tensor = self.head(hidden.flatten(0, 1)[batch.last].float()).squeeze(-1)
        return scores


def new_reward_model(policy: Policy, *, seed: int, lora: LoraSection | None = None) -> RewardModel:
    """A copy of the policy's trunk with a fresh head: normal, of variance 1 / (H + 1) (Stiennon et al. 2020), bias 0.

    What the policy trains of its trunk is trained here; with `lora`, adapters on top of it and nothing else.
    """
    trunk = trunk_copy(policy.model)
    torch.manual_seed(seed)
    if lora is not None:
        trunk = _with_lora(trunk, lora)
    reward_model = RewardModel(trunk, policy.autocast)
    nn.init.normal_(reward_model.head.weight, std=1 / math.sqrt(reward_model.head.in_features + 1))
    nn.init.zeros_(reward_model.head.bias)
    return reward_model


@torch.no_grad()
def scores(
    members: Sequence[nn.Module], policy: Policy, examples: Sequence[Example], *, micro_batch_tokens: int
) -> Tensor:
    """The score of every example by every member, (M, E) on the cpu, without gradients and dropout."""
    result = torch.zeros(len(members), len(examples))
    modes = [member.training for member in members]
    try:
        for member in members:
            member.eval()
        for rows in pack(examples, micro_batch_tokens, packed=policy.packed):
            chosen = [examples[i] for i in rows]
            batch = collate(chosen, [0.0] * len(rows), policy.pad_id, policy.device, packed=policy.packed)
            for number, member in enumerate(members):
                result[number, rows] = member(batch).float().cpu()
    finally:
        for member, mode in zip(members, modes, strict=True):
            member.train(mode)
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Normaliser:
    """Mean and standard deviation of the raw scores (the mean over members) on samples of the reference policy."""

    mean: float
    std: float


def normaliser(raw: Tensor) -> Normaliser:
    """From (M, E) scores. The standard deviation is 1 where there is no spread to divide by."""
    values = raw.mean(0).double()
    std = float(values.std()) if len(values) > 1 else 0.0
    return Normaliser(mean=float(values.mean()), std=std if std > 1e-6 else 1.0)


def save_reward_model(members: Sequence[RewardModel], policy: Policy, norm: Normaliser, folder: Path) -> None:
    """Write the folder. Raises RunFolderError if it cannot be written."""
    from safetensors.torch import save_file

    for number, member in enumerate(members):
        place = folder / f"member_{number}"
        make_directory(place)
        plain, state = _merged(member.trunk)
        plain.save_pretrained(place, state_dict=state)
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in member.head.state_dict().items()}, place / "head.safetensors"
        )
    policy.tokenizer.save_pretrained(folder)
    record = {"schema": SCHEMA, "members": len(members), "tokenizer": tokenizer_fingerprint(policy.tokenizer)}
    atomic_write(folder / "reward_model.json", json_bytes({**record, **asdict(norm)}))


def load_reward_model(folder: Path, policy: Policy) -> tuple[list[RewardModel], Normaliser]:
    """The members, frozen and in eval mode, and their normaliser. Raises ModelError."""
    from safetensors.torch import load_file
    from transformers import AutoModel

    try:
        record = json.loads((folder / "reward_model.json").read_text(encoding="utf-8"))
        if record["schema"] != SCHEMA:
            raise ValueError(f"schema {record['schema']!r}: this version reads schema {SCHEMA}")
        own = tokenizer_fingerprint(policy.tokenizer)
        if record["tokenizer"] != own:
            raise ValueError("it reads another tokenizer's ids than the policy writes")
        members = []
        for number in range(record["members"]):
            place = folder / f"member_{number}"
            member = RewardModel(AutoModel.from_pretrained(place), policy.autocast)
            member.head.load_state_dict(load_file(place / "head.safetensors"))
            members.append(member.to(policy.device).eval().requires_grad_(False))
        return members, Normaliser(mean=record["mean"], std=record["std"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"reward model {folder}: cannot be used: {str(error).splitlines()[0]}") from error


def _with_lora(trunk: Any, lora: LoraSection) -> Any:
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=0.0, target_modules=lora.target_modules, bias="none"
    )
    adapted = inject_adapter_in_model(config, trunk)
    for name, parameter in adapted.named_parameters():
        parameter.requires_grad_("lora_" in name)
    return adapted


def _merged(trunk: Any) -> tuple[Any, dict[str, Tensor]]:
    """A copy of the trunk without adapters, and its weights with all adapters merged in."""
    plain = copy.deepcopy(trunk)
    state: dict[str, Tensor] = {}
    for module in plain.modules():
        if hasattr(module, "merge") and hasattr(module, "base_layer"):
            module.merge()
    for name, tensor in plain.state_dict().items():
        if "lora_" not in name:
            state[name.replace(".base_layer.", ".")] = tensor.detach().cpu()
    return plain, state
