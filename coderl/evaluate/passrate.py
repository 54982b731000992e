"""How often does the policy solve tasks it was not trained on? pass@k on hidden tests, with an interval over problems.

Besides: by language, level and source, what choosing among samples by visible tests adds, and how different the samples are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from coderl.collect import collect, passes
from coderl.config import EvalConfig
from coderl.evaluate import breakdown
from coderl.evaluate.breakdown import BestOf, Group, Tally
from coderl.evaluate.diversity import Diversity, diversity
from coderl.rollout import Rollout
from coderl.run_folder import json_bytes
from coderl.workbench import Workbench, gather
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
    language: str = "python"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The result of one evaluation; `pass_at_k` maps k to (estimate, low, high), the 95 % interval over problems.

    `truncated` and `no_program` are shares of all samples, `tokens` is the mean length of a completion.
    """

    temperature: float
    samples_per_task: int
    pass_at_k: dict[int, tuple[float, float, float]]
    truncated: float
    no_program: float
    tokens: float
    verdicts: dict[str, int]
    isolation: str
    scores: tuple[TaskScore, ...]
    groups: tuple[Group, ...] = ()
    best_of_n: tuple[BestOf, ...] = ()
    diversity: Diversity | None = None

    def metrics(self) -> dict[str, float]:
        values = {"eval/num_tasks": float(len(self.scores)), "eval/truncated": self.truncated}
        for k, (estimate, low, high) in self.pass_at_k.items():
            values |= {f"eval/pass@{k}": estimate, f"eval/pass@{k}_low": low, f"eval/pass@{k}_high": high}
        return values

    def pass_rates(self) -> dict[str, float]:
        """pass@1 of each task that has a scorable sample."""
        return {s.task_id: s.num_passed / s.num_samples for s in self.scores if s.num_samples}

    def to_json(self) -> bytes:
        record: dict[str, Any] = asdict(self)
        return json_bytes(record)


def evaluate(
    bench: Workbench,
    config: EvalConfig,
    tasks: Sequence[Task],
    *,
    label: str,
    step: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Evaluation, list[Rollout]]:
    """Sample every task `config.num_samples` times and grade on all its cases.

    Sampling seeds depend on the run's seed and the task only, so that two evaluations of one run differ by the policy alone.
    """
    rollouts: list[Rollout] = []
    per_chunk = max(1, 2 * bench.config.generation.batch_size // config.samples_per_task)
    per_chunk *= bench.accelerator.num_processes
    with bench.policy.gathered():  # once for all chunks
        for start in range(0, len(tasks), per_chunk):
            collected = collect(
                bench,
                bench.share(list(tasks[start : start + per_chunk])),
                samples_per_task=config.num_samples,
                stage="eval",
                step=0,
                temperature=config.temperature,
                max_new_tokens=config.max_new_tokens or bench.config.generation.max_new_tokens,
                stop_early=True,
            )
            rollouts += [r.with_(stage=label, step=step) for r in collected.rollouts]
            on_progress(min(start + per_chunk, len(tasks)), len(tasks))
    num_own = len(bench.share(list(tasks)))
    rollouts = gather_shares(bench, rollouts, len(rollouts) // max(num_own, 1))
    return score(rollouts, tasks, config, seed=bench.config.seed), rollouts


def score(rollouts: Sequence[Rollout], tasks: Sequence[Task], config: EvalConfig, *, seed: int) -> Evaluation:
    """Count passes per task and estimate pass@k."""
    owners = {task.id: task for task in tasks}
    passed: dict[str, list[bool]] = {task.id: [] for task in tasks}
    visible: dict[str, list[bool]] = {task.id: [] for task in tasks}
    programs: dict[str, list[str]] = {task.id: [] for task in tasks}
    verdicts: dict[str, int] = {}
    isolation: dict[str, None] = {}
    for rollout in rollouts:
        verdict = rollout.verdict
        assert verdict is not None
        verdicts[str(verdict.outcome)] = verdicts.get(str(verdict.outcome), 0) + 1
        isolation[f"{verdict.isolation.backend} ({', '.join(verdict.isolation.layers)})"] = None
        programs[rollout.task_id].append(rollout.program)
        if verdict.status is not Status.UNSCORABLE:
            passed[rollout.task_id].append(verdict.status is Status.PASS)
            shown = len(owners[rollout.task_id].visible)
            visible[rollout.task_id].append(not shown or passes(rollout, shown))
    tallies = [Tally(task=t, passed=tuple(passed[t.id]), visible=tuple(visible[t.id])) for t in tasks]
    count = max(len(rollouts), 1)
    return Evaluation(
        temperature=config.temperature,
        samples_per_task=config.num_samples,
        pass_at_k=breakdown.estimates(tallies, config.k, num_resamples=config.bootstrap, seed=seed),
        truncated=sum(r.truncated for r in rollouts) / count,
        no_program=sum(not r.program for r in rollouts) / count,
        tokens=sum(len(r.completion_ids) for r in rollouts) / count,
        verdicts=dict(sorted(verdicts.items())),
        isolation="; ".join(isolation),
        scores=tuple(
            TaskScore(
                task_id=t.id,
                level=t.level,
                num_samples=len(passed[t.id]),
                num_passed=sum(passed[t.id]),
                language=t.language,
            )
            for t in tasks
        ),
        groups=breakdown.groups(tallies, config.k, num_resamples=config.bootstrap, seed=seed),
        best_of_n=breakdown.best_of_n(tallies, num_resamples=config.bootstrap, seed=seed),
        diversity=diversity(programs, passed),
    )


def gather_shares(bench: Workbench, items: list[T], num_each: int) -> list[T]:
    """All that was made of a list that `bench.share` dealt out, `num_each` items of each entry, in the order of that list."""
    parts = gather(bench, [[items[i : i + num_each] for i in range(0, len(items), num_each or 1)]])
    count = sum(map(len, parts))
    return [item for i in range(count) for item in parts[i % len(parts)][i // len(parts)]]
