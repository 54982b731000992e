"""Which ways of launching are refused, because a stage would not train right by them?"""

from __future__ import annotations

from typing import Any

from coderl.config import PolicyConfig
from coderl.errors import ConfigError


def check_launch(accelerator: Any, label: str, modules: list[str], policy: PolicyConfig) -> None:
    """Raises ConfigError for a way of sharding `modules` that the loop would not do right, or that was never tried."""
    kind = accelerator.distributed_type
    if kind == "FSDP" and not accelerator.is_fsdp2:
        raise ConfigError(f"{label}: FSDP is not supported, FSDP 2 is: launch with configs/accelerate/fsdp.yaml")
    if kind in ("FSDP", "DEEPSPEED") and modules != ["policy"]:
        fault = f"{kind.value} shards the policy alone, and this stage trains {', '.join(modules)}"
        raise ConfigError(f"{label}: {fault}: launch without it")
    if kind == "DEEPSPEED":
        _check_deepspeed(accelerator.deepspeed_plugin, label, policy)


def _check_deepspeed(plugin: Any, label: str, policy: PolicyConfig) -> None:
    offloads = plugin.deepspeed_config["zero_optimization"].get("offload_optimizer", {}).get("device", "none")
    if plugin.zero_stage not in (1, 2) or offloads != "none":
        fault = f"ZeRO stage {plugin.zero_stage} with the optimizer offloaded to {offloads} is not supported"
        raise ConfigError(f"{label}: {fault}: launch with configs/accelerate/deepspeed.yaml (stage 1 or 2, none)")
    if policy.dtype != "float32" or policy.autocast != "none":
        fault = f"DeepSpeed trains float32 without autocast, not {policy.dtype} with autocast {policy.autocast}"
        raise ConfigError(f"{label}: {fault}: launch with configs/accelerate/fsdp.yaml, or change policy")
