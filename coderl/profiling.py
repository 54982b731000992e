"""Where does the time of a user's own run go? `coderl train --profile` writes it into the run folder.

profile/STAGE.txt: the parts of all steps with the setting that would help, and torch's table of operators for one step;
profile/STAGE.trace.json.gz: that step on a time line, for https://ui.perfetto.dev or chrome://tracing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from coderl.methods.base import Experience
from coderl.run_folder import atomic_write, make_directory
from coderl.step_time import PARTS

Step = tuple[Experience, dict[str, float]]
ROWS = 40  # of the table


def profiled(
    steps: Iterator[Step], folder: Path, label: str, *, skip: int, describe: Callable[[dict[str, float]], str]
) -> Iterator[Step]:
    """Pass the steps of a stage on; the one after `skip` others runs under torch's profiler.

    `describe` says in a line what the mean times of a step mean.
    """
    make_directory(folder)
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
    times: list[dict[str, float]] = []
    table = ""
    while True:
        if len(times) == skip:
            with profile(activities=activities) as found:
                step = next(steps, None)
            by = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
            table = found.key_averages().table(sort_by=by, row_limit=ROWS, max_name_column_width=48)
            found.export_chrome_trace(str(folder / f"{label}.trace.json.gz"))
        else:
            step = next(steps, None)
        if step is None:
            break
        times.append(step[1])
        _write(folder / f"{label}.txt", label, times, table, skip, describe)
        yield step


def _write(
    path: Path,
    label: str,
    times: list[dict[str, float]],
    table: str,
    at: int,
    describe: Callable[[dict[str, float]], str],
) -> None:
    names = [f"time/{name}" for name in (*PARTS, "step") if f"time/{name}" in times[-1]]
    means = {name: math.fsum(values[name] for values in times) / len(times) for name in names}
    lines = [f"{label}: {len(times)} steps, mean seconds of a step"]
    lines += [f"  {name.removeprefix('time/'):<10}{means[name]:10.4f}" for name in names]
    lines += [describe(means), "", f"operators of step {at + 1}:", table]
    atomic_write(path, "\n".join(lines).encode())
