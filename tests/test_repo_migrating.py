"""Do both sides of the tables in docs/migrating.md exist: the keys of TRL, and ours?"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from coderl.config import RunConfig
from coderl.config.reading import paths

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "migrating.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[tuple[list[str], list[str]]]:
    """(their names, our keys) of each row of the table below a heading."""
    table = TEXT.split(f"## {heading}\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| `")]
    return [(re.findall(r"`([^`]+)`", theirs), re.findall(r"`([^`]+)`", ours)) for theirs, ours in cells]


@pytest.mark.parametrize("heading", ["TRL's `GRPOConfig`", "verl"])
def test_our_side_names_keys_that_a_config_has(heading):
    known = set(paths(RunConfig))
    named = [key for _, ours in rows(heading) for key in ours]
    assert len(named) > 12
    assert [key for key in named if key not in known] == []


def test_the_side_of_trl_names_arguments_that_it_takes():
    trl = pytest.importorskip("trl")
    if not trl.__version__.startswith("1.16."):
        pytest.skip(f"the table is of TRL 1.16, and this is {trl.__version__}")
    known = {field.name for field in dataclasses.fields(trl.GRPOConfig)}
    named = [key for theirs, _ in rows("TRL's `GRPOConfig`") for key in theirs]
    assert [key for key in named if key not in known] == []
