"""TACO: 26,000 problems in the format of APPS, with skills and finer difficulty (Li et al. 2023, arXiv:2312.14852).

`taco` takes the hub, `taco:PATH` its rows as .jsonl or .parquet. As in APPS the first test is visible, the others are hidden.
`level` is 1 to 5: EASY, MEDIUM, MEDIUM_HARD, HARD, VERY_HARD. Tags are the source's skills. Time and memory limits are
taken where they are given ("2.0 seconds", "256.0 megabytes").
"""

from __future__ import annotations

import re
from pathlib import Path

from sandbox.limits import MEBIBYTE, Limits
from tasks.apps_rows import task_of_row
from tasks.hub import fetch, local
from tasks.limits import limits_of
from tasks.python_text import literal
from tasks.reading import tasks_of
from tasks.rows import Row
from tasks.source import Options, Source
from tasks.task import Split, Task

HUB = "BAAI/TACO"
FILES = {"train": "train/*.arrow", "test": "test/*.arrow"}
LEVELS = {"EASY": 1, "MEDIUM": 2, "MEDIUM_HARD": 3, "HARD": 4, "VERY_HARD": 5}
_UNITS = {"second": 1.0, "seconds": 1.0, "megabytes": MEBIBYTE, "megabyte": MEBIBYTE, "gigabytes": 1024 * MEBIBYTE,
          "kilobytes": 1024.0, "bytes": 1.0, "mb": MEBIBYTE, "gb": 1024 * MEBIBYTE, "kb": 1024.0}  # fmt: skip


def task_of(row: Row) -> Task:
    return task_of_row(
        row,
        task_id=f"taco/{row.split or 'train'}/{row.where.rpartition('[')[2].rpartition(':')[2].strip(']')}",
        default_split=Split.TRAIN,
        level=LEVELS.get(row.text("difficulty", ""), 0),
        tags=("taco", *_skills(row)),
        limits=_limits(row),
    )


def _limits(row: Row) -> Limits:
    seconds, memory = _amount(row.text("time_limit", "")), _amount(row.text("memory_limit", ""))
    return limits_of(row, seconds=seconds, memory_bytes=memory)


def _amount(text: str) -> float | None:
    found = re.match(r"\s*([\d.]+)\s*([A-Za-z]+)", text)
    unit = _UNITS.get(found[2].lower()) if found else None
    return float(found[1]) * unit if found and unit else None


def _skills(row: Row) -> tuple[str, ...]:
    """Published as the text of a Python list."""
    found = literal(row.text("skill_types", "[]"))
    return tuple(map(str, found[0])) if found and isinstance(found[0], list | tuple) else ()


def _load(argument: str, options: Options) -> list[Task]:
    rows = local(Path(argument)) if argument else fetch("taco", HUB, files=FILES)
    return tasks_of(argument or HUB, rows, task_of, options)


SOURCE = Source(name="taco", summary="TACO, 26,000 problems with skills", load=_load, argument="PATH")
