"""Where does the time of a step go, and which setting would help?

The parts of a step, in seconds under "time/": generate (samples are drawn, and graded meanwhile), grade (waiting for the
verdicts that are missing then), score (what a method computes of its samples before it learns: log-probabilities of a
reference, values, a reward model's scores), update, and idle: what is left of "time/step", e.g. waiting for other processes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from coderl.config import RunConfig
from coderl.config.run import ONLINE

PARTS = ("generate", "grade", "score", "update", "idle")


def parts(values: Mapping[str, float], collect: float, update: float) -> dict[str, float]:
    """What one process did, given the seconds that it took to collect and to update, and the parts that `values` know."""
    known = sum(values.get(f"time/{name}", 0.0) for name in ("generate", "grade"))
    return {"time/score": max(collect - known, 0.0), "time/update": update}


def whole(values: Mapping[str, float], step: float) -> dict[str, float]:
    """The step as a whole, given its seconds and the parts in `values` (of several processes: their means)."""
    known = sum(values.get(f"time/{name}", 0.0) for name in PARTS)
    return {"time/idle": max(step - known, 0.0), "time/step": step}


def shares(values: Mapping[str, float]) -> dict[str, float]:
    """
    >>> shares({"time/generate": 1.0, "time/update": 3.0, "time/step": 4.0})
    {'generate': 0.25, 'update': 0.75}
    """
    step = values.get("time/step", 0.0)
    return {name: values[f"time/{name}"] / step for name in PARTS if f"time/{name}" in values} if step else {}


def budget(values: Mapping[str, float], config: RunConfig, stage: str, *, has_bfloat16: bool) -> str:
    """The shares of a step in one line, and the setting that would help where most of the time goes; "" without times."""
    found = shares(values)
    if not found:
        return ""
    largest = max(found, key=found.__getitem__)
    text = " ".join(f"{name} {share:.0%}" for name, share in found.items() if share >= 0.005)
    advice = knob(largest, config, stage, has_bfloat16=has_bfloat16)
    return f"{text}; to speed up {largest}: {advice}" if advice else text


def knob(part: str, config: RunConfig, stage: str, *, has_bfloat16: bool, num_cores: int | None = None) -> str:
    """The first setting that is not yet as fast as it could be for that part of a step of `stage`; "" if none is known."""
    settings, policy = getattr(config, stage), config.policy
    # A policy made from scratch is so small that float32 is faster: it has a decode path of its own.
    half = has_bfloat16 and policy.dtype == "float32" and policy.autocast == "none" and policy.model != "new:"
    cores = num_cores or os.cpu_count() or 1
    batch = settings.prompts_per_step * settings.samples_per_prompt if stage in ONLINE else 0
    options = {
        "generate": [
            (config.generation.batch_size < batch, f"generation.batch_size={batch}"),
            (half, "policy.autocast=bfloat16"),
            (True, "generation.stop or a lower generation.max_new_tokens"),
        ],
        "grade": [
            (
                config.sandbox.backend != "remote" and (config.sandbox.workers or cores) < cores,
                f"sandbox.workers={cores}",
            ),
            (True, "sandbox.backend=remote with more machines"),
        ],
        "score": [
            # PPO looks at its reference whatever the coefficient.
            (stage != "ppo" and getattr(settings, "kl_coef", 0.0) > 0, f"{stage}.kl_coef=0, which needs no reference"),
            (half, "policy.autocast=bfloat16"),
        ],
        "update": [
            (not policy.packing and policy.attention == "sdpa", "policy.packing=true"),
            (policy.gradient_checkpointing, "policy.gradient_checkpointing=false, if the memory allows"),
            (half, "policy.autocast=bfloat16"),
            (policy.lora is None and policy.model != "new:", "policy.lora={rank: 16}, which trains less"),
        ],
        "idle": [(True, "fewer processes, or one micro-batch more for each")],
    }
    return next((name for useful, name in options[part] if useful), "")
