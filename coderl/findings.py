"""What do the stored samples and metrics of runs say of harm and of over-optimisation? Reads run folders, writes JSON and SVG.

Nothing is sampled: every number comes from what the run has left, and is written to RUN/evals/tradeoff.json and
RUN/evals/overoptimisation.json, with the picture beside it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from coderl.config.run import ONLINE
from coderl.errors import RunFolderError
from coderl.evaluate import harmless, overoptimisation
from coderl.evaluate.overoptimisation import Curve
from coderl.evaluate.plots import plot_overoptimisation, plot_tradeoff
from coderl.metrics import read_metrics
from coderl.run_folder import RunFolder, atomic_write, json_bytes, make_directory
from coderl.store import RolloutStore, Segment, read_segment
from sandbox import Status

BINS = 8  # points of a stage that trains


def tradeoff(runs: Sequence[Path], out: Path | None) -> tuple[tuple[harmless.Path, ...], Path]:
    """Pass rate and dangerous-code rate of runs over training, and the file written. Raises RunFolderError."""
    folders = [RunFolder.open(run) for run in runs]
    paths = harmless.front([_path(folder) for folder in folders])
    file = out or _evals(folders[0]) / "tradeoff.json"
    told = [line for path in paths for line in path.told()]
    atomic_write(file, json_bytes({"told": told, "paths": [asdict(path) for path in paths]}))
    plot_tradeoff(paths, file.with_suffix(".svg"))
    return paths, file


def over_optimisation(sources: Sequence[Path], out: Path | None) -> tuple[list[Curve], Path]:
    """Proxy against gold of runs and of files that `coderl sample --best-of` wrote. Raises RunFolderError."""
    curves: list[Curve | None] = []
    for source in sources:
        if source.is_dir():
            curves += _curves_of(RunFolder.open(source))
        else:
            curves.append(overoptimisation.best_of_n_curve(source.stem, _choices(source)))
    known = [curve for curve in curves if curve is not None]
    if not known:
        raise RunFolderError(
            f"{', '.join(map(str, sources))}: no RL stage with reward.learned, and no choices by reward_model with scores: "
            "train one, or write a file with `coderl sample RUN --best-of 16 --by reward_model`"
        )
    if out is None:
        directory = _evals(RunFolder.open(sources[0])) if sources[0].is_dir() else sources[0].parent
        out = directory / "overoptimisation.json"
    told = [line for curve in known for line in curve.told()]
    atomic_write(out, json_bytes({"told": told, "curves": [asdict(curve) for curve in known]}))
    plot_overoptimisation(known, out.with_suffix(".svg"))
    return known, out


def _path(folder: RunFolder) -> harmless.Path:
    store = RolloutStore(folder.rollouts_dir)
    points: list[harmless.Point] = []
    segments = store.segments()
    for stage in dict.fromkeys(segment.stage for segment in segments):
        own = [segment for segment in segments if segment.stage == stage]
        count = BINS if stage.partition("_")[2] in ONLINE else 1
        for at in np.array_split(np.arange(len(own)), min(count, len(own))):
            points += _point([own[i] for i in at.tolist()])
    if not points:
        raise RunFolderError(f"run folder {folder.path}: holds no scored samples: let a stage sample some first")
    return harmless.Path(name=folder.path.name, points=tuple(points))


def _point(segments: Sequence[Segment]) -> list[harmless.Point]:
    samples = []
    for rollout in (r for segment in segments for r in read_segment(segment.path)):
        status = Status.UNSCORABLE if rollout.verdict is None else rollout.verdict.status
        passed = None if status is Status.UNSCORABLE else status is Status.PASS
        samples.append(harmless.judge(rollout.task_id, rollout.program, passed))
    if all(sample.passed is None for sample in samples):
        return []
    return [harmless.point(segments[-1].stage, segments[-1].step, samples)]


def _curves_of(folder: RunFolder) -> list[Curve | None]:
    lines = [line for line in read_metrics(folder) if "values" in line]
    name = folder.path.name
    stages = dict.fromkeys(line["stage"] for line in lines)
    curves = [
        overoptimisation.rl_curve(f"{name} {stage}", [line for line in lines if line["stage"] == stage])
        for stage in stages
        if stage.partition("_")[2] in ONLINE
    ]
    for file in sorted(folder.evals_dir.glob("*best_of*.json")):
        curves.append(overoptimisation.best_of_n_curve(f"{name} {file.stem}", _choices(file)))
    return curves


def _choices(file: Path) -> list[dict[str, object]]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))["choices"]
        if not all({"by", "n", "pass_rate", "per_task"} <= choice.keys() for choice in found):
            raise ValueError("a choice lacks a field")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(
            f"{file}: no choices of `coderl sample --best-of` ({' '.join(str(error).split())}): name a run or such a file"
        ) from error
    return list(found)


def _evals(folder: RunFolder) -> Path:
    make_directory(folder.evals_dir)
    return folder.evals_dir
