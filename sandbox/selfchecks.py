"""Does the judge keep its promises where no single program can show it?

The part of the self-test that is code: bad input to the judge itself, and an infrastructure that breaks under it. Each
check opens what it needs, closes it, and returns what is wrong, or "".
"""

from __future__ import annotations

import os
import resource
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sandbox.backend import SandboxUnavailable
from sandbox.container import engine, mine
from sandbox.errors import BadInput
from sandbox.grader import Grader
from sandbox.limits import Limits
from sandbox.samples import read_tasks
from sandbox.spec import AssertCase, CallCase, Case, FunctionChecker, GradeRequest, Program, StdioCase
from sandbox.verdict import Outcome, Status, Verdict

MAX_WORKERS = 32  # of the check for overload, on machines with many cores
HONEST = "def f(x): return 2 * x\nif __name__ == '__main__': print(f(int(input())))\n"
CASES: tuple[Case, ...] = (
    StdioCase(stdin="2\n", stdout="4\n"),
    CallCase(function="f", args=(2,), expected=4),
    AssertCase(code="assert f(2) == 4", names=("f",)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise. `run` takes the name of a backend and returns the fault, "" for none."""

    name: str
    what: str
    run: Callable[[str], str]


def no_tests(backend: str) -> str:
    return _expect(backend, Outcome.JE, _honest())


def undecodable_tests(backend: str) -> str:
    requests = [
        _honest(CallCase(function="f", args=(2,), expected=object())),
        _honest(CallCase(function="f", args=(object(),), expected=4)),
        _honest(StdioCase(stdin="\ud800", stdout="4")),
        _honest(CallCase(function="f()", args=(2,), expected=4)),
        _honest(AssertCase(code=" ", names=("f",))),
        _honest(AssertCase(code="assert f(2) ==", names=("f",))),
        _honest(AssertCase(code="assert f(2) == unknown", names=("f",))),
        _honest(AssertCase(code="assert f(2)", names=("f",), prelude="1/0")),
    ]
    return _expect(backend, Outcome.JE, *requests)


def bad_source(backend: str) -> str:
    """What a file of programs cannot hold: half a character."""
    return _expect(backend, Outcome.CE, *(_request("print('\ud800')", case) for case in CASES))


def unknown_language(backend: str) -> str:
    return _expect(backend, Outcome.JE, GradeRequest(program=Program(source="x", language="klingon"), cases=CASES))


def bad_limits(backend: str) -> str:
    for value in (float("nan"), float("inf"), -1.0, 0.0):
        with suppress(ValueError):
            Limits(cpu_seconds=value)
            return f"a cpu limit of {value} was taken"
    return ""


def dup_ids(backend: str) -> str:
    return _refused('{"id": "a", "cases": [{"stdin": "", "stdout": ""}]}\n' * 2)


def len_mismatch(backend: str) -> str:
    return _refused('{"id": "a", "cases": [{"stdin": "1", "stdout": "1"}, {"stdin": "2"}]}\n')


def path_names(backend: str) -> str:
    """Names of files that lead out of the work folder, or are no names."""
    names = ("../x", "/etc/x", "a/../b", "a\nb", "a\0b", "\ud800", "n" * 4096, ".", "")
    programs = [Program(source=HONEST, files={name: "x"}) for name in names]
    return _expect(backend, Outcome.JE, *(GradeRequest(program=program, cases=CASES) for program in programs))


def bad_checker(backend: str) -> str:
    """A function that decides about answers and crashes, hangs, says junk, leaves, or rejects the jury's own answer."""
    bodies = (
        "1/0",
        "return 'yes'",
        "import os; os._exit(0)",
        "return False",
        "while True: pass",
        "return float('nan')",
    )
    requests = []
    for body in bodies:
        checker = FunctionChecker(
            source=f"def check(stdin, stdout, answer):\n {body}", limits=Limits(cpu_seconds=0.3, wall_seconds=2.0)
        )
        case = StdioCase(stdin="2\n", stdout="4\n", checker=checker)
        requests.append(_honest(case))
    return _expect(backend, Outcome.JE, *requests)


def client_gone(backend: str) -> str:
    """Whoever asked for many verdicts and left frees the grader for the next."""
    busy = _request("while True: pass", CASES[0], Limits(cpu_seconds=0.5, wall_seconds=2.0))
    with Grader(backend=backend, workers=1) as grader:
        verdicts = grader.stream([_honest(CASES[0]), *[busy] * 50])
        next(verdicts)
        verdicts.close()  # type: ignore[attr-defined]
        began = time.monotonic()
        (verdict,) = grader.grade([_honest(*CASES)])
        seconds = time.monotonic() - began
    return _fault(verdict, Outcome.AC) or ("" if seconds < 15.0 else f"the next verdict took {seconds:.0f} s")


def worker_killed(backend: str) -> str:
    """A grader that loses its processes in the middle of a run loses no verdict."""
    before = _children()
    with Grader(backend=backend, workers=1) as grader:
        (first,) = grader.grade([_honest(*CASES)])
        sleeper = _request("import time\ntime.sleep(0.5)\nprint(4)", CASES[0])
        in_containers = first.isolation.backend == "docker"
        timer = threading.Timer(0.2, *((_kill_containers, ()) if in_containers else (_kill, (_children() - before,))))
        timer.start()
        (during,) = grader.grade([sleeper])
        timer.join()
        (after,) = grader.grade([_honest(*CASES)])
    if during.outcome not in (Outcome.AC, Outcome.IE) or (during.outcome is Outcome.AC and during.attempts < 2):
        return f"killed in the middle: {during.outcome} at attempt {during.attempts}: {during.detail}"
    return _fault(first, Outcome.AC) or _fault(after, Outcome.AC)


def no_descriptors(backend: str) -> str:
    """A grader without descriptors says IE, and works again when there are some."""
    with Grader(backend=backend, workers=1) as grader:
        grader.grade([_honest(CASES[0])])
        for spare in range(0, 16, 3):
            with _few_descriptors(spare):
                (during,) = grader.grade([_honest(*CASES)])
            if during.status is Status.FAIL:
                return f"with {spare} descriptors left: {during.outcome}: {during.detail}"
        (after,) = grader.grade([_honest(*CASES)])
    return _fault(after, Outcome.AC)


def disk_full(backend: str) -> str:
    """A grader that cannot write a temporary file says IE, or needs none."""
    kept, tempfile.tempdir = tempfile.tempdir, "/proc/no-such-folder"
    try:
        with Grader(backend=backend, workers=1) as grader:
            (verdict,) = grader.grade([_honest(*CASES)])
    except SandboxUnavailable:
        return ""  # said at once
    finally:
        tempfile.tempdir = kept
    return "" if verdict.outcome in (Outcome.AC, Outcome.IE) else f"{verdict.outcome}: {verdict.detail}"


def overload(backend: str) -> str:
    """Ten programs for each core at once get the verdicts that they would get alone."""
    workers = min(10 * (os.cpu_count() or 1), MAX_WORKERS)
    wrong = _request("print(5)", CASES[0])
    with Grader(backend=backend, workers=workers) as grader:
        verdicts = grader.grade([_honest(*CASES), wrong] * (2 * workers))
    for number, verdict in enumerate(verdicts):
        if fault := _fault(verdict, (Outcome.AC, Outcome.WA)[number % 2]):
            return fault
    return ""


CHECKS = (
    Check(name="no_tests", what="a program without tests: the task's fault", run=no_tests),
    Check(name="undecodable_tests", what="tests that cannot be read or run: the task's fault", run=undecodable_tests),
    Check(name="bad_source", what="half a character in the source: a compile error", run=bad_source),
    Check(name="unknown_language", what="a language that nobody knows: the task's fault", run=unknown_language),
    Check(name="bad_limits", what="limits that are not finite, or not above 0", run=bad_limits),
    Check(name="dup_ids", what="a file of tasks with an id twice", run=dup_ids),
    Check(name="len_mismatch", what="a file of tasks with an input that has no output", run=len_mismatch),
    Check(name="path_names", what="files whose names lead out of the work folder", run=path_names),
    Check(name="bad_checker", what="a checker that crashes, hangs, or rejects the right answer", run=bad_checker),
    Check(name="client_gone", what="a client leaves in the middle of a batch", run=client_gone),
    Check(name="worker_killed", what="the grader's processes are killed in the middle of a run", run=worker_killed),
    Check(name="no_descriptors", what="the grader runs out of descriptors", run=no_descriptors),
    Check(name="disk_full", what="the grader cannot write temporary files", run=disk_full),
    Check(name="overload", what="ten programs for each core at once", run=overload),
)


def _request(source: str, case: Case, limits: Limits = Limits()) -> GradeRequest:
    return GradeRequest(program=Program(source=source), cases=(case,), limits=limits)


def _honest(*cases: Case) -> GradeRequest:
    return GradeRequest(program=Program(source=HONEST), cases=cases)


def _expect(backend: str, outcome: Outcome, *requests: GradeRequest) -> str:
    with Grader(backend=backend, workers=1) as grader:
        faults = [_fault(verdict, outcome) for verdict in grader.grade(requests)]
    return next((f"request {number}: {fault}" for number, fault in enumerate(faults) if fault), "")


def _refused(text: str) -> str:
    """A file of tasks must be refused, with its line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tasks.jsonl")
        path.write_text(text)
        try:
            read_tasks(path)
        except BadInput as error:
            return "" if f"{path}:" in str(error) else f"no line is named: {error}"
    return "the file was taken"


def _fault(verdict: Verdict, outcome: Outcome) -> str:
    return "" if verdict.outcome is outcome else f"{verdict.outcome} for {outcome}: {verdict.detail}"


def _children() -> set[int]:
    found: set[int] = set()
    for entry in os.listdir("/proc/self/task"):
        with suppress(OSError):  # a thread that has just ended
            found |= {int(pid) for pid in Path(f"/proc/self/task/{entry}/children").read_text().split()}
    return found


def _kill(pids: set[int]) -> None:
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _kill_containers() -> None:
    client = engine()
    for container in mine(client):
        with suppress(Exception):
            container.kill()
    client.close()


@contextmanager
def _few_descriptors(spare: int) -> Iterator[None]:
    """This process can have `spare` more descriptors than it has, or some fewer: a limit is of numbers, with gaps below."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
