"""How is a policy trained by DeepSpeed's ZeRO, stages 1 and 2 (Rajbhandari et al. 2020)?

Each process holds all weights, and its part of the optimizer's state (stage 2: and of the summed gradients). The engine steps
when it is told to, so that a step may have any number of micro-batches. Everything here also takes a launch without DeepSpeed.
"""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn

from coderl.sharding import full_state, load_full_state

MOMENTS = ("exp_avg", "exp_avg_sq")


def is_used(accelerator: Accelerator) -> bool:
    return bool(accelerator.distributed_type == DistributedType.DEEPSPEED)


def prepare(
    accelerator: Accelerator, optimizer: torch.optim.Optimizer, modules: list[nn.Module], max_grad_norm: float
) -> tuple[Any, ...]:
    """The optimizer, then the modules, wrapped. DeepSpeed clips by itself; it lets go of what an earlier stage trained."""
    if is_used(accelerator):
        accelerator.free_memory()
        wanted = {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1}  # which coderl counts itself
        accelerator.deepspeed_plugin.deepspeed_config |= {**wanted, "gradient_clipping": max_grad_norm}
        accelerator.deepspeed_plugin.deepspeed_config.pop("train_batch_size", None)
    return tuple(accelerator.prepare(optimizer, *modules))


def backward(accelerator: Accelerator, loss: Tensor, engine: Any, *, last: bool) -> None:
    """Adds to the gradients; those of all processes are averaged by the end of the `last` call before a step."""
    if is_used(accelerator):
        engine.set_gradient_accumulation_boundary(is_boundary=last)
        engine.backward(loss)
        if not last:
            engine.step()  # here it only counts
    else:
        accelerator.backward(loss)


def clip(accelerator: Accelerator, engine: Any, max_grad_norm: float) -> float:
    """The norm of the gradients before they are clipped. DeepSpeed then also steps, unless the norm is not finite."""
    if is_used(accelerator):
        engine.step()
        return float(engine.get_global_grad_norm())
    parameters = [p for p in engine.parameters() if p.grad is not None]
    return float(accelerator.clip_grad_norm_(parameters, max_grad_norm) or 0.0)


def whole_state(accelerator: Accelerator, optimizer: Any) -> dict[str, Any]:
    """What `full_state` gives without DeepSpeed, so that a run may go on either way. Collective."""
    if not is_used(accelerator):
        return full_state(optimizer)
    from deepspeed.utils import safe_get_full_optimizer_state

    zero = optimizer.optimizer
    state: dict[int, dict[str, Tensor]] = {}
    groups = []
    for group, parameters, flat in _groups(zero):
        numbers = list(range(len(state), len(state) + len(parameters)))
        step = zero.optimizer.state[flat]["step"]
        for number, parameter in zip(numbers, parameters, strict=True):
            moments = {name: safe_get_full_optimizer_state(parameter, name).cpu() for name in MOMENTS}
            state[number] = {"step": step.detach().cpu().clone(), **moments}
        groups.append({**{key: value for key, value in group.items() if key != "params"}, "params": numbers})
    return {"state": state, "param_groups": groups}


def load_whole_state(accelerator: Accelerator, optimizer: Any, state: dict[str, Any]) -> None:
    """Inverse of `whole_state`; the weights were loaded before."""
    if not is_used(accelerator):
        load_full_state(optimizer, state)
        return
    zero = optimizer.optimizer
    zero.refresh_fp32_params()  # the copy that is trained <- the weights
    found = iter(state["state"].values())
    for _, parameters, flat in _groups(zero):
        own: dict[str, Tensor] = {name: torch.zeros_like(flat) for name in MOMENTS}
        for parameter in parameters:
            values, place = next(found), parameter._hp_mapping
            own["step"] = values["step"].clone()
            if place is None:  # wholly another process's
                continue
            here, there = place.hp_fragment_address, place.lp_fragment_address
            for name in MOMENTS:
                part = values[name].flatten().narrow(0, there.start, there.numel)
                own[name].narrow(0, here.start, here.numel).copy_(part)
        zero.optimizer.state[flat] = own


def _groups(zero: Any) -> list[tuple[dict[str, Any], list[Any], Tensor]]:
    """Of each group: its settings, its parameters, and this process's part of them, flat."""
    return list(zip(zero.param_groups, zero.bit16_groups, zero.single_partition_of_fp32_groups, strict=True))
