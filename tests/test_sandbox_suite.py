"""Do unittest and pytest files decide fairly, and does nothing a program does to them earn a pass?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox import Framework, Grader, GradeRequest, Limits, Program, SuiteCase, Verdict

HONEST = """
class Stack:
    def __init__(self): self.items = []
    def push(self, x): self.items.append(x)
    def pop(self): return self.items.pop()
def add(a, b):
    if isinstance(a, str): raise ValueError("text")
    return a + b
"""
SUITES = {
    Framework.UNITTEST: """
import unittest
from solution import Stack, add
class Basic(unittest.TestCase):
    def setUp(self): self.stack = Stack()
    def test_add(self):
        for a in range(3):
            with self.subTest(a=a): self.assertEqual(add(a, 2), a + 2)
    def test_stack(self):
        self.stack.push(5)
        self.assertEqual(self.stack.pop(), 5)
    def test_error(self):
        with self.assertRaises(ValueError): add("x", 1)
    @unittest.skip("later")
    def test_later(self): self.fail()
if __name__ == "__main__": unittest.main()
""",
    Framework.PYTEST: """
import pytest
import solution
from solution import Stack
@pytest.fixture
def stack(): return Stack()
@pytest.mark.parametrize("a", range(3))
def test_add(a): assert solution.add(a, 2) == a + 2
class TestStack:
    def test_push(self, stack):
        stack.push(5)
        assert stack.pop() == 5
    def test_error(self):
        with pytest.raises(ValueError, match="text"): solution.add("x", 1)
    @pytest.mark.skip
    def test_later(self): assert False
""",
}


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=2) as opened:
        yield opened


def judge(grader: Grader, source: str, framework: Framework, code: str = "", **options: Limits) -> Verdict:
    case = SuiteCase(code=code or SUITES[framework], framework=framework)
    (verdict,) = grader.grade([GradeRequest(program=Program(source=source), cases=(case,), **options)])
    return verdict


@pytest.mark.parametrize("framework", Framework)
def test_a_right_program_passes_and_wrong_ones_fail_with_their_reason(grader: Grader, framework: Framework) -> None:
    verdict = judge(grader, HONEST, framework)
    assert (verdict.outcome, verdict.integrity) == ("AC", "proxied"), verdict
    assert judge(grader, HONEST.replace("a + b", "a - b"), framework).outcome == "WA"
    assert judge(grader, HONEST.replace("ValueError", "KeyError"), framework).outcome != "AC"
    broken = judge(grader, HONEST.replace("a + b", "1 / 0"), framework)
    assert (broken.outcome, broken.detail) == ("RE", "ZeroDivisionError: division by zero")
    missing = judge(grader, "def add(a, b): return a + b", framework)
    assert (missing.outcome, missing.detail) == ("RE", "the program does not define 'Stack'")
    assert judge(grader, "def add(:", framework).outcome == "CE"


HOSTILE = {
    "always_equal": """
class Yes:
    __eq__ = __contains__ = __bool__ = lambda *a: True
    __hash__ = lambda s: 0
def add(a, b): return Yes()
class Stack:
    def push(s, x): pass
    def pop(s): return Yes()
""",
    "exit_0": "import sys\ndef add(a, b): sys.exit(0)\nStack = add",
    "exit_0_at_import": "import os\nos._exit(0)",
    "os_exit_in_atexit": "import atexit, os\natexit.register(os._exit, 0)\ndef add(a, b): return 0\nStack = add",
    "patched_unittest": """
import unittest, builtins
for name in dir(unittest.TestCase):
    if name.startswith("assert"): setattr(unittest.TestCase, name, lambda *a, **k: None)
unittest.TestCase.run = lambda s, r=None: r
builtins.AssertionError = SystemExit
def add(a, b): return 0
class Stack:
    def push(s, x): pass
    def pop(s): return 0
""",
    "conftest_and_plugins": """
import os, sys
hook = "import pytest\\n@pytest.hookimpl(hookwrapper=True)\\ndef pytest_runtest_makereport(item, call):\\n"
hook += "    r = (yield).get_result(); r.outcome = 'passed'\\n"
for name in ("conftest.py", "sitecustomize.py", "usercustomize.py", "plugin.py", "solution.py", "test_suite.py"):
    for folder in (".", "/tmp", "/box/work", os.path.expanduser("~")):
        try: open(os.path.join(folder, name), "w").write(hook)
        except OSError: pass
open("pytest.ini", "w").write("[pytest]\\naddopts = -p plugin --co\\n")
open("evil.pth", "w").write("import os; os._exit(0)\\n")
open("pyproject.toml", "w").write("[tool.pytest.ini_options]\\naddopts = '--collect-only'\\n")
os.environ["PYTEST_ADDOPTS"] = "--collect-only"
def add(a, b): return 0
Stack = add
""",
    "skip_everything": """
import unittest
def add(a, b): raise unittest.SkipTest("skip me")
class Stack:
    def __init__(s): raise unittest.SkipTest("skip me")
""",
    "frame_walk": """
import sys, gc
def add(a, b):
    f = sys._getframe()
    while f:
        for v in list(f.f_locals.values()) + list(f.f_globals.values()):
            if hasattr(v, "num_failed"): v.num_failed = 0
            if isinstance(v, dict) and "end" in v: v["end"] = "passed"
        f = f.f_back
    for o in gc.get_objects():
        if type(o).__name__ == "Tally": o.num_passed, o.num_failed = 9, 0
    return 0
Stack = add
""",
    "forged_channel": """
import os
def add(a, b):
    for fd in range(3, 64):
        for text in (b'{"end":"passed","detail":""}', b'{"ok":{"end":"passed"}}'):
            try: os.write(fd, len(text).to_bytes(4, "little") + text)
            except OSError: pass
    return 0
Stack = add
""",
    "printed_result": "print('OK')\nprint('5 passed in 0.01s')\ndef add(a, b): print('5 passed'); return 0\nStack = add",
    "own_test_run": """
import unittest
def add(a, b): return 0
class Stack(unittest.TestCase): pass
def load_tests(*a): return unittest.TestSuite()
pytestmark = __test__ = False
""",
}


@pytest.mark.parametrize("framework", Framework)
@pytest.mark.parametrize("name", HOSTILE)
def test_no_trick_of_a_program_passes_a_suite(grader: Grader, name: str, framework: Framework) -> None:
    verdict = judge(grader, HOSTILE[name], framework)
    assert verdict.status == "FAIL", verdict
    assert verdict.outcome in ("RE", "WA")


EMPTY = {
    "no tests": "import solution\nsolution.add",
    "all skipped": {
        Framework.UNITTEST: "import unittest, solution\nsolution.add\n@unittest.skip('x')\nclass T(unittest.TestCase):\n"
        " def test(self): pass",
        Framework.PYTEST: "import pytest, solution\nsolution.add\n@pytest.mark.skip\ndef test(): pass",
    },
    "raises at import": "import solution\nsolution.add\nundefined_name",
    "does not compile": "def (",
    "imports nothing": "import unittest",
}


@pytest.mark.parametrize("framework", Framework)
@pytest.mark.parametrize("name", EMPTY)
def test_a_suite_without_tests_is_the_fault_of_the_task(grader: Grader, name: str, framework: Framework) -> None:
    code = EMPTY[name]
    verdict = judge(grader, HONEST, framework, code if isinstance(code, str) else code[framework])
    assert (verdict.outcome, verdict.status) == ("JE", "UNSCORABLE"), verdict


def test_a_program_that_hangs_in_a_suite_is_out_of_time(grader: Grader) -> None:
    limits = Limits(cpu_seconds=0.3, wall_seconds=5)
    assert (
        judge(grader, "def add(a, b):\n while True: pass\nStack = add", Framework.PYTEST, limits=limits).outcome
        == "TLE"
    )


def test_a_missing_pytest_is_named_and_nobody_is_failed_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from sandbox import library

    monkeypatch.setattr(library, "PACKAGES", ("pytest_is_not_here",))
    library.pytest_archive.cache_clear()
    try:
        with Grader(workers=1) as opened:
            verdict = judge(opened, HONEST, Framework.PYTEST)
    finally:
        library.pytest_archive.cache_clear()
    assert verdict.outcome == "IE"
    assert "not installed: `pip install pytest`" in verdict.detail


def test_an_argument_that_cannot_travel_is_no_exception_of_the_program(grader: Grader) -> None:
    """The test would otherwise pass whatever the program does."""
    code = (
        "import pytest\nfrom solution import add\ndef test_it():\n    with pytest.raises(Exception): add(object(), 1)\n"
    )
    verdict = judge(grader, HONEST, Framework.PYTEST, code)
    assert (verdict.outcome, "cannot be passed" in verdict.detail) == ("JE", True)


def test_the_end_of_an_iterator_is_one_and_that_of_a_call_is_not(grader: Grader) -> None:
    program = "def ones():\n    yield 1\ndef add(a, b):\n    raise StopIteration\n"
    next_one = "import solution\ndef test_it():\n    ones = solution.ones()\n    assert (next(ones), next(ones, 0)) == (1, 0)\n"
    called = "import solution\ndef test_it():\n    for _ in map(solution.add, [1], [2]): assert False\n"
    for code, outcome in ((next_one, "AC"), (called, "RE")):
        case = SuiteCase(code=code, framework=Framework.PYTEST)
        [verdict] = grader.grade([GradeRequest(program=Program(source=program), cases=(case,))])
        assert verdict.outcome == outcome
