"""Does this run, killed and resumed, end as if nothing had happened? Two short copies of it, compared bit for bit.

One copy goes straight through. The other is ended by SIGKILL as soon as it has logged a number of lines, at a moment that
nothing in it knows of, and resumed, as often as asked. Then all metrics but times, and all weights at the end, are compared.
Both are processes of their own: what ran before in a process decides where tensors lie, and so how sums round.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from coderl import checkpoint
from coderl.config import RunConfig, StageConfig, parse
from coderl.errors import CoderlError
from coderl.metrics import read_metrics
from coderl.run_folder import RunFolder

PATIENCE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was compared; `differences` is empty if the two runs are the same."""

    num_lines: int
    num_tensors: int
    killed_after: list[int]  # lines of metrics, for each kill
    differences: list[str]


def verify_resume(config: RunConfig, folder: Path, *, steps: int, kills: int, seed: int = 0) -> Verified:
    """Run `config` twice in `folder`, its training stages cut to `steps` steps. Raises CoderlError if a run fails."""
    raw = config.model_dump(mode="json")
    for stage in config.stages:
        section = getattr(config, stage)
        if isinstance(section, StageConfig):
            raw[stage] |= {"steps": min(steps, section.steps), "checkpoint_every": max(1, steps // 3)}
    raw["trackers"] = []
    paths = {}
    for name in ("straight", "killed"):
        settings = parse({**raw, "name": name, "output": str(folder)})
        paths[name] = folder / f"{name}.yaml"
        paths[name].write_text(yaml.safe_dump(settings.model_dump(mode="json")), encoding="utf-8")
    _finish(_start(paths["straight"]))
    straight, killed = RunFolder.open(folder / "straight"), RunFolder(folder / "killed")
    expected = metrics_without_times(straight)
    moments = sorted(random.Random(seed).choices(range(1, max(2, len(expected))), k=kills))
    resume = False
    for lines in moments:
        process = _start(paths["killed"], resume=resume)
        _kill_after(process, killed.metrics_path, lines)
        resume = (killed.path / "versions.json").exists()
    _finish(_start(paths["killed"], resume=resume))
    found = metrics_without_times(RunFolder.open(killed.path))
    weights = [_last_weights(run) for run in (straight, killed)]
    return Verified(
        num_lines=len(expected),
        num_tensors=len(weights[0]),
        killed_after=moments,
        differences=_differences(expected, found)
        + [f"weights {name}" for name, value in weights[0].items() if not torch.equal(value, weights[1][name])],
    )


def metrics_without_times(folder: RunFolder) -> list[dict[str, Any]]:
    """The records of metrics.jsonl without what depends on the clock."""
    records = []
    for record in read_metrics(folder):
        values = record.get("values", {})
        kept = {name: value for name, value in values.items() if not name.startswith("time/")}
        records.append({**record, "values": kept})
    return records


def _start(path: Path, *, resume: bool = False) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "coderl", "train", str(path), *(["--resume"] if resume else [])]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def _finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    if process.returncode:
        last = (errors.strip().splitlines() or ["no message"])[-1]
        raise CoderlError(f"verify-resume: a run ended with exit code {process.returncode}: {last}")


def _kill_after(process: subprocess.Popen[str], metrics: Path, lines: int) -> None:
    """SIGKILL once the file has that many lines; a run that ends before is let go."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if metrics.exists() and metrics.read_bytes().count(b"\n") >= lines:
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.002)
    process.communicate()


def _last_weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    state = checkpoint.load(folder.checkpoints_dir, checkpoint.positions(folder.checkpoints_dir)[-1])
    return {f"{part}/{name}": value for part, own in state["weights"].items() for name, value in own.items()}


def _differences(expected: list[dict[str, Any]], found: list[dict[str, Any]]) -> list[str]:
    different = []
    if len(expected) != len(found):
        different.append(f"{len(expected)} lines of metrics straight through, {len(found)} when resumed")
    for one, other in zip(expected, found, strict=False):
        where = f"{one['stage']} step {one['step']}"
        names = [n for n in {**one["values"], **other["values"]} if one["values"].get(n) != other["values"].get(n)]
        different += [f"{where}: {n} {one['values'].get(n)!r} and {other['values'].get(n)!r}" for n in names]
        if {**one, "values": None} != {**other, "values": None}:
            different.append(f"{where}: another record")
    return different
