"""The easy suite: small problems over numbers and collections that ship with the package, in rising levels."""

from __future__ import annotations

from pathlib import Path

from tasks import jsonl
from tasks.source import Options, Source
from tasks.task import Task

FILES = ("easy_basics.jsonl", "easy_numbers.jsonl", "easy_collections.jsonl")
FOLDER = Path(__file__).parent / "data"


def _load(argument: str, options: Options) -> list[Task]:
    return [task for name in FILES for task in jsonl.read(FOLDER / name)]


SOURCE = Source(name="easy", summary="the shipped suite of small functions, in levels", load=_load)
