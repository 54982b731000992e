"""`coderl eval RUN --memorisation`: sample trained and held-out tasks, as they are and renamed; complete their references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from coderl.config import RunConfig
from coderl.engines import OwnLoop
from coderl.errors import ConfigError
from coderl.evaluate.memorisation import Memorisation, References, conclude, overlap, renamed_change, verbatim
from coderl.evaluate.renaming import renamed
from coderl.generate import SampleRequest
from coderl.run_folder import atomic_write, is_main_process, json_bytes
from coderl.store import RolloutStore
from coderl.train import evaluate_with_progress, workbench
from coderl.workbench import Workbench
from sandbox import Status
from tasks.task import Task

TASKS = 128  # of each side, where eval.limit says nothing else
Rates = dict[str, float]


def memorisation(config: RunConfig, out: Path) -> Memorisation:
    """Training tasks (tasks.sft and tasks.train) against tasks.test; writes `out` (JSON) and all samples beside it.

    Raises ConfigError where there is no training task that the test tasks do not hold, too.
    """
    with workbench(config) as bench:
        limit = config.eval.limit or TASKS
        held_out = bench.test_tasks[:limit]
        names = {task.id for task in bench.test_tasks}
        trained = [t for t in {t.id: t for t in [*bench.sft_tasks, *bench.train_tasks]}.values() if t.id not in names]
        if not trained:
            raise ConfigError(
                "eval --memorisation: no training tasks: give a run or a config with tasks.train or tasks.sft"
            )
        store = RolloutStore(out.with_suffix(".rollouts"))
        known = spread(trained, limit)
        renaming = renamed_change(
            _rates_of_both(bench, known, store, "trained"),
            _rates_of_both(bench, held_out, store, "held_out"),
            seed=config.seed,
        )
        samples: dict[str, list[str]] = {}
        for rollout in store.read("held_out"):
            samples.setdefault(rollout.task_id, []).append(rollout.program)
        references = References(task.reference for task in trained if task.reference)
        shown = [task for task in bench.sft_tasks if task.id not in names] or trained  # whose references SFT imitates
        found = conclude(
            overlap(references, samples, {t.id: t.reference for t in held_out}, seed=config.seed),
            verbatim(completed(bench, spread(shown, limit)), completed(bench, held_out), seed=config.seed),
            renaming,
        )
    if is_main_process():
        atomic_write(out, json_bytes({"told": [*found.told()], **asdict(found)}))
    return found


def spread(tasks: Sequence[Task], count: int) -> list[Task]:
    """`count` of the tasks, evenly spaced; all of them if they are no more."""
    if len(tasks) <= count:
        return list(tasks)
    return [tasks[i * len(tasks) // count] for i in range(count)]


def completed(bench: Workbench, tasks: Sequence[Task]) -> list[bool]:
    """Whether greedy decoding from a task's prompt and the first half of its reference gives the rest, token by token."""
    requests, rests = [], {}
    for task in tasks:
        if task.reference:
            prompt = bench.renderer.render(task)
            target = bench.policy.encode_completion(bench.renderer.target(task, prompt))
            half = len(target) // 2
            requests.append(SampleRequest(key=task.id, prompt_ids=(*prompt.ids, *target[:half]), seed=0))
            rests[task.id] = target[half:]
    if not requests:
        return []
    samples = OwnLoop().sample(
        bench.policy,
        requests,
        max_new_tokens=max(map(len, rests.values())),
        temperature=0.0,
        batch_size=bench.config.generation.batch_size,
    )
    return [sample.ids == rests[sample.key] for sample in samples]


def _rates_of_both(
    bench: Workbench, tasks: Sequence[Task], store: RolloutStore, label: str
) -> dict[str, tuple[float, float]]:
    """pass@1 of each task under its own name and another; those whose renamed reference does not pass are left out."""
    others = {task.id: other for task in tasks if (other := renamed(task)) is not None and other.reference}
    verdicts = bench.grader.grade([other.request(other.reference) for other in others.values()])
    sound = [o for o, verdict in zip(others.values(), verdicts, strict=True) if verdict.status is Status.PASS]
    own = _rates(bench, list(tasks), store, label)
    new = _rates(bench, sound, store, f"{label}_renamed") if sound else {}
    return {task_id: (own[task_id], rate) for task_id, rate in new.items() if task_id in own}


def _rates(bench: Workbench, tasks: list[Task], store: RolloutStore, label: str) -> Rates:
    evaluation, rollouts = evaluate_with_progress(bench, tasks, label="eval", step=0)
    if is_main_process():
        store.append(label, 0, [r.with_(stage=label) for r in rollouts])
    return evaluation.pass_rates()
