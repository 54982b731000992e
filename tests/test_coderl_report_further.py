"""What later evaluations found, in the report: told and drawn where the files are there, hostile text stays text."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("matplotlib")

from coderl.config import parse
from coderl.errors import RunFolderError
from coderl.report import write_report
from coderl.report.further import TITLES, read_further
from coderl.run_folder import RunFolder

TRADEOFF = {
    "told": ["r 0_grpo 8 pass 50.0%", "<script>alert(1)</script>"],
    "paths": [
        {
            "name": "<b>r</b>",
            "points": [
                {"dangerous": [0.5, 0.4, 0.6], "pass_rate": [0.25, 0.2, 0.3]},
                {"dangerous": [0.125, 0.1, 0.2], "pass_rate": [0.75, 0.7, 0.8]},
            ],
        }
    ],
}


@pytest.fixture
def folder(tmp_path):
    raw = {
        "name": "r",
        "output": str(tmp_path),
        "stages": ["grpo"],
        "policy": {"model": "new:"},
        "tasks": {"train": ["easy"]},
    }
    return RunFolder.create(parse(raw, origin="test"))


def leave(folder, name, record):
    (folder.evals_dir / f"{name}.json").write_text(json.dumps(record))


def test_a_run_without_further_evaluations_has_no_such_section(folder):
    assert "further evaluations" not in write_report(folder).read_text()


def test_each_finding_is_told_under_its_title_and_text_stays_text(folder):
    leave(folder, "tax", {"told": ["tax: pass@1 of b fell by 25.0%"], "verdict": "tax"})
    leave(folder, "tradeoff", TRADEOFF)
    page = write_report(folder).read_text()
    assert page.index(TITLES["tax"]) < page.index("fell by 25.0%") < page.index(TITLES["tradeoff"])
    assert "<script" not in page and "<b>r" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert TITLES["memorisation"] not in page


def test_the_curves_are_the_numbers_of_the_file(folder):
    leave(folder, "tradeoff", TRADEOFF)
    curve = {
        "name": "best_of",
        "points": [{"kl": 0.0, "proxy": 0.1, "gold": 0.5}, {"kl": 4.0, "proxy": 0.9, "gold": 0.3}],
    }
    leave(folder, "overoptimisation", {"told": ["over-optimised"], "curves": [curve]})
    tradeoff, over = read_further(folder)
    [(_, _, [line])] = tradeoff.pictures
    assert (line.x, line.y) == ([0.5, 0.125], [0.25, 0.75])
    (_, _, [gold]), (_, _, [proxy]) = over.pictures
    assert (gold.x, gold.y, proxy.y) == ([0.0, 2.0], [0.5, 0.3], [0.1, 0.9])  # the root of the KL
    assert write_report(folder).read_text().count("<svg ") == 3


@pytest.mark.parametrize("record", [{}, {"told": None}, {"told": [], "paths": [{"name": "r", "points": [{}]}]}])
def test_a_damaged_file_is_named_in_one_line(folder, record):
    leave(folder, "tradeoff", record)
    with pytest.raises(RunFolderError, match=r"tradeoff.json: damaged .*; delete it"):
        write_report(folder)
