"""What happened, step by step? One JSON line per step or event, mirrored to trackers, with live progress on the terminal.

    {"stage": "1_grpo", "step": 12, "values": {"rollout/reward": 0.5, "time/generate": 3.1}}
    {"stage": "1_grpo", "step": 12, "event": "resumed", "message": "..."}

Floats are written exactly, NaN as null; names that begin with time/ depend on the clock, all others on config and seed.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from types import TracebackType
from typing import IO, Any, Self

from coderl.errors import MissingExtra
from coderl.run_folder import RunFolder, explain

LIVE = ("rollout/reward", "rollout/pass_rate", "loss", "policy/ref_kl", "eval/pass@1")  # shown while training


class Metrics:
    """The metrics file of a run, and the trackers that mirror it. A context manager."""

    def __init__(self, folder: RunFolder, *, trackers: list[str], run_name: str) -> None:
        self._path = folder.metrics_path
        self._trackers = [_tracker(name, folder, run_name) for name in trackers]
        self._file: IO[bytes] = open(self._path, "ab")  # noqa: SIM115 - closed by __exit__
        self.num_lines = self._heal()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        for tracker in self._trackers:
            tracker.finish()

    def log(self, stage: str, step: int, values: dict[str, float]) -> None:
        """Append the metrics of one step."""
        clean = {name: (None if math.isnan(value) else value) for name, value in values.items()}
        self._append({"stage": stage, "step": step, "values": clean})
        for tracker in self._trackers:
            tracker.log(stage, step, {name: value for name, value in clean.items() if value is not None})

    def event(self, stage: str, step: int, name: str, message: str, **data: Any) -> None:
        """Append something a person should know of."""
        self._append({"stage": stage, "step": step, "event": name, "message": message, **data})

    def truncate_to(self, num_lines: int) -> None:
        """Forget the lines after the first `num_lines`: what a killed run wrote after its checkpoint."""
        lines = self._path.read_bytes().splitlines(keepends=True)[:num_lines]
        self._file.truncate(sum(map(len, lines)))
        self.num_lines = len(lines)

    def _append(self, record: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise explain(self._path, error) from error
        self.num_lines += 1

    def _heal(self) -> int:
        """Cut a last line that a kill left half-written; the number of whole lines."""
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            self._file.truncate(whole)
        return data.count(b"\n")


class _TensorBoard:
    def __init__(self, folder: RunFolder) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtra("trackers: tensorboard is not installed: pip install 'coderl[train]'") from error
        self._writer = SummaryWriter(str(folder.path / "tensorboard"))

    def log(self, stage: str, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{stage}/{name}", value, step)

    def finish(self) -> None:
        self._writer.close()


class _Accelerate:
    """W&B or trackio, through accelerate's own tracker classes."""

    def __init__(self, name: str, folder: RunFolder, run_name: str) -> None:
        from accelerate import tracking

        kinds = {"wandb": "WandBTracker", "trackio": "TrackioTracker"}
        try:
            __import__(name)
            self._tracker = getattr(tracking, kinds[name])(run_name, **({"dir": str(folder.path)} if name == "wandb" else {}))
        except (ImportError, AttributeError) as error:
            raise MissingExtra(f"trackers: {name} is not installed: pip install {name}") from error

    def log(self, stage: str, step: int, values: dict[str, float]) -> None:
        self._tracker.log({f"{stage}/{name}": value for name, value in values.items()} | {"step": step})

    def finish(self) -> None:
        self._tracker.finish()


def _tracker(name: str, folder: RunFolder, run_name: str) -> Any:
    return _TensorBoard(folder) if name == "tensorboard" else _Accelerate(name, folder, run_name)


class Progress:
    """A progress bar with an estimate and a few live numbers; on anything but a terminal a line every ten seconds."""

    def __init__(self, total: int, done: int = 0, description: str = "") -> None:
        self._total, self._start, self._description = total, done, description
        self._bar: Any = None
        self._task: Any = None
        self._began = self._said = time.monotonic()

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[live]}"),
            )
            self._bar = RichProgress(*columns, console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task(self._description, total=self._total, completed=self._start, live="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, values: dict[str, float]) -> None:
        """`done` of the total are done; `values` are the metrics of the last step."""
        live = "  ".join(f"{name.rpartition('/')[2]} {values[name]:.3g}" for name in LIVE if name in values)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, live=live)
            return
        now = time.monotonic()
        if now - self._said >= 10 or done >= self._total:
            self._said = now
            rate = (now - self._began) / max(done - self._start, 1)
            left = f"about {rate * (self._total - done):.0f} s left" if done < self._total else f"{now - self._began:.0f} s"
            print(f"{self._description} {done}/{self._total}  {left}  {live}", file=sys.stderr, flush=True)
