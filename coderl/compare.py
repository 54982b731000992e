"""Which way of training gets further from the same start? Runs side by side, on the same tasks and sampling seeds.

A comparison is a YAML file: one config of the start and, by name, what each method adds to it. The start is trained once per
seed; every method goes on from its weights. What is finished is not run again, so an interrupted comparison goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from coderl import checkpoint
from coderl.config import RunConfig, parse
from coderl.config.run import SAMPLING
from coderl.errors import ConfigError, RunFolderError
from coderl.evaluate.passk import Difference, bootstrap_interval, paired_difference, pass_rates
from coderl.metrics import read_metrics
from coderl.run_folder import RunFolder
from coderl.store import RolloutStore, read_segment

TaskRates = dict[str, float]  # the expected pass rate of one sample (or of the chosen one), by task


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One row: a name, the changes to the config of the start, and which result of the last stage counts ("" for pass@1)."""

    name: str
    changes: dict[str, Any]
    result: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    name: str
    seeds: tuple[int, ...]
    start: dict[str, Any]
    methods: tuple[Method, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run reached, and what it took: seconds of all stages but evaluations, rollouts of training tasks."""

    rates: TaskRates
    seconds: float
    num_samples: int

    @property
    def mean(self) -> float:
        return sum(self.rates.values()) / len(self.rates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method over all seeds. The interval and the difference to the start resample problems, seeds averaged."""

    name: str
    per_seed: tuple[float, ...]
    low: float
    high: float
    difference: Difference | None
    p_value: float | None
    seconds: float  # mean over seeds
    num_samples: float

    @property
    def mean(self) -> float:
        return sum(self.per_seed) / len(self.per_seed)


def read_comparison(name_or_path: str) -> Comparison:
    """A file, or a shipped comparison by name. Raises ConfigError; every config in it has been validated then."""
    path = Path(name_or_path)
    if not path.is_file():
        path = Path(str(resources.files("configs"))) / "comparisons" / f"{name_or_path}.yaml"
    if not path.is_file():
        raise ConfigError(f"comparison {name_or_path!r}: no such file, and not a shipped comparison (methods)")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict) or set(raw) != {"seeds", "start", "methods"}:
        raise ConfigError(f"{path}: a comparison has the keys seeds, start and methods, and no others")
    methods = []
    for name, changes in raw["methods"].items():
        if not isinstance(changes, dict) or "stages" not in changes:
            raise ConfigError(f"{path}: methods.{name}: give at least its stages")
        settings = dict(changes)
        methods.append(Method(name=str(name), result=str(settings.pop("result", "")), changes=settings))
    comparison = Comparison(name=path.stem, seeds=tuple(raw["seeds"]), start=raw["start"], methods=tuple(methods))
    for method in comparison.methods:
        method_config(comparison, method, 0, Path("output"), model="new:")
    start_config(comparison, 0, Path("output"))
    return comparison


def start_config(comparison: Comparison, seed: int, output: Path) -> RunConfig:
    """The run that all methods of one seed go on from."""
    raw = {**comparison.start, "name": f"start-{seed}", "seed": seed, "output": str(output)}
    return parse(raw, origin=f"comparison {comparison.name}, start")


def method_config(comparison: Comparison, method: Method, seed: int, output: Path, *, model: str) -> RunConfig:
    """The run of one method and seed, from the weights at `model`."""
    raw = merged(comparison.start, method.changes)
    raw = merged(raw, {"policy": {"model": model}})
    raw |= {"name": f"{method.name}-{seed}", "seed": seed, "output": str(output)}
    return parse(raw, origin=f"comparison {comparison.name}, {method.name}")


def carry_out(
    comparison: Comparison, output: Path, run: Callable[..., Any], tell: Callable[[str], None] = lambda line: None
) -> list[Row]:
    """Make every run that is not finished with `run(config, folder, resume=...)`, and return the table."""
    outcomes: dict[str, list[Outcome]] = {}
    for seed in comparison.seeds:
        start = _finished(start_config(comparison, seed, output), run, tell)
        outcomes.setdefault("start", []).append(outcome(start))
        for method in comparison.methods:
            settings = method_config(comparison, method, seed, output, model=str(start.last_model()))
            folder = _finished(settings, run, tell)
            outcomes.setdefault(method.name, []).append(outcome(folder, method.result))
    return rows(outcomes)


def rows(outcomes: dict[str, list[Outcome]]) -> list[Row]:
    """One row per name; differences are to the first. Tasks that not all runs have are left out. Raises RunFolderError."""
    shared = set.intersection(*(set(o.rates) for found in outcomes.values() for o in found))
    if not shared:
        raise RunFolderError("the runs have no test task in common: evaluate them on the same tasks.test")
    first: TaskRates | None = None
    table = []
    for name, found in outcomes.items():
        rates = {task: sum(o.rates[task] for o in found) / len(found) for task in sorted(shared)}
        low, high = bootstrap_interval(list(rates.values()))
        table.append(
            Row(
                name=name,
                per_seed=tuple(sum(o.rates[t] for t in shared) / len(shared) for o in found),
                low=low,
                high=high,
                difference=None if first is None else paired_difference(first, rates),
                p_value=None if first is None else sign_flip_p_value([rates[t] - first[t] for t in sorted(shared)]),
                seconds=sum(o.seconds for o in found) / len(found),
                num_samples=sum(o.num_samples for o in found) / len(found),
            )
        )
        first = first or rates
    return table


def outcome(folder: RunFolder, result: str = "") -> Outcome:
    """What a run's last evaluation says, or (result such as "reward_model@8") its last best of N. Raises RunFolderError."""
    stages = folder.config().stages
    name = "best_of_n" if result else "eval"
    last = max((i for i, stage in enumerate(stages) if stage == name), default=None)
    if last is None:
        raise RunFolderError(f"run folder {folder.path}: has no stage {name} to compare by")
    path = folder.evals_dir / (f"{last}_best_of_n.json" if result else f"{last}_eval_00000.json")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}): has the run ended?"
        ) from error
    if result:
        by, _, n = result.partition("@")
        found = [c for c in record["choices"] if c["by"] == by and str(c["n"]) == n]
        if not found:
            raise RunFolderError(
                f"{path}: holds no choice {result!r}; choices are BY@N of best_of_n.by and best_of_n.n"
            )
        rates = dict(found[0]["per_task"])
    else:
        rates = pass_rates(record["scores"])
    lines = [line for line in read_metrics(folder) if "values" in line and not line["stage"].endswith("_eval")]
    seconds = sum(line["values"].get("time/step") or 0.0 for line in lines)
    segments = RolloutStore(folder.rollouts_dir).segments()
    sampled = sum(len(read_segment(s.path)) for s in segments if s.stage.partition("_")[2] in SAMPLING)
    return Outcome(rates=rates, seconds=seconds, num_samples=sampled)


def sign_flip_p_value(differences: Sequence[float], *, num_flips: int = 10_000, seed: int = 0) -> float:
    """Two-sided paired permutation test of a mean of 0 (Fisher 1935): the share of random sign flips at least as extreme."""
    values = np.asarray(differences, dtype=np.float64)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(num_flips, len(values)))
    extreme = np.abs(signs @ values) >= abs(values.sum()) - 1e-12
    return float((extreme.sum() + 1) / (num_flips + 1))


def markdown(table: Sequence[Row]) -> str:
    """The table for a document."""
    several = len(table[0].per_seed) > 1
    head = ["method", *(["mean", "95 % interval", "each seed"] if several else ["95 % interval", "pass@1"])]
    head += ["gain (95 % interval)", "p", "samples", "minutes"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in table:
        gain, p = "", ""
        if row.difference is not None and row.p_value is not None:
            d = row.difference
            gain, p = f"{d.estimate:+.3f} ({d.low:+.3f} to {d.high:+.3f})", f"{row.p_value:.4f}"
        each = ", ".join(f"{rate:.3f}" for rate in row.per_seed)
        mean = f" {row.mean:.3f} |" if several else ""
        lines.append(
            f"| {row.name} |{mean} {row.low:.3f}-{row.high:.3f} | {each} | {gain} | {p} | {row.num_samples:,.0f} | "
            f"{row.seconds / 60:.1f} |"
        )
    return "\n".join(lines) + "\n"


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with the sections of `changes` merged in, level by level.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _finished(config: RunConfig, run: Callable[..., Any], tell: Callable[[str], None]) -> RunFolder:
    path = Path(config.output) / config.name
    if path.exists():
        folder = RunFolder.resume(config)
        done = checkpoint.positions(folder.checkpoints_dir)
        if not done or done[-1].stage < len(config.stages):
            tell(f"{path}: goes on")
            run(config, folder, resume=True)
    else:
        tell(f"{path}: starts")
        folder = RunFolder.create(config)
        run(config, folder, resume=False)
    folder.unlock()
    return folder
