"""Is what ran, and where it failed, what a person would have noted; and does a claim about it stay a claim?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from sandbox import (
    AssertCase,
    CallCase,
    Coverage,
    Grader,
    GradeRequest,
    Limits,
    Outcome,
    Program,
    ProgramCase,
    StdioCase,
    SuiteCase,
    Verdict,
)
from sandbox.backend import open_backend
from sandbox.build import Runnable
from sandbox.coverage import claimed
from sandbox.execute import MAX_CLAIM, Executor
from sandbox.grading import Quiet, grade_one
from sandbox.judge import Lost
from sandbox.spec import Case
from sandbox.speed import BY_LANGUAGE

SIGN = """\
def sign(x):
    if x > 0:
        return 1
    y = -x
    if y:
        raise ValueError(y)
    return 0
"""


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=1) as opened:
        yield opened


def graded(grader: Grader, source: str, *cases: Case, coverage: bool = True, stop_early: bool = False) -> Verdict:
    limits = Limits(cpu_seconds=0.5)
    program = Program(source=source)
    request = GradeRequest(program=program, cases=cases, limits=limits, coverage=coverage, stop_early=stop_early)
    return grader.grade([request])[0]


def sign(x: int, expected: int) -> CallCase:
    return CallCase(function="sign", args=(x,), expected=expected)


ONE = Coverage(lines=(1, 2, 3))


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (sign(5, 1), ONE),
        (AssertCase(code="assert sign(5) == 1", names=("sign",)), ONE),
        (AssertCase(code="for x in [5]:\n    assert sorted([sign(x)]) == [1]", names=("sign",)), ONE),
        (SuiteCase(code="import unittest, solution\nclass T(unittest.TestCase):\n    def test(self): solution.sign(5)"), ONE),
        (ProgramCase(before="a = 1\nb = 2", after="assert sign(5) == 1"), ONE),
    ],
    ids=["call", "literal assert", "assert", "suite", "program"],
)  # fmt: skip
def test_the_lines_that_a_case_ran_are_covered_whatever_its_kind(
    grader: Grader, case: Case, expected: Coverage
) -> None:
    verdict = graded(grader, SIGN, case)
    assert (verdict.outcome, verdict.coverage) == (Outcome.AC, expected)


def test_a_script_is_covered_over_all_its_inputs(grader: Grader) -> None:
    source = "x = int(input())\nif x:\n    print(1)\nelif x is None:\n    print(3)\nelse:\n    print(2)\n"
    first, second = StdioCase(stdin="0", stdout="2"), StdioCase(stdin="7", stdout="1")
    assert graded(grader, source, first).coverage == Coverage(lines=(1, 2, 4, 7))
    assert graded(grader, source, first, second).coverage == Coverage(lines=(1, 2, 3, 4, 7))


def test_cases_that_were_skipped_cover_nothing(grader: Grader) -> None:
    cases = (sign(5, 2), sign(0, 0))
    assert graded(grader, SIGN, *cases, stop_early=True).coverage == ONE
    assert graded(grader, SIGN, *cases).coverage == Coverage(lines=(1, 2, 3, 4, 5, 7))


def test_the_failing_line_is_that_of_the_exception_that_nobody_caught(grader: Grader) -> None:
    assert graded(grader, SIGN, sign(-2, 0)).coverage == Coverage(lines=(1, 2, 4, 5, 6), failed_line=6)
    caught = "try:\n    1 / 0\nexcept ZeroDivisionError:\n    pass\nprint(1)\n"
    assert graded(grader, caught, StdioCase(stdin="", stdout="1")).coverage == Coverage(lines=(1, 2, 3, 4, 5))
    inside = "def f(n):\n    return g(n)\ndef g(n):\n    return int('x')\nf(1)\n"
    assert graded(grader, inside, StdioCase(stdin="", stdout="")).coverage == Coverage(
        lines=(1, 2, 3, 4, 5), failed_line=4
    )


def test_an_exception_that_the_test_expected_is_no_failure(grader: Grader) -> None:
    code = "try:\n    sign(-1)\nexcept ValueError:\n    pass\nassert sign(1) == 2"
    verdict = graded(grader, SIGN, AssertCase(code=code, names=("sign",)))
    assert verdict.outcome is Outcome.WA
    assert verdict.coverage == Coverage(lines=(1, 2, 3, 4, 5, 6), failed_line=None)


def test_a_program_that_does_not_compile_fails_on_the_line_of_the_error(grader: Grader) -> None:
    verdict = graded(grader, "def sign(x):\n    return 1\n  y = 2\n", sign(1, 1))
    assert (verdict.outcome, verdict.coverage) == (Outcome.CE, Coverage(lines=(), failed_line=3))


def test_what_ran_before_a_limit_is_covered(grader: Grader) -> None:
    verdict = graded(grader, "x = 1\nwhile x:\n    x += 1\nprint(x)\n", StdioCase(stdin="", stdout="0"))
    assert (verdict.outcome, verdict.coverage) == (Outcome.TLE, Coverage(lines=(1, 2, 3)))


@pytest.mark.parametrize(
    "attack",
    [
        "open('.lines', 'w').write('1\\n2\\n3\\n!2\\n999999\\n' + 'x' * 1000)",
        "import os; os.path.exists('.lines') and (os.unlink('.lines'), os.mkdir('.lines'))",
        "import os; os.path.exists('.lines') and os.unlink('.lines'); os.symlink('/etc/passwd', '.lines')",
        "import os; os.closerange(3, 4096)",
        "import sys; sys.settrace(None)",
        "import sys; sys.settrace(lambda *a: 1 / 0)",
        "import os\nif os.path.exists('.lines'): print(2)",  # knows that it is traced: the verdict was reached before
        "import sys\nif sys.gettrace(): sys.stdout.write('2')",
    ],
)
def test_a_program_that_lies_about_its_lines_changes_no_verdict(grader: Grader, attack: str) -> None:
    source = f"{attack}\nprint(input())\n"
    right, wrong = StdioCase(stdin="1", stdout="1"), StdioCase(stdin="1", stdout="2")
    for case in (right, wrong):
        plain, traced = graded(grader, source, case, coverage=False), graded(grader, source, case)
        assert (plain.outcome, plain.cases[0].output_digest) == (traced.outcome, traced.cases[0].output_digest)
        assert plain.outcome is not Outcome.AC or case is right
    assert graded(grader, "print(1)\n", right).coverage == Coverage(lines=(1,))  # and the next program is traced


@pytest.mark.parametrize("fault", [Lost("gone"), OSError("full"), RuntimeError("a fault of ours")])
def test_a_second_run_that_breaks_leaves_the_verdict_as_it_was(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    whole = Executor.calls

    def calls(self: Executor, program: Runnable, *arguments: Any, **options: Any) -> Any:
        if program.traced:
            raise fault
        return whole(self, program, *arguments, **options)

    monkeypatch.setattr(Executor, "calls", calls)
    with Grader(workers=1) as opened:
        for source, outcome in ((SIGN, Outcome.AC), (SIGN.replace("return 1", "return 2"), Outcome.WA)):
            verdict = graded(opened, source, sign(5, 1))
            assert (verdict.outcome, verdict.coverage, verdict.attempts) == (outcome, None, 1)


def test_claims_are_read_strictly() -> None:
    junk = b"0\n-1\n 2\n1e3\n\xff\n!\n!!2\n9" + b"9" * 100 + b"\n4\n!4\n"
    assert claimed([junk], num_lines=3) == Coverage(lines=())
    assert claimed([b"1\n5\n!6\n!5\n"], num_lines=2, num_before=4) == Coverage(lines=(1,), failed_line=1)
    assert claimed([b"1\n!1\n"], num_lines=2, failed=False) == Coverage(lines=(1,))
    assert claimed([], num_lines=3) is claimed([b"junk"], num_lines=3) is None


def test_a_claim_without_end_is_read_to_a_limit() -> None:
    source = "with open('.lines', 'ab') as stream:\n    stream.write(b'2\\n' * (4 << 20))\n"
    executor = Executor(opened := open_backend("auto"))
    try:
        request = GradeRequest(program=Program(source=source), cases=(StdioCase(stdin="", stdout=""),), coverage=True)
        verdict = grade_one(executor, request, Quiet(), 0, opened.isolation, BY_LANGUAGE)
        assert verdict.coverage == Coverage(lines=(1, 2))
        assert [len(claim) for claim in executor.claims] == [MAX_CLAIM]
    finally:
        executor.close()
        opened.close()


def test_coverage_is_off_unless_asked_for_and_travels_with_the_verdict(grader: Grader) -> None:
    assert graded(grader, SIGN, sign(5, 1), coverage=False).coverage is None
    verdict = graded(grader, SIGN, sign(-5, 1))
    assert verdict.coverage is not None and Verdict.from_json(verdict.to_json()) == verdict
    old = {key: value for key, value in verdict.to_json().items() if key != "coverage"}
    assert Verdict.from_json(old) == replace(verdict, coverage=None)
