"""Where does a run keep its files, and who may write them?

    output/name/  config.yaml  versions.json  metrics.jsonl  report.html
                  rollouts/  pairs/STAGE.jsonl  checkpoints/  evals/  models/STAGE/  reward_models/STAGE/
                  cache/  tensorboard/

One trainer at a time: `create` and `lock` hold a lock that goes with the process, however that ends. Every
whole file is written under another name, synced and renamed, so that a reader never sees half of one.

Under `accelerate launch` the process with RANK 0 owns the folder; the others get the paths and write nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from coderl.config import RunConfig, parse
from coderl.errors import RunFolderError
from coderl.versions import versions

FORMAT = "coderl-run-1"  # in versions.json
FIXED = ("name", "seed", "stages", "policy", "tasks")
FORMER = "method"  # a key of eight sections that said nothing: runs from before it was taken out hold it


class RunFolder:
    """The paths of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_path = path / "config.yaml"
        self.versions_path = path / "versions.json"
        self.metrics_path = path / "metrics.jsonl"
        self.report_path = path / "report.html"
        self.rollouts_dir = path / "rollouts"
        self.checkpoints_dir = path / "checkpoints"
        self.evals_dir = path / "evals"
        self.cache_dir = path / "cache"  # what can be computed again
        self.tensorboard_dir = path / "tensorboard"
        self.profile_dir = path / "profile"
        self._unlock: weakref.finalize[[int], RunFolder] | None = None

    @classmethod
    def create(cls, config: RunConfig, *, overwrite: bool = False) -> RunFolder:
        """Make output/name, lock it, and write config.yaml and versions.json.

        Raises RunFolderError if it holds anything, unless `overwrite` empties it; only a run folder can be emptied.
        """
        folder = cls(Path(config.output) / config.name)
        if not is_main_process():
            return folder
        if folder.path.exists() and (not folder.path.is_dir() or any(folder.path.iterdir())):
            if not overwrite:
                raise RunFolderError(
                    f"run folder {folder.path}: already there; continue it with --resume, empty it with --overwrite, "
                    "or choose another with name=..."
                )
            folder._check_ours()
        make_directory(folder.path)
        folder.lock()
        if overwrite:
            folder._empty()
        for directory in (folder.rollouts_dir, folder.checkpoints_dir, folder.evals_dir):
            make_directory(directory)
        folder._write_config(config)
        folder._write_versions({"format": FORMAT, **versions()})
        return folder

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """An existing run, for reading; call `lock` before writing. Raises RunFolderError."""
        folder = cls(Path(path))
        folder._check_exists("name the folder that `coderl train` printed, e.g. runs/quickstart")
        return folder

    @classmethod
    def resume(cls, config: RunConfig) -> RunFolder:
        """The run of `config`, locked. What changed in the config since is written down, or refused: RunFolderError.

        What the weights and the order of tasks depend on from the first step (`FIXED`) cannot change in a run.
        """
        folder = cls(Path(config.output) / config.name)
        if not is_main_process():
            return folder
        folder._check_exists("start the run without --resume")
        folder.lock()
        changes = differences(folder.config().model_dump(mode="json"), config.model_dump(mode="json"))
        changes.pop("output", None)  # the folder was moved, or is named from elsewhere
        for key, (old, new) in changes.items():
            if key.split(".")[0] in FIXED:
                raise RunFolderError(
                    f"run folder {folder.path}: was started with {key}={old!r}, not {new!r}; "
                    "resume with the old value, or start another run with name=..."
                )
        folder._write_config(config)
        record = json.loads(folder.versions_path.read_text(encoding="utf-8"))
        record["resumed"] = [*record.get("resumed", []), {**versions(), "changes": changes}]
        folder._write_versions(record)
        return folder

    def config(self) -> RunConfig:
        """The resolved configuration that the run was started with."""
        try:
            raw = yaml.safe_load(self.config_path.read_text(encoding="utf-8"))
            for section in raw.values() if isinstance(raw, dict) else ():
                if isinstance(section, dict):
                    section.pop(FORMER, None)
            return parse(raw, origin=str(self.config_path))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise RunFolderError(f"{self.config_path}: cannot be read: {' '.join(str(error).split())}") from error

    def lock(self) -> None:
        """Keep other trainers out until `unlock` or the end of this process. Raises RunFolderError if one is in."""
        if self._unlock is not None or not is_main_process():
            return
        try:
            descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise explained(error, self.path) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise RunFolderError(
                f"run folder {self.path}: another process is training in it; wait, or stop it"
            ) from error
        self._unlock = weakref.finalize(self, os.close, descriptor)

    def discard_unless_begun(self) -> None:
        """Remove the folder of a run that failed before its first checkpoint: nothing is lost, and the name is free again."""
        if is_main_process() and not any(self.checkpoints_dir.glob("*")):
            self.unlock()
            shutil.rmtree(self.path, ignore_errors=True)

    def unlock(self) -> None:
        if self._unlock is not None:
            self._unlock()
            self._unlock = None

    def model_dir(self, stage: str) -> Path:
        """Where the weights after `stage` are saved, e.g. models/1_grpo."""
        return self.path / "models" / stage

    def pairs_path(self, stage: str) -> Path:
        """The preferences that a stage `pairs` has made, e.g. pairs/2_pairs.jsonl."""
        return self.path / "pairs" / f"{stage}.jsonl"

    def reward_model_dir(self, stage: str) -> Path:
        """Where the reward model of `stage` is saved, e.g. reward_models/3_reward_model."""
        return self.path / "reward_models" / stage

    def last_model(self) -> Path:
        """The newest saved model. Raises RunFolderError if no stage has saved one yet."""
        found = sorted((self.path / "models").glob("[0-9]*_*"), key=lambda path: int(path.name.partition("_")[0]))
        if not found:
            raise RunFolderError(f"run folder {self.path}: no stage that trains has ended yet; name a --model")
        return found[-1]

    def _check_exists(self, remedy: str) -> None:
        if not self.path.is_dir():
            raise RunFolderError(f"run folder {self.path}: no such folder; {remedy}")
        self._check_ours()

    def _check_ours(self) -> None:
        for path in (self.config_path, self.versions_path):
            if not path.is_file():
                raise RunFolderError(
                    f"run folder {self.path}: not a run of coderl (it has no {path.name}); name another"
                )

    def _empty(self) -> None:
        for child in self.path.iterdir():
            if child.name == ".lock":
                continue
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            else:
                child.unlink()

    def _write_config(self, config: RunConfig) -> None:
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
        atomic_write(self.config_path, text.encode())

    def _write_versions(self, record: dict[str, object]) -> None:
        atomic_write(self.versions_path, json_bytes(record))


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """
    >>> differences({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 5}, "d": 3})
    {'a.c': (2, 5)}
    """
    found: dict[str, tuple[Any, Any]] = {}
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found |= differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found[f"{prefix}{key}"] = (before, after)
    return found


def is_main_process() -> bool:
    """Whether this process is the one of its launch that writes (`accelerate launch` and torchrun set RANK)."""
    return os.environ.get("RANK", "0") == "0"


def atomic_write(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, or leave it as it is. Raises RunFolderError."""
    draft = ""
    try:
        descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".draft", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        if draft:
            Path(draft).unlink(missing_ok=True)
        raise explained(error, path) from error


def json_bytes(record: Any) -> bytes:
    """A record as the JSON of a file that people read, too."""
    return (json.dumps(record, indent=1) + "\n").encode()


@contextlib.contextmanager
def new_folder(out: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A draft beside `out` that becomes it when the block ends well, and is removed else.

    Raises RunFolderError if `out` holds anything, unless `overwrite`, or if it cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not overwrite:
        raise RunFolderError(f"folder {out}: exists and is not empty; name another folder, or add --overwrite")
    draft = out.parent / f".{out.name}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        yield draft
        if out.exists():
            shutil.rmtree(out)
        draft.rename(out)
    except OSError as error:
        raise explained(error, out) from error
    except Exception as error:  # libraries in Rust, safetensors among them, have no OSError
        if (told := re.search(r"\(os error (\d+)\)", str(error))) is None:
            raise
        raise explained(OSError(int(told[1]), os.strerror(int(told[1]))), out) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def make_directory(path: Path) -> None:
    """As mkdir -p. Raises RunFolderError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explained(error, path) from error


def explained(error: OSError, path: Path) -> RunFolderError:
    """The one line that tells what stands in the way of writing `path`."""
    remedies = {
        errno.ENOSPC: "the disk is full: free some space and run it again (a training: with --resume)",
        errno.EDQUOT: "the disk quota is used up: free some space and run it again (a training: with --resume)",
        errno.EACCES: "permission denied: choose another folder with output=...",
        errno.EPERM: "permission denied: choose another folder with output=...",
        errno.EROFS: "the file system is read-only: choose another folder with output=...",
        errno.ENOTDIR: "a part of the path is a file: choose another folder with output=...",
        errno.EEXIST: "there is a file of that name: choose another folder with output=...",
    }
    text = str(error)
    if isinstance(error, shutil.Error):  # of a tree that was copied: (source, target, text) for each file
        text = error.args[0][0][2]
    number = error.errno or next((n for n in remedies if text.startswith(f"[Errno {n}]")), 0)
    cause = remedies.get(number, error.strerror or text)
    return RunFolderError(f"{path}: cannot be written: {cause}")
