"""Does every hostile program get the verdict it deserves, and every odd but honest one AC?

Sections of the list: early exit, lying values, monkey-patching, forged channels, resources, bad inputs, friendly-odd. After all
of them the next honest program is AC, and no process is left.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from sandbox import AssertCase, CallCase, Checker, Grader, GradeRequest, Program, Status, StdioCase, Verdict
from sandbox.limits import MEBIBYTE, Limits
from sandbox.spec import Case

TIGHT = Limits(cpu_seconds=0.4, wall_seconds=1.5, memory_bytes=128 * MEBIBYTE, output_bytes=MEBIBYTE, processes=16)


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=2) as opened:
        yield opened


def judge(
    grader: Grader, source: str, *cases: Case, limits: Limits = Limits(), checker: Checker | None = None
) -> Verdict:
    request = GradeRequest(program=Program(source=source), cases=cases, limits=limits, checker=checker)
    (verdict,) = grader.grade([request])
    return verdict


def stdio(stdout: str, stdin: str = "") -> StdioCase:
    return StdioCase(stdin=stdin, stdout=stdout)


def call(expected: object, *args: object, function: str = "f") -> CallCase:
    return CallCase(function=function, args=args, expected=expected)


def asserts(code: str, *names: str) -> AssertCase:
    return AssertCase(code=code, names=names or ("f",))


SCRIPTS = {
    # early exit and flow
    "exit0_top": ("import sys; sys.exit(0)\nprint(4)", "WA"),
    "os_exit0": ("import os; os._exit(0)\nprint(4)", "WA"),
    "exit_in_thread": (
        "import os, threading\nthreading.Thread(target=os._exit, args=(0,)).start()\nwhile 1: pass",
        "WA",
    ),
    "atexit_hang": ("import atexit, time\natexit.register(time.sleep, 99)\nprint(4)", "WTLE"),
    "del_loop": ("class A:\n def __del__(s):\n  while 1: pass\na = A()\nprint(4)", "TLE"),
    "exit_nonzero_right_output": ("print(4); raise SystemExit(3)", "RE"),
    "busy": ("while True: pass", "TLE"),
    "swallow_all": ("while True:\n try:\n  while 1: pass\n except BaseException: pass", "TLE"),
    "ignore_signals": (
        "import signal\nfor s in range(1, 65):\n try: signal.signal(s, signal.SIG_IGN)\n except (OSError, ValueError): pass\n"
        "while 1: pass",
        "TLE",
    ),
    "reset_alarm": ("import signal\nsignal.alarm(0); signal.setitimer(signal.ITIMER_REAL, 0)\nwhile 1: pass", "TLE"),
    # forged channels
    "stdout_marker": ("print('ALL_TESTS_PASSED'); print(1); print('{\"ok\":4}')", "WA"),
    "control_fd": (
        "import os\nfor fd in range(3, 64):\n try: os.write(fd, b'\\x09\\0\\0\\0{\"ok\":4}')\n except OSError: pass",
        "WA",
    ),
    "flood_then_answer": ("import sys\nfor i in range(4000): sys.stdout.write('x' * 1000)\nprint(4)", "OLE"),
    "ansi_nul": ("print('\\x1b[2J\\0\\r\\ufeff\\u202e4')", "WA"),
    "shadow_stdlib": (
        "open('json.py','w').write('raise SystemExit')\nopen('random.py','w').write('1/0')\nprint(5)",
        "WA",
    ),
    "patch_print": ("import builtins\nbuiltins.print = lambda *a: None\nprint(4)", "WA"),
    # resources
    "out_flood": ("while True: print('y' * 999)", "OLE"),
    "stderr_flood": ("import sys\nwhile True: sys.stderr.write('y' * 999)", "OLE"),
    "sleep_long": ("import time; time.sleep(3600)", "WTLE"),
    "stdin_slow": ("import os, time\nwhile os.read(0, 1): time.sleep(0.01)", "WTLE"),
    "recursion": ("def f(): f()\nf()", "RE"),
    "big_pow": ("print(9**9**9)", "TLE"),
    "memory": ("x = bytearray(1 << 33)\nprint(4)", "MLE"),
    "memory_touched": ("x = []\nwhile 1: x.append(bytearray(b'x' * (1 << 20)))", "MLE"),
    "cpu_multi": (
        "import os\nfor _ in range(4):\n if os.fork() == 0:\n  while 1: pass\nos.wait()",
        "TLE",
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_hostile_script_gets_its_verdict(grader: Grader, name: str) -> None:
    source, outcome = SCRIPTS[name]
    verdict = judge(grader, source, stdio("4", "1\n" * 5000), limits=TIGHT)
    assert verdict.outcome == outcome, verdict


def test_output_meant_for_one_test_does_not_pass_the_next(grader: Grader) -> None:
    verdict = judge(grader, "import atexit\natexit.register(print, 4)", stdio("4"), stdio("5"))
    assert [case.outcome for case in verdict.cases] == ["AC", "WA"]


def test_a_fork_bomb_and_a_thread_bomb_fail_and_leave_nothing(grader: Grader) -> None:
    forks = "import os\nwhile 1:\n try: os.fork()\n except OSError: pass"
    threads = "import threading, time\nfor _ in range(100000): threading.Thread(target=time.sleep, args=(9,)).start()"
    for source in (forks, threads):
        verdict = judge(grader, source, stdio("4"), limits=TIGHT)
        assert verdict.status is Status.FAIL
        assert {"PLE", "RE", "TLE", "MLE"} & set(verdict.cases[0].flags)


def test_a_daemon_that_outlives_its_program_is_killed_with_it(grader: Grader) -> None:
    source = (
        "import os, time\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0:\n  os.closerange(0, 99)\n"
        "  time.sleep(60)\n os._exit(0)\nprint(4)"
    )
    verdict = judge(grader, source, stdio("4"))
    assert verdict.outcome == "AC"
    assert verdict.cases[0].wall_ms < 5000


def test_unread_stdin_and_large_honest_output_block_nobody(grader: Grader) -> None:
    assert judge(grader, "print(4)", stdio("4", "x" * 20_000_000)).outcome == "AC"
    source = "import sys\nsys.stdin.read()\nprint('x' * 5_000_000)"
    assert judge(grader, source, stdio("x" * 5_000_000, "y" * 1_000_000)).outcome == "AC"


FAILING_CALLS = {
    # name: (program, what f(2) must be, verdict)
    "exit0_top": ("import sys; sys.exit(0)\ndef f(x): return 4", 4, "RE"),
    "os_exit0": ("import os\ndef f(x): os._exit(0)", 4, "RE"),
    "sys_exit": ("def f(x): raise SystemExit(0)", 4, "RE"),
    "exit_in_thread": (
        "import os, threading, time\ndef f(x):\n threading.Thread(target=os._exit, args=(0,)).start()\n time.sleep(9)",
        4,
        "RE",
    ),
    "always_equal": ("class E:\n def __eq__(s, o): return True\n __hash__ = None\ndef f(x): return E()", 4, "RE"),
    "hash_eq_dict": (
        "class D(dict):\n def __eq__(s, o): return True\n def __len__(s): return 1\n def __iter__(s): return iter([1])\n"
        "def f(x): return D()",
        {1: 2},
        "RE",
    ),
    "lying_int": (
        "class I(int):\n def __eq__(s, o): return True\n __hash__ = int.__hash__\ndef f(x): return I(5)",
        4,
        "RE",
    ),
    "silent_subclass": ("class I(int): pass\ndef f(x): return I(5)", 4, "WA"),
    "nan": ("def f(x): return float('nan')", 4, "WA"),
    "nan_for_nan": ("def f(x): return float('nan')", float("nan"), "WA"),
    "huge_float": ("def f(x): return 1e308", 10**400, "WA"),
    "huge_int": ("def f(x): return 10**400", 1e308, "WA"),
    "text_number": ("def f(x): return '1e3'", 1000, "WA"),
    "bool_for_int": ("def f(x): return True", 1, "WA"),
    "int_for_bool": ("def f(x): return 1", True, "WA"),
    "lazy_gen": ("def f(x):\n while True: yield 4", 4, "RE"),
    "self_ref": ("def f(x):\n a = []\n a.append(a)\n return a", [[]], "RE"),
    "deep_nest": ("def f(x):\n a = []\n for _ in range(100000): a = [a]\n return a", [[]], "RE"),
    "laughs": ("def f(x):\n a = [1]\n for _ in range(60): a = [a, a]\n return a", [[]], "RE|TLE"),
    "repr_bomb": ("class R:\n def __repr__(s): return 'x' * (1 << 31)\ndef f(x): return R()", 4, "RE"),
    "long_text": ("def f(x): return 'x' * (8 << 20)", 4, "OLE"),
    "surrogate": ("def f(x): return '\\ud800'", "x", "RE"),
    "reduce": ("class P:\n def __reduce__(s): return (print, (4,))\ndef f(x): return P()", 4, "RE"),
    "patch_json": ("import json\njson.dumps = json.loads = lambda *a, **k: '{\"ok\":4}'\ndef f(x): return 5", 4, "WA"),
    "patch_judge": ("def run_tests(): pass\ncheck = main = run_tests\ndef f(x): return 5", 4, "WA"),
    "import_hook": (
        "import sys\nclass H:\n def find_spec(s, *a): raise SystemExit(0)\nsys.meta_path.insert(0, H())\ndef f(x): return 5",
        4,
        "WA",
    ),
    "trace": (
        "import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)\ndef f(x): return 5",
        4,
        "WA",
    ),
    "unasked_frame": (
        "import os\ndef f(x):\n os.write(3, b'\\x08\\0\\0\\0{\"ok\":4}')\n return 4",
        4,
        "RE",
    ),
    "duplicate_keys": (
        'import os\ndef f(x):\n os.write(3, b\'\\x0f\\0\\0\\0{"ok":5,"ok":4}\')\n while 1: pass',
        4,
        "RE",
    ),
    "nan_token": ("import os\ndef f(x):\n os.write(3, b'\\x0a\\0\\0\\0{\"ok\":NaN}')\n while 1: pass", 4, "RE"),
    "long_number": (
        "import os\ndef f(x):\n n = b'{\"ok\":4' + b'0' * 99999 + b'}'\n"
        " os.write(3, len(n).to_bytes(4, 'little') + n)\n while 1: pass",
        4,
        "RE",
    ),
    "pickle": ("import os\ndef f(x):\n os.write(3, b'\\x05\\0\\0\\0\\x80\\x04K\\x04.')\n while 1: pass", 4, "RE"),
    "claimed_length": ("import os\ndef f(x):\n os.write(3, b'\\xff\\xff\\xff\\xff{}')\n while 1: pass", 4, "OLE"),
    "busy": ("def f(x):\n while 1: pass", 4, "TLE"),
    "sleeps": ("import time\ndef f(x): time.sleep(60)", 4, "WTLE"),
    "memory": ("def f(x): return len(bytearray(1 << 33))", 4, "MLE"),
    "not_defined": ("def g(x): return 4", 4, "RE"),
    "colliding_keys": ("def f(x): return {i * (2**61 - 1): 0 for i in range(2000)}", {}, "RE"),
}


@pytest.mark.parametrize("name", FAILING_CALLS)
def test_a_hostile_function_gets_its_verdict(grader: Grader, name: str) -> None:
    source, expected, outcome = FAILING_CALLS[name]
    verdict = judge(grader, source, call(expected, 2), limits=TIGHT)
    assert verdict.outcome in outcome.split("|"), verdict


def test_editing_an_argument_does_not_edit_the_expected_value_that_shares_it(grader: Grader) -> None:
    shared = [3, 1]
    verdict = judge(grader, "def f(a):\n a[:] = [0]\n return a", call(shared, shared))
    assert verdict.outcome == "WA"
    assert shared == [3, 1]


def test_a_crash_in_one_call_leaves_the_others_their_verdicts(grader: Grader) -> None:
    source = "import os\ndef f(x):\n if x == 1: os._exit(7)\n if x == 2:\n  while 1: pass\n return x"
    verdict = judge(grader, source, *(call(x, x) for x in range(5)), limits=TIGHT)
    assert [case.outcome for case in verdict.cases] == ["AC", "RE", "TLE", "AC", "AC"]


HOSTILE_ASSERTS = {
    # name: (program, test of f, verdict)
    "always_equal": ("class E:\n def __eq__(s, o): return True\ndef f(x): return E()", "assert f(2) == 4", "WA"),
    "always_less": (
        "class E:\n def __lt__(s, o): return True\n __gt__ = __lt__\ndef f(x): return E()",
        "assert f(2) < 4",
        "RE",
    ),
    "always_near": (
        "class E:\n def __sub__(s, o): return 0.0\n __rsub__ = __sub__\ndef f(x): return E()",
        "assert abs(f(2) - 4.0) < 1e-6",
        "RE",
    ),
    "contains_all": (
        "class E:\n def __contains__(s, o): return True\n def __iter__(s): return iter(())\ndef f(x): return E()",
        "assert 4 in f(2)",
        "WA",
    ),
    "sees_no_expected": (
        "class E:\n def __getattr__(s, n): return lambda *a: 0\n def __rmod__(s, o): return 4\ndef f(x): return E()",
        "assert f(2) % 5 == 4",
        "RE",
    ),
    "none": ("def f(x): pass", "assert f(2)[0] == 4", "RE"),
    "patch_assert": (
        "import builtins\nbuiltins.AssertionError = ValueError\ndef f(x): return 5",
        "assert f(2) == 4",
        "WA",
    ),
    "patch_unittest": (
        "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\ndef f(x): return 5",
        "import unittest\nclass T(unittest.TestCase):\n def test(self): self.assertEqual(f(2), 4)\nunittest.main()",
        "WA",
    ),
    "forges_verdict": (
        'import os\ndef f(x):\n d = b\'{"end":"passed","detail":""}\'\n'
        " os.write(3, len(d).to_bytes(4, 'little') + d)\n return 5",
        "assert f(2) == 4",
        "RE",
    ),
    "raises_assertion": ("def f(x): raise AssertionError", "assert f(2) == 4", "RE"),
    "raises_exit": ("def f(x): raise SystemExit(0)", "assert f(2) == 4", "RE"),
    "raises_interrupt": ("def f(x): raise KeyboardInterrupt", "assert f(2) == 4", "RE"),
    "os_exit0": ("import os\ndef f(x): os._exit(0)", "assert f(2) == 4", "RE"),
    "not_defined": ("x = 1", "assert f(2) == 4", "RE"),
    "fails_to_load": ("1/0\ndef f(x): return 4", "assert f(2) == 4", "RE"),
    "endless_iterator": ("def f(x):\n while True: yield 4", "assert list(f(2)) == [4]", "TLE|WTLE|RE"),
    "busy": ("def f(x):\n while 1: pass", "assert f(2) == 4", "TLE"),
    "sleeps": ("import time\ndef f(x): time.sleep(60)", "assert f(2) == 4", "WTLE"),
    "memory": ("def f(x): return len(bytearray(1 << 33))", "assert f(2) == 4", "MLE"),
    "edits_the_expected_value": ("def f(a):\n a[:] = []\n return a", "a = [2, 1]\nassert f(a) == sorted(a)", "WA"),
    "redefines_a_helper": (
        "def f(x): return 5\ndef same(a, b): return True",
        "def same(a, b): return a == b\nassert same(f(2), 4)",
        "WA",
    ),
    "walks_functions_of_the_test": (
        "def f(g):\n try: return g.__globals__\n except AttributeError: return 4",
        "secret = 4\nassert f(lambda: 5) == 5",
        "WA",
    ),
    "calls_what_it_was_not_given": (
        'import os\ndef f(x):\n d = b\'{"op":"call","r":0,"args":[],"kwargs":[]}\'\n'
        " os.write(3, len(d).to_bytes(4, 'little') + d)\n return 5",
        "assert f(2) == 4",
        "RE",
    ),
    "a_type_that_is_not_passed": ("def f(x): return eval", "assert f(2)('4') == 5", "WA|RE"),
    "huge_answer": ("def f(x): return [0] * 300_000", "assert sum(a == b for a in f(2) for b in f(2)) == 4", "RE|TLE"),
}


@pytest.mark.parametrize("name", HOSTILE_ASSERTS)
def test_a_hostile_answer_to_a_test_gets_its_verdict(grader: Grader, name: str) -> None:
    source, test, outcome = HOSTILE_ASSERTS[name]
    verdict = judge(grader, source, asserts(test), limits=TIGHT)
    assert verdict.outcome in outcome.split("|"), verdict
    assert verdict.integrity == "proxied"


BAD_SOURCES = {
    "empty": "", "blank": " \n\t\n", "markdown": "Here is the code:\n```\n", "nul": "print(4)\0",
    "surrogate": "print('\ud800')", "huge": "#" * 50_000_000, "python2": "print 4",
    "mixed_tabs": "if 1:\n\tx = 1\n        y = 2\n", "deep": "(" * 5000 + ")" * 5000,
    "encoding": "# -*- coding: klingon -*-\nprint(4)",
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_SOURCES)
def test_what_is_no_program_is_a_compile_error_for_every_kind_of_case(grader: Grader, name: str) -> None:
    for case in (stdio("4"), call(4, 2), asserts("assert f(2) == 4")):
        assert judge(grader, BAD_SOURCES[name], case, case).outcome == "CE"


def test_a_byte_order_mark_is_no_fault(grader: Grader) -> None:
    assert judge(grader, "\ufeffprint(4)", stdio("4")).outcome == "AC"


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


FRIENDLY = {
    "buffer_readline": ("import sys\nprint(int(sys.stdin.buffer.readline()) * 2)", "2\n", "4"),
    "for_line": ("import sys\nprint(sum(int(l) for l in sys.stdin))", "1\n3", "4"),
    "open0": ("print(len(open(0).read().split()))", "a b c d", "4"),
    "os_read": ("import os\nprint(int(os.read(0, 9)) + 2)", "2", "4"),
    "os_write": ("import os, sys\nsys.stdout.buffer.write(b'4')\nsys.stdout.flush()\nos.write(1, b'2\\n')", "", "42"),
    "thread_with_stack": (
        "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(48 << 20)\n"
        "def d(n): return 0 if n == 0 else 1 + d(n - 1)\nt = threading.Thread(target=lambda: print(d(20000)))\nt.start()",
        "",
        "20000",
    ),
    "deep_recursion": (
        "import sys\nsys.setrecursionlimit(10**6)\ndef d(n): return 0 if n == 0 else 1 + d(n - 1)\nprint(d(100000))",
        "",
        "100000",
    ),
    "main_guard": (
        "def main():\n global n\n n = int(input())\n print(n * 2)\nif __name__ == '__main__': main()",
        "2",
        "4",
    ),
    "fork_pool": (
        "import multiprocessing as m\ndef g(x): return x * x\nif __name__ == '__main__':\n"
        " with m.get_context('fork').Pool(2) as p: print(sum(p.map(g, [0, 2])))",
        "",
        "4",
    ),
    "spaces": ("print('4  ')\nprint()", "", "4"),
    "crlf": ("import sys\nsys.stdout.write('4\\r\\n5')", "", "4\n5\n"),
    "exit_after": ("import sys\nprint(4)\nsys.exit()", "", "4"),
    "numpy": ("import numpy as np\nprint(int(np.array([1, 3]).sum()))", "", "4"),
    "input_and_read": ("import sys\na = input()\nprint(a + sys.stdin.read())", "4\n2", "42"),
    "part_of_stdin": ("print(input())", "4\n" * 100_000, "4"),
    "dataclass": ("from dataclasses import dataclass\n@dataclass\nclass P:\n x: int\nprint(P(4).x)", "", "4"),
    "finalizer": ("class A:\n def __del__(s): print(4)\na = A()", "", "4"),
    "no_close": ("import threading\nthreading.Timer(0.05, lambda: print(4)).start()", "", "4"),
}


@pytest.mark.parametrize("name", FRIENDLY)
def test_an_odd_but_honest_script_is_accepted(grader: Grader, name: str) -> None:
    source, stdin, stdout = FRIENDLY[name]
    verdict = judge(grader, source, stdio(stdout, stdin))
    if name == "numpy" and "ModuleNotFoundError" in verdict.detail:
        pytest.skip("numpy is not visible in this jail")
    assert verdict.outcome == "AC", verdict


def test_honest_rules_of_the_checker_are_honoured(grader: Grader) -> None:
    assert judge(grader, "print(1e-7)", stdio("0.0000001"), checker=Checker.FLOATS).outcome == "AC"
    assert judge(grader, "print(2); print(1)", stdio("1\n2"), checker=Checker.UNORDERED).outcome == "AC"
    verdict = judge(grader, "def f(x): return list({3, 1, 2})", call([2, 3, 1], 0), checker=Checker.UNORDERED)
    assert verdict.outcome == "AC"


def test_a_solution_class_may_use_typing_names_without_import(grader: Grader) -> None:
    source = "class Solution:\n def twice(self, xs: List[int]) -> Optional[List[int]]: return [2 * x for x in xs]"
    assert judge(grader, source, call([2, 4], [1, 2], function="Solution.twice")).outcome == "AC"


def test_standard_containers_and_numpy_results_count_as_what_they_hold(grader: Grader) -> None:
    source = (
        "import collections, enum\nE = enum.IntEnum('E', 'A B')\nN = collections.namedtuple('N', 'a b')\n"
        "def f(x): return [collections.Counter('aab'), collections.defaultdict(int, x=1), collections.OrderedDict(y=2), "
        "collections.deque([1]), N(1, 2), E.B]"
    )
    assert judge(grader, source, call([{"a": 2, "b": 1}, {"x": 1}, {"y": 2}, [1], (1, 2), 2], 0)).outcome == "AC"
    source = "import numpy as np\ndef f(x): return [np.float64(0.5), np.int64(3), np.bool_(True), np.arange(3)]"
    verdict = judge(grader, source, call([0.5, 3, True, [0, 1, 2]], 0))
    assert verdict.outcome == "AC" or "ModuleNotFoundError" in verdict.detail


def test_after_all_that_an_honest_program_is_accepted_and_no_process_is_left(grader: Grader) -> None:
    assert judge(grader, "print(4)", stdio("4")).status is Status.PASS
    with Grader(workers=1) as other:
        assert judge(other, "def f(x): return 2 * x", call(4, 2), asserts("assert f(2) == 4")).status is Status.PASS
    children = {int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _parent(pid) == os.getpid()}
    grader.close()
    left = {int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _parent(pid) == os.getpid()}
    assert left < children


def _parent(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return -1
