"""GRPO: samples of the same prompt are each other's baseline."""

from __future__ import annotations

from dataclasses import replace

import torch

from coderl.algorithms.grpo import grpo_loss
from coderl.config import GrpoConfig
from coderl.experience import Example, MicroBatch
from coderl.functional import group_advantages
from coderl.methods.base import Experience, TokenLoss
from coderl.methods.online import Online
from coderl.workbench import Workbench


class Grpo(Online):
    """The reference for the KL term is the policy at the start of the stage."""

    def __init__(self, bench: Workbench, config: GrpoConfig, label: str) -> None:
        super().__init__(bench, config, label)
        self.config = config
        self.normalize = config.normalize
        self._reference = bench.policy.weights() if config.kl_coef > 0 else None

    def collect(self, step: int) -> Experience:
        collected, metrics = self.sample(step)
        rollouts, size = collected.rollouts, self.config.samples_per_prompt
        rewards = torch.tensor([r.reward for r in rollouts])
        groups = torch.arange(len(rollouts)) // size
        advantages = group_advantages(rewards, groups, scale=self.config.scale)
        num_groups = len(rollouts) // size
        signal = sum(bool((advantages[groups == g] != 0).any()) for g in range(num_groups))
        metrics["rollout/groups_without_signal"] = 1 - signal / max(num_groups, 1)
        examples = [
            Example(
                prompt_ids=rollout.prompt_ids,
                completion_ids=rollout.completion_ids,
                valid=self.valid(rollout),
                idle=bool(advantage == 0) and self._reference is None,
                advantages=advantage.expand(len(rollout.completion_ids)),
            )
            for rollout, advantage in zip(rollouts, advantages, strict=True)
        ]
        rollouts = [r.with_(advantage=float(a)) for r, a in zip(rollouts, advantages, strict=True)]
        if not self._on_policy:
            old = self.all_logprobs(examples)
            examples = [replace(e, old_logprobs=lp) for e, lp in zip(examples, old, strict=True)]
        if self._reference is not None:
            ref = self.all_logprobs(examples, self._reference)
            examples = [replace(e, ref_logprobs=lp) for e, lp in zip(examples, ref, strict=True)]
        return Experience(examples=examples, metrics=metrics, rollouts=[*rollouts, *self.dropped])

    def loss(self, batch: MicroBatch, step: int) -> TokenLoss:
        assert batch.advantages is not None
        logprobs = self._policy.logprobs(batch, self._temperature)
        old = self.old_logprobs(batch, logprobs)
        surrogate = grpo_loss(
            logprobs,
            old,
            batch.ref_logprobs,
            batch.advantages,
            clip_low=self.config.clip_low,
            clip_high=self.config.clip_high,
            kl_coef=self.config.kl_coef,
        )
        return TokenLoss(surrogate.loss, self.watch(batch, logprobs, old, surrogate, step))
