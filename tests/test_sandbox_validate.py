"""Does a checker of the task's own decide in its own jail, and is whatever goes wrong with it the task's fault?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from sandbox import CallCase, FunctionChecker, Grader, GradeRequest, Group, Limits, Program, StdioCase, Verdict
from sandbox.spec import Case, ProgramChecker

# Any two different numbers whose sum is the input.
SUM = """
def check(stdin, stdout, answer):
    words = stdout.split()
    if len(words) != 2 or not all(word.lstrip("-").isdigit() for word in words):
        return False, "two numbers, please"
    a, b = map(int, words)
    return a + b == int(stdin) and a != b
"""
CASE = StdioCase(stdin="7", stdout="3 4")


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=1) as opened:
        yield opened


def judge(grader: Grader, source: str, checker: FunctionChecker | str, *cases: Case, **options: object) -> Verdict:
    rule = FunctionChecker(source=checker) if isinstance(checker, str) else checker
    request = GradeRequest(program=Program(source=source), cases=cases or (CASE,), checker=rule, **options)  # type: ignore[arg-type]
    (verdict,) = grader.grade([request])
    return verdict


@pytest.mark.parametrize(
    ("source", "outcome"),
    [
        ("print(2, 5)", "AC"),
        ("print(-1, 8)", "AC"),
        ("print(2, 4)", "WA"),
        ("print('x')", "WA"),
        ("pass", "WA"),
        ("1/0", "RE"),
        ("import sys; sys.stdout.buffer.write(bytes(range(256)))", "WA"),
        ("print('True'); print('42'); print('{\"ok\": true}')", "WA"),
        ("import sys; sys.exit(0)", "WA"),
        ("import atexit\natexit.register(print, '3 3')", "WA"),
    ],
)
def test_a_function_decides_about_output(grader: Grader, source: str, outcome: str) -> None:
    verdict = judge(grader, source, SUM)
    assert (verdict.outcome, verdict.integrity) == (outcome, "separated"), verdict


def test_a_function_decides_about_values(grader: Grader) -> None:
    root = "def check(args, result, expected): return isinstance(result, float) and abs(result ** 2 - args[0]) < 1e-6"
    case = CallCase(function="f", args=(2,), expected=2**0.5)
    assert judge(grader, "def f(x): return -x ** 0.5", root, case).outcome == "AC"
    assert judge(grader, "def f(x): return x / 2", root, case).outcome == "WA"
    liar = "class Yes(float):\n __eq__ = __lt__ = __pow__ = lambda *a: True\ndef f(x): return Yes(3)"
    assert judge(grader, liar, root, case).status == "FAIL"


def test_a_share_of_the_points_is_partly_accepted(grader: Grader) -> None:
    share = "def check(stdin, stdout, answer): return min(1.0, int(stdout) / int(answer)), 'so far'"
    case = StdioCase(stdin="", stdout="8")
    verdict = judge(grader, "print(2)", share, case, groups=(Group(cases=(0,), points=40, award="sum"),))
    assert (verdict.outcome, verdict.cases[0].share, verdict.points) == ("PA", 0.25, 10.0)
    assert judge(grader, "print(9)", share, case).outcome == "AC"
    assert judge(grader, "print(0)", share, case).outcome == "WA"


FAULTY = {
    "crashes": "def check(*a): return 1 / 0",
    "exits": "import os\ndef check(*a): os._exit(0)",
    "exits at once": "raise SystemExit(0)",
    "is not there": "def chekc(*a): return True",
    "does not compile": "def check(",
    "is empty": " ",
    "returns junk": "def check(*a): return 'yes'",
    "returns nothing": "def check(*a): pass",
    "returns more than all": "def check(*a): return 1.5",
    "returns nan": "def check(*a): return float('nan')",
    "returns an object": "def check(*a): return object()",
    "rejects the answer": "def check(*a): return False",
    "floods": "def check(*a): return 'x' * (1 << 27)",
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_checker_is_never_the_fault_of_the_program(grader: Grader, name: str) -> None:
    verdict = judge(grader, "print(1, 1)", FAULTY[name])
    assert (verdict.outcome, verdict.status) == ("JE", "UNSCORABLE"), verdict
    assert "the checker is faulty" in verdict.detail


GRIEF = [
    "raise ValueError(stdout)",
    "import os; os._exit(0)",
    "return 'junk'",
    "while True: pass",
    "return 'x' * (1 << 27)",
]


@pytest.mark.parametrize("grief", GRIEF)
def test_an_output_over_which_a_good_checker_comes_to_grief_is_wrong(grader: Grader, grief: str) -> None:
    text = f"def check(stdin, stdout, answer):\n if 'x' in stdout:\n  {grief}\n return stdout.strip() == answer"
    checker = FunctionChecker(source=text, limits=Limits(cpu_seconds=0.4, wall_seconds=2.0))
    case = StdioCase(stdin="", stdout="4")
    found = [judge(grader, f"print({said!r})", checker, case) for said in ("4", "5", "x")]
    assert [verdict.outcome for verdict in found] == ["AC", "WA", "WA"], found[2]
    assert "fails on this one" in found[2].detail
    secret = replace(checker, accepts_answer=False)  # then nothing shows that it is not the checker's own fault
    assert judge(grader, "print('x')", secret, case).outcome == "JE"


@pytest.mark.parametrize("grief", ["int(said)", "os.abort()", "all(map(bool, iter(lambda: 1, 0)))"])
def test_an_output_over_which_a_good_validator_comes_to_grief_is_wrong(grader: Grader, grief: str) -> None:
    text = "import os, sys\nsaid = sys.stdin.read()\nif 'x' in said: {}\nsys.exit(42 if said.strip() == {} else 43)"
    limits = Limits(cpu_seconds=0.4, wall_seconds=2.0)
    for right, outcome in (("'4'", "WA"), ("'9'", "JE")):  # the second one rejects the answer itself
        validator = ProgramChecker(program=Program(source=text.format(grief, right)), limits=limits)
        case = StdioCase(stdin="", stdout="4", checker=validator)
        (verdict,) = grader.grade([GradeRequest(program=Program(source="print('x')"), cases=(case,))])
        assert verdict.outcome == outcome, verdict


@pytest.mark.parametrize("body", ["while True: pass", "import time; time.sleep(60)"])
def test_a_checker_that_hangs_is_ended_and_faulty(grader: Grader, body: str) -> None:
    slow = FunctionChecker(source=f"def check(*a):\n {body}", limits=Limits(cpu_seconds=0.2, wall_seconds=0.6))
    assert judge(grader, "print(3, 4)", slow).outcome == "JE"


def test_a_checker_may_reject_an_answer_that_is_no_output(grader: Grader) -> None:
    odd = "def check(stdin, stdout, answer): return answer == 'possible' and stdout.strip() == '3 4'"
    case = StdioCase(stdin="", stdout="possible")
    lenient = FunctionChecker(source=odd, accepts_answer=False)
    assert judge(grader, "print(3, 4)", lenient, case).outcome == "AC"
    assert judge(grader, "print(4)", lenient, case).outcome == "WA"
    assert judge(grader, "print(4)", odd, case).outcome == "JE"


def test_the_program_never_sees_the_checker(grader: Grader) -> None:
    source = (
        "import gc, os, sys\nfound = [o for o in gc.get_objects() if 'please' in repr(type(o))]\n"
        "names = [n for n in os.listdir('.')] + [n for n in os.listdir('/tmp')]\nprint(len(found) + len(names), 7)"
    )
    assert judge(grader, source, SUM).outcome == "AC"  # it printed 0 7
