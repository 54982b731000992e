"""What the methods that learn from their own samples share: which tasks a step takes, and log-probabilities of batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from coderl.collect import Collected, collect, rollout_metrics, with_learned
from coderl.config import RolloutStageConfig
from coderl.credit import Credit, credit
from coderl.curriculum import Curriculum
from coderl.errors import TrainingStopped
from coderl.experience import Example, MicroBatch
from coderl.functional import Surrogate, importance_weights, kl_estimates, overlong_penalty, selected_logprobs
from coderl.learned import learned_metrics
from coderl.logprobs import per_token
from coderl.methods.base import Experience, MethodBase
from coderl.methods.gate import gated
from coderl.policy import Weights
from coderl.prefetch import Batch, Prefetch
from coderl.rewards import total
from coderl.rollout import Rollout
from coderl.self_checks import digest, probe_memory
from coderl.workbench import Workbench, gather


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
        self._places: dict[int, int] = {}  # by seed: the number of a rollout in the step, over all processes
        if bench.accelerator.device.type != "cpu" and bench.train_tasks:
            prompts = [bench.renderer.render(task).ids for task in bench.train_tasks]
            probe_memory(bench.policy, prompts, max_new_tokens=self.max_tokens, max_tokens=config.micro_batch_tokens)
        self._reference: Weights | None = None  # the policy at the start of the stage, where a method needs it
        self._frozen: float | None = None  # its digest before the first update
        self._prefetch = Prefetch(bench, self._draw, label) if config.off_policy_steps else None
        self._fresh = True  # no update of this stage has been looked at yet

    def wrap(self, engines: dict[str, Any]) -> None:
        super().wrap(engines)
        if self._reference is not None:
            self._reference = self._policy.spread(self._reference)

    def sample(self, step: int) -> tuple[Collected, dict[str, float]]:
        """The rollouts to learn from in one step (this process's share), and the metrics of all that were sampled anywhere.

        What the gate dropped is in `dropped`: it goes to the store with the others.
        """
        self._fresh = step == 0
        self._frozen = None if self._reference is None or step else digest(self._reference)
        batch = self._prefetch.take() if self._prefetch else None
        times = {"time/generate": 0.0, "time/grade": 0.0}  # of a batch that was made during the last step
        if batch is None:
            batch = self._draw(self._bench, step)
            kept = batch.found.kept
            times = {"time/generate": kept.generate_seconds, "time/grade": kept.grade_seconds}
        found = batch.found
        self.dropped, self._stand_in = found.dropped, {rollout.seed for rollout in found.stand_in}
        self._places = found.places
        return found.kept, batch.metrics | times

    def _draw(self, bench: Workbench, step: int) -> Batch:
        """Changes the curriculum and nothing else; may run in a thread, on a workbench with a copy of the policy."""
        found = gated(
            bench, self._rollout_config, self._curriculum, stage=self._label, step=step, adjusted=self._adjusted
        )
        own = [(found.places[r.seed], r) for r in (*found.kept.rollouts, *found.dropped)]
        everywhere = [rollout for _, rollout in sorted(gather(bench, own), key=lambda item: item[0])]
        metrics = rollout_metrics(everywhere, self._num_visible) | found.metrics | learned_metrics(everywhere)
        return Batch(found=found, metrics=metrics)

    def greedy_rewards(self, rollouts: Sequence[Rollout], step: int) -> Tensor:
        """(N,) for each rollout the reward of the greedy completion of its prompt (ReMax)."""
        known = {task.id: task for task in self._bench.train_tasks}
        tasks = [known[name] for name in dict.fromkeys(r.task_id for r in rollouts)]
        found = collect(
            self._bench,
            tasks,
            samples_per_task=1,
            stage=self._label,
            step=step,
            temperature=0.0,
            max_new_tokens=self.max_tokens,
            stop_early=self._bench.config.reward.scheme == "all_pass",
        )
        found = with_learned(self._bench, found, tasks, 1)
        rewards = {r.task_id: self._adjusted(r).reward for r in found.rollouts}
        return torch.tensor([rewards[r.task_id] for r in rollouts])

    def _adjusted(self, rollout: Rollout) -> Rollout:
        """With the parts of the reward that the stage adds."""
        config = self._rollout_config
        excess = overlong_penalty(len(rollout.completion_ids), self.max_tokens, config.overlong_share)
        if not excess:
            return rollout
        parts = {**rollout.reward_parts, "overlong": -excess * config.overlong_penalty}
        return rollout.with_(reward_parts=parts, reward=total(parts))

    def state(self) -> dict[str, Any]:
        prefetched = self._prefetch.state() if self._prefetch else ""
        return {**super().state(), "curriculum": self._curriculum.state(), "prefetched": prefetched}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._curriculum.load_state(state["curriculum"])
        if self._prefetch:
            self._prefetch.load_state(state["prefetched"])

    def close(self) -> None:
        if self._prefetch:
            self._prefetch.close()

    def examples(self, rollouts: Sequence[Rollout], *, masked: bool) -> list[Example]:
        """What the sampler knows of each; see `valid` for `masked`."""
        return [
            Example(
                prompt_ids=r.prompt_ids,
                completion_ids=r.completion_ids,
                valid=self.valid(r, masked=masked),
                place=-1 if r.seed in self._stand_in else self._places[r.seed],
                sampler_logprobs=torch.tensor(r.logprobs),
            )
            for r in rollouts
        ]

    def credits(self, rollouts: Sequence[Rollout], metrics: dict[str, float]) -> list[Credit] | None:
        """Which tokens ran and which failed, where the config asks for it; adds how many that were to the metrics."""
        config, bench = self._rollout_config, self._bench
        if not config.coverage_mask and not config.failing_line_penalty:
            return None
        tasks = {task.id: task for task in bench.train_tasks}
        found = []
        for rollout in rollouts:
            prompt = bench.renderer.render(task := tasks[rollout.task_id])
            stop = (*bench.config.generation.stop, *prompt.stop)
            found.append(credit(rollout, task, prompt, stop, bench.policy.tokenizer.decode))
        metrics["credit/tokens_not_run"] = self.mean(1 - torch.cat([c.ran for c in found]))
        metrics["credit/failing_line"] = self.mean(torch.stack([c.failed.max() for c in found]))
        return found

    def experience(
        self, examples: list[Example], metrics: dict[str, float], rollouts: list[Rollout], step: int
    ) -> Experience:
        """With the rollouts that were dropped. What the policy says of the batch is known: the next can be drawn."""
        if self._prefetch and step + 1 < self._rollout_config.steps:
            self._prefetch.start(step + 1)
        everything = [*rollouts, *self.dropped]
        places = [self._places[r.seed] for r in everything]
        return Experience(examples=examples, metrics=metrics, rollouts=everything, places=places)

    def valid(self, rollout: Rollout, *, masked: bool = False) -> bool:
        """Whether a rollout takes part in the update; a `masked` truncated one stays in the group's baseline."""
        cut = masked and rollout.truncated
        return rollout.reward == rollout.reward and not cut and rollout.seed not in self._stand_in

    def counted(self, rollouts: Sequence[Rollout]) -> Tensor:
        """(N,) 0 for what only keeps this process busy, else 1: no statistic depends on the number of processes."""
        return torch.tensor([float(r.seed not in self._stand_in) for r in rollouts])

    def mean(self, values: Tensor, mask: Tensor | None = None) -> float:
        """The mean of `values`, where `mask` is 1, over all processes; 0 of nothing."""
        mask = torch.ones_like(values) if mask is None else mask
        summed, count = self.total(torch.stack([(values * mask).sum(), mask.sum()]).double()).tolist()
        return float(summed / max(count, 1))

    def total(self, part: Tensor) -> Tensor:
        """The sum of `part` over all processes."""
        accelerator = self._bench.accelerator
        reduced: Tensor = accelerator.reduce(part.to(accelerator.device), reduction="sum").to(part.device)
        return reduced

    def per_token(self, examples: Sequence[Example], function: Callable[[MicroBatch], Tensor]) -> list[Tensor]:
        """function(batch) (N, T) for all examples, as one cpu tensor (T,) each, in order."""
        return per_token(self._policy, examples, function, micro_batch_tokens=self._rollout_config.micro_batch_tokens)

    def all_logprobs(self, examples: Sequence[Example], weights: Weights | None = None) -> list[Tensor]:
        """Log-probabilities of all examples under the policy, or under other weights of it (a frozen reference)."""
        with self._policy.using(weights) if weights is not None else nullcontext():
            return self.per_token(examples, lambda batch: self._policy.logprobs(batch, self._temperature))

    def logprobs(self, batch: MicroBatch) -> tuple[Tensor, Tensor | None]:
        """Log-probabilities (N, T) with their gradient, and the logits (N, T, V) where an entropy bonus needs them."""
        if not self._rollout_config.entropy_coef:
            return self._policy.logprobs(batch, self._temperature), None
        logits = self._policy.logits(batch)
        return selected_logprobs(logits, batch.completion_ids, self._temperature), logits

    def old_logprobs(self, batch: MicroBatch, logprobs: Tensor) -> Tensor:
        """Those of the policy that made the batch; on policy they are the current ones, so that the ratio is exactly 1."""
        if self._on_policy:
            return logprobs.detach()
        assert batch.old_logprobs is not None
        return batch.old_logprobs

    def sampler_weights(self, batch: MicroBatch, old: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The importance weights (N, T) of what the sampler drew, and what to watch of them."""
        assert batch.sampler_logprobs is not None
        config = self._rollout_config
        ratio = importance_weights(old, batch.sampler_logprobs, correction="truncate", cap=float("inf"))
        weights = importance_weights(
            old, batch.sampler_logprobs, correction=config.importance, cap=config.importance_cap
        )
        used = ratio if config.importance == "none" else weights
        return weights, {
            "sampler/ratio": ratio,
            "max_sampler/ratio": ratio,
            "sampler/weight": used,
            "sampler/weight_squared": used**2,
        }

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

    def stop_epochs(self, watched: dict[str, float]) -> bool:
        limit = self._rollout_config.target_kl
        return limit is not None and watched.get("policy/approx_kl", 0.0) > limit

    def after_step(self, metrics: dict[str, float]) -> dict[str, float]:
        """The effective sample size is that of tokens, as a share: (sum w)^2 / (n sum w^2)."""
        if self._frozen is not None and self._reference is not None and digest(self._reference) != self._frozen:
            raise TrainingStopped(f"{self._label}: the reference moved with the policy: its weights are not a copy")
        squared = metrics.pop("sampler/weight_squared", 0.0)
        found = {"sampler/effective_sample_size": metrics["sampler/weight"] ** 2 / squared} if squared else {}
        times = self._prefetch.wait() if self._prefetch else {}
        return found | {name: metrics.get(name, 0.0) + seconds for name, seconds in times.items()}

    def _check_first_ratio(self, ratio: Tensor, mask: Tensor, step: int) -> None:
        deviation = float(((ratio.detach() - 1).abs() * mask).max())
        if deviation > 0.05:
            raise TrainingStopped(
                f"{self._label} step {step}: the first probability ratio is off by {deviation:.3g}; old and new "
                "log-probabilities do not come from the same computation (dropout? another dtype or attention kernel?)"
            )
