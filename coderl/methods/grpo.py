"""GRPO and its relatives: no critic; what a sample is measured against is a setting."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from coderl.algorithms.grpo import grpo_loss, normalized_parts, reward_to_go, sample_advantages
from coderl.config import GrpoConfig
from coderl.curriculum import has_signal
from coderl.experience import Example, MicroBatch
from coderl.functional import entropy, kl_estimates, whiten
from coderl.methods.base import Experience, TokenLoss
from coderl.methods.online import Online
from coderl.rollout import Rollout
from coderl.workbench import Workbench


class Grpo(Online):
    """The reference for the KL term is the policy at the start of the stage."""

    def __init__(self, bench: Workbench, config: GrpoConfig, label: str) -> None:
        super().__init__(bench, config, label)
        self.config = config
        self.normalize = config.normalize
        self._reference = bench.policy.weights() if config.kl_coef > 0 else None

    def collect(self, step: int) -> Experience:
        config, size = self.config, self.config.samples_per_prompt
        collected, metrics = self.sample(step)
        rollouts = collected.rollouts
        groups = [rollouts[i : i + size] for i in range(0, len(rollouts), size)]
        flat = [0.0 if has_signal(r.reward for r in group) else 1.0 for group in groups]
        metrics["rollout/groups_without_signal"] = self.mean(torch.tensor(flat), self.counted(rollouts)[::size])
        greedy = None
        if config.baseline == "greedy":
            greedy = self.greedy_rewards(rollouts, step)
            metrics["rollout/greedy_reward"] = self.mean(greedy.nan_to_num(0.0), (~greedy.isnan()).float())
        examples = self.examples(rollouts, masked=config.truncation == "mask")
        examples = self._with_logprobs(examples)
        rewards, penalties = self._paid(rollouts, examples)
        numbers = torch.arange(len(rollouts)) // size
        if config.reward_parts == "normalize":
            parts = [r.reward_parts if self.valid(r) else {} for r in rollouts]
            advantages = normalized_parts(parts, numbers)
        else:
            advantages = sample_advantages(
                rewards, numbers, baseline=config.baseline, scale=config.scale, greedy=greedy
            )
        per_token = self._per_token_advantages(advantages, penalties, examples, rollouts)
        if credits := self.credits(rollouts, metrics):
            per_token = [a - config.failing_line_penalty * c.failed for a, c in zip(per_token, credits, strict=True)]
            if config.coverage_mask:
                examples = [replace(e, loss_mask=c.ran) for e, c in zip(examples, credits, strict=True)]
        without_other_terms = (self._reference is None or config.kl_in != "loss") and not config.entropy_coef
        examples = [
            replace(e, advantages=a, idle=without_other_terms and not a.any())
            for e, a in zip(examples, per_token, strict=True)
        ]
        rollouts = [r.with_(advantage=float(a.mean())) for r, a in zip(rollouts, per_token, strict=True)]
        return self.experience(examples, metrics, rollouts, step)

    def loss(self, batch: MicroBatch, step: int) -> TokenLoss:
        config = self.config
        assert batch.advantages is not None
        logprobs, logits = self.logprobs(batch)
        old = self.old_logprobs(batch, logprobs)
        weights, watched = self.sampler_weights(batch, old)
        surrogate = grpo_loss(
            logprobs,
            old,
            batch.ref_logprobs,
            batch.advantages,
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            kl_coef=config.kl_coef if config.kl_in == "loss" else 0.0,
            kl_estimator=config.kl_estimator,
            ratio=config.ratio,
            surrogate=config.surrogate,
            mask=batch.mask,
            sequences=batch.sequences,
            weights=weights,
        )
        loss = surrogate.loss
        if logits is not None:
            bonus = entropy(logits, self._temperature)
            loss = loss - config.entropy_coef * bonus
            watched["policy/entropy"] = bonus.detach()
        return TokenLoss(loss, watched | self.watch(batch, logprobs, old, surrogate, step))

    def _with_logprobs(self, examples: list[Example]) -> list[Example]:
        """Those of the old policy and the reference, where the loss or the reward needs them."""
        if not self._on_policy or (self._reference is not None and self.config.kl_in != "loss"):
            old = self.all_logprobs(examples)
            examples = [replace(e, old_logprobs=lp) for e, lp in zip(examples, old, strict=True)]
        if self._reference is not None:
            ref = self.all_logprobs(examples, self._reference)
            examples = [replace(e, ref_logprobs=lp) for e, lp in zip(examples, ref, strict=True)]
        return examples

    def _paid(self, rollouts: list[Rollout], examples: list[Example]) -> tuple[Tensor, list[Tensor] | None]:
        """Rewards (N,) after the KL that a completion pays as a whole, and the KL that each token pays (T,) by itself."""
        rewards = torch.tensor([r.reward for r in rollouts])
        if self._reference is None or self.config.kl_in == "loss":
            return rewards, None
        pairs = [(e.old_logprobs, e.ref_logprobs) for e in examples]
        k1 = [kl_estimates(old, ref)[0] for old, ref in pairs if old is not None and ref is not None]
        if self.config.kl_in == "token_reward":
            return rewards, [self.config.kl_coef * k for k in k1]
        return rewards - self.config.kl_coef * torch.stack([k.sum() for k in k1]), None

    def _per_token_advantages(
        self, advantages: Tensor, penalties: list[Tensor] | None, examples: list[Example], rollouts: list[Rollout]
    ) -> list[Tensor]:
        """The advantage of each token (T,): less the KL that it and what follows it pay, whitened over all that is counted."""
        lengths = [len(e.completion_ids) for e in examples]
        if penalties is None and self.config.scale != "batch":
            return [a.expand(length) for a, length in zip(advantages, lengths, strict=True)]
        mask = pad_sequence([torch.ones(length) for length in lengths], batch_first=True)
        table = advantages.unsqueeze(1) * mask  # (N, T)
        if penalties is not None:
            table = table - reward_to_go(pad_sequence(penalties, batch_first=True), mask)
        mask = mask * torch.tensor([float(self.valid(r)) for r in rollouts]).unsqueeze(1)
        if self.config.scale == "batch":
            table = whiten(table, mask, total=self.total)
        return [row[:length] for row, length in zip(table * mask, lengths, strict=True)]
