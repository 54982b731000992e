"""Parts of the reward that the user wrote: functions in Python files.

    reward: {functions: {"my_rewards.py:brief": 0.1}}     # adds 0.1 times what it returns, as the part `brief`

    def brief(*, task, completion, program, verdict): return -len(program) / 1000

A function gets the `tasks.Task`, the texts of the completion and of the program in it, and the `sandbox.Verdict` on all
cases; not the samples that nobody could grade. It is trusted as the trainer is, in whose processes it is called: what runs
programs is the sandbox.
"""

from __future__ import annotations

import functools
import math
import traceback
from collections.abc import Callable, Iterable, Mapping
from importlib import util
from pathlib import Path
from typing import Any

from coderl.errors import ConfigError
from coderl.run_folder import RunFolder, atomic_write, is_main_process, make_directory
from sandbox.verdict import Verdict
from tasks.task import Task

WHERE = "reward.functions"


def part_of(spec: str) -> str:
    """The name of the part, which is that of the function."""
    return spec.rpartition(":")[2]


def own_parts(
    weights: Mapping[str, float], *, task: Task, completion: str, program: str, verdict: Verdict
) -> dict[str, float]:
    """Weight times value of each function. Raises ConfigError for one that fails, or returns no finite number."""
    given = {"task": task, "completion": completion, "program": program, "verdict": verdict}
    return {part_of(spec): weight * _value(spec, given) for spec, weight in weights.items()}


def keep_sources(weights: Iterable[str], folder: RunFolder | None) -> None:
    """Load all functions, and keep their files in the run folder. Raises ConfigError.

    A resumed run is that of the files it began with, or refused.
    """
    for spec in weights:
        path = _loaded(spec)[1]
        if folder is None or not is_main_process():
            continue
        kept = folder.path / "reward_functions" / f"{part_of(spec)}.py"
        if not kept.exists():
            make_directory(kept.parent)
            atomic_write(kept, path.read_bytes())
        elif kept.read_bytes() != path.read_bytes():
            raise ConfigError(
                f"{WHERE}: {path} has changed since the run began: go back to {kept}, or delete that to go on with the new one"
            )


def _value(spec: str, given: dict[str, Any]) -> float:
    function, path = _loaded(spec)
    try:
        value = function(**given)
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        raise ConfigError(f"{WHERE}: {_fault(spec, error, lines)}: correct it") from error
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{WHERE}: {spec} returned {value!r} for task {given['task'].id}: return a finite number")
    return float(value)


@functools.cache
def _loaded(spec: str) -> tuple[Callable[..., Any], Path]:
    name, _, attribute = spec.rpartition(":")
    path = Path(name).absolute()
    if not path.is_file():
        raise ConfigError(f"{WHERE}: {name}: no such file (looked for {path}): correct the path")
    found = util.spec_from_file_location(f"coderl_reward_{path.stem}", path)
    assert found is not None and found.loader is not None  # it ends in .py
    module = util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"{WHERE}: {_fault(name, error, [])}: correct it") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        raise ConfigError(f"{WHERE}: {name} has no function {attribute}: define it, or correct the name")
    return function, path


def _fault(what: str, error: Exception, lines: list[int | None]) -> str:
    line = f" line {lines[-1]}:" if lines else ""
    return f"{what}:{line} {' '.join(f'{type(error).__name__}: {error}'.split())}"
