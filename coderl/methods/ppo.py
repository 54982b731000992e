"""PPO: a critic says what was to be expected, the KL to the reference is paid per token."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from coderl.algorithms.ppo import RunningMoments, advantages_and_returns, token_rewards
from coderl.config import PpoConfig
from coderl.critic import Critic, ValueHead, critic_trunk
from coderl.experience import MicroBatch
from coderl.functional import (
    adapt_kl_coef,
    clipped_surrogate,
    clipped_value_loss,
    entropy,
    explained_variance,
    kl_estimates,
    log_ratios,
    selected_logprobs,
    whiten,
)
from coderl.methods.base import Experience, TokenLoss, Trainable
from coderl.methods.online import Online
from coderl.rollout import Rollout
from coderl.workbench import Workbench


class Ppo(Online):
    """The reference is the policy at the start of the stage; a separate critic starts as its trunk, or another's."""

    def __init__(self, bench: Workbench, config: PpoConfig, label: str) -> None:
        super().__init__(bench, config, label)
        self.config = config
        self._reference = bench.policy.weights()
        self._shared = config.critic == "shared"
        self._critic: Any = (
            ValueHead(bench.policy.model, config.value_init_std)
            if self._shared
            else Critic(
                critic_trunk(bench.policy, bench.config.policy, config.critic_model),
                bench.policy.autocast,
                config.value_init_std,
            )
        )
        self._kl_coef = config.kl_coef
        self._scores = RunningMoments()

    def modules(self) -> dict[str, Trainable]:
        return {**super().modules(), "critic": Trainable(self._critic, self.config.value_learning_rate)}

    def wrap(self, engines: dict[str, Any]) -> None:
        super().wrap(engines)
        self._critic = engines["critic"]

    def collect(self, step: int) -> Experience:
        config = self.config
        collected, metrics = self.sample(step)
        rollouts = collected.rollouts
        examples = self.examples(rollouts, masked=config.truncation == "mask")
        old = self.all_logprobs(examples)
        assert self._reference is not None
        ref = self.all_logprobs(examples, self._reference)
        values = self.per_token(examples, self._values)
        old_logprobs, ref_logprobs, old_values = (
            pad_sequence(x, batch_first=True) for x in (old, ref, values)
        )  # (N, T)
        lengths = torch.tensor([len(e.completion_ids) for e in examples])
        mask = (torch.arange(old_logprobs.shape[1]) < lengths.unsqueeze(1)).float()
        valid = torch.tensor([float(e.valid) for e in examples])
        rewards = token_rewards(
            self._scaled(rollouts, metrics),
            old_logprobs,
            ref_logprobs,
            mask,
            kl_coef=self._kl_coef,
            clip=config.reward_clip,
        )
        credits = self.credits(rollouts, metrics)
        if credits:
            failed = pad_sequence([c.failed / c.failed.sum().clamp(min=1) for c in credits], batch_first=True)
            rewards = rewards - config.failing_line_penalty * failed
        if config.whiten_rewards:
            rewards = whiten(rewards, mask * valid.unsqueeze(1), shift_mean=False, total=self.total)
        last_values = old_values[torch.arange(len(lengths)), lengths - 1]
        truncated = torch.tensor([float(r.truncated) for r in rollouts])
        advantages, returns = advantages_and_returns(
            rewards,
            old_values,
            mask,
            valid,
            gamma=config.gamma,
            lam=config.lam,
            whiten_advantages=config.whiten_advantages,
            bootstrap=last_values * truncated if config.truncation == "bootstrap" else None,
            total=self.total,
        )
        if credits and config.coverage_mask:  # the critic goes on learning what such a state is worth
            advantages = advantages * pad_sequence([c.ran for c in credits], batch_first=True)
        sequence_kl = (kl_estimates(old_logprobs, ref_logprobs)[0] * mask).sum(1)
        counted = self.counted(rollouts)
        if float(self.total(counted.sum())):
            metrics["policy/ref_kl_sequence"] = self.mean(sequence_kl, counted)
        metrics["critic/explained_variance"] = explained_variance(
            old_values, returns, mask * valid.unsqueeze(1), total=self.total
        )
        metrics["critic/value_mean"] = self.mean(old_values, mask * counted.unsqueeze(1))
        examples = [
            replace(
                e,
                old_logprobs=old[i],
                ref_logprobs=ref[i],
                old_values=values[i],
                advantages=advantages[i, : lengths[i]],
                returns=returns[i, : lengths[i]],
            )
            for i, e in enumerate(examples)
        ]
        rollouts = [r.with_(advantage=float(advantages[i, : lengths[i]].mean())) for i, r in enumerate(rollouts)]
        return self.experience(examples, metrics, rollouts, step)

    def loss(self, batch: MicroBatch, step: int) -> TokenLoss:
        config = self.config
        assert batch.advantages is not None and batch.returns is not None and batch.old_values is not None
        if step < config.critic_warmup_steps:
            value_loss, watch = self._value_loss(batch, self._values(batch, frozen=True))
            return TokenLoss(value_loss, watch)
        logits: Tensor | None
        if self._shared:
            logits, states = self._policy.logits_and_states(batch)
            values = self._critic(states)
            logprobs = selected_logprobs(logits, batch.completion_ids, self._temperature)
        else:
            logprobs, logits = self.logprobs(batch)
            values = self._critic(batch)
        value_loss, watch = self._value_loss(batch, values)
        old = self.old_logprobs(batch, logprobs)
        weights, watched = self.sampler_weights(batch, old)
        surrogate = clipped_surrogate(
            log_ratios(logprobs, old, batch.mask, batch.sequences, level="token"),
            batch.advantages,
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            dual_clip=config.dual_clip,
        )
        loss = value_loss + surrogate.loss * weights
        if config.entropy_coef and logits is not None:
            bonus = entropy(logits, self._temperature)
            loss = loss - config.entropy_coef * bonus
            watch["policy/entropy"] = bonus.detach()
        watch |= {
            "policy/loss": surrogate.loss.detach(),
            **watched,
            **self.watch(batch, logprobs, old, surrogate, step),
        }
        return TokenLoss(loss, watch)

    def after_step(self, metrics: dict[str, float]) -> dict[str, float]:
        used = self._kl_coef
        kl = metrics.get("policy/ref_kl_sequence")
        if self.config.kl_target is not None and kl is not None:
            episodes = self.config.prompts_per_step * self.config.samples_per_prompt
            self._kl_coef = adapt_kl_coef(used, kl, self.config.kl_target, episodes, self.config.kl_horizon)
        return {**super().after_step(metrics), "policy/kl_coef": used}

    def state(self) -> dict[str, Any]:
        return {**super().state(), "kl_coef": self._kl_coef, "scores": list(self._scores)}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._kl_coef = state["kl_coef"]
        self._scores = RunningMoments(*state["scores"])

    def _values(self, batch: MicroBatch, *, frozen: bool = False) -> Tensor:
        """(N, T); `frozen`: with no gradient into a trunk that is the policy's."""
        if not self._shared:
            values: Tensor = self._critic(batch)
            return values
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            states = self._policy.logits_and_states(batch)[1]
        shared: Tensor = self._critic(states)
        return shared

    def _value_loss(self, batch: MicroBatch, values: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        assert batch.returns is not None and batch.old_values is not None
        loss, clipped = clipped_value_loss(values, batch.old_values, batch.returns, self.config.value_clip)
        return self.config.value_coef * loss, {"critic/loss": loss.detach(), "critic/clip_fraction": clipped.float()}

    def _scaled(self, rollouts: list[Rollout], metrics: dict[str, float]) -> Tensor:
        """Scores (N,), 0 where unscorable, over the deviation of all scores so far if the config says so."""
        scores = torch.tensor([r.reward for r in rollouts])
        if self.config.scale_rewards:
            self._scores = self._scores.with_(scores[~scores.isnan() & (self.counted(rollouts) > 0)], self.total)
            metrics["rollout/reward_scale"] = self._scores.deviation
            scores = scores / self._scores.deviation
        return scores.nan_to_num(0.0)
