"""Is a faulty task, or a fault in one case, kept from counting for anything else? The programs themselves are in the corpus."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox import AssertCase, CallCase, Grader, GradeRequest, Program, Status, StdioCase, Verdict
from sandbox.limits import MEBIBYTE, Limits
from sandbox.spec import Case

TIGHT = Limits(cpu_seconds=0.4, wall_seconds=1.5, memory_bytes=128 * MEBIBYTE, output_bytes=MEBIBYTE, processes=16)


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=2) as opened:
        yield opened


def judge(grader: Grader, source: str, *cases: Case, limits: Limits = Limits()) -> Verdict:
    request = GradeRequest(program=Program(source=source), cases=cases, limits=limits)
    (verdict,) = grader.grade([request])
    return verdict


def stdio(stdout: str, stdin: str = "") -> StdioCase:
    return StdioCase(stdin=stdin, stdout=stdout)


def call(expected: object, *args: object, function: str = "f") -> CallCase:
    return CallCase(function=function, args=args, expected=expected)


def asserts(code: str, *names: str) -> AssertCase:
    return AssertCase(code=code, names=names or ("f",))


def test_editing_an_argument_does_not_edit_the_expected_value_that_shares_it(grader: Grader) -> None:
    shared = [3, 1]
    verdict = judge(grader, "def f(a):\n a[:] = [0]\n return a", call(shared, shared))
    assert verdict.outcome == "WA"
    assert shared == [3, 1]


def test_a_crash_in_one_call_leaves_the_others_their_verdicts(grader: Grader) -> None:
    source = "import os\ndef f(x):\n if x == 1: os._exit(7)\n if x == 2:\n  while 1: pass\n return x"
    verdict = judge(grader, source, *(call(x, x) for x in range(5)), limits=Limits(cpu_seconds=0.5, wall_seconds=20.0))
    assert [case.outcome for case in verdict.cases] == ["AC", "RE", "TLE", "AC", "AC"]


FAULTY_TASKS: dict[str, tuple[Case, ...]] = {
    "no cases": (),
    "surrogate in stdin": (stdio("4", "\ud800"),),
    "an expected value that is no value": (call(object(), 2),),
    "an argument that is no value": (call(4, object()),),
    "a function that is no name": (call(4, 2, function="f()"),),
    "no names": (AssertCase(code="assert 1", names=()),),
    "no test": (asserts(" "),),
    "a test that does not compile": (asserts("assert f(2) =="),),
    "a test that uses what nobody defines": (asserts("f(2)\nassert unknown"),),
    "a prelude that raises": (AssertCase(code="assert f(2)", names=("f",), prelude="1/0"),),
    "a test that raises before it asks": (asserts("x = {}['4']\nassert f(2)"),),
    "a test that hangs": (asserts("while 1: pass"),),
    "an argument that cannot travel": (asserts("f(object())"),),
}


@pytest.mark.parametrize("name", [name for name in FAULTY_TASKS if name != "a test that hangs"])
def test_a_faulty_task_is_never_the_fault_of_the_program(grader: Grader, name: str) -> None:
    verdict = judge(grader, "def f(x): return 4", *FAULTY_TASKS[name])
    assert (verdict.outcome, verdict.status) == ("JE", Status.UNSCORABLE), verdict


@pytest.mark.slow
def test_a_test_that_hangs_is_never_the_fault_of_the_program(grader: Grader) -> None:
    assert judge(grader, "def f(x): return 4", *FAULTY_TASKS["a test that hangs"]).outcome == "JE"


def test_an_unknown_language_is_not_the_fault_of_the_program(grader: Grader) -> None:
    request = GradeRequest(program=Program(source="x", language="cobol"), cases=(stdio("4"),))
    assert grader.grade([request])[0].outcome == "JE"
