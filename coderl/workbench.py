"""What every stage of a run works with: the policy, the prompts, the grader, the tasks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from accelerate import Accelerator

from coderl.case_order import CaseOrder
from coderl.config import RunConfig, SandboxConfig
from coderl.engines import Engine, OwnLoop
from coderl.learned import LearnedReward
from coderl.policy import Policy
from coderl.prompts import PromptRenderer
from coderl.run_folder import RunFolder
from coderl.store import RolloutStore
from coderl.verdict_cache import VerdictCache
from sandbox import Grader
from sandbox.grader import default_workers, num_cores
from sandbox.speed import TimeFactors, machine_factor
from tasks.task import Task

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """Built once per run by `coderl.train`; stages change the policy and the folder, nothing else in it."""

    config: RunConfig
    accelerator: Accelerator
    policy: Policy
    renderer: PromptRenderer
    grader: VerdictCache
    train_tasks: list[Task]
    sft_tasks: list[Task]
    test_tasks: list[Task]
    engine: Engine = field(default_factory=OwnLoop)
    folder: RunFolder | None = None  # None: an evaluation without a run
    learned: LearnedReward | None = None  # the reward model of the stage at hand, where there is one

    @property
    def store(self) -> RolloutStore:
        """The rollouts of the run."""
        assert self.folder is not None, "this stage belongs to a run"
        return RolloutStore(self.folder.rollouts_dir)

    def share(self, items: list[Any]) -> list[Any]:
        """This process's part of `items`: every num_processes-th."""
        return items[self.accelerator.process_index :: self.accelerator.num_processes]


def gather(bench: Workbench, items: list[T]) -> list[T]:
    """The items of all processes, on every process."""
    if bench.accelerator.num_processes == 1:
        return items
    from accelerate.utils import gather_object

    return list(gather_object(items))


def open_grader(config: SandboxConfig, tasks: Sequence[Task] = ()) -> VerdictCache:
    """The grader that a run on `tasks` asks for. Raises SandboxUnavailable."""
    if config.time_factor == "machine":
        config = config.model_copy(update={"time_factor": machine_factor(config.backend)})
    grader = Grader(
        backend=config.backend,
        workers=_workers(config),
        min_isolation=config.min_isolation,
        times=TimeFactors(machine=float(config.time_factor)),
        endpoints=config.endpoints,
        preload=config.preload,
    )
    order = CaseOrder(tasks) if config.case_order == "deciding" else None
    return VerdictCache(grader, recheck=config.recheck, order=order)


def _workers(config: SandboxConfig) -> int | None:
    """The processes of a run share the cores of their machine."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if config.workers or processes == 1 or config.backend in ("remote", "ray"):
        return config.workers
    return default_workers(max(1, num_cores() // processes))
