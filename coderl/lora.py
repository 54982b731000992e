"""What do LoRA adapters add to a linear layer? What peft's own layer adds: W + sum of scaling B A (Hu et al. 2021, eq. 3).

For who computes with the weights of a model in another way than by calling it. Only plain adapters are known: no DoRA or
other variant, no bias of their own. Nothing here imports peft: a model with adapters has done that.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn

Adapter = tuple[Tensor, Tensor]  # A (R, I) and B (O, R), float32, scaled; R is 0 where there is none


def without_wrapper(model: Any) -> Any:
    """The model inside that has adapters on its layers; other models as they are."""
    peft = sys.modules.get("peft")
    if peft and type(model) is peft.PeftModelForCausalLM and type(model.base_model) is peft.LoraModel:
        return model.base_model.model
    return model


def is_adapted(module: nn.Module) -> bool:
    """Whether it is a linear layer of peft's."""
    peft = sys.modules.get("peft")
    return peft is not None and type(module) is peft.tuners.lora.Linear


def is_plain(module: Any) -> bool:
    """Whether an adapted layer computes what the first lines say, while it does not train."""
    return (
        not module.fan_in_fan_out
        and not module.lora_variant
        and all(part.bias is None for part in module.lora_B.values())
    )


def base_of(layer: Any) -> Any:
    """The linear layer below the adapters."""
    return layer.base_layer if is_adapted(layer) else layer


def adapter_of(layer: Any) -> Adapter:
    """What is to be added to the weight of `base_of(layer)`: nothing where adapters are switched off, or merged into it."""
    base = base_of(layer)
    lows: list[Adapter] = [(torch.zeros(0, base.in_features), torch.zeros(base.out_features, 0))]
    if is_adapted(layer) and not (layer.disable_adapters or layer.merged):
        for name in layer.active_adapters:
            if name in layer.lora_A:
                low = layer.lora_A[name].weight.float(), layer.lora_B[name].weight.float() * layer.scaling[name]
                lows.append(low)
    first, second = zip(*lows, strict=True)
    return torch.cat(first), torch.cat(second, dim=1)


def side_by_side(adapters: list[Adapter]) -> Adapter:
    """That of layers whose outputs, of the same input, stand side by side."""
    first, second = zip(*adapters, strict=True)
    return torch.cat(first), torch.block_diag(*second)
