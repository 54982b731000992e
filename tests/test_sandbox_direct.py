"""Does the judge decide only tests that it fully understands, and as the referee would?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox import AssertCase, Grader, GradeRequest, Limits, Outcome, Program, Verdict, direct

HEAD = "def f(x): return {}\n"
CHECK = "METADATA = {'author': 'jt'}\n\n\ndef check(candidate):\n    '''doc'''\n    pass\n"
DIRECT = [
    "assert f(1) == 2",
    "assert f(1) != 2 and not f(2)",
    "assert f(1) is True",
    "assert f(-1, x=[1.5, (2, 'a')]) in (1, 2), 'not in'",
    "assert abs(f(1.5) - 2.0 / 3) < 1e-6",
    "assert sorted(f([3 * 19, 2 ** 10])) == ['a' + 'b', [0] * 3]",
    "import math\nassert math.isclose(f(1), 2, rel_tol=0.01)",
    "assert f(1) == 2, 'wrong: ' + str(f(1))",
    CHECK + "    assert True, 'prints'\n    assert candidate(1) == 2\n\ncheck(f)\n",
]
INDIRECT = [
    "for x in range(3): assert f(x) == x",
    "x = [1]\nassert f(x) == x",  # f may change x
    "assert f({1, 2}) == 3",  # in which order would the set travel?
    "assert f(1) is 2",
    "assert f(1) == 10 ** 10 ** 10",  # nothing is computed that may not end
    "assert f(1) == [0] * 10 ** 9",
    "assert f(1) == g(1)",
    "assert f(f(1)) == 1",
    "assert f(1).real == 1",
    "assert True",
    "assert f(1) == 2, print('no')",
    "abs = 5\nassert abs(f(1)) == 2",
    "f = 5\nassert f == 5 or f(1)",
    "import os\nassert f(1) == 2",
    "from math import nothing\nassert f(1) == 2",
    "def check(candidate): assert candidate(1) == 2\n",  # never called
    "def check(candidate, n=1): assert candidate(1) == 2\ncheck(f)",
    "@f\ndef check(candidate): assert candidate(1) == 2\ncheck(f)",
    "def check(candidate):\n    assert candidate(1) == 2\n    return 5\ncheck(f)",
    "assert f(1) ==",
]
ANSWERS = {
    "right": "x + 1",
    "wrong": "x + 2",
    "nothing": "None",
    "text": "str(x + 1)",
    "real": "float(x + 1)",
    "huge": "10 ** 500",
    "not a number": "float('nan')",
    "generator": "(i for i in [x + 1])",
    "object": "object()",
    "list of objects": "[object()]",
    "type": "int",
    "equal to all": "type('E', (), {'__eq__': lambda s, o: True, '__bool__': lambda s: True, '__len__': lambda s: 2})()",
    "true object": "type('E', (), {'__sub__': lambda s, o: 0, '__abs__': lambda s: 0, '__iter__': lambda s: iter([2])})()",
    "error": "1 // 0",
    "error of its own": "(_ for _ in ()).throw(type('Own', (KeyError,), {})('a', x))",
    "memory": "(_ for _ in ()).throw(MemoryError())",
    "assertion": "(_ for _ in ()).throw(AssertionError('no'))",
    "deep": "eval('[' * 90 + ']' * 90) if x < 0 else __import__('functools').reduce(lambda a, _: [a], range(200), [])",
    "exit": "__import__('os')._exit(0)",
    "sys.exit": "__import__('sys').exit(0)",
    "two answers": "(__import__('os').write(3, b'\\x0a\\0\\0\\0{\"ok\": 2 }' * 2), x + 1)[1]",
    "question": '(__import__(\'os\').write(3, b\'\\x2b\\0\\0\\0{"op":"call","r":0,"args":[],"kwargs":[]}   \'), x + 1)[1]',
}
TESTS = [
    "assert f(1) == 2",
    "assert f(1) != 3",
    "assert f(1)",
    "assert not f(-1)",
    "assert f(1) in [2, 3]",
    "assert 2 in f(1)",
    "assert 1 < f(1) < 3",
    "assert abs(f(1) - 2) < 1e-3",
    "assert set(f(1)) == {2}",
    "assert len(f(1)) == 2",
    "assert f(1) == 2, 'not ' + str(f(1))",
    "assert f(1) is None or f(1) == 2",
    "import math\nassert math.isclose(f(1), 2)",
    CHECK + "    assert candidate(0) == 1\n    assert candidate(1) == 2\n\ncheck(f)\n",
]
PROGRAMS = {
    **{name: HEAD.format(answer) for name, answer in ANSWERS.items()},
    "absent": "g = 1\n",
    "a value": "f = 5\n",
    "a builtin": "f = list\n",
    "a class": "class f(int): pass\n",
    "a list": "class f(list):\n    def __init__(self, x): super().__init__([x + 1])\n",
    "does not load": "raise ValueError('no')\n",
    "does not compile": "def f(:\n",
}


def case(code: str) -> AssertCase:
    return AssertCase(code=code, names=("f",))


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader() as opened:
        yield opened


@pytest.mark.parametrize("code", DIRECT)
def test_a_test_that_compares_calls_on_literals_needs_no_referee(code: str) -> None:
    plan = direct.plan(case(code))
    assert plan is not None
    assert plan.names == ("f",)


@pytest.mark.parametrize("code", INDIRECT)
def test_any_other_test_is_left_to_the_referee(code: str) -> None:
    assert direct.plan(case(code)) is None


def test_a_prelude_that_may_fail_or_shadow_is_left_to_the_referee() -> None:
    for prelude in ("1 / 0", "from typing import Nothing", "def abs(x): return 0", "import math as abs"):
        assert direct.plan(AssertCase(code="assert abs(f(1)) == 2", names=("f",), prelude=prelude)) is None
    prelude = "import math\nfrom typing import List\nLIMIT = 5\n"
    assert direct.plan(AssertCase(code="assert f(1) == 2", names=("f",), prelude=prelude)) is not None


def test_names_of_the_candidate_hide_builtins() -> None:
    assert direct.plan(AssertCase(code="assert len(f(1)) == 2", names=("f", "len"))) is None


def test_the_judge_decides_as_the_referee_does(grader: Grader, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(cpu_seconds=2.0, wall_seconds=5.0)
    table = [(name, test) for name in PROGRAMS for test in TESTS]
    requests = [
        GradeRequest(program=Program(source=PROGRAMS[name]), cases=(case(test),), limits=limits) for name, test in table
    ]
    ours = grader.grade(requests)
    monkeypatch.setattr(direct, "plan", lambda _: None)
    theirs = grader.grade(requests)
    for where, mine, other in zip(table, ours, theirs, strict=True):
        if where[0] == "question":  # the referee answers one that it never invited, the judge does not
            assert mine.outcome == "RE", (where, mine)
            continue
        assert mine.outcome == other.outcome, (where, mine, other)
    assert {verdict.integrity for verdict in theirs} == {"proxied"}
    assert {verdict.integrity for verdict in ours} == {"separated", "proxied"}
    accepted = {where[0] for where, verdict in zip(table, ours, strict=True) if verdict.outcome is Outcome.AC}
    assert {"right", "real"} <= accepted
    assert "exit" not in accepted


def test_an_undecided_case_in_the_middle_changes_nothing_for_the_others(grader: Grader) -> None:
    source = "def f(x): return x + 1 if x != 2 else type('E', (), {'__bool__': lambda s: True})()\n"
    cases = (*(case(f"assert f({x})") for x in range(5)), case("assert f(9) == 9"))
    verdict: Verdict = grader.grade([GradeRequest(program=Program(source=source), cases=cases)])[0]
    assert [found.outcome for found in verdict.cases] == ["AC"] * 5 + ["WA"]
    assert verdict.integrity == "proxied"
