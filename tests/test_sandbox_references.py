"""Does every published reference solution pass its own tests, in separate jails, with nothing edited?

No row is excepted: 164 of 164, 427 of 427, 974 of 974. Also: a wrong program never passes them.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import Grader, GradeRequest, Limits, Outcome, Program, Verdict
from sandbox.lift import defined_names, humaneval, mbpp

DATA = Path(os.environ.get("CODERL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
HUMANEVAL = DATA / "humaneval" / "data" / "HumanEval.jsonl.gz"
MBPP = DATA / "mbpp" / "mbpp.jsonl"
SANITIZED = DATA / "mbpp" / "sanitized-mbpp.json"


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader() as opened:
        yield opened


def rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        pytest.skip(f"{path} is not there: set CODERL_DATA to a folder with the benchmark's data")
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text(encoding="utf-8")
    found: list[dict[str, Any]] = (
        json.loads(text) if path.suffix == ".json" else list(map(json.loads, text.splitlines()))
    )
    return found


def humaneval_request(row: dict[str, Any], body: str) -> GradeRequest:
    case = humaneval(row["prompt"], row["entry_point"], row["test"])
    return GradeRequest(program=Program(source=row["prompt"] + body), cases=(case,))


def mbpp_request(row: dict[str, Any]) -> GradeRequest:
    tests = [*row["test_list"], *row.get("challenge_test_list", [])]
    defined = defined_names(row["code"])
    cases = mbpp(tests, row.get("test_setup_code", ""), row.get("test_imports", []), defined=defined)
    patient = Limits(wall_seconds=60.0)  # cpu time decides, however busy the machine is
    return GradeRequest(program=Program(source=row["code"]), cases=cases, limits=patient)


def failures(grader: Grader, table: list[dict[str, Any]], requests: list[GradeRequest]) -> dict[Any, tuple[str, str]]:
    verdicts: list[Verdict] = grader.grade(requests)
    return {
        row["task_id"]: (verdict.outcome, verdict.detail)
        for row, verdict in zip(table, verdicts, strict=True)
        if verdict.outcome is not Outcome.AC
    }


def test_every_humaneval_reference_is_accepted(grader: Grader) -> None:
    table = rows(HUMANEVAL)
    assert len(table) == 164
    assert failures(grader, table, [humaneval_request(row, row["canonical_solution"]) for row in table]) == {}


def test_a_body_that_returns_nothing_fails_every_humaneval_task(grader: Grader) -> None:
    table = rows(HUMANEVAL)
    found = failures(grader, table, [humaneval_request(row, "    return None\n") for row in table])
    assert {outcome for outcome, _ in found.values()} <= {"WA", "RE"}
    assert {row["task_id"] for row in table} == set(found)


def test_every_reference_of_mbpp_sanitized_is_accepted(grader: Grader) -> None:
    table = rows(SANITIZED)
    assert len(table) == 427
    assert failures(grader, table, list(map(mbpp_request, table))) == {}


def test_every_reference_of_mbpp_is_accepted(grader: Grader) -> None:
    table = rows(MBPP)
    assert len(table) == 974
    assert failures(grader, table, list(map(mbpp_request, table))) == {}


@pytest.mark.slow
def test_every_published_reference_is_accepted_but_for_those_whose_own_data_is_at_fault() -> None:
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is not there: set CODERL_DATA to a folder with the data")
    script = Path(__file__).resolve().parents[1] / "benchmarks" / "references.py"
    done = subprocess.run([sys.executable, str(script), str(DATA)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
