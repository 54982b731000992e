"""Is a request read back equal from its JSON, and is everything else refused in one line?"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest

from sandbox import (
    AssertCase,
    Award,
    CallCase,
    Checker,
    Comparison,
    Framework,
    FunctionChecker,
    GradeRequest,
    Group,
    Limits,
    Program,
    ProgramCase,
    StdioCase,
    SuiteCase,
)
from sandbox.codec import CodecError, dumps, loads
from sandbox.forms import FormFault
from sandbox.requests_json import TaskPart, part, program_to_json, read_request, request_to_json

EVERYTHING = GradeRequest(
    program=Program(source="é\n", language="c", files={"a/b.h": "int x;"}),
    cases=(
        StdioCase(
            stdin="1", stdout="2", alternatives=("3",), checker=FunctionChecker(source="def check(a, b, c): ...")
        ),
        CallCase(function="f", args=((1, {2: b"x"}),), kwargs={"k": {3}}, expected=1 << 70, alternatives=(2j,)),
        AssertCase(code="assert f()", names=("f",), prelude="x = 1"),
        ProgramCase(after="int main() {}", before="#define X"),
        SuiteCase(code="import solution", framework=Framework.PYTEST, module="solution"),
    ),
    limits=Limits(cpu_seconds=0.1, processes=7),
    checker=Comparison(checker=Checker.FLOATS, absolute=0.5),
    stop_early=True,
    groups=(Group(cases=(0, 1), points=2.5, award=Award.MIN, stop_early=False),),
    coverage=True,
)
PLAIN = GradeRequest(program=Program(source="x"), cases=(StdioCase(stdin="", stdout=""),))


@pytest.mark.parametrize("request_", [EVERYTHING, PLAIN], ids=["everything", "plain"])
def test_a_request_is_read_back_equal(request_: GradeRequest) -> None:
    assert read_request(loads(dumps(request_to_json(request_)))) == request_


def test_every_field_of_a_request_travels() -> None:
    written = request_to_json(EVERYTHING)
    assert {field.name for field in fields(GradeRequest)} == {*written["task"], "program"}
    assert {field.name for field in fields(Program)} == {*written["program"]}
    assert {field.name for field in fields(TaskPart)} | {"program"} == {field.name for field in fields(GradeRequest)}


def test_the_name_of_a_part_is_that_of_its_text() -> None:
    # printf '{"source":"x","language":"python"}' | sha256sum
    assert part(program_to_json(PLAIN.program)) == (
        "0babc5b0319ce664f5cdf5186286034707bd5980a164e3daa26e4ea3f41ae9eb",
        b'{"source":"x","language":"python"}',
    )


def test_a_value_that_is_not_plain_is_refused_when_it_is_written() -> None:
    case = CallCase(function="f", args=(object(),))
    with pytest.raises(CodecError):
        request_to_json(GradeRequest(program=Program(source="x"), cases=(case,)))


def changed(**changes: Any) -> dict[str, Any]:
    record = request_to_json(PLAIN)
    for path, value in changes.items():
        *folders, last = path.split("__")
        here = record
        for name in folders:
            here = here[name]
        here[last] = value
    return record


FAULTS: dict[str, tuple[Any, str]] = {
    "no object": ([], "request is a list"),
    "another schema": (changed(schema=2), "schema is 2: this version reads schema 1"),
    "a schema that is true": (changed(schema=True), "schema is True"),
    "no task": ({"schema": 1, "program": {"source": ""}}, "task is missing"),
    "an unknown key": (changed(progam={}), 'did you mean "program"?'),
    "an unknown language": (changed(program__language="brainfuck"), "language 'brainfuck' is not known here"),
    "no source": (changed(program__source=None), "program.source is no text"),
    "files that hold no text": (changed(program__files={"a": 1}), "program.files is no object of texts"),
    "cases that are no array": (changed(task__cases={}), "task.cases is no array"),
    "a case of no kind": (changed(task__cases=[{"stdin": ""}]), "task.cases[0] has none of"),
    "a value that is none": (
        changed(task__cases=[{"function": "f", "expected": {"z": 1}}]),
        "task.cases[0].expected cannot be read",
    ),
    "a negative time": (changed(task__limits={"cpu_seconds": -1}), "limits.cpu_seconds is -1"),
    "no time": (changed(task__limits={"wall_seconds": 0.0}), "limits.wall_seconds is 0.0"),
    "infinite time": (changed(task__limits={"wall_seconds": math.inf}), "limits.wall_seconds is inf"),
    "NaN time": (changed(task__limits={"wall_seconds": math.nan}), "limits.wall_seconds is nan"),
    "a time that is true": (changed(task__limits={"wall_seconds": True}), "wall_seconds is True"),
    "a time that is text": (changed(task__limits={"wall_seconds": "1"}), "wall_seconds is '1'"),
    "half a process": (changed(task__limits={"processes": 1.5}), "processes is 1.5: give a whole number above 0"),
    "a week": (
        changed(task__limits={"wall_seconds": 6e5}),
        "task.limits wall_seconds is 600000.0: give at most 1800.0",
    ),
    "a week for a checker": (
        changed(task__checker={"kind": "function", "source": "", "limits": {"wall_seconds": 6e5}}),
        "wall_seconds is 600000.0",
    ),
    "a week for an interactor": (
        changed(
            task__cases=[
                {"input": "", "interactor": {"kind": "program", "source": "", "limits": {"wall_seconds": 3e7}}}
            ]
        ),
        "wall_seconds is 30000000.0",
    ),
    "an unknown checker": (changed(task__checker="extract"), 'did you mean "exact"?'),
    "a group of nothing": (changed(task__groups=[{"points": 1}]), "task.groups[0].cases is missing"),
    "stop_early as text": (changed(task__stop_early="yes"), "task.stop_early is 'yes'"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_no_request_is_refused_in_one_line(name: str) -> None:
    record, line = FAULTS[name]
    with pytest.raises(FormFault) as fault:
        read_request(record)
    assert line in str(fault.value)
    assert "\n" not in str(fault.value)
