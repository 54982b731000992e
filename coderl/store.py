"""The rollouts of a run on disk: append-only segments, one per stage and step, read by everything that learns or reports.

A segment is gzipped JSONL, written whole or not at all. A label is "INDEX_NAME", e.g. "1_grpo".
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from coderl.errors import RunFolderError
from coderl.rollout import Rollout
from coderl.run_folder import atomic_write


class RolloutStore:
    """The segments in `directory`, which is made when first written to."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def append(self, label: str, step: int, rollouts: Sequence[Rollout]) -> None:
        """Keep the rollouts of one step; the same step again replaces them (a resumed run does that)."""
        self._directory.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(rollout.to_json(), separators=(",", ":")) + "\n" for rollout in rollouts)
        atomic_write(self._directory / f"{label}-{step:07d}.jsonl.gz", gzip.compress(text.encode(), 6, mtime=0))

    def read(self, label: str | None = None) -> Iterator[Rollout]:
        """All rollouts, or those of one stage, in the order in which they were made. Raises RunFolderError if damaged."""
        for path in self._segments():
            if label is not None and _key(path)[2] != label:
                continue
            try:
                for line in gzip.decompress(path.read_bytes()).decode().splitlines():
                    yield Rollout.from_json(json.loads(line))
            except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
                raise RunFolderError(f"{path}: damaged rollout segment ({error}): delete it to read the others") from error

    def truncate(self, stage_index: int, step: int) -> None:
        """Forget what came after `step` steps of stage number `stage_index`."""
        for path in self._segments():
            if _key(path)[:2] > (stage_index, step):
                path.unlink()

    def _segments(self) -> list[Path]:
        return sorted(self._directory.glob("*-*.jsonl.gz"), key=_key) if self._directory.is_dir() else []


def _key(path: Path) -> tuple[int, int, str]:
    label, _, step = path.name.removesuffix(".jsonl.gz").rpartition("-")
    return int(label.split("_")[0]) if label[0].isdigit() else 0, int(step), label
