"""What did each step measure? One line of JSON per step, and live numbers for whoever watches.

    {"stage": "1_grpo", "step": 7, "values": {"loss": 0.25, "rollout/pass_rate": 0.5, "time/step": 1.9}}
    {"stage": "1_grpo", "step": 7, "event": "unscorable", "message": "...", "data": {}}

Numbers are written so that they read back bit for bit; one that is not finite becomes null. Names that start with
"time/" depend on the clock: everything else in the file is a function of config and seed. Trackers get a copy; the file is
the truth. The event `hang` depends on the clock, too: a run that hung has it.
"""

from __future__ import annotations

import errno
import json
import math
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from coderl.errors import RunFolderError
from coderl.progress import Progress
from coderl.run_folder import RunFolder, explained, is_main_process
from coderl.trackers import Tracker, open_tracker

__all__ = ["Metrics", "Progress", "read_metrics"]

Values = dict[str, float]


class Metrics:
    """metrics.jsonl of a run, and its trackers. Outside the main process it does nothing."""

    def __init__(self, folder: RunFolder, trackers: Sequence[str], run_name: str) -> None:
        self._folder, self._path = folder, folder.metrics_path
        self._active = is_main_process()
        self._trackers: list[Tracker] = [open_tracker(t, folder, run_name) for t in trackers] if self._active else []
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()  # the watchdog writes from a thread of its own
        self.num_lines = self._count() if self._active else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Metrics can be opened again on the same folder."""
        if self._file is None:
            return
        self._file.close()
        self._file = None
        for tracker in self._trackers:
            tracker.close()

    def log(self, stage: str, step: int, values: Values) -> None:
        """One line for a step. Raises RunFolderError if it cannot be written."""
        record = {"stage": stage, "step": step, "values": {name: number(value) for name, value in values.items()}}
        self._write(record)
        self._show(record)

    def event(self, stage: str, step: int, name: str, message: str, **data: Any) -> None:
        """One line for something that happened; `data` is any JSON."""
        self._write({"stage": stage, "step": step, "event": name, "message": message, "data": data})

    def truncate_to(self, num_lines: int) -> None:
        """Keep the first `num_lines` lines: those a checkpoint knew of. Call it before the first `log`."""
        if not self._active:
            return
        assert self._file is None, "the trackers have seen the lines already"
        if self._count() < num_lines:
            raise RunFolderError(
                f"{self._path}: holds {self._count()} lines, but the checkpoint was saved after {num_lines}; "
                "start again with --overwrite"
            )
        if self._path.exists():
            try:
                with open(self._path, "rb+") as file:
                    end = sum(len(line) for line, _ in zip(_whole_lines(file), range(num_lines), strict=False))
                    file.truncate(end)
                    os.fsync(file.fileno())
            except OSError as error:
                raise explained(error, self._path) from error
        self.num_lines = num_lines

    def _open(self) -> IO[bytes]:
        """Trackers get what is there already, so that a resumed run has whole curves without the steps that were cut."""
        self.truncate_to(self.num_lines)  # half a line at the end, left by a full disk
        self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115 - open until close()
        for tracker in self._trackers:
            tracker.start()
        for record in read_metrics(self._folder):
            self._show(record)
        return self._file

    def _write(self, record: dict[str, Any]) -> None:
        if not self._active:
            return
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        with self._lock:
            try:
                file = self._file or self._open()
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, "the line was cut")
                os.fsync(file.fileno())  # a checkpoint counts these lines: they must be there if it is
            except OSError as error:
                raise explained(error, self._path) from error
            self.num_lines += 1

    def _show(self, record: dict[str, Any]) -> None:
        values = {name: value for name, value in record.get("values", {}).items() if value is not None}
        for tracker in self._trackers if values else []:
            tracker.log(record["stage"], record["step"], values)

    def _count(self) -> int:
        if not self._path.exists():
            return 0
        with open(self._path, "rb") as file:
            return sum(1 for _ in _whole_lines(file))


def number(value: float) -> float | None:
    """A Python float (json writes its repr, which reads back bit for bit); None if it is not finite."""
    value = float(value)
    return value if math.isfinite(value) else None


def read_metrics(folder: RunFolder) -> list[dict[str, Any]]:
    """All whole lines of metrics.jsonl, parsed; a run that is being written can be read. Raises RunFolderError."""
    if not folder.metrics_path.exists():
        return []
    with open(folder.metrics_path, "rb") as file:
        return [_parsed(folder.metrics_path, number, line) for number, line in enumerate(_whole_lines(file), 1)]


def _parsed(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise RunFolderError(
            f"{path}:{number}: is not JSON ({error}); take that line out, or copy the file back"
        ) from None
    return record


def _whole_lines(file: IO[bytes]) -> Iterator[bytes]:
    return (line for line in file if line.endswith(b"\n"))
