"""Are cases, limits and checkers read back as they were written, and faults named?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from sandbox.forms import (
    FormFault,
    case_to_json,
    group_to_json,
    limits_to_json,
    read_case,
    read_group,
    read_limits,
    read_rule,
    rule_to_json,
)
from sandbox.limits import Limits
from sandbox.spec import (
    AssertCase,
    Award,
    CallCase,
    Case,
    Checker,
    Comparison,
    FileCase,
    Framework,
    FunctionChecker,
    Group,
    InteractiveCase,
    Program,
    ProgramChecker,
    Protocol,
    Rule,
    StdioCase,
    SuiteCase,
)

WIDE = Comparison(checker=Checker.FLOATS, absolute=1e-3, relative=0.0, ignore_case=True)
OWN = FunctionChecker(source="def check(a, b, c): return True", accepts_answer=False, limits=Limits(cpu_seconds=1))
UMPIRE = ProgramChecker(
    program=Program(source="int main() {}", language="cpp", files={"validate.h": ""}),
    protocol=Protocol.TESTLIB,
    arguments=("x y",),
    full_score=50.0,
    limits=Limits(cpu_seconds=60),
)
CASES: list[Case] = [
    FileCase(inputs={"a/in.txt": "1"}, outputs={"out.txt": "2"}, stdin="x", checker=Checker.TOKENS),
    FileCase(inputs={}, outputs={"out.txt": "2"}, checker=UMPIRE),
    InteractiveCase(input="5", interactor=UMPIRE, answer="6"),
    StdioCase(stdin="a\n", stdout="b"),
    StdioCase(stdin="", stdout="b", alternatives=("c", ""), checker=WIDE),
    CallCase(function="C.f", args=((1, {2}),), kwargs={"k": b"x"}, expected={1: 2.5}),
    CallCase(function="f", expected=None, alternatives=((1, 2), 3)),
    SuiteCase(code="from m import f", framework=Framework.PYTEST, module="m"),
    AssertCase(code="assert f()", names=("f",), prelude="x = 1"),
]


@pytest.mark.parametrize("case", CASES)
def test_a_case_is_read_back_as_it_was_written(case: Case) -> None:
    record = json.loads(json.dumps(case_to_json(case)))
    assert read_case(record) == case
    del record["kind"]  # its other fields tell the kind
    assert read_case(record) == case


@pytest.mark.parametrize("rule", [*Checker, WIDE, Comparison(checker=Checker.TOKENS, exact_spaces=True), OWN, UMPIRE])
def test_a_checker_is_read_back_as_it_was_written(rule: Rule) -> None:
    assert read_rule(json.loads(json.dumps(rule_to_json(rule)))) == rule


@pytest.mark.parametrize(
    "group", [Group(cases=(0, 2), points=30), Group(cases=(1,), points=2.5, award=Award.SUM, stop_early=False)]
)
def test_a_group_is_read_back_as_it_was_written(group: Group) -> None:
    assert read_group(json.loads(json.dumps(group_to_json(group)))) == group


@pytest.mark.parametrize(
    ("record", "field"),
    [
        ([], ""),
        ({"points": 1}, "cases"),
        ({"cases": ["a"], "points": 1}, "cases"),
        ({"cases": [0]}, "points"),
        ({"cases": [0], "points": True}, "points"),
        ({"cases": [0], "points": 1, "award": "any"}, "award"),
        ({"cases": [0], "points": 1, "stop": False}, "stop"),
        ({"cases": [0], "points": 1, "stop_early": 1}, "stop_early"),
    ],
)
def test_a_fault_in_a_group_names_the_field(record: Any, field: str) -> None:
    with pytest.raises(FormFault) as caught:
        read_group(record)
    assert caught.value.field == field


def test_limits_are_read_back_as_they_were_written() -> None:
    limits = Limits(cpu_seconds=0.5, files=7)
    assert limits_to_json(limits) == {"cpu_seconds": 0.5, "files": 7}
    assert read_limits(limits_to_json(limits)) == limits


FAULTS: list[tuple[Any, str]] = [
    (3, "is not an object"),
    ({"in": 1}, "has none of stdout, function, code"),
    ({"kind": "stdoi"}, "kind is 'stdoi': did you mean \"stdio\"?"),
    ({"kind": "call", "stdout": ""}, "stdout is no field of a call case"),
    ({"stdout": "", "alternatives": [1]}, "alternatives holds something other than text"),
    ({"stdout": "", "checker": "tokns"}, "checker is 'tokns': did you mean \"tokens\"?"),
    ({"stdout": "", "checker": {"kind": "floats", "abs": 1}}, "checker has no 'abs'"),
    ({"stdout": "", "checker": {"kind": "floats", "absolute": -1}}, "checker.absolute is -1"),
    ({"stdout": "", "checker": {"absolute": 1}}, "checker is None"),
    ({"interactor": {"source": ""}, "inputs": {}}, "inputs is no field of a interactive case"),
    ({"interactor": {"sauce": ""}}, "checker has no 'sauce'"),
    ({"interactor": {}}, "source is missing"),
    ({"outputs": {"x": 1}}, "outputs holds something other than text"),
    ({"stdout": "", "checker": {"kind": "program", "source": "", "protocol": "testlb"}}, 'did you mean "testlib"'),
    ({"stdout": "", "checker": {"kind": "program", "source": "", "full_score": 0}}, "full_score is 0.0"),
    ({"function": "f", "expected": 1, "alternatives": [{"a": 1}]}, "alternatives cannot be read"),
]


@pytest.mark.parametrize(("record", "message"), FAULTS)
def test_a_fault_in_a_case_names_the_field_and_a_remedy(record: Any, message: str) -> None:
    with pytest.raises(FormFault) as caught:
        read_case(record)
    assert message in str(caught.value)
    assert caught.value.remedy
