"""What must be kept so that a killed run goes on as if nothing had happened?

One folder per checkpoint, written under another name and renamed when complete, with a DONE marker inside: a folder
without the marker never existed. The name sorts by stage and step. Step 0 of a stage holds its start (the reference of the
stage is made from it) and is kept as long as the stage runs.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from coderl.errors import RunFolderError


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Position:
    """Where a run is: `step` steps of stage number `stage` are done."""

    stage: int
    step: int


def save(folder: Path, position: Position, state: dict[str, Any], keep: int) -> None:
    """Write a checkpoint; keep the start of the stage and the newest `keep` others, drop the rest.

    Raises RunFolderError if the disk is full; an older checkpoint is then still there.
    """
    final = _path(folder, position)
    draft = folder / f".{final.name}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    if (final / "DONE").exists():
        return  # a resumed run passes here again with the same state
    try:
        draft.mkdir(parents=True)
        with open(draft / "state.pt", "wb") as file:
            torch.save({**state, "rng": _rng_state()}, file)
            file.flush()
            os.fsync(file.fileno())
        (draft / "DONE").touch()
        draft.rename(final)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(draft, ignore_errors=True)
        full = getattr(error, "errno", None) == errno.ENOSPC or any(
            words in str(error)
            for words in ("write failed", "unexpected pos")  # torch's words for it
        )
        cause = "the disk is full: free some space and resume" if full else str(error).splitlines()[0]
        raise RunFolderError(f"checkpoint {final}: cannot be written: {cause}") from error
    found = positions(folder)
    newest = [p for p in found if p.stage == position.stage and p.step > 0][-keep:]
    for old in found:
        if old not in newest and old != Position(stage=position.stage, step=0):
            shutil.rmtree(_path(folder, old))


def positions(folder: Path) -> list[Position]:
    """All complete checkpoints, oldest first."""
    found = []
    for path in folder.glob("stage*-step*"):
        if (path / "DONE").exists():
            stage, step = path.name.removeprefix("stage").split("-step")
            found.append(Position(stage=int(stage), step=int(step)))
    return sorted(found)


def load(folder: Path, position: Position) -> dict[str, Any]:
    """The state saved at `position`, on the CPU; never unpickles anything but tensors and plain values."""
    path = _path(folder, position) / "state.pt"
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError) as error:
        raise RunFolderError(
            f"checkpoint {path}: cannot be read: {str(error).splitlines()[0]}; delete it to use an older one"
        ) from error
    return state


def restore_rng(state: dict[str, Any]) -> None:
    """Set python's, numpy's and torch's generators as they were."""
    rng = state["rng"]
    version, internal, gauss = rng["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, pos, has_gauss, cached = rng["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), pos, has_gauss, cached))
    torch.set_rng_state(rng["torch"])
    if torch.cuda.is_available() and rng["cuda"]:
        torch.cuda.set_rng_state_all(rng["cuda"])


def _rng_state() -> dict[str, Any]:
    name, keys, pos, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (str(name), np.asarray(keys).tolist(), int(pos), int(has_gauss), float(cached)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _path(folder: Path, position: Position) -> Path:
    return folder / f"stage{position.stage:03d}-step{position.step:07d}"
