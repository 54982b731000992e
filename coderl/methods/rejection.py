"""Rejection sampling: imitate the samples that passed (RAFT, Dong et al. 2023, arXiv:2304.06767).

Expert iteration (Anthony et al. 2017) is `sample` and this stage in turn. What is kept: programs that pass every case, unique
up to names and layout, at most `max_per_task` of a task, none of a task that (nearly) always passes.
"""

from __future__ import annotations

from collections.abc import Sequence

from coderl.algorithms.sft import sft_loss
from coderl.config import RejectionConfig
from coderl.errors import ConfigError
from coderl.experience import Example, MicroBatch
from coderl.methods.base import Experience, MethodBase, TokenLoss
from coderl.program_key import program_key
from coderl.rollout import Rollout
from coderl.seeds import cursor
from coderl.stages.sources import is_whole, training_rollouts
from coderl.workbench import Workbench
from sandbox import Status

NUM_BINS = 5  # of the histogram of difficulty: tasks by pass rate


class Rejection(MethodBase):
    """Trains on the sampled token ids; batches are drawn from endless permutations of what was kept."""

    def __init__(self, bench: Workbench, config: RejectionConfig, label: str) -> None:
        super().__init__(bench.policy, config.optimizer.learning_rate)
        self.config, self._bench, self._label = config, bench, label
        self._kept, self._metrics = select(training_rollouts(bench, label, config.source), config)
        if not self._kept:
            raise ConfigError(
                f"{label}: no sample passed (of a task that does not always pass): sample more, or easier tasks"
            )

    def collect(self, step: int) -> Experience:
        size = self.config.batch_size
        indices = cursor(self._bench.config.seed, self._label, len(self._kept), step * size, size)
        chosen = [self._kept[i] for i in self._bench.share(indices)]
        examples = [Example(prompt_ids=r.prompt_ids, completion_ids=r.completion_ids) for r in chosen]
        return Experience(examples=examples, metrics=self._metrics if step == 0 else {})

    def loss(self, batch: MicroBatch, step: int) -> TokenLoss:
        return TokenLoss(sft_loss(self._policy.logprobs(batch, 1.0)), {})


def select(rollouts: Sequence[Rollout], config: RejectionConfig) -> tuple[list[Rollout], dict[str, float]]:
    """What to imitate, in the order of `rollouts`, and counts: tasks by pass rate (0, then NUM_BINS equal bins up to 1)."""
    by_task: dict[str, list[Rollout]] = {}
    for rollout in rollouts:
        if rollout.verdict is not None and rollout.verdict.status is not Status.UNSCORABLE:
            by_task.setdefault(rollout.task_id, []).append(rollout)
    metrics = {"rejection/tasks_never_passed": 0.0, "rejection/tasks_too_easy": 0.0}
    metrics |= {f"rejection/tasks_passed_to_{(b + 1) / NUM_BINS:g}": 0.0 for b in range(NUM_BINS)}
    kept: list[Rollout] = []
    for group in by_task.values():
        passed = [r for r in group if r.verdict is not None and r.verdict.status is Status.PASS]
        rate = len(passed) / len(group)
        if not passed:
            metrics["rejection/tasks_never_passed"] += 1
            continue
        bin_index = next(b for b in range(NUM_BINS) if rate <= (b + 1) / NUM_BINS)
        metrics[f"rejection/tasks_passed_to_{(bin_index + 1) / NUM_BINS:g}"] += 1
        if rate > config.max_pass_rate:
            metrics["rejection/tasks_too_easy"] += 1
            continue
        unique: dict[str, Rollout] = {}
        for rollout in filter(is_whole, passed):
            unique.setdefault(program_key(rollout.program), rollout)
        kept += list(unique.values())[: config.max_per_task]
    metrics["rejection/kept"] = float(len(kept))
    return kept, metrics
