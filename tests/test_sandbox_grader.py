"""Does a grader answer in order, whatever the workers, and keep failures of its own out of verdicts?"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox import (
    AssertCase,
    CallCase,
    Checker,
    Comparison,
    Grader,
    GradeRequest,
    Limits,
    Outcome,
    Program,
    StdioCase,
    Verdict,
)
from sandbox.backend import Backend, Job, Run, RunExit, SandboxUnavailable, Slot, open_backend
from sandbox.execute import Executor
from sandbox.grader import default_workers
from sandbox.judge import Dropped, Seen
from sandbox.languages import LanguageUnavailable, toolchain
from sandbox.run_once import RunRequest
from sandbox.spec import Case, FunctionChecker
from sandbox.verdict import Isolation
from sandbox.wire import Wire
from sandbox.workfiles import WorkFile


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=2) as opened:
        yield opened


def request_for(source: str, *cases: Case, **options: object) -> GradeRequest:
    return GradeRequest(program=Program(source=source), cases=cases, **options)  # type: ignore[arg-type]


def one(grader: Grader, source: str, *cases: Case, **options: object) -> Verdict:
    return grader.grade([request_for(source, *cases, **options)])[0]


def mixed(count: int) -> list[GradeRequest]:
    """Requests whose verdicts follow from their number: AC, WA, RE, CE in turn."""
    bodies = ("return {n}", "return -1", "raise ValueError", "return (")
    sources = [f"def f(x):\n {bodies[n % 4].format(n=n)}" for n in range(count)]
    return [request_for(source, CallCase(function="f", args=(0,), expected=n)) for n, source in enumerate(sources)]


EXPECTED = [Outcome.AC, Outcome.WA, Outcome.RE, Outcome.CE]


def test_verdicts_come_in_the_order_of_requests_for_any_number_of_workers() -> None:
    for workers in (1, 3):
        with Grader(workers=workers) as grader:
            assert [v.outcome for v in grader.grade(mixed(12))] == EXPECTED * 3


def test_a_stream_gives_every_index_once_and_may_be_left_early(grader: Grader) -> None:
    found = dict(grader.stream(iter(mixed(8))))
    assert [found[i].outcome for i in range(8)] == EXPECTED * 2
    stream = grader.stream(mixed(50))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert grader.grade([]) == []
    assert grader.grade(mixed(1))[0].outcome == Outcome.AC


def test_grading_does_not_block_an_event_loop(grader: Grader) -> None:
    async def work() -> tuple[dict[int, Verdict], int]:
        ticks, finished = 0, asyncio.Event()

        async def tick() -> None:
            nonlocal ticks
            while not finished.is_set():
                ticks += 1
                await asyncio.sleep(0.001)

        ticker = asyncio.create_task(tick())
        found = {index: verdict async for index, verdict in grader.agrade(mixed(8))}
        finished.set()
        await ticker
        return found, ticks

    found, ticks = asyncio.run(work())
    assert [found[i].outcome for i in range(8)] == EXPECTED * 2
    assert ticks > 1


SLEEPS = "import time\ntime.sleep(300)"
LONG = Limits(wall_seconds=300.0)  # a test that waits for this one fails by its own time-out


def test_what_nobody_wants_any_more_is_ended_and_its_worker_is_free() -> None:
    case = StdioCase(stdin="", stdout="")
    with Grader(workers=1) as grader:
        stream = grader.stream([request_for("", case), *[request_for(SLEEPS, case, limits=LONG)] * 20])
        assert next(stream)[1].outcome == Outcome.CE
        stream.close()  # type: ignore[attr-defined]
        assert one(grader, "print()", case).outcome == Outcome.AC

        async def work() -> Verdict:
            async def grade_for_ever() -> None:
                async for _ in grader.agrade([request_for(SLEEPS, case, limits=LONG)] * 20):
                    raise AssertionError("nothing was to come")

            task = asyncio.create_task(grade_for_ever())
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            stream = grader.agrade([request_for("print()", case)])
            return (await anext(stream))[1]

        assert asyncio.run(work()).outcome == Outcome.AC


def test_dropping_some_requests_never_ends_the_runs_of_others() -> None:
    case = StdioCase(stdin="", stdout="done")
    honest = [request_for("import time\ntime.sleep(0.02)\nprint('done')", case)] * 40
    with Grader(workers=2) as grader:
        found: list[Verdict] = []
        thread = threading.Thread(target=lambda: found.extend(grader.grade(honest)))
        thread.start()
        while thread.is_alive():
            stream = grader.stream([*[request_for("print('done')", case)] * 2, request_for(SLEEPS, case, limits=LONG)])
            next(stream)
            stream.close()  # type: ignore[attr-defined]
        assert {(verdict.outcome, verdict.attempts) for verdict in found} == {(Outcome.AC, 1)}
    assert len(found) == 40


class DropsWhileItCompiles(Executor):
    """Its first wait begins with nobody wanting the request any more."""

    dropped: threading.Event | None = None

    def _wait(self, wire: Wire) -> tuple[RunExit, Seen, dict[str, Any]]:
        if self.dropped is not None:
            self.dropped.set()
            self.drop(self.dropped)
        return super()._wait(wire)


def test_a_compiler_that_was_ended_for_nobody_is_not_remembered_as_a_failure() -> None:
    source = '#include <stdio.h>\nint main() { puts("done"); }'
    program = Program(source=source, language="c")
    try:
        toolchain("c")
    except LanguageUnavailable as error:
        pytest.skip(str(error))
    executor = DropsWhileItCompiles(open_backend("auto"))
    executor.dropped = threading.Event()
    executor.begin(executor.dropped)
    with pytest.raises(Dropped):
        executor.prepare(program, source.encode())
    executor.dropped = None
    executor.begin(None)
    assert executor.prepare(program, source.encode()).files
    executor.close()


def test_a_program_runs_without_a_comparison_and_brings_back_files(grader: Grader) -> None:
    source = "import sys\nsys.stderr.write('e')\nopen('out.txt', 'w').write(open('in.txt').read() * 2)\nprint(input())"
    request = RunRequest(
        program=Program(source=source),
        stdin=b"x",
        files=(WorkFile(name="in.txt", data=b"ab"),),
        fetch=("out.txt", "none"),
    )
    result = asyncio.run(grader.arun(request))
    assert (result.case.outcome, result.stdout, result.stderr) == (Outcome.AC, b"x\n", b"e")
    assert [(file.name, file.data) for file in result.files] == [("out.txt", b"abab"), ("none", None)]


def test_several_threads_share_one_grader(grader: Grader) -> None:
    results: list[list[Verdict]] = []
    threads = [threading.Thread(target=lambda: results.append(grader.grade(mixed(8)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [[v.outcome for v in verdicts] for verdicts in results] == [EXPECTED * 2] * 3


def test_stop_early_skips_what_follows_the_first_failure(grader: Grader) -> None:
    cases = [CallCase(function="f", args=(n,), expected=min(n, 1)) for n in range(4)]
    assert [c.outcome for c in one(grader, "def f(x): return x", *cases, stop_early=True).cases] == [
        "AC",
        "AC",
        "WA",
        "SKIP",
    ]
    assert [c.outcome for c in one(grader, "def f(x): return x", *cases).cases] == ["AC", "AC", "WA", "WA"]


def test_any_of_several_right_answers_is_accepted(grader: Grader) -> None:
    stdio = StdioCase(stdin="", stdout="1", alternatives=("2", "3"))
    call = CallCase(function="f", expected=1, alternatives=(2, "x"))
    for source, outcome in (("print(3)", "AC"), ("print(4)", "WA"), ("print()", "WA")):
        assert one(grader, source, stdio).outcome == outcome
    for value, outcome in ((2, "AC"), ("'x'", "AC"), (3, "WA"), ("True", "WA")):
        assert one(grader, f"def f(): return {value}", call).outcome == outcome


def test_a_case_may_have_a_checker_of_its_own(grader: Grader) -> None:
    own = StdioCase(
        stdin="", stdout="YES 1", checker=Comparison(checker=Checker.FLOATS, absolute=0.2, ignore_case=True)
    )
    verdict = one(grader, "print('yes 1.1')", own, StdioCase(stdin="", stdout="YES 1"), checker=Checker.FLOATS)
    assert [case.outcome for case in verdict.cases] == ["AC", "WA"]


def test_cases_of_several_kinds_mix_in_one_request(grader: Grader) -> None:
    source = "def f(x): return x\nif __name__ == '__main__': print(f(input()))"
    stdio, call = StdioCase(stdin="a", stdout="a"), CallCase(function="f", args=(1,), expected=1)
    test = AssertCase(code="assert f(2) == 2", names=("f",))
    verdict = one(grader, source, call, stdio, test, call, stdio)
    assert [case.outcome for case in verdict.cases] == ["AC"] * 5
    assert verdict.integrity == "separated"
    test = AssertCase(code="for x in range(3): assert f(x) == x", names=("f",))
    verdict = one(grader, source, call, stdio, test, call, stdio)
    assert [case.outcome for case in verdict.cases] == ["AC"] * 5
    assert verdict.integrity == "proxied"
    assert one(grader, source, call, stdio).integrity == "separated"


def test_every_call_has_the_whole_cpu_limit_to_itself(grader: Grader) -> None:
    source = (
        "import time\ndef f(x):\n end = time.process_time() + 0.3\n while time.process_time() < end: pass\n return x"
    )
    cases = [CallCase(function="f", args=(n,), expected=n) for n in range(4)]  # 1.2 s in all
    assert one(grader, source, *cases, limits=Limits(cpu_seconds=0.7)).outcome == Outcome.AC


def test_a_result_near_a_limit_is_decided_by_a_run_alone_under_the_limit_itself(grader: Grader) -> None:
    source = "import time\nwhile time.process_time() < {}: pass\nprint(1)"
    case, limits = StdioCase(stdin="", stdout="1"), Limits(cpu_seconds=0.5)
    assert one(grader, source.format(0.45), case, limits=limits).outcome == Outcome.AC
    found = one(grader, source.format(0.56), case, limits=limits)
    assert found.outcome == Outcome.TLE
    assert found.cases[0].cpu_ms < 560  # cut at the limit itself, where the first run was allowed 625 ms


def test_what_the_program_did_is_in_the_result(grader: Grader) -> None:
    source = "x = bytearray(b'x' * (50 << 20))\nprint('a\\x1b')"
    case = one(grader, source, StdioCase(stdin="", stdout="secret")).cases[0]
    assert case.output_head == "a\\x1b\n"
    assert case.memory_bytes > 50 << 20
    assert case.cpu_ms > 0
    assert case.exit_code == 0
    assert "secret" not in repr(case)
    assert Verdict.from_json(one(grader, source, StdioCase(stdin="", stdout="a")).to_json())


SECRETS = [
    StdioCase(stdin="", stdout="hidden 7351"),
    CallCase(function="f", args=(1,), expected="hidden 7351"),
    AssertCase(code="assert f(1) == 'hidden 7351', 'hidden 7351'", names=("f",)),
    AssertCase(code="assert {'hidden 7351': 1}[f(1)]", names=("f",)),
    AssertCase(code="x = f(1)\n{}['hidden 7351']", names=("f",)),
    AssertCase(code="import unittest\nunittest.TestCase().assertEqual(f(1), 'hidden 7351')", names=("f",)),
]


@pytest.mark.parametrize("case", SECRETS)
def test_a_failed_case_tells_nothing_of_what_was_expected(grader: Grader, case: Case) -> None:
    verdict = one(grader, "def f(x): return 5", case)
    assert verdict.outcome in (Outcome.WA, Outcome.RE)
    assert "7351" not in repr(verdict)


ASSERTS_THAT_PASS = {
    "in place": ("def f(a): a.sort()", "a = [3, [2], 1][::2]\nf(a)\nassert a == [1, 3]"),
    "in place, nested": (
        "def f(a): a[0].append(2)",
        "row = [1]\na = [row]\nf(a)\nassert row == [1, 2] and a[0] is row",
    ),
    "in place, by name": ("def f(*, d): d.pop('x')", "d = {'x': 1, 'y': 2}\nf(d=d)\nassert d == {'y': 2}"),
    "a callback": ("def f(g, xs): return [g(x) for x in xs]", "assert f(lambda x: x * 2, [1, 2]) == [2, 4]"),
    "a callback that raises": (
        "def f(g):\n try: g()\n except KeyError as e: return e.args",
        "def g(): raise KeyError('k')\nassert f(g) == ('k',)",
    ),
    "a callback that calls back": (
        "def f(g, n): return 0 if n == 0 else 1 + g(n - 1)",
        "def g(n): return f(g, n)\nassert f(g, 5) == 5",
    ),
    "an object": (
        "class P:\n def __init__(s, x): s.x = x\n def twice(s): return 2 * s.x\ndef f(p): return p.x",
        "p = P(2)\nassert p.twice() == 4\np.x = 5\nassert f(p) == 5\nassert isinstance(p, P)",
    ),
    "a function made": ("def f(n): return lambda x: x + n", "assert f(2)(3) == 5"),
    "an iterator": (
        "def f(n):\n while True:\n  yield n\n  n += 1",
        "from itertools import islice\nassert list(islice(f(2), 3)) == [2, 3, 4]",
    ),
    "an expected exception": (
        "class Odd(ValueError): pass\ndef f(x): raise Odd('odd', 3)",
        "try:\n f(3)\nexcept ValueError as e:\n assert e.args == ('odd', 3)\nelse:\n assert False",
    ),
    "unittest": (
        "def f(x):\n if x < 0: raise ValueError('negative')\n return x",
        "import unittest\nclass T(unittest.TestCase):\n def test(self):\n  self.assertEqual(f(2), 2)\n"
        "  with self.assertRaisesRegex(ValueError, 'neg'): f(-1)\nunittest.main()",
    ),
    "a type": (
        "def f(xs, kind): return [x for x in xs if type(x) is not kind], kind",
        "assert f([1, 2.0], int) == ([2.0], int)",
    ),
    "a range": ("def f(xs): return sum(xs)", "assert f(range(4)) == f(x for x in range(4)) == 6"),
    "a container of its own": (
        "class B:\n def __init__(s): s.d = {}\n def __setitem__(s, k, v): s.d[k] = v\n def __getitem__(s, k): return s.d[k]\n"
        " def __len__(s): return len(s.d)\n def __str__(s): return 'B'",
        "b = B()\nb[1] = 2\nassert b[1] == 2 and len(b) == 1 and str(b) == 'B' and b",
    ),
    "a constant": ("LIMIT = 4", "assert LIMIT + 1 == 5"),
}


@pytest.mark.parametrize("name", ASSERTS_THAT_PASS)
def test_an_honest_program_passes_a_test_that(grader: Grader, name: str) -> None:
    source, test = ASSERTS_THAT_PASS[name]
    names = ("f", "P", "B", "LIMIT")
    verdict = one(grader, source, AssertCase(code=test, names=names))
    assert verdict.outcome == Outcome.AC, verdict


def test_state_of_one_program_does_not_reach_the_next(grader: Grader) -> None:
    leave = "import builtins, os\nbuiltins.left = 1\nopen('left', 'w').close()\nprint(4)"
    look = "import builtins, os\nprint(hasattr(builtins, 'left'), os.listdir('.'))"
    requests = [
        request_for(source, StdioCase(stdin="", stdout=out)) for source, out in ((leave, "4"), (look, "False []"))
    ]
    assert [v.outcome for v in grader.grade(requests * 3)] == [Outcome.AC] * 6


class Flaky:
    """A backend whose first `faults` starts fail, each time in another way."""

    name = "flaky"

    def __init__(self, faults: int):
        self._real: Backend = open_backend("auto")
        self.isolation: Isolation = self._real.isolation
        self.toolchain = self._real.toolchain
        self.faults = faults
        self.num_slots = 0

    def open_slot(self, binds: tuple[str, ...] = (), preload: tuple[str, ...] = ()) -> Slot:
        self.num_slots += 1
        return FlakySlot(self, self._real.open_slot(binds, preload))

    def close(self) -> None:
        self._real.close()


class FlakySlot:
    def __init__(self, backend: Flaky, real: Slot):
        self._backend, self._real = backend, real
        self.isolation = real.isolation

    def start(self, job: Job) -> Run:
        if self._backend.faults > 0:
            self._backend.faults -= 1
            raise SandboxUnavailable("no descriptors left") if self._backend.faults % 2 else OSError(28, "disk full")
        return self._real.start(job)

    def close(self) -> None:
        self._real.close()


@pytest.mark.parametrize(("faults", "outcome", "attempts"), [(0, "AC", 1), (1, "AC", 2), (2, "IE", 2)])
def test_a_failure_of_the_infrastructure_is_retried_on_a_fresh_slot_and_then_ie(
    monkeypatch: pytest.MonkeyPatch, faults: int, outcome: str, attempts: int
) -> None:
    backend = Flaky(faults)
    monkeypatch.setattr("sandbox.grader.open_backend", lambda name, minimum: backend)
    with Grader(workers=1) as grader:
        verdict = one(grader, "print(4)", StdioCase(stdin="", stdout="4"))
        assert (verdict.outcome, verdict.attempts) == (outcome, attempts)
        assert one(grader, "print(4)", StdioCase(stdin="", stdout="4")).outcome == Outcome.AC


def test_a_zygote_killed_in_the_middle_costs_no_verdict() -> None:
    with Grader(workers=1) as grader:
        slow = request_for("import time\ntime.sleep(0.6)\nprint(4)", StdioCase(stdin="", stdout="4"))
        grader.grade([slow])
        timer = threading.Timer(0.3, lambda: [s._process.kill() for s in list(grader._pool.backend._slots)])  # type: ignore[attr-defined]
        timer.start()
        (verdict,) = grader.grade([slow])
        timer.join()
    assert (verdict.outcome, verdict.attempts) == (Outcome.AC, 2)


def test_a_fault_of_the_judge_itself_is_ie_and_ends_no_worker() -> None:
    right = StdioCase(stdin="2\n", stdout="4\n")
    beyond = Limits(cpu_seconds=1e6)  # which the factor of the language makes too much
    faulty = GradeRequest(program=Program(source="x", language="javascript"), cases=(right,), limits=beyond)
    with Grader(workers=1) as grader:
        first, second, third = grader.grade([faulty, faulty, request_for("print(4)", right)])
    assert (first.outcome, second.outcome, third.outcome) == (Outcome.IE, Outcome.IE, Outcome.AC)
    assert first.detail.startswith("the judge failed with ValueError")


def test_a_checker_may_be_asked_about_numbers_of_any_length(grader: Grader) -> None:
    rule = FunctionChecker(source="def check(args, result, expected): return result == expected")
    case = CallCase(function="f", args=(10**5000,), expected=10**6000)
    wrong, right = ("def f(x): return x", "def f(x): return x * 10**1000")
    asked = [GradeRequest(program=Program(source=source), cases=(case,), checker=rule) for source in (wrong, right)]
    assert [verdict.outcome for verdict in grader.grade(asked)] == [Outcome.WA, Outcome.AC]


def test_a_grader_that_is_closed_or_forgotten_leaves_no_thread_and_no_work() -> None:
    before = threading.active_count()
    grader = Grader(workers=2)
    grader.grade(mixed(4))
    grader.close()
    grader.close()
    with pytest.raises(RuntimeError, match="closed"):
        grader.grade(mixed(1))
    assert [v.outcome for v in Grader(workers=1).grade(mixed(1))] == [Outcome.AC]
    gc.collect()
    assert threading.active_count() == before


def test_a_grader_has_a_quarter_more_workers_than_cores_that_it_may_use() -> None:
    assert [default_workers(cores) for cores in (1, 2, 4, 5, 8, 64)] == [2, 3, 5, 7, 10, 80]
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(allowed)])
    try:
        with Grader(backend="plain") as grader:
            assert grader.workers == 2
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize("options", [{"workers": 0}, {"retries": -1}, {"backend": "magic"}])
def test_impossible_options_are_refused_before_anything_starts(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="give"):
        Grader(**options)  # type: ignore[arg-type]


def test_importing_and_grading_need_nothing_but_the_standard_library() -> None:
    code = (
        "import sys, sandbox\nfrom sandbox import *\ng = Grader(workers=1)\n"
        "r = GradeRequest(program=Program(source='print(4)'), cases=(StdioCase(stdin='', stdout='4'),))\n"
        "assert g.grade([r])[0].outcome == 'AC'\ng.close()\n"
        "roots = {name.partition('.')[0] for name in sys.modules} - {'sandbox', '__main__', '__mp_main__'}\n"
        "print(sorted(r for r in roots if r not in sys.stdlib_module_names and not r.startswith(('_', 'site'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_stdout_of_the_programs_own_is_flushed_before_its_names_go(grader: Grader) -> None:
    program = (
        "import os, sys\n"
        "class Fast:\n"
        "    def __init__(self): self.parts = []\n"
        "    def write(self, text): self.parts.append(text)\n"
        "    def flush(self):\n"
        "        os.write(1, ''.join(self.parts).encode())\n"
        "        self.parts.clear()\n"
        "sys.stdout = Fast()\n"
        "print(input())\n"
    )
    request = GradeRequest(program=Program(source=program), cases=(StdioCase(stdin="7\n", stdout="7\n"),))
    (verdict,) = grader.grade([request])
    assert verdict.outcome is Outcome.AC


def test_programs_find_preloaded_modules_imported_and_as_new_as_ever() -> None:
    source = (
        "import sys\nprint('decimal' in sys.modules)\nimport decimal\nprint(decimal.getcontext().prec)\n"
        "decimal.getcontext().prec = 5"
    )
    case = StdioCase(stdin="", stdout="True\n28")
    with Grader(workers=1, preload=["decimal"]) as opened:
        assert [one(opened, source, case).outcome for _ in range(2)] == ["AC", "AC"]
        test = AssertCase(code="import sys\nassert 'decimal' not in sys.modules and f(1)", names=("f",))
        assert one(opened, "def f(x): return x", test).outcome == "AC"


@pytest.mark.parametrize("name", ["no_such_module", "coderl", "antigravity.no"])
def test_a_module_that_programs_cannot_import_is_refused_by_name_at_once(name: str) -> None:
    with pytest.raises(SandboxUnavailable, match=f"preload '{name}': .*name modules that programs here can import"):
        Grader(workers=1, preload=["decimal", name])
    with pytest.raises(ValueError, match="in a list"):
        Grader(workers=1, preload="decimal")
