"""Build a run from its config and carry it out, stage by stage, from wherever it was left.

This is the one place that maps the name of a stage to a method. A run folder holds everything: kill the process at any
moment and `run(..., resume=True)` goes on so that the metrics are the same as if nothing had happened.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed

from coderl import bandit_findings, checkpoint
from coderl.checkpoint import Position
from coderl.config import LearnedRewardConfig, RunConfig, StageConfig
from coderl.config.run import ONLINE
from coderl.engines import open_engine
from coderl.errors import ConfigError, TrainingStopped
from coderl.evaluate.passrate import Evaluation, evaluate
from coderl.learned import Divergence, load_learned
from coderl.loop import Trainer
from coderl.methods.base import Method
from coderl.methods.dpo import Dpo
from coderl.methods.grpo import Grpo
from coderl.methods.ppo import Ppo
from coderl.methods.rejection import Rejection
from coderl.methods.reward_model import RewardModelling
from coderl.methods.sft import Sft
from coderl.metrics import Metrics, Progress, read_metrics
from coderl.monitor import Monitor
from coderl.own_rewards import keep_sources
from coderl.policy import load_policy
from coderl.profiling import profiled
from coderl.prompts import PromptRenderer
from coderl.report import write_report
from coderl.rollout import Rollout
from coderl.run_folder import RunFolder, atomic_write, make_directory
from coderl.seeds import derive
from coderl.self_checks import first_step
from coderl.stages.best_of_n import best_of_n
from coderl.stages.pairs import pairs
from coderl.stages.sample import sample
from coderl.step_time import budget
from coderl.store import RolloutStore
from coderl.watchdog import place, watchdog
from coderl.workbench import Workbench, gather, open_grader
from tasks.registry import load as load_tasks
from tasks.task import Task

METHODS: dict[str, Callable[..., Method]] = {
    "sft": Sft,
    **dict.fromkeys(ONLINE, Grpo),
    "ppo": Ppo,
    "dpo": Dpo,
    "rejection": Rejection,
    "reward_model": RewardModelling,
}
WITHOUT_TRAINING: dict[str, Callable[[Workbench, str], dict[str, float]]] = {
    "sample": sample,
    "pairs": pairs,
    "best_of_n": best_of_n,
}


def run(config: RunConfig, folder: RunFolder, *, resume: bool = False, profile: bool = False) -> dict[str, float]:
    """Carry out all stages; returns the metrics of the last evaluation (empty if there was none).

    With `profile` the run folder gets a folder profile/ that says where the time of each training stage goes.

    Raises CoderlError, SandboxError or TaskError, each with one line; the folder can then be resumed.
    """
    with workbench(config, folder) as bench, contextlib.ExitStack() as stack:
        is_main = bench.accelerator.is_main_process
        metrics = stack.enter_context(
            Metrics(folder, trackers=config.trackers if is_main else [], run_name=config.name)
        )

        def report(what: str, message: str) -> None:
            metrics.event(*place(what), "hang", message)

        stack.enter_context(watchdog(folder.path, config.watchdog_seconds, report))
        session = _Session(
            bench=bench,
            folder=folder,
            metrics=metrics,
            store=RolloutStore(folder.rollouts_dir),
            profile=profile and is_main,
        )
        start = session.resume() if resume else Position(stage=0, step=0)
        last: dict[str, float] = {}
        for index in range(start.stage, len(config.stages)):
            try:
                last = session.stage(index, start.step if index == start.stage else 0) or last
            except TrainingStopped as error:
                if is_main:
                    metrics.event(f"{index}_{config.stages[index]}", 0, "stopped", str(error))
                    write_report(folder, tasks=[*bench.train_tasks, *bench.test_tasks])
                raise
        if is_main:
            write_report(folder, tasks=[*bench.train_tasks, *bench.test_tasks])
        return last


def evaluate_model(config: RunConfig, out: Path) -> Evaluation:
    """`coderl eval`: evaluate the policy of `config` as it is on tasks.test; writes `out` (JSON) and the samples beside it."""
    with workbench(config) as bench:
        tasks = bench.test_tasks[: config.eval.limit]
        evaluation, rollouts = evaluate_with_progress(bench, tasks, label="eval", step=0)
        if bench.accelerator.is_main_process:
            atomic_write(out, evaluation.to_json())
            RolloutStore(out.with_suffix(".rollouts")).append("eval", 0, rollouts)
        return evaluation


def evaluate_with_progress(
    bench: Workbench, tasks: list[Task], *, label: str, step: int
) -> tuple[Evaluation, list[Rollout]]:
    """`evaluate` with a line of progress."""
    with Progress(total=len(tasks), description="eval" if label == "eval" else f"{label} eval") as progress:

        def on_progress(done: int, _total: int) -> None:
            progress.update(done, {})

        return evaluate(bench, bench.config.eval, tasks, label=label, step=step, on_progress=on_progress)


@contextlib.contextmanager
def workbench(config: RunConfig, folder: RunFolder | None = None) -> Iterator[Workbench]:
    if config.reward.harm_weight and config.reward.harm_source == "bandit":
        bandit_findings.require()
    keep_sources(config.reward.functions, folder)
    set_seed(derive(config.seed, "global") % 2**32)
    train, test = _load_all(config.tasks.train), _load_all(config.tasks.test)
    sft = _load_all(config.tasks.sft) if config.tasks.sft else train
    corpus = (f"{task.prompt}\n{task.reference}" for task in [*sft, *train])
    accelerator = Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)])
    if accelerator.device.type == "cpu":  # else some processes with two threads differ in the last bits of a gradient
        os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # read at the first matrix product; costs nothing measurable
        torch.use_deterministic_algorithms(True)
        # Filling new memory costs a tenth of a step, and nobody reads it before it is written.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    policy = load_policy(config.policy, seed=config.seed, corpus=corpus)
    policy.model.to(accelerator.device)
    with open_grader(config.sandbox, [*train, *test]) as grader:
        yield Workbench(
            config=config,
            accelerator=accelerator,
            policy=policy,
            renderer=PromptRenderer(policy.tokenizer, config.prompt),
            grader=grader,
            engine=open_engine(config, num_processes=accelerator.num_processes),
            train_tasks=train,
            sft_tasks=sft,
            test_tasks=test,
            folder=folder,
        )


def has_bfloat16(bench: Workbench) -> bool:
    """Whether this device multiplies bfloat16 faster than float32."""
    if bench.accelerator.device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bench.accelerator.device.type == "cpu" and native


def _load_all(specs: list[str]) -> list[Task]:
    return [task for spec in specs for task in load_tasks(spec)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    """One process's work on a run folder; only the main process writes."""

    bench: Workbench
    folder: RunFolder
    metrics: Metrics
    store: RolloutStore
    profile: bool

    def resume(self) -> Position:
        """Load the newest checkpoint's weights and cut everything that was written after it."""
        found = checkpoint.positions(self.folder.checkpoints_dir)
        if not found:
            self.metrics.truncate_to(0)
            self.store.truncate(0, 0)
            return Position(stage=0, step=0)
        state = checkpoint.load(self.folder.checkpoints_dir, found[-1])
        self.metrics.truncate_to(state["num_metrics"])
        self.store.truncate(found[-1].stage, found[-1].step)
        start = checkpoint.load(self.folder.checkpoints_dir, Position(stage=found[-1].stage, step=0))
        self.bench.policy.load_weights(start["weights"]["policy"])
        checkpoint.restore_rng(state)
        return found[-1]

    def stage(self, index: int, start_step: int) -> dict[str, float]:
        """Run one stage from `start_step`; returns the metrics of an evaluation stage."""
        config = self.bench.config
        name = config.stages[index]
        label = f"{index}_{name}"
        if start_step == 0:
            self._save(Position(stage=index, step=0), {"weights": {"policy": self.bench.policy.weights()}}, keep=0)
        if name == "eval":
            result = self._evaluate(label, 0, config.eval.limit)
        elif name in WITHOUT_TRAINING:
            result = self._carry_out(index, name, label)
        else:
            self._train(name, label, index, start_step)
            result = {}
        if index + 1 == len(config.stages):
            self._save(Position(stage=index + 1, step=0), {"weights": {"policy": self.bench.policy.weights()}}, keep=0)
        return result

    def _train(self, name: str, label: str, index: int, start_step: int) -> None:
        stage, bench = getattr(self.bench.config, name), self._bench_of(index)
        _check_share(name, stage, bench.accelerator.num_processes)
        trainer = Trainer(bench, METHODS[name](bench, stage, label), label)
        if start_step:
            trainer.load_state(
                checkpoint.load(self.folder.checkpoints_dir, Position(stage=index, step=start_step)), start_step
            )
        monitor, divergence = Monitor(), Divergence()
        for line in read_metrics(self.folder):  # what it saw before the run was resumed
            if line["stage"] == label and "values" in line and line["step"] <= start_step:
                monitor.observe(line["values"])
                divergence.update(line["values"])
        advise = functools.partial(budget, config=self.bench.config, stage=name, has_bfloat16=has_bfloat16(bench))
        steps = trainer.run(stage.steps)
        if self.profile:
            skip = min(1, stage.steps - start_step - 1)  # the first step fills the caches of the libraries
            steps = profiled(steps, self.folder.profile_dir, label, skip=skip, describe=advise)
        bar = Progress(total=stage.steps, done=start_step, description=label)
        with bar as progress, contextlib.closing(trainer.method):
            for experience, values in steps:
                found = gather(self.bench, list(zip(experience.places, experience.rollouts, strict=True)))
                rollouts = [r.with_(step=trainer.step) for _, r in sorted(found, key=lambda item: item[0])]
                updates = trainer.method.epochs * trainer.method.minibatches
                whole = replace(experience, rollouts=rollouts)
                started = first_step(whole, values, label, num_updates=updates) if trainer.step == 1 else []
                if self.bench.accelerator.is_main_process:
                    self.metrics.log(label, trainer.step, values | self.bench.grader.metrics())
                    for flaky in self.bench.grader.take_flaky():
                        self.metrics.event(label, trainer.step, "flaky_verdict", flaky.message, **flaky.data)
                    for alarm in [*started, *monitor.observe(values)]:
                        self.metrics.event(label, trainer.step, alarm.name, alarm.message, **alarm.data)
                    if warning := divergence.update(values):
                        self.metrics.event(label, trainer.step, "learned_reward_diverges", warning)
                    if rollouts:
                        self.store.append(label, trainer.step, rollouts)
                progress.update(trainer.step, values, advise(values))
                if stage.eval_every and trainer.step % stage.eval_every == 0:
                    self._evaluate(label, trainer.step, stage.eval_tasks)
                if trainer.step % stage.checkpoint_every == 0:
                    self._save(Position(stage=index, step=trainer.step), trainer.state(), keep=stage.keep_checkpoints)
        values = trainer.method.finish(self.folder, label)
        if values and self.bench.accelerator.is_main_process:
            self.metrics.log(label, trainer.step, values)

    def _bench_of(self, index: int) -> Workbench:
        """The workbench of stage number `index`: with the reward model where its config asks for one."""
        config, name = self.bench.config, self.bench.config.stages[index]
        wanted = config.reward.learned if name in ONLINE else None
        if name == "best_of_n" and any("reward_model" in by for by in config.best_of_n.by):
            wanted = config.reward.learned or LearnedRewardConfig()
        if wanted is None:
            return self.bench
        path = Path(wanted.model)
        if not wanted.model:
            last = max(i for i, stage in enumerate(config.stages[:index]) if stage == "reward_model")
            path = self.folder.reward_model_dir(f"{last}_reward_model")
        return replace(self.bench, learned=load_learned(wanted, path, self.bench.policy))

    def _carry_out(self, index: int, name: str, label: str) -> dict[str, float]:
        started = time.perf_counter()
        values = WITHOUT_TRAINING[name](self._bench_of(index), label)
        if self.bench.accelerator.is_main_process:
            self.metrics.log(label, 0, {**values, "time/step": time.perf_counter() - started})
        self.bench.accelerator.wait_for_everyone()
        return {}

    def _evaluate(self, label: str, step: int, limit: int | None) -> dict[str, float]:
        tasks = self.bench.test_tasks[:limit]
        evaluation, rollouts = evaluate_with_progress(self.bench, tasks, label=label, step=step)
        values = evaluation.metrics()
        if self.bench.accelerator.is_main_process:
            make_directory(self.folder.evals_dir)
            atomic_write(self.folder.evals_dir / f"{label}_{step:05d}.json", evaluation.to_json())
            if step == 0:
                self.store.append(label, step, rollouts)
            self.metrics.log(label, step, values)
        return values

    def _save(self, position: Position, state: dict[str, Any], keep: int) -> None:
        if self.bench.accelerator.is_main_process:
            checkpoint.save(
                self.folder.checkpoints_dir, position, {**state, "num_metrics": self.metrics.num_lines}, keep
            )
        self.bench.accelerator.wait_for_everyone()


def _check_share(name: str, stage: StageConfig, num_processes: int) -> None:
    """Raises ConfigError where a process would have nothing to learn from."""
    key = "prompts_per_step" if name in ONLINE else "batch_size"
    size = getattr(stage, key)
    if size < num_processes:
        raise ConfigError(
            f"{name}.{key}: {size} is less than the {num_processes} processes: each needs one to learn from; "
            "raise it, or launch fewer"
        )
