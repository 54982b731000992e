"""What the methods that learn from their own samples share: which tasks a step takes, and log-probabilities of batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from coderl.collect import Collected, collect, rollout_metrics
from coderl.config import RolloutStageConfig
from coderl.errors import TrainingStopped
from coderl.experience import Example, MicroBatch, collate, pack
from coderl.methods.base import MethodBase
from coderl.rollout import Rollout
from coderl.seeds import cursor
from coderl.workbench import Workbench


class Online(MethodBase):
    """Samples `prompts_per_step` tasks, each `samples_per_prompt` times, at the sampling temperature."""

    def __init__(self, bench: Workbench, config: RolloutStageConfig, label: str) -> None:
        super().__init__(bench.policy, config.optimizer.learning_rate)
        self._bench, self._label, self._rollout_config = bench, label, config
        self.epochs, self.minibatches = config.epochs, config.minibatches
        self.max_tokens = bench.config.generation.max_new_tokens
        self._temperature = bench.config.generation.temperature
        self._num_visible = {task.id: len(task.visible) for task in bench.train_tasks}
        self._on_policy = config.epochs == config.minibatches == 1

    def sample(self, step: int) -> tuple[Collected, dict[str, float]]:
        """The rollouts of one step (this process's share) and their metrics."""
        config, tasks = self._rollout_config, self._bench.train_tasks
        count = config.prompts_per_step
        indices = cursor(self._bench.config.seed, self._label, len(tasks), step * count, count)
        collected = collect(
            self._bench,
            [tasks[i] for i in self._bench.share(indices)],
            samples_per_task=config.samples_per_prompt,
            stage=self._label,
            step=step,
            temperature=self._temperature,
            max_new_tokens=self.max_tokens,
            stop_early=self._bench.config.reward.scheme == "all_pass",
        )
        metrics = rollout_metrics(collected.rollouts, self._num_visible)
        metrics["time/generate"] = collected.generate_seconds
        metrics["time/grade"] = collected.grade_seconds
        return collected, metrics

    def valid(self, rollout: Rollout) -> bool:
        """Whether a rollout takes part in the update; a masked truncated one stays in the group's baseline."""
        masked = self._rollout_config.truncation == "mask" and rollout.truncated
        return rollout.reward == rollout.reward and not masked

    @torch.no_grad()
    def per_token(self, examples: Sequence[Example], function: Callable[[MicroBatch], Tensor]) -> list[Tensor]:
        """function(batch) (N, T) for all examples, as one cpu tensor (T,) each, in order."""
        policy = self._policy
        results: dict[int, Tensor] = {}
        for rows in pack(examples, self._rollout_config.micro_batch_tokens, packed=policy.packed):
            chosen = [examples[i] for i in rows]
            batch = collate(chosen, [0.0] * len(rows), policy.pad_id, policy.device, packed=policy.packed)
            results |= zip(rows, batch.split(function(batch).cpu()), strict=True)
        return [results[i] for i in range(len(examples))]

    def old_logprobs(self, batch: MicroBatch, logprobs: Tensor) -> Tensor:
        """Those of the policy that made the batch; on policy they are the current ones, so that the ratio is exactly 1."""
        if batch.old_logprobs is None:
            return logprobs.detach()
        return batch.old_logprobs

    def check_first_ratio(self, ratio: Tensor, mask: Tensor, step: int) -> None:
        """Raises TrainingStopped if the first update of a run does not start from ratio 1."""
        deviation = float(((ratio.detach() - 1).abs() * mask).max())
        if deviation > 0.05:
            raise TrainingStopped(
                f"{self._label} step {step}: the first probability ratio is off by {deviation:.3g}; old and new "
                "log-probabilities do not come from the same computation (dropout? another dtype or attention kernel?)"
            )
