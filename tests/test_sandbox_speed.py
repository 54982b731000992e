"""Are limits of time stretched by the language's and the machine's factor, and does the verdict say so?"""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sandbox import Grader, GradeRequest, Limits, Outcome, Program, StdioCase, Verdict, speed
from sandbox.cli import app
from sandbox.languages import get
from sandbox.speed import TimeFactors, machine_factor, stretched

BUSY = "import time\nwhile time.process_time() < 0.6: pass\nprint(1)\n"


def judge(times: TimeFactors) -> Verdict:
    limits = Limits(cpu_seconds=0.3, wall_seconds=5.0)
    request = GradeRequest(program=Program(source=BUSY), cases=(StdioCase(stdin="", stdout="1"),), limits=limits)
    with Grader(workers=1, times=times) as grader:
        return grader.grade([request])[0]


def test_a_slow_machine_gets_longer_and_the_verdict_says_by_how_much() -> None:
    assert judge(TimeFactors()).outcome is Outcome.TLE
    longer = judge(TimeFactors(machine=4.0))
    assert (longer.outcome, longer.time_factor) == (Outcome.AC, 4.0)
    assert Verdict.from_json(longer.to_json()) == longer


def test_a_language_has_a_factor_of_its_own_unless_all_are_to_be_equal() -> None:
    assert get("java").time_factor == 2.0
    assert [TimeFactors(machine=3.0).of(name) for name in ("python", "java")] == [3.0, 6.0]
    assert TimeFactors(machine=3.0, languages=False).of("java") == 3.0
    assert stretched(Limits(cpu_seconds=1, wall_seconds=5), 2.5) == Limits(cpu_seconds=2.5, wall_seconds=12.5)


def test_the_machine_is_measured_once_against_a_fixed_program(monkeypatch: pytest.MonkeyPatch) -> None:
    machine_factor.cache_clear()
    monkeypatch.setattr(speed, "PROGRAM", "import time\nwhile time.process_time() < 0.1: pass\nprint(7)")
    monkeypatch.setattr(speed, "ANSWER", "7\n")
    monkeypatch.setattr(speed, "REFERENCE_SECONDS", 0.05)
    found = machine_factor()
    assert 2.0 <= found < 4.0  # 0.1 s of cpu, and what starting and measuring cost
    monkeypatch.setattr(speed, "REFERENCE_SECONDS", 1.0)
    assert machine_factor() == found
    machine_factor.cache_clear()


@pytest.mark.parametrize("factor", ["0", "nan", "fast", "1000"])
def test_a_factor_that_is_none_ends_in_one_line(factor: str, tmp_path: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text('{"id": "a", "cases": [{"stdin": "", "stdout": "1"}]}\n')
    (tmp_path / "samples.jsonl").write_text('{"task_id": "a", "solution": "print(1)"}\n')
    files = [str(tmp_path / name) for name in ("tasks.jsonl", "samples.jsonl")]
    result = CliRunner().invoke(app, ["grade", *files, "--time-factor", factor])
    assert result.exit_code == 2
    assert result.output.startswith("sandbox: time_factor is") and result.output.count("\n") == 1
