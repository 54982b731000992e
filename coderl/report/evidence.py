"""What does a run folder say about its run? Everything the report shows, as records; also of a run that is going on."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from coderl.config import RunConfig
from coderl.errors import RunFolderError
from coderl.evaluate.passk import Difference, paired_difference, pass_at_k
from coderl.metrics import read_metrics
from coderl.rollout import Rollout
from coderl.run_folder import RunFolder
from coderl.store import RolloutStore, read_segment

SHOWN_STEPS = 3  # of each stage: samples of the first, middle and last step


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """One evaluation. `pass_at_k` holds (estimate, low, high); `scores` maps a task to (level, samples, passed)."""

    label: str
    step: int
    num_tasks: int
    pass_at_k: dict[int, tuple[float, float, float]]
    truncated: float
    scores: dict[str, tuple[int, int, int]]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """The metrics of one training stage; a value that was not finite is NaN."""

    label: str
    steps: list[int]
    values: dict[str, list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A rollout worth reading, and why; `stage` and `step` are those of the metrics."""

    stage: str
    step: int
    why: str
    rollout: Rollout


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
    evaluations: list[Evaluated]
    curves: list[Curves]
    samples: list[Sample]
    events: list[Event]
    isolation: list[str]
    damage: str  # "" or what could not be read

    @property
    def finished(self) -> bool:
        reached = [curve.label for curve in self.curves] + [found.label for found in self.evaluations]
        return f"{len(self.config.stages) - 1}_{self.config.stages[-1]}" in reached


def read_evidence(folder: RunFolder) -> Evidence:
    """Raises RunFolderError if the folder is not a run; damaged rollouts are reported inside."""
    records = read_metrics(folder)
    lines = [line for line in records if "values" in line]
    evaluations = [_evaluated(folder, line) for line in lines if "eval/num_tasks" in line["values"]]
    store = RolloutStore(folder.rollouts_dir)
    damage = ""
    try:
        samples = _samples(store)
    except RunFolderError as error:
        samples, damage = [], str(error)
    found = [e.isolation for e in evaluations] + [_isolation(sample.rollout) for sample in samples]
    return Evidence(
        config=folder.config(),
        versions=json.loads(folder.versions_path.read_text(encoding="utf-8")),
        evaluations=evaluations,
        curves=_curves([line for line in lines if "eval/num_tasks" not in line["values"]]),
        samples=samples,
        events=[
            Event(stage=line["stage"], step=line["step"], name=line["event"], message=line["message"])
            for line in records
            if "event" in line
        ],
        isolation=[text for text in dict.fromkeys(found) if text],
        damage=damage,
    )


def comparison(evaluations: list[Evaluated]) -> Comparison | None:
    """The last evaluation against the first that has tasks in common with it; None if there is none."""
    if not evaluations:
        return None
    after = evaluations[-1]
    for before in evaluations[:-1]:
        old, new = before.pass_rates(), after.pass_rates()
        common = [task_id for task_id in new if task_id in old]
        if common:
            pair = {t: old[t] for t in common}, {t: new[t] for t in common}
            means = [math.fsum(rates.values()) / len(common) for rates in pair]
            return Comparison(
                before=before,
                after=after,
                before_mean=means[0],
                after_mean=means[1],
                num_tasks=len(common),
                difference=paired_difference(*pair),
            )
    return None


def _evaluated(folder: RunFolder, line: dict[str, Any]) -> Evaluated:
    values: dict[str, float | None] = line["values"]
    path = folder.evals_dir / f"{line['stage']}_{line['step']:05d}.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        scores = {s["task_id"]: (s["level"], s["num_samples"], s["num_passed"]) for s in record.get("scores", [])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{path}: damaged ({' '.join(str(error).split())}); delete it to do without") from error
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


def _samples(store: RolloutStore) -> list[Sample]:
    """Of the first, middle and last step of each stage: the best and the worst scored rollout, if they differ."""
    samples = []
    segments = store.segments()
    for stage in dict.fromkeys(segment.stage for segment in segments):
        own = [segment for segment in segments if segment.stage == stage]
        chosen = sorted({round(i * (len(own) - 1) / (SHOWN_STEPS - 1)) for i in range(SHOWN_STEPS)})
        for segment in (own[i] for i in chosen):
            scored = [r for r in read_segment(segment.path) if not math.isnan(r.reward)]
            if not scored:
                continue
            best, worst = max(scored, key=lambda r: r.reward), min(scored, key=lambda r: r.reward)
            same = best.reward == worst.reward
            chosen_rollouts = {"all rewards": best} if same else {"highest reward": best, "lowest reward": worst}
            samples += [
                Sample(stage=segment.stage, step=segment.step, why=why, rollout=rollout)
                for why, rollout in chosen_rollouts.items()
            ]
    return samples


def _isolation(rollout: Rollout) -> str:
    if rollout.verdict is None:
        return ""
    isolation = rollout.verdict.isolation
    return f"{isolation.backend} ({', '.join(isolation.layers)})"


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
