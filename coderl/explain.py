"""Why did this rollout get this reward and this advantage? Everything that is known of it, and its program run again.

A rollout is named STAGE/STEP/NUMBER, e.g. 2_grpo/7/3: the fourth rollout in the segment of step 7. The KL per token is that
of the policy that sampled it to the start of its stage.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from coderl import checkpoint
from coderl.checkpoint import Position
from coderl.config import RunConfig
from coderl.errors import ConfigError, RunFolderError
from coderl.experience import Example, collate
from coderl.policy import Policy, load_policy
from coderl.rollout import Rollout
from coderl.run_folder import RunFolder
from coderl.store import RolloutStore, read_segment, stage_index
from coderl.workbench import open_grader
from sandbox import GradeRequest, Verdict
from tasks.registry import load as load_tasks
from tasks.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """`token_kl[t]` is k1 of token t, in nats; `tokens[t]` its text."""

    rollout: Rollout
    task: Task
    group: list[Rollout]  # the rollouts of the same task in the same step, this one among them
    request: GradeRequest  # what was run again
    replayed: Verdict
    tokens: list[str]
    token_kl: list[float]

    @property
    def agrees(self) -> bool:
        """Whether the sandbox says again what it said then, case by case."""
        then, now = self.rollout.verdict, self.replayed
        return then is not None and [c.outcome for c in then.cases] == [c.outcome for c in now.cases]


def explain(folder: RunFolder, name: str) -> Explanation:
    """Raises RunFolderError or ConfigError if there is no such rollout, or its task cannot be loaded any more."""
    rollout, segment = _find(folder, name)
    config = folder.config()
    task = _task(config, rollout.task_id)
    verdict = rollout.verdict
    skipped = verdict is not None and any(case.outcome == "SKIP" for case in verdict.cases)
    with open_grader(config.sandbox) as grader:
        request = task.request(rollout.program, stop_early=skipped)
        [replayed] = grader.grade([request])
    tokens, token_kl = _token_kl(folder, config, rollout)
    return Explanation(
        rollout=rollout,
        task=task,
        group=[r for r in segment if r.task_id == rollout.task_id],
        request=request,
        replayed=replayed,
        tokens=tokens,
        token_kl=token_kl,
    )


def _find(folder: RunFolder, name: str) -> tuple[Rollout, list[Rollout]]:
    stage, _, rest = name.partition("/")
    step, _, number = rest.partition("/")
    segments = RolloutStore(folder.rollouts_dir).segments()
    if not (step.isdecimal() and number.isdecimal()):
        known = ", ".join(dict.fromkeys(s.stage for s in segments)) or "none yet"
        raise ConfigError(f"rollout {name!r}: write STAGE/STEP/NUMBER, e.g. 2_grpo/7/3; stages here: {known}")
    found = [s for s in segments if s.stage == stage and s.step == int(step)]
    if not found:
        steps = [s.step for s in segments if s.stage == stage]
        have = f"{stage} has steps {min(steps)} to {max(steps)}" if steps else f"no stage {stage} has rollouts"
        raise RunFolderError(f"rollout {name!r}: not in {folder.rollouts_dir}: {have}")
    rollouts = read_segment(found[0].path)
    if int(number) >= len(rollouts):
        raise RunFolderError(f"rollout {name!r}: step {step} has rollouts 0 to {len(rollouts) - 1}")
    return rollouts[int(number)], rollouts


def _task(config: RunConfig, task_id: str) -> Task:
    for spec in [*config.tasks.train, *config.tasks.test, *config.tasks.sft]:
        for task in load_tasks(spec):
            if task.id == task_id:
                return task
    raise ConfigError(f"task {task_id}: no task source of the run has it any more; restore its source")


def _token_kl(folder: RunFolder, config: RunConfig, rollout: Rollout) -> tuple[list[str], list[float]]:
    policy = _reference(folder, config, stage_index(rollout.stage))
    example = Example(prompt_ids=rollout.prompt_ids, completion_ids=rollout.completion_ids)
    batch = collate([example], [0.0], policy.pad_id, policy.device, packed=policy.packed)
    with torch.no_grad():
        reference = policy.logprobs(batch, _temperature(config, rollout.stage))[0].tolist()
    kl = [own - other for own, other in zip(rollout.logprobs, reference, strict=True)]
    return [policy.tokenizer.decode([i]) for i in rollout.completion_ids], kl


def _temperature(config: RunConfig, stage: str) -> float:
    """Of the log-probabilities that are kept with the rollouts of a stage; greedy ones have those at temperature 1."""
    own = getattr(getattr(config, stage.partition("_")[2]), "temperature", None)
    return config.generation.temperature if own is None else own or 1.0


def _reference(folder: RunFolder, config: RunConfig, stage: int) -> Policy:
    """The policy at the start of a stage: its checkpoint, else the model that the stage before it left, else the first one."""
    corpus = (
        f"{task.prompt}\n{task.reference}"
        for spec in [*(config.tasks.sft or config.tasks.train), *config.tasks.train]
        for task in load_tasks(spec)
    )
    start = Position(stage=stage, step=0)
    if start in checkpoint.positions(folder.checkpoints_dir):
        policy = load_policy(config.policy, seed=config.seed, corpus=corpus)
        policy.load_weights(checkpoint.load(folder.checkpoints_dir, start)["weights"]["policy"])
        return policy
    models = {stage_index(path.name): path for path in (folder.path / "models").glob("[0-9]*_*")}
    earlier = [at for at in models if at < stage]
    if earlier:
        path = str(models[max(earlier)])
        return load_policy(config.policy.model_copy(update={"model": path}), seed=config.seed)
    return load_policy(config.policy, seed=config.seed, corpus=corpus)
