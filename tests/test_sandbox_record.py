"""Is a verdict reached again from its record, does a replay see what differs, and are EvalPlus's samples read as they are?"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from served import ROOT

from sandbox import CallCase, Grader, GradeRequest, Group, Outcome, Program, StdioCase
from sandbox.errors import BadInput
from sandbox.record import differences, read_record, record_name, write_record
from sandbox.samples import TASK_FIELDS, read_samples, read_tasks
from sandbox.speed import TimeFactors
from tasks.jsonl import _FIELDS

REQUEST = GradeRequest(
    program=Program(source="def f(x): return x\nif __name__ == '__main__': print(input())"),
    cases=(CallCase(function="f", args=((1, {2}),), expected=(1, {2})), StdioCase(stdin="a", stdout="b")),
    groups=(Group(cases=(0,), points=3),),
)
HUMANEVAL = {
    "task_id": "HumanEval/0", "prompt": "def twice(n):\n", "entry_point": "twice",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n",
}  # fmt: skip
EXPORTED = {
    "schema": 1, "id": "x/1", "prompt": "def inc(n):\n", "style": "completion", "split": "test", "language": "python",
    "visible": [{"kind": "call", "function": "inc", "args": [1], "kwargs": {}, "expected": 2}],
    "hidden": [{"kind": "call", "function": "inc", "args": [5], "kwargs": {}, "expected": 6}],
    "entry_point": "inc", "signature": "", "reference": "", "checker": None, "limits": {}, "level": 0, "tags": [], "stop": [],
}  # fmt: skip


def sandbox(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": ROOT, "NO_COLOR": "1", "COLUMNS": "120", "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, "-m", "sandbox", *map(str, arguments)],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_record_holds_all_that_is_needed_to_reach_the_verdict_again(tmp_path: Path) -> None:
    with Grader(workers=1) as grader:
        (verdict,) = grader.grade([REQUEST])
        write_record(tmp_path / "folder" / "one.json", REQUEST, verdict)
        request, then, made_with = read_record(tmp_path / "folder" / "one.json")
        assert (request, then) == (REQUEST, verdict)
        assert made_with["python"].startswith("3.")
        (now,) = grader.grade([request])
    assert now.outcome == Outcome.PA
    assert list(differences(then, now)) == []


def test_every_field_that_a_machine_must_not_change_is_compared(tmp_path: Path) -> None:
    with Grader(workers=1) as grader:
        (then,) = grader.grade([REQUEST])
    case = then.cases[0]
    for change, field in (
        ({"outcome": Outcome.AC}, "outcome"), ({"points": 2.0}, "points"), ({"cases": then.cases[:1]}, "cases"),
        ({"cases": (replace(case, output_digest="0"), then.cases[1])}, "cases[0].output_digest"),
        ({"cases": (then.cases[0], replace(then.cases[1], exit_code=1))}, "cases[1].exit_code"),
    ):  # fmt: skip
        assert [name for name, *_ in differences(then, replace(then, **change))] == [field]  # type: ignore[arg-type]
    elsewhere = replace(then, attempts=2, cases=tuple(replace(c, cpu_ms=9e9, memory_bytes=1) for c in then.cases))
    assert list(differences(then, elsewhere)) == []


@pytest.mark.parametrize("factor", [2.5, "much", 0])
def test_a_replay_has_the_limits_of_time_that_the_record_had(tmp_path: Path, factor: object) -> None:
    """As for what `sandbox grade --time-factor 2.5 --record` wrote."""
    with Grader(workers=1, times=TimeFactors(machine=2.5)) as grader:
        (verdict,) = grader.grade([REQUEST])
    write_record(tmp_path / "one.json", REQUEST, verdict)
    record = json.loads((tmp_path / "one.json").read_text())
    record["verdict"]["time_factor"] = factor
    (tmp_path / "one.json").write_text(json.dumps(record))
    done = sandbox("replay", "one.json", cwd=tmp_path)
    assert done.returncode == (0 if factor == 2.5 else 2), done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == (0 if factor == 2.5 else 1)


def test_the_commands_record_and_replay_and_say_what_differs(tmp_path: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text(json.dumps(HUMANEVAL))
    (tmp_path / "samples.jsonl").write_text(json.dumps({"task_id": "HumanEval/0", "completion": "    return n + n\n"}))
    assert sandbox("grade", "tasks.jsonl", "samples.jsonl", "--record", "kept", cwd=tmp_path).returncode == 0
    file = tmp_path / "kept" / "00000-HumanEval_0.json"
    done = sandbox("replay", file, cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "the same verdict"), done.stderr
    record = json.loads(file.read_text())
    record["request"]["program"]["source"] = "def twice(n): return n"
    file.write_text(json.dumps(record))
    done = sandbox("replay", file, cwd=tmp_path)
    assert done.returncode == 1
    assert "differs: outcome: AC then, WA now" in done.stdout
    record["verdict"] |= {"detail": "\ud800\x1b[31m\n", "outcome": "WA"}  # the file may come from anybody
    file.write_text(json.dumps(record))
    done = sandbox("replay", file, cwd=tmp_path)
    assert (done.stderr, done.stdout.splitlines()[0].split(" (")[0]) == ("", "then WA: \\ud800\\x1b[31m\\n")
    for text, fault in (("{", "is no record"), ("{}", "is no record"), ('{"request": {}}', "request: schema")):
        file.write_text(text)
        with pytest.raises(BadInput, match=fault):
            read_record(file)
    done = sandbox("replay", "nothing.json", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def test_no_name_of_a_task_leaves_the_folder_of_records() -> None:
    assert record_name(7, "HumanEval/3") == "00007-HumanEval_3.json"
    assert record_name(0, "../é\n" + "x" * 300) == "00000-..___" + "x" * 95 + ".json"


def test_evalplus_samples_are_read_from_lines_and_from_folders(tmp_path: Path) -> None:
    second = {**HUMANEVAL, "task_id": "HumanEval/10"}
    (tmp_path / "tasks.jsonl").write_text(f"{json.dumps(HUMANEVAL)}\n{json.dumps(second)}\n")
    tasks = read_tasks(tmp_path / "tasks.jsonl")
    lines = [
        {"task_id": "HumanEval/10", "solution": "whole", "_identifier": "x"},
        {"task_id": "HumanEval/0", "completion": " y"},
    ]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = read_samples(tmp_path / "samples.jsonl", tasks)
    assert [(s.task_id, s.request.program.source) for s in found] == [
        ("HumanEval/10", "whole"), ("HumanEval/0", "def twice(n):\n y"),
    ]  # fmt: skip
    for name in ("HumanEval_10/0.py", "HumanEval_0/10.py", "HumanEval_0/9.py", "HumanEval_0/notes.txt"):
        file = tmp_path / "folder" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    found = read_samples(tmp_path / "folder", tasks)
    assert [s.request.program.source for s in found] == ["HumanEval_0/9.py", "HumanEval_0/10.py", "HumanEval_10/0.py"]
    assert [s.task_id for s in found] == ["HumanEval/0", "HumanEval/0", "HumanEval/10"]
    (tmp_path / "folder" / "HumanEval_3").mkdir()
    with pytest.raises(BadInput, match="HumanEval_3: no task is called that"):
        read_samples(tmp_path / "folder", tasks)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds no samples"):
        read_samples(tmp_path / "empty", tasks)


def test_tasks_that_were_exported_are_graded_with_all_their_cases(tmp_path: Path) -> None:
    assert set(_FIELDS) == TASK_FIELDS
    (tmp_path / "tasks.jsonl").write_text(json.dumps(EXPORTED))
    tasks = read_tasks(tmp_path / "tasks.jsonl")
    (tmp_path / "samples.jsonl").write_text(json.dumps({"task_id": "x/1", "completion": " return n + 1"}))
    (sample,) = read_samples(tmp_path / "samples.jsonl", tasks)
    assert len(sample.request.cases) == 2
    with Grader(workers=1) as grader:
        assert grader.grade([sample.request])[0].outcome == Outcome.AC
    for change, fault in (({"checkr": 1}, "'checkr' is not a field"), ({"schema": 2}, "schema is 2")):
        (tmp_path / "tasks.jsonl").write_text(json.dumps({**EXPORTED, **change}))
        with pytest.raises(BadInput, match=fault):
            read_tasks(tmp_path / "tasks.jsonl")
    (tmp_path / "tasks.jsonl").write_text(json.dumps({"task_id": "HumanEval/0", "plus_input": [], "entry_point": "f"}))
    with pytest.raises(BadInput, match="coderl tasks export"):
        read_tasks(tmp_path / "tasks.jsonl")
