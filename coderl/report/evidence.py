"""What does a run folder say about its run? Everything the report shows, as records; also of a run that is going on."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coderl.config import RunConfig
from coderl.errors import CoderlError, RunFolderError
from coderl.evaluate.passk import Difference, paired_difference, pass_at_k
from coderl.metrics import read_metrics
from coderl.report.difficulty import TaskChange, TaskGroup, task_changes, task_groups
from coderl.report.further import Further, read_further
from coderl.report.samples import Sample, chosen_samples, with_tasks
from coderl.rollout import Rollout
from coderl.run_folder import RunFolder
from coderl.store import RolloutStore
from tasks.errors import TaskError
from tasks.registry import load as load_tasks
from tasks.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """One evaluation. `pass_at_k` holds (estimate, low, high); `scores` maps a task to (level, samples, passed)."""

    label: str
    step: int
    num_tasks: int
    pass_at_k: dict[int, tuple[float, float, float]]
    truncated: float
    scores: dict[str, tuple[int, int, int]]
    verdicts: dict[str, int]  # how many samples ended how
    isolation: str
    temperature: float

    @property
    def title(self) -> str:
        return f"{self.label} step {self.step}" if self.step else self.label

    def pass_rates(self) -> dict[str, float]:
        """pass@1 of each task that has a scorable sample."""
        return {task_id: pass_at_k(n, c, 1) for task_id, (_, n, c) in self.scores.items() if n}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two evaluations on the tasks that both have; the means are of pass@1."""

    before: Evaluated
    after: Evaluated
    before_mean: float
    after_mean: float
    num_tasks: int
    difference: Difference
    changes: list[TaskChange]
    groups: list[TaskGroup]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """The metrics of one training stage; a value that was not finite is NaN."""

    label: str
    steps: list[int]
    values: dict[str, list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Of one stage best_of_n: the pass rate of one way to choose among n samples, with its interval."""

    by: str
    n: int
    pass_rate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a run and that a person should know of."""

    stage: str
    step: int
    name: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A run, as far as it got."""

    config: RunConfig
    versions: dict[str, Any]
    further: list[Further]
    evaluations: list[Evaluated]
    curves: list[Curves]
    choices: dict[str, list[Choice]]  # by stage
    samples: list[Sample]
    events: list[Event]
    isolation: list[str]
    labels: str  # what people said of its programs, in lines; "" where nobody was asked
    tasks: Mapping[str, Task]  # those that could be loaded, by id
    damage: str  # "" or what could not be read
    without_tasks: str  # "" or why the tests of some tasks are not shown

    @property
    def finished(self) -> bool:
        reached = [curve.label for curve in self.curves] + [found.label for found in self.evaluations]
        return f"{len(self.config.stages) - 1}_{self.config.stages[-1]}" in reached


def read_evidence(folder: RunFolder, *, tasks: Sequence[Task] | None = None) -> Evidence:
    """`tasks` are those of the run, where they are at hand; else its sources are loaded again.

    Raises RunFolderError if the folder is not a run; damaged rollouts are reported inside.
    """
    records = read_metrics(folder)
    config = folder.config()
    lines = [line for line in records if "values" in line]
    evaluations = [_evaluated(folder, line) for line in lines if "eval/num_tasks" in line["values"]]
    store = RolloutStore(folder.rollouts_dir)
    damage = ""
    try:
        samples = chosen_samples(store)
    except RunFolderError as error:
        samples, damage = [], str(error)
    needed = {s.rollout.task_id for s in samples} | {t for e in evaluations for t in e.scores}
    known, without_tasks = _tasks_by_id(config, needed) if tasks is None else ({t.id: t for t in tasks}, "")
    labels, disagreement = _labels(folder)
    found = [e.isolation for e in evaluations] + [_isolation(sample.rollout) for sample in samples]
    return Evidence(
        config=config,
        versions=json.loads(folder.versions_path.read_text(encoding="utf-8")),
        further=read_further(folder),
        evaluations=evaluations,
        curves=_curves([line for line in lines if "eval/num_tasks" not in line["values"]]),
        choices=_choices(folder),
        samples=with_tasks(samples, known),
        events=[
            Event(stage=line["stage"], step=line["step"], name=line["event"], message=line["message"])
            for line in records
            if "event" in line
        ]
        + _hangs(folder)
        + [Event(stage="", step=0, name="annotators_disagree", message=line) for line in [disagreement] if line],
        isolation=[text for text in dict.fromkeys(found) if text],
        labels=labels,
        tasks=known,
        damage=damage,
        without_tasks=without_tasks,
    )


def comparison(evaluations: list[Evaluated], tasks: Mapping[str, Task] | None = None) -> Comparison | None:
    """The last evaluation against the first that has tasks in common with it; None if there is none.

    `tasks` know the tags that group them.
    """
    if not evaluations:
        return None
    after = evaluations[-1]
    for before in evaluations[:-1]:
        old, new = before.pass_rates(), after.pass_rates()
        common = [task_id for task_id in new if task_id in old]
        if common:
            pair = {t: old[t] for t in common}, {t: new[t] for t in common}
            changes = task_changes(before.scores, after.scores)
            means = [math.fsum(rates.values()) / len(common) for rates in pair]
            return Comparison(
                before=before,
                after=after,
                before_mean=means[0],
                after_mean=means[1],
                num_tasks=len(common),
                difference=paired_difference(*pair),
                changes=changes,
                groups=task_groups(changes, tasks or {}),
            )
    return None


def _evaluated(folder: RunFolder, line: dict[str, Any]) -> Evaluated:
    values: dict[str, float | None] = line["values"]
    path = folder.evals_dir / f"{line['stage']}_{line['step']:05d}.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        scores = {s["task_id"]: (s["level"], s["num_samples"], s["num_passed"]) for s in record.get("scores", [])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
    names = [n.removeprefix("eval/pass@") for n in values if n.startswith("eval/pass@")]
    return Evaluated(
        label=line["stage"],
        step=line["step"],
        num_tasks=int(_number(values["eval/num_tasks"])),
        pass_at_k={
            int(k): (
                _number(values[f"eval/pass@{k}"]),
                _number(values.get(f"eval/pass@{k}_low")),
                _number(values.get(f"eval/pass@{k}_high")),
            )
            for k in names
            if k.isdigit()
        },
        truncated=_number(values.get("eval/truncated")),
        scores=scores,
        verdicts=record.get("verdicts", {}),
        isolation=record.get("isolation", ""),
        temperature=_number(record.get("temperature")),
    )


def _curves(lines: list[dict[str, Any]]) -> list[Curves]:
    curves = []
    for label in dict.fromkeys(line["stage"] for line in lines):
        own = [line for line in lines if line["stage"] == label]
        names = dict.fromkeys(name for line in own for name in line["values"])
        values = {name: [_number(line["values"].get(name)) for line in own] for name in names}
        curves.append(Curves(label=label, steps=[line["step"] for line in own], values=values))
    return curves


def _choices(folder: RunFolder) -> dict[str, list[Choice]]:
    found = {}
    for path in sorted(folder.evals_dir.glob("*_best_of_n.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            found[path.stem] = [
                Choice(by=c["by"], n=c["n"], pass_rate=c["pass_rate"], low=c["low"], high=c["high"])
                for c in record["choices"]
            ]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(path, error) from error
    return found


def _hangs(folder: RunFolder) -> list[Event]:
    """What the watchdog has written: its first line says where nothing moved."""
    path = folder.path / "hang.txt"
    if not path.exists():
        return []
    with open(path, encoding="utf-8", errors="replace") as file:
        where = file.readline().strip()[:200]
    patience = f"{folder.config().watchdog_seconds:g} s"
    return [Event(stage="", step=0, name="hang", message=f"nothing moved for {patience} in {where}; see {path.name}")]


def _labels(folder: RunFolder) -> tuple[str, str]:
    """What people said, and one line if they do not agree."""
    path = folder.path / "labels.sqlite"
    if not path.exists():
        return "", ""
    try:
        from coderl.label.store import LabelStore
        from coderl.label.summary import disagreement, summary
    except ImportError as error:
        return f"{path.name} is there, but not read: {error.name} is missing (install the extra `label`)", ""
    store = LabelStore(f"sqlite:///{path}")
    try:
        return summary(store), disagreement(store.answers())
    except CoderlError as error:
        return str(error), ""
    finally:
        store.close()


def _tasks_by_id(config: RunConfig, needed: set[str]) -> tuple[dict[str, Task], str]:
    """Those of `needed` that the sources of the run still give, and why others are missing."""
    found: dict[str, Task] = {}
    fault = ""
    for spec in dict.fromkeys([*config.tasks.test, *config.tasks.train, *config.tasks.sft]):
        if needed <= found.keys():
            break
        try:
            found |= {task.id: task for task in _loaded(spec) if task.id in needed}
        except TaskError as error:
            fault = f"{spec}: {' '.join(str(error).split())}"
    return found, fault


@functools.lru_cache(maxsize=8)
def _loaded(spec: str) -> list[Task]:
    """A page that renews itself asks again and again."""
    return load_tasks(spec)


def _damaged(path: Path, error: Exception) -> RunFolderError:
    return RunFolderError(f"{path}: damaged ({' '.join(str(error).split())}); delete it to do without")


def _isolation(rollout: Rollout) -> str:
    if rollout.verdict is None:
        return ""
    isolation = rollout.verdict.isolation
    return f"{isolation.backend} ({', '.join(isolation.layers)})"


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
