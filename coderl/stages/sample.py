"""The stage `sample`: programs of the current policy for training tasks, graded on every case, into the rollout store."""

from __future__ import annotations

from coderl.collect import collect, rollout_metrics
from coderl.evaluate.passrate import gather_shares
from coderl.metrics import Progress
from coderl.rollout import Rollout
from coderl.seeds import cursor
from coderl.workbench import Workbench


def sample(bench: Workbench, label: str) -> dict[str, float]:
    """Sample the next tasks; a later stage of the same name goes on where this one stopped."""
    config, tasks = bench.config.sample, bench.train_tasks
    earlier = bench.config.stages[: int(label.partition("_")[0])].count("sample")
    indices = cursor(bench.config.seed, "sample", len(tasks), earlier * config.num_tasks, config.num_tasks)
    per_chunk = max(1, 2 * bench.config.generation.batch_size // config.samples_per_task)
    rollouts: list[Rollout] = []
    with Progress(total=config.num_tasks, description=label) as progress:
        for start in range(0, config.num_tasks, per_chunk):
            own = bench.share(list(range(start, min(start + per_chunk, config.num_tasks))))
            collected = collect(
                bench,
                [tasks[indices[at]] for at in own],
                samples_per_task=config.samples_per_task,
                stage=label,
                step=0,
                temperature=config.temperature or bench.config.generation.temperature,
                max_new_tokens=bench.config.generation.max_new_tokens,
                stop_early=False,
                repeats=[indices[:at].count(indices[at]) for at in own],
            )
            rollouts += gather_shares(bench, collected.rollouts, config.samples_per_task)
            progress.update(min(start + per_chunk, config.num_tasks), {})
    if bench.accelerator.is_main_process:
        bench.store.append(label, 0, rollouts)
    visible = {task.id: len(task.visible) for task in tasks}
    return {**rollout_metrics(rollouts, visible), "rollout/num_samples": float(len(rollouts))}
