"""Which rollouts does a stage learn from, and are they all graded on every case?"""

from __future__ import annotations

from collections.abc import Sequence

from coderl.config.run import SAMPLING
from coderl.errors import ConfigError
from coderl.pairs import tokenizer_fingerprint
from coderl.rollout import Rollout
from coderl.run_folder import RunFolder
from coderl.samples_of_run import load_tokenizer
from coderl.store import RolloutStore
from coderl.workbench import Workbench
from sandbox import Outcome, Status
from tasks.task import Task


def training_rollouts(bench: Workbench, label: str, source: str) -> list[Rollout]:
    """Those of the last sampling stage before stage `label`, or all training rollouts of the run at `source`.

    Raises ConfigError where there are none, or where their token ids are those of another tokenizer.
    """
    if source:
        folder = RunFolder.open(source)
        if tokenizer_fingerprint(load_tokenizer(folder)) != tokenizer_fingerprint(bench.policy.tokenizer):
            raise ConfigError(
                f"{label}: the token ids of {source} belong to another tokenizer than the policy's: set policy.model to a "
                "model of that run, or to the one that it was made from"
            )
        store = RolloutStore(folder.rollouts_dir)
        stages = list(dict.fromkeys(s.stage for s in store.segments() if _name(s.stage) in SAMPLING))
    else:
        store, index = bench.store, int(label.partition("_")[0])
        before = [(i, name) for i, name in enumerate(bench.config.stages[:index]) if name in SAMPLING]
        stages = [f"{i}_{name}" for i, name in before[-1:]]
    rollouts = [rollout for stage in stages for rollout in store.read(stage)]
    if not rollouts:
        raise ConfigError(f"{label}: no rollouts of training tasks in {store.directory}: sample some first")
    return rollouts


def owners(bench: Workbench, rollouts: Sequence[Rollout], label: str) -> dict[str, Task]:
    """The tasks of rollouts, by id. Raises ConfigError for a task that is not among tasks.train."""
    known = {task.id: task for task in bench.train_tasks}
    missing = sorted({r.task_id for r in rollouts} - known.keys())
    if missing:
        raise ConfigError(
            f"{label}: task {missing[0]} of the rollouts is not in tasks.train: name the same task sources"
        )
    return known


def graded_whole(bench: Workbench, rollouts: Sequence[Rollout], tasks: dict[str, Task]) -> list[Rollout]:
    """The rollouts with a verdict on every case: those whose grading stopped at the first failure are graded again."""
    cut = [i for i, r in enumerate(rollouts) if r.verdict and any(c.outcome is Outcome.SKIP for c in r.verdict.cases)]
    verdicts = bench.grader.grade([tasks[rollouts[i].task_id].request(rollouts[i].program) for i in cut])
    whole = list(rollouts)
    for i, verdict in zip(cut, verdicts, strict=True):
        whole[i] = whole[i].with_(verdict=verdict)
    return whole


def is_whole(rollout: Rollout) -> bool:
    """Whether it is a completion that ended with a stop, holds a program, and has a known verdict."""
    verdict = rollout.verdict
    known = verdict is not None and verdict.status is not Status.UNSCORABLE
    return known and bool(rollout.program) and not rollout.truncated


def _name(stage: str) -> str:
    return stage.partition("_")[2]
