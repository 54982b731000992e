"""PPO: a critic says what was to be expected, the KL to the reference is paid per token."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from coderl.algorithms.ppo import advantages_and_returns, token_rewards
from coderl.config import PpoConfig
from coderl.critic import Critic
from coderl.experience import Example, MicroBatch
from coderl.functional import (
    adapt_kl_coef,
    clipped_surrogate,
    clipped_value_loss,
    entropy,
    explained_variance,
    kl_estimates,
    selected_logprobs,
)
from coderl.methods.base import Experience, TokenLoss, Trainable
from coderl.methods.online import Online
from coderl.workbench import Workbench


class Ppo(Online):
    """The reference is the policy at the start of the stage; the critic starts as a copy of its trunk."""

    def __init__(self, bench: Workbench, config: PpoConfig, label: str) -> None:
        super().__init__(bench, config, label)
        self.config = config
        self._reference = bench.policy.weights()
        self._critic: Any = Critic(bench.policy.model, bench.policy.autocast)
        self._kl_coef = config.kl_coef

    def modules(self) -> dict[str, Trainable]:
        return {**super().modules(), "critic": Trainable(self._critic, self.config.value_learning_rate)}

    def wrap(self, engines: dict[str, Any]) -> None:
        super().wrap(engines)
        self._critic = engines["critic"]

    def collect(self, step: int) -> Experience:
        config = self.config
        collected, metrics = self.sample(step)
        rollouts = collected.rollouts
        examples = [
            Example(prompt_ids=r.prompt_ids, completion_ids=r.completion_ids, valid=self.valid(r)) for r in rollouts
        ]
        old = self.all_logprobs(examples)
        ref = self.all_logprobs(examples, self._reference)
        values = self.per_token(examples, self._critic)
        old_logprobs, ref_logprobs, old_values = (
            pad_sequence(x, batch_first=True) for x in (old, ref, values)
        )  # (N, T)
        lengths = torch.tensor([len(e.completion_ids) for e in examples])
        mask = (torch.arange(old_logprobs.shape[1]) < lengths.unsqueeze(1)).float()
        valid = torch.tensor([float(e.valid) for e in examples])
        scores = torch.tensor([r.reward for r in rollouts]).nan_to_num(0.0)
        rewards = token_rewards(
            scores, old_logprobs, ref_logprobs, mask, kl_coef=self._kl_coef, clip=config.reward_clip
        )
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
            bootstrap=last_values * truncated if config.bootstrap_truncated else None,
        )
        sequence_kl = (kl_estimates(old_logprobs, ref_logprobs)[0] * mask).sum(1)
        metrics["policy/ref_kl_sequence"] = float(sequence_kl.mean())
        metrics["critic/explained_variance"] = explained_variance(old_values, returns, mask * valid.unsqueeze(1))
        metrics["critic/value_mean"] = float((old_values * mask).sum() / mask.sum())
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
        return Experience(examples=examples, metrics=metrics, rollouts=[*rollouts, *self.dropped])

    def loss(self, batch: MicroBatch, step: int) -> TokenLoss:
        config = self.config
        assert batch.advantages is not None and batch.returns is not None and batch.old_values is not None
        assert batch.old_logprobs is not None and batch.ref_logprobs is not None
        value_loss, value_clipped = clipped_value_loss(
            self._critic(batch), batch.old_values, batch.returns, config.value_clip
        )
        watch = {"critic/loss": value_loss.detach(), "critic/clip_fraction": value_clipped.float()}
        loss = config.value_coef * value_loss
        if step < config.critic_warmup_steps:
            return TokenLoss(loss, watch)
        logits = self._policy.logits(batch)
        logprobs = selected_logprobs(logits, batch.completion_ids, self._temperature)
        old = self.old_logprobs(batch, logprobs)
        surrogate = clipped_surrogate(
            logprobs,
            old,
            batch.advantages,
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            dual_clip=config.dual_clip,
        )
        loss = loss + surrogate.loss
        if config.entropy_coef:
            loss = loss - config.entropy_coef * entropy(logits, self._temperature)
        watch |= {
            "policy/loss": surrogate.loss.detach(),
            **self.watch(batch, logprobs, old, surrogate, step),
        }
        return TokenLoss(loss, watch)

    def stop_epochs(self, watched: dict[str, float]) -> bool:
        limit = self.config.target_kl
        return limit is not None and watched.get("policy/approx_kl", 0.0) > limit

    def after_step(self, metrics: dict[str, float]) -> dict[str, float]:
        used = self._kl_coef
        if self.config.kl_target is not None:
            episodes = self.config.prompts_per_step * self.config.samples_per_prompt
            self._kl_coef = adapt_kl_coef(
                used, metrics["policy/ref_kl_sequence"], self.config.kl_target, episodes, self.config.kl_horizon
            )
        return {"policy/kl_coef": used}

    def state(self) -> dict[str, Any]:
        return {**super().state(), "kl_coef": self._kl_coef}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._kl_coef = state["kl_coef"]
