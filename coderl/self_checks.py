"""Does a stage that learns from its own samples start as it should? Checked on its first step, before hours are spent.

What cannot be right stops the run: a KL to the reference that is not 0, a reference that moved, a completion whose mask is not
its tokens, a worst-case batch that does not fit in memory. What may be meant is an event: no completion that stops by itself
(`eos_unreachable`), none that holds a program (`no_program`), rewards that are all alike (`no_reward_variance`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from coderl.errors import ModelError, TrainingStopped
from coderl.experience import Example, collate, pack
from coderl.methods.base import Experience
from coderl.monitor import Alarm
from coderl.policy import Policy, Weights
from coderl.sharding import full

MAX_FIRST_KL = 1e-3  # nats per token: the rounding of bfloat16


def first_step(
    experience: Experience, metrics: Mapping[str, float], label: str, *, num_updates: int = 1
) -> list[Alarm]:
    """The alarms of a stage's first step, which made `num_updates` updates. Raises TrainingStopped where it cannot be right."""
    rollouts = experience.rollouts
    if not rollouts:
        return []
    kl = metrics.get("policy/ref_kl", 0.0)
    if abs(kl) > MAX_FIRST_KL and num_updates == 1:
        raise TrainingStopped(
            f"{label}: the KL to the reference is {kl:.3g} before the first update, not 0: the reference is not the policy "
            "that the stage started from (dropout? another dtype? an adapter that was swapped?)"
        )
    for example in experience.examples:
        for column in (example.advantages, example.old_logprobs, example.ref_logprobs, example.sampler_logprobs):
            if column is not None and len(column) != len(example.completion_ids):
                raise TrainingStopped(
                    f"{label}: {len(column)} values for the {len(example.completion_ids)} tokens of a completion"
                )
    found = []
    if all(r.truncated for r in rollouts):
        message = "no completion ends by a stop token: raise generation.max_new_tokens, or check generation.stop"
        found.append(Alarm(name="eos_unreachable", message=message, data={"completions": float(len(rollouts))}))
    if not any(r.program for r in rollouts):
        message = "no completion holds a program: check prompt.format and prompt.response_prefix"
        found.append(Alarm(name="no_program", message=message, data={"completions": float(len(rollouts))}))
    rewards = {r.reward for r in rollouts if not math.isnan(r.reward)}
    if len(rewards) <= 1:
        message = "all rewards of the first step are alike, so it teaches nothing: take easier tasks or more samples"
        found.append(Alarm(name="no_reward_variance", message=message, data={"reward": next(iter(rewards), 0.0)}))
    return found


def digest(weights: Weights) -> float:
    """A number that changes when any weight does, but for coincidences."""
    return math.fsum(float(full((w.double() * (1 + i % 7)).sum())) for i, w in enumerate(weights.values()))


def probe_memory(policy: Policy, prompts: Sequence[tuple[int, ...]], *, max_new_tokens: int, max_tokens: int) -> None:
    """One forward and backward pass of the largest micro-batch that can come. Raises ModelError if memory runs out."""
    longest = max(prompts, key=len)
    completion = (next(iter(policy.eos_ids)),) * max_new_tokens
    examples = [Example(prompt_ids=longest, completion_ids=completion)] * max(1, max_tokens // max(len(longest), 1))
    rows = next(iter(pack(examples, max_tokens, packed=policy.packed)))
    batch = collate([examples[i] for i in rows], [1.0] * len(rows), policy.pad_id, policy.device, packed=policy.packed)
    try:
        policy.logprobs(batch, 1.0).sum().backward()
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"micro_batch_tokens {max_tokens}: a batch of {len(rows)} completions of {max_new_tokens} tokens does not fit in "
            "memory: lower it, or set policy.gradient_checkpointing"
        ) from error
    finally:
        policy.model.zero_grad(set_to_none=True)
