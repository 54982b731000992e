"""Our file format: nothing is lost, and a bad row is named."""

from __future__ import annotations

import gzip
import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandbox.limits import Limits
from sandbox.spec import AssertCase, Award, CallCase, Checker, Group, StdioCase, Value
from tasks import jsonl
from tasks.errors import TaskError
from tasks.registry import load
from tasks.task import Split, Style, Task

DOCS = Path(__file__).parent.parent / "docs" / "tasks.md"
FULL = Task(
    id="demo/full\u2028\ud800",
    prompt="say \x00 'ü' \r\n",
    style=Style.COMPLETION,
    split=Split.VALIDATION,
    visible=(
        StdioCase(stdin="1\r\n", stdout="\t2"),
        AssertCase(code="assert f() == g\n", names=("f", "g"), prelude="g = 1"),
    ),
    hidden=(CallCase(function="Solution.f", args=(1, [2.5, None]), kwargs={"é": (True,)}, expected=-0.0),),
    entry_point="f",
    signature="def f():",
    language="cpp",
    reference="x\n",
    checker=Checker.UNORDERED,
    limits=Limits(cpu_seconds=0.1, processes=1),
    level=4,
    tags=("a", "b"),
    stop=("\n#",),
    date="2024-05-31",
    groups=(Group(cases=(0,), points=30.0), Group(cases=(0, 1), points=70.0, award=Award.MIN, stop_early=False)),
)
PLAIN: dict[str, Any] = {"id": "a", "prompt": "p", "visible": [], "hidden": []}


def round_trip(tmp_path: Path, task: Task) -> Task:
    jsonl.write(tmp_path / "tasks.jsonl", [task])
    (found,) = jsonl.read(tmp_path / "tasks.jsonl")
    return found


def test_every_field_survives_writing_and_reading(tmp_path: Path) -> None:
    found = round_trip(tmp_path, FULL)
    assert found == FULL
    assert repr(found) == repr(FULL)


VALUES: tuple[Value, ...] = (
    (1, [2, (3,)]), {(1, 2): {"t": 1}}, {1, 2}, frozenset({"a"}), b"\x00\xff", 2**200, -(2**70), 1 + 2j, math.inf,
    True, 1, 1.0, 0.1, "", None,
)  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_every_kind_of_value_survives_with_its_type(tmp_path: Path, value: Value) -> None:
    case = CallCase(function="f", args=(value,), kwargs={"k": [value]}, expected=value)
    found = round_trip(tmp_path, replace(FULL, hidden=(case,)))
    assert repr(found.hidden) == repr((case,))


def test_nan_survives(tmp_path: Path) -> None:
    (case,) = round_trip(tmp_path, replace(FULL, hidden=(CallCase(function="f", expected=math.nan),))).hidden
    assert isinstance(case, CallCase)
    assert math.isnan(case.expected)


def test_generated_tasks_survive(tmp_path: Path) -> None:
    tasks = load("generated?family=all&count=150&level=1-5")
    jsonl.write(tmp_path / "g.jsonl", tasks)
    assert load(f"jsonl:{tmp_path}/g.jsonl") == tasks


def test_gzip_is_read_like_plain_text(tmp_path: Path) -> None:
    jsonl.write(tmp_path / "t.jsonl", [FULL])
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress((tmp_path / "t.jsonl").read_bytes()))
    assert jsonl.read(tmp_path / "t.jsonl.gz") == [FULL]


def test_the_rows_in_the_docs_hold_all_kinds_of_cases_and_round_trip(tmp_path: Path) -> None:
    (tmp_path / "docs.jsonl").write_text("".join(re.findall(r"```jsonl\n(.*?)```", DOCS.read_text(), re.S)))
    tasks = jsonl.read(tmp_path / "docs.jsonl")
    assert {type(case) for task in tasks for case in task.cases} == {StdioCase, CallCase, AssertCase}
    span, short = tasks[0], tasks[-1]
    assert span.visible == (CallCase(function="span", args=({2: "b", 1: "a"},), expected=(1, 2)),)
    assert short.hidden[1] == CallCase(function="double", args=(-3,), expected=-6)
    assert short.entry_point == "double"
    jsonl.write(tmp_path / "again.jsonl", tasks)
    assert jsonl.read(tmp_path / "again.jsonl") == tasks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, 'field "id": is null; write it as a string'),
        ({"promt": "x"}, 'field "promt": is no field of a task; did you mean "prompt"?'),
        ({"level": True}, 'field "level": is true; write it as a whole number'),
        ({"tags": [1]}, 'field "tags": holds something other than text; write it as an array of strings'),
        ({"split": "dev"}, "field \"split\": is 'dev'; valid: test, train, validation"),
        ({"checker": "floatz"}, 'field "checker": is \'floatz\'; did you mean "floats"?'),
        ({"limits": {"cpu_second": 1}}, 'field "limits": has no \'cpu_second\'; did you mean "cpu_seconds"?'),
        ({"date": "31.5.2024"}, "field \"date\": is '31.5.2024'; write the day as 2024-05-31"),
        ({"date": "2024-02-30"}, "field \"date\": is '2024-02-30'; write the day as 2024-05-31"),
        ({"groups": [{"cases": [0], "points": 1}]}, 'field "groups[0]": names a case beyond the 0 there are'),
        ({"groups": [{"cases": [], "points": "x"}]}, "groups[0]: field \"points\": is 'x'; give a number"),
        ({"schema": 2}, 'field "schema": is 2; this version reads schema 1'),
        ({"hidden": [3]}, 'field "hidden[0]": is not an object; write each case as an object'),
        ({"hidden": [{"kind": "call", "function": "f"}]}, 'hidden[0]: field "expected": is missing; add the value '),
        ({"function": "f", "stop": []}, 'field "stop": is no field of a task; valid: '),
        ({"function": "f", "hidden": [{"expct": 1}]}, 'hidden[0]: field "expct": is no field of a call case; did you '),
    ],
)
def test_a_bad_row_names_file_line_field_fault_and_remedy(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(f"{json.dumps(PLAIN)}\n\n{json.dumps({**PLAIN, 'id': 'b', **change})}\n")
    with pytest.raises(TaskError) as caught:
        jsonl.read(path)
    assert str(caught.value).startswith(f"{path}:3: {message}")
    assert "\n" not in str(caught.value)


def test_an_object_that_is_no_tagged_value_is_named_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps({**PLAIN, "function": "f", "hidden": [{"args": [{"apple": 1}], "expected": 1}]}))
    with pytest.raises(TaskError, match=r':1: hidden\[0\]: field "args": .*tagged JSON of docs/tasks.md'):
        jsonl.read(path)


@pytest.mark.parametrize(
    ("text", "fault"), [("{", "is not JSON"), ("[1]", "is [1]"), ('{"prompt": "p"}', 'field "id"')]
)
def test_a_line_that_is_no_task_is_named(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "bad.jsonl").write_text(text)
    with pytest.raises(TaskError, match=re.escape(f"bad.jsonl:1: {fault}")):
        jsonl.read(tmp_path / "bad.jsonl")


def test_bad_rows_are_left_out_with_one_warning_unless_asked_to_stop(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    rows = [PLAIN, {**PLAIN, "level": "x", "id": "b"}, PLAIN, {**PLAIN, "id": "c"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{no json\n")
    with pytest.warns(UserWarning, match=r'3 rows left out, first: .*:2: field "level"') as caught:
        assert [task.id for task in load(f"jsonl:{path}")] == ["a", "c"]
    assert len(caught) == 1
    with pytest.raises(TaskError, match=r':2: field "level": is "x"'):
        load(f"jsonl:{path}?on_error=stop")
    path.write_text("".join(json.dumps(row) + "\n" for row in (rows[0], rows[3], rows[0])))
    with pytest.raises(TaskError, match=r":3.*'a' is there already; give every row its own id"):
        jsonl.read(path)


def test_rows_that_are_all_bad_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{}\n{}\n")
    with pytest.raises(TaskError, match=r'bad.jsonl: all 2 rows are bad, the first: .*:1: field "id": is missing'):
        load(f"jsonl:{tmp_path}/bad.jsonl")


def test_an_unknown_language_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text(json.dumps({**PLAIN, "language": "pyton"}))
    with pytest.raises(TaskError, match='field "language": is \'pyton\'; did you mean "python"'):
        load(f"jsonl:{tmp_path}/bad.jsonl")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.jsonl"
    jsonl.write(path, [FULL])

    def fail(source: str, target: Path) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(TaskError, match=r"cannot be written .no space."):
        jsonl.write(path, [])
    assert jsonl.read(path) == [FULL]
    assert os.listdir(tmp_path) == ["t.jsonl"]
