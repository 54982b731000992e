"""In which form does a list of tasks leave? The name says it: .jsonl, .parquet, or a folder for `datasets.load_from_disk`.

All three are read back equal, bit for bit: `jsonl:PATH` and `dataset:PATH`. What is written appears whole or not at all.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tasks import arrow, jsonl
from tasks.errors import TaskError, writing
from tasks.task import Task


def check_target(path: Path) -> None:
    """Raises TaskError for a name that cannot be written to, before any work is done."""
    if path.exists():
        raise TaskError(str(path), "is there already", remedy="name another, or delete it")
    if not path.parent.is_dir():
        raise TaskError(str(path), f"there is no folder {path.parent}", remedy="make it, or name another")
    if path.suffix not in (".jsonl", ".parquet", ""):
        remedy = "end the name in .jsonl or .parquet, or give none for a folder of datasets"
        raise TaskError(str(path), f"has the ending {path.suffix}", remedy=remedy)


def export(path: Path, tasks: Sequence[Task]) -> str:
    """Write `tasks`; returns the spec that reads them. Raises TaskError."""
    check_target(path)
    if path.suffix == ".jsonl":
        jsonl.write(path, tasks)
        return f"jsonl:{path}"
    with writing(path):
        work = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            inner = work / path.name
            (arrow.write_parquet if path.suffix == ".parquet" else arrow.write_dataset)(inner, tasks)
            os.replace(inner, path)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return f"dataset:{path}"
