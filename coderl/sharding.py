"""How is a model used whose weights are spread over processes (FSDP2, `fully_shard`)?

Everything here also takes a plain model or tensor, and then does nothing. What is said to be collective must be called by all
processes together. Inside `gathered` each process holds all weights, so that it can sample as much as it has to, alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor


def is_sharded(model: nn.Module) -> bool:
    return isinstance(model, FSDPModule)


@contextlib.contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Forward passes inside need no other process. Collective at its start; not to be entered again inside."""
    parts = [part for part in model.modules() if isinstance(part, FSDPModule)]
    try:
        for part in parts:
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()
        yield
    finally:
        for part in parts:
            part.reshard()
            part.set_reshard_after_forward(part is not model, recurse=False)  # as FSDP does unless it is told otherwise


def full(tensor: Tensor) -> Tensor:
    """The whole tensor, on every process. Collective."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(parameter: Tensor, whole: Tensor) -> Tensor:
    """This process's part of a whole tensor, spread as `parameter` is."""
    if not isinstance(parameter, DTensor) or isinstance(whole, DTensor):
        return whole
    place = parameter.device_mesh
    return distribute_tensor(whole.to(parameter.device), place, parameter.placements, src_data_rank=None)


def full_weights(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a model as if nothing were sharded, on the CPU; tied weights stay tied. Collective."""
    parameters: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    whole: dict[int, Tensor] = {}
    state = {}
    for name, tensor in model.state_dict().items():
        key = id(parameters.get(name, tensor))
        if key not in whole:
            whole[key] = full(tensor).cpu()
        state[name] = whole[key]
    return state


@torch.no_grad()
def assign(parameter: Tensor, whole: Tensor) -> None:
    """parameter <- whole."""
    parameter.copy_(like(parameter, whole))


def full_state(optimizer: Any) -> dict[str, Any]:
    """The state of an optimizer as if nothing were sharded. Collective."""
    found: dict[str, Any] = optimizer.state_dict()
    state = {
        number: {name: full(v) if isinstance(v, Tensor) else v for name, v in values.items()}
        for number, values in found["state"].items()
    }
    return {**found, "state": state}


def load_full_state(optimizer: Any, state: dict[str, Any]) -> None:
    """Inverse of `full_state`."""
    optimizer.load_state_dict(state)
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.dim():
                values[name] = like(parameter, value)
