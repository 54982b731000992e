"""The stage `best_of_n`: choose among N samples of each test task without looking at its hidden tests, then count what passes.

visible        the sample that passes most visible cases, ties at random
reward_model   the sample with the highest learned score
agreement      a sample of the largest group whose outputs agree on the visible inputs and on changed ones (majority by
               execution, Li et al. 2022, arXiv:2203.07814, 4.5); expected values are never looked at
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from coderl.collect import collect
from coderl.config import BestOfNConfig
from coderl.errors import ConfigError
from coderl.evaluate.passk import bootstrap_interval
from coderl.evaluate.passrate import gather_shares
from coderl.inputs import case_without_answer, changed_cases
from coderl.metrics import Progress
from coderl.rollout import Rollout
from coderl.run_folder import atomic_write, json_bytes, make_directory
from coderl.seeds import derive
from coderl.selection import expected_agreed, expected_best
from coderl.workbench import Workbench
from sandbox import Outcome, Status
from tasks.task import Task

Answer = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One way to choose at one N: the expected pass rate, its 95 % interval over problems, and the value of each problem.

    `score` is the expected score of the chosen sample by what chooses it: a proxy of the pass rate; None where there is none.
    """

    by: str
    n: int
    pass_rate: float
    low: float
    high: float
    per_task: dict[str, float]
    score: float | None = None


def best_of_n(bench: Workbench, label: str) -> dict[str, float]:
    """Sample the test tasks, choose, write evals/STAGE.json; returns best_of_n/BY@N, with intervals."""
    assert bench.folder is not None
    choices, rollouts = choose(bench, bench.config.best_of_n, label)
    if bench.accelerator.is_main_process:
        bench.store.append(label, 0, rollouts)
        make_directory(bench.folder.evals_dir)
        atomic_write(bench.folder.evals_dir / f"{label}.json", to_json(choices))
    return choice_metrics(choices)


def choose(bench: Workbench, config: BestOfNConfig, label: str) -> tuple[list[Choice], list[Rollout]]:
    """All choices for every n, the oracle and a random sample among them, and the samples."""
    tasks = bench.test_tasks[: config.limit]
    rollouts = _samples(bench, config, tasks, label)
    by_task: dict[str, list[Rollout]] = {task.id: [] for task in tasks}
    for rollout in rollouts:
        if rollout.verdict is not None and rollout.verdict.status is not Status.UNSCORABLE:
            by_task[rollout.task_id].append(rollout)
    known = [task for task in tasks if len(by_task[task.id]) >= max(config.n)]
    if not known:
        raise ConfigError(f"{label}: no task has {max(config.n)} scorable samples: raise best_of_n.samples_per_task")
    passed = {t.id: [float(_passed(r)) for r in by_task[t.id]] for t in known}
    scores = {by: _scores(bench, by, known, by_task) for by in config.by if by != "agreement"}
    answers = _answers(bench, config, known, by_task) if "agreement" in config.by else {}
    choices = []
    for n in sorted(set(config.n)):
        values = {"random": {t.id: sum(passed[t.id]) / len(passed[t.id]) for t in known}}
        values["oracle"] = {t.id: expected_best(passed[t.id], passed[t.id], n) for t in known}
        for name, own in scores.items():
            values[name] = {t.id: expected_best(own[t.id], passed[t.id], n) for t in known}
        if answers:
            seed = bench.config.seed
            values["agreement"] = {
                t.id: expected_agreed(answers[t.id], passed[t.id], n, seed=derive(seed, "agreement", t.id))
                for t in known
            }
        proxies: dict[str, float] = {
            by: sum(expected_best(s, s, n) for s in own.values()) / len(own) for by, own in scores.items()
        }
        for by, per_task in values.items():
            choice = _choice(by, n, per_task, config.bootstrap, bench.config.seed)
            choices.append(replace(choice, score=proxies.get(by)))
    return choices, rollouts


def choice_metrics(choices: Sequence[Choice]) -> dict[str, float]:
    values: dict[str, float] = {}
    for choice in choices:
        name = f"best_of_n/{choice.by}@{choice.n}"
        values |= {name: choice.pass_rate, f"{name}_low": choice.low, f"{name}_high": choice.high}
    return values


def to_json(choices: Sequence[Choice]) -> bytes:
    return json_bytes({"choices": [asdict(choice) for choice in choices]})


def _samples(bench: Workbench, config: BestOfNConfig, tasks: list[Task], label: str) -> list[Rollout]:
    per_chunk = max(1, 2 * bench.config.generation.batch_size // config.samples_per_task)
    rollouts: list[Rollout] = []
    with Progress(total=len(tasks), description=label) as progress:
        for start in range(0, len(tasks), per_chunk):
            collected = collect(
                bench,
                bench.share(tasks[start : start + per_chunk]),
                samples_per_task=config.samples_per_task,
                stage="best_of_n",
                step=0,
                temperature=config.temperature,
                max_new_tokens=bench.config.generation.max_new_tokens,
                stop_early=False,
            )
            found = gather_shares(bench, collected.rollouts, config.samples_per_task)
            rollouts += [r.with_(stage=label) for r in found]
            progress.update(min(start + per_chunk, len(tasks)), {})
    return rollouts


def _scores(
    bench: Workbench, by: str, tasks: Sequence[Task], by_task: dict[str, list[Rollout]]
) -> dict[str, list[float]]:
    visible = {t.id: [_visible_share(r, len(t.visible)) for r in by_task[t.id]] for t in tasks}
    if by == "visible":
        return visible
    if bench.learned is None:
        raise ConfigError("best_of_n.by: no reward model: put reward_model before it, or set reward.learned.model")
    rollouts = [r for t in tasks for r in by_task[t.id]]
    values = iter(bench.learned.scores(rollouts)[0])
    learned = {t.id: [next(values) for _ in by_task[t.id]] for t in tasks}
    if by == "reward_model":
        return learned
    ranks = {t.id: {z: i for i, z in enumerate(sorted(set(learned[t.id])))} for t in tasks}
    return {t.id: [v + 1e-6 * ranks[t.id][z] for v, z in zip(visible[t.id], learned[t.id], strict=True)] for t in tasks}


def _answers(
    bench: Workbench, config: BestOfNConfig, tasks: Sequence[Task], by_task: dict[str, list[Rollout]]
) -> dict[str, list[Answer | None]]:
    """What each program gives back on the visible and the changed inputs, as digests; None for one that does not run."""
    requests, keys = [], []
    for task in tasks:
        bare = (case_without_answer(case) for case in task.visible)
        inputs = tuple(case for case in bare if case is not None)
        inputs += changed_cases(task.visible, config.inputs, seed=derive(bench.config.seed, "inputs", task.id))
        for program in dict.fromkeys(r.program for r in by_task[task.id]):
            request = task.request(program, cases=inputs or task.visible)
            requests.append(replace(request, checker=None) if inputs else request)
            keys.append((task.id, program))
    verdicts = dict(zip(keys, bench.grader.grade(requests), strict=True))
    found: dict[str, list[Answer | None]] = {}
    for task in tasks:
        found[task.id] = []
        for rollout in by_task[task.id]:
            cases = verdicts[task.id, rollout.program].cases
            ran = any(case.outcome in (Outcome.AC, Outcome.WA, Outcome.PA) for case in cases)
            answer = tuple(case.output_digest or str(case.outcome) for case in cases)
            found[task.id].append(answer if ran else None)
    return found


def _choice(by: str, n: int, per_task: dict[str, float], bootstrap: int, seed: int) -> Choice:
    values = list(per_task.values())
    low, high = bootstrap_interval(values, num_resamples=bootstrap, seed=seed)
    return Choice(by=by, n=n, pass_rate=sum(values) / len(values), low=low, high=high, per_task=per_task)


def _visible_share(rollout: Rollout, num_visible: int) -> float:
    assert rollout.verdict is not None
    cases = rollout.verdict.cases[:num_visible]
    return sum(case.outcome is Outcome.AC for case in cases) / len(cases) if cases else 0.0


def _passed(rollout: Rollout) -> bool:
    return rollout.verdict is not None and rollout.verdict.status is Status.PASS
