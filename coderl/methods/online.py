"""What the methods that learn from their own samples share: which tasks a step takes, and log-probabilities of batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from torch import Tensor

from coderl.collect import Collected, rollout_metrics
from coderl.config import RolloutStageConfig
from coderl.curriculum import Curriculum
from coderl.errors import TrainingStopped
from coderl.experience import Example, MicroBatch
from coderl.functional import Surrogate, kl_estimates
from coderl.logprobs import per_token
from coderl.methods.base import MethodBase
from coderl.methods.gate import gated
from coderl.policy import Weights
from coderl.rollout import Rollout
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
        tasks, curriculum = bench.train_tasks, config.curriculum
        self._curriculum = Curriculum(
            [task.id for task in tasks],
            [task.level for task in tasks],
            sampler=curriculum.sampler,
            decay=curriculum.decay,
            seed=bench.config.seed,
            name=label,
        )
        self.dropped: list[Rollout] = []
        self._stand_in: set[int] = set()  # seeds of rollouts that only keep this process busy
        self._fresh = True  # no update of this stage has been looked at yet

    def sample(self, step: int) -> tuple[Collected, dict[str, float]]:
        """The rollouts to learn from in one step (this process's share), and the metrics of all that were sampled.

        What the gate dropped is in `dropped`: it goes to the store with the others.
        """
        self._fresh = step == 0
        found = gated(self._bench, self._rollout_config, self._curriculum, stage=self._label, step=step)
        self.dropped, self._stand_in = found.dropped, {rollout.seed for rollout in found.stand_in}
        metrics = rollout_metrics([*found.kept.rollouts, *found.dropped], self._num_visible) | found.metrics
        metrics["time/generate"] = found.kept.generate_seconds
        metrics["time/grade"] = found.kept.grade_seconds
        return found.kept, metrics

    def state(self) -> dict[str, Any]:
        return {**super().state(), "curriculum": self._curriculum.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._curriculum.load_state(state["curriculum"])

    def valid(self, rollout: Rollout) -> bool:
        """Whether a rollout takes part in the update; a masked truncated one stays in the group's baseline."""
        masked = self._rollout_config.truncation == "mask" and rollout.truncated
        return rollout.reward == rollout.reward and not masked and rollout.seed not in self._stand_in

    def per_token(self, examples: Sequence[Example], function: Callable[[MicroBatch], Tensor]) -> list[Tensor]:
        """function(batch) (N, T) for all examples, as one cpu tensor (T,) each, in order."""
        return per_token(self._policy, examples, function, micro_batch_tokens=self._rollout_config.micro_batch_tokens)

    def all_logprobs(self, examples: Sequence[Example], weights: Weights | None = None) -> list[Tensor]:
        """Log-probabilities of all examples under the policy, or under other weights of it (a frozen reference)."""
        with self._policy.using(weights) if weights is not None else nullcontext():
            return self.per_token(examples, lambda batch: self._policy.logprobs(batch, self._temperature))

    def old_logprobs(self, batch: MicroBatch, logprobs: Tensor) -> Tensor:
        """Those of the policy that made the batch; on policy they are the current ones, so that the ratio is exactly 1."""
        if self._on_policy:
            return logprobs.detach()
        assert batch.old_logprobs is not None
        return batch.old_logprobs

    def watch(
        self, batch: MicroBatch, logprobs: Tensor, old: Tensor, surrogate: Surrogate, step: int
    ) -> dict[str, Tensor]:
        """What to watch of a policy update. Raises TrainingStopped if the first of a stage does not start from ratio 1."""
        if self._fresh:
            self._check_first_ratio(surrogate.ratio, batch.mask, step)
            self._fresh = False
        watched = {
            "policy/approx_kl": kl_estimates(old, logprobs)[2].detach(),
            "policy/clip_fraction": surrogate.clipped.float(),
            "max_policy/ratio": surrogate.ratio.detach(),
        }
        if batch.ref_logprobs is not None:
            watched["policy/ref_kl"] = kl_estimates(logprobs, batch.ref_logprobs)[2].detach()
        return watched

    def _check_first_ratio(self, ratio: Tensor, mask: Tensor, step: int) -> None:
        deviation = float(((ratio.detach() - 1).abs() * mask).max())
        if deviation > 0.05:
            raise TrainingStopped(
                f"{self._label} step {step}: the first probability ratio is off by {deviation:.3g}; old and new "
                "log-probabilities do not come from the same computation (dropout? another dtype or attention kernel?)"
            )
