"""Where are the rollouts kept? One compressed file per (stage, step), each written whole or not at all.

    rollouts/1_grpo/0000042.jsonl.gz     the rollouts of step 42 of stage number 1

Everything that learns, reports or explains reads the same records from here. A segment is never changed; `truncate` drops
the newest ones when a run resumes from an older checkpoint. Reading is in order of stage number, then step.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from coderl.errors import RunFolderError
from coderl.rollout import Rollout
from coderl.run_folder import atomic_write, is_main_process, make_directory

SUFFIX = ".jsonl.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One file: the rollouts of one step. `stage` is a label such as "1_grpo"."""

    stage: str
    step: int
    path: Path

    @property
    def order(self) -> tuple[int, str, int]:
        return stage_index(self.stage), self.stage, self.step


class RolloutStore:
    """The rollouts of one run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def append(self, stage: str, step: int, rollouts: Sequence[Rollout]) -> None:
        """Write the segment of a step; it takes the place of one for the same step. Raises RunFolderError."""
        path = self.directory / stage / f"{step:07d}{SUFFIX}"
        make_directory(path.parent)
        lines = "".join(json.dumps(rollout.to_json(), ensure_ascii=True) + "\n" for rollout in rollouts)
        # mtime 0: the same rollouts give the same bytes.
        atomic_write(path, gzip.compress(lines.encode(), compresslevel=5, mtime=0))

    def read(self, stage: str | None = None) -> Iterator[Rollout]:
        """All rollouts, or those of one stage, in the order of segments. Raises RunFolderError for a damaged one."""
        for segment in self.segments(stage):
            yield from read_segment(segment.path)

    def segments(self, stage: str | None = None) -> list[Segment]:
        """What is there, oldest first."""
        found = [
            Segment(stage=path.parent.name, step=int(path.name.removesuffix(SUFFIX)), path=path)
            for path in self.directory.glob(f"*/*{SUFFIX}")
            if path.name.removesuffix(SUFFIX).isdigit() and (stage is None or path.parent.name == stage)
        ]
        return sorted(found, key=lambda segment: segment.order)

    def truncate(self, stage: int, step: int) -> None:
        """Drop what was written after the checkpoint at `step` of stage number `stage`.

        The evaluation of a stage is stored as its step 0, and comes after the checkpoint at step 0.
        """
        if not is_main_process():
            return
        for segment in self.segments():
            index = stage_index(segment.stage)
            if index < stage or (index == stage and step > 0 and segment.step <= step):
                continue
            segment.path.unlink()


def read_segment(path: Path) -> list[Rollout]:
    """The rollouts of one file. Raises RunFolderError, which names the file, if a byte of it is wrong."""
    try:
        text = gzip.decompress(path.read_bytes()).decode()
        return [Rollout.from_json(json.loads(line)) for line in text.splitlines()]
    except (OSError, EOFError, zlib.error, KeyError, TypeError, ValueError) as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise RunFolderError(
            f"rollouts {path}: damaged ({cause}); --resume from a checkpoint before it, or delete the file to do without"
        ) from error


def stage_index(stage: str) -> int:
    """The number in front of a stage's label: 1 for "1_grpo"; 0 where there is none."""
    found = re.match(r"(\d+)_", stage)
    return int(found[1]) if found else 0
