"""How often does the policy solve tasks it was not trained on? pass@k on hidden tests, with an interval over problems."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from coderl.collect import collect
from coderl.config import EvalConfig
from coderl.evaluate.passk import bootstrap_interval, pass_at_k
from coderl.rollout import Rollout
from coderl.workbench import Workbench
from sandbox import Status
from tasks.task import Task

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskScore:
    """Of `num_samples` scorable samples of a task, `num_passed` passed every test. Unscorable samples are not counted."""

    task_id: str
    level: int
    num_samples: int
    num_passed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The result of one evaluation; `pass_at_k` maps k to (estimate, low, high), the 95 % interval over problems."""

    temperature: float
    samples_per_task: int
    pass_at_k: dict[int, tuple[float, float, float]]
    truncated: float
    verdicts: dict[str, int]
    isolation: str
    scores: tuple[TaskScore, ...]

    def metrics(self) -> dict[str, float]:
        values = {"eval/num_tasks": float(len(self.scores)), "eval/truncated": self.truncated}
        for k, (estimate, low, high) in self.pass_at_k.items():
            values |= {f"eval/pass@{k}": estimate, f"eval/pass@{k}_low": low, f"eval/pass@{k}_high": high}
        return values

    def to_json(self) -> bytes:
        record: dict[str, Any] = asdict(self)
        return (json.dumps(record, indent=1) + "\n").encode()


def evaluate(
    bench: Workbench,
    config: EvalConfig,
    tasks: Sequence[Task],
    *,
    label: str,
    step: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Evaluation, list[Rollout]]:
    """Sample every task `config.samples_per_task` times and grade on all its cases.

    Sampling seeds depend on the run's seed and the task only, so that two evaluations of one run differ by the policy alone.
    """
    own = bench.share(list(tasks))
    rollouts: list[Rollout] = []
    per_chunk = max(1, 2 * bench.config.generation.batch_size // config.samples_per_task)
    for start in range(0, len(own), per_chunk):
        collected = collect(
            bench,
            own[start : start + per_chunk],
            samples_per_task=1 if config.temperature == 0 else config.samples_per_task,
            stage="eval",
            step=0,
            temperature=config.temperature,
            max_new_tokens=config.max_new_tokens or bench.config.generation.max_new_tokens,
            stop_early=True,
        )
        rollouts += [r.with_(stage=label, step=step) for r in collected.rollouts]
        on_progress(min(start + per_chunk, len(own)), len(own))
    rollouts = gather(bench, rollouts)
    return score(rollouts, tasks, config, seed=bench.config.seed), rollouts


def score(rollouts: Sequence[Rollout], tasks: Sequence[Task], config: EvalConfig, *, seed: int) -> Evaluation:
    """Count passes per task and estimate pass@k."""
    scored: dict[str, list[bool]] = {task.id: [] for task in tasks}
    verdicts: dict[str, int] = {}
    isolation: dict[str, None] = {}
    for rollout in rollouts:
        verdict = rollout.verdict
        assert verdict is not None
        verdicts[str(verdict.outcome)] = verdicts.get(str(verdict.outcome), 0) + 1
        isolation[f"{verdict.isolation.backend} ({', '.join(verdict.isolation.layers)})"] = None
        if verdict.status is not Status.UNSCORABLE:
            scored[rollout.task_id].append(verdict.status is Status.PASS)
    estimates = {}
    for k in config.k:
        values = [pass_at_k(len(s), sum(s), k) for s in scored.values() if len(s) >= k]
        if values:
            low, high = bootstrap_interval(values, num_resamples=config.bootstrap, seed=seed)
            estimates[k] = (sum(values) / len(values), low, high)
    return Evaluation(
        temperature=config.temperature,
        samples_per_task=config.samples_per_task,
        pass_at_k=estimates,
        truncated=sum(r.truncated for r in rollouts) / max(len(rollouts), 1),
        verdicts=dict(sorted(verdicts.items())),
        isolation="; ".join(isolation),
        scores=tuple(
            TaskScore(task_id=t.id, level=t.level, num_samples=len(scored[t.id]), num_passed=sum(scored[t.id]))
            for t in tasks
        ),
    )


def gather(bench: Workbench, items: list[T]) -> list[T]:
    """The items of all processes, on every process."""
    if bench.accelerator.num_processes == 1:
        return items
    from accelerate.utils import gather_object

    return list(gather_object(items))
