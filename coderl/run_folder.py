"""Where does a run keep what it writes?

    runs/NAME/  config.yaml  versions.json  metrics.jsonl  rollouts/  checkpoints/  evals/  models/STAGE/  report.html

A folder belongs to one run: it is never written into by accident, and never by two processes at once.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

import yaml

from coderl.config import RunConfig
from coderl.errors import RunFolderError
from coderl.versions import versions


def atomic_write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Raises RunFolderError when the disk is full or the folder is not writable."""
    draft = ""
    try:
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except OSError as error:
        if draft:
            with contextlib.suppress(OSError):
                os.unlink(draft)
        raise explain(path, error) from error


def explain(path: Path, error: OSError) -> RunFolderError:
    """The one line a person sees for a failed write."""
    remedies = {
        errno.ENOSPC: "the disk is full: free some space and resume",
        errno.EACCES: "no permission to write there: choose another `output`",
        errno.EROFS: "the file system is read-only: choose another `output`",
    }
    return RunFolderError(f"{path}: cannot be written: {remedies.get(error.errno or 0, error.strerror)}")


class RunFolder:
    """An open run folder, locked against other trainers until `close` or the end of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics_path = path / "metrics.jsonl"
        self.rollouts_dir = path / "rollouts"
        self.checkpoints_dir = path / "checkpoints"
        self.report_path = path / "report.html"
        self._lock: IO[bytes] | None = None

    @classmethod
    def create(cls, config: RunConfig, *, overwrite: bool = False) -> RunFolder:
        """A fresh folder output/name. Raises RunFolderError if there is one already."""
        folder = cls(Path(config.output) / config.name)
        if folder.path.exists() and (not folder.path.is_dir() or any(folder.path.iterdir())) and not overwrite:
            raise RunFolderError(
                f"run folder {folder.path} exists: go on with --resume, replace it with --overwrite, or choose name=..."
            )
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
            folder._acquire()
            if overwrite:
                folder._clear()
            for directory in (folder.rollouts_dir, folder.checkpoints_dir):
                directory.mkdir(exist_ok=True)
        except OSError as error:
            raise explain(folder.path, error) from error
        resolved = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        atomic_write(folder.path / "config.yaml", resolved.encode())
        atomic_write(folder.path / "versions.json", (json.dumps(versions(), indent=1) + "\n").encode())
        return folder

    @classmethod
    def open(cls, path: str | Path, *, lock: bool = True) -> RunFolder:
        """An existing folder. Raises RunFolderError if there is none, or (with `lock`) another trainer uses it."""
        folder = cls(Path(path))
        if not (folder.path / "config.yaml").is_file():
            raise RunFolderError(f"{folder.path}: not a run folder (no config.yaml): give the folder of a run")
        if lock:
            folder._acquire()
        return folder

    def model_dir(self, label: str) -> Path:
        """Where the policy at the end of a stage is saved."""
        return self.path / "models" / label

    def close(self) -> None:
        """Let other trainers in; harmless when repeated."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _acquire(self) -> None:
        self._lock = open(self.path / ".lock", "wb")  # noqa: SIM115 - held until close
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise RunFolderError(f"{self.path}: another process trains in it: wait for it, or choose name=...") from error

    def _clear(self) -> None:
        for entry in self.path.iterdir():
            if entry.name == ".lock":
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
