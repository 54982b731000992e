"""A program that runs many times is compiled once and its binary is kept: is every run as fresh as the first?"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from ordinary_user import DROP, readable_copy, system_python

from sandbox import slot
from sandbox.backend import Backend, SandboxUnavailable, open_backend
from sandbox.execute import Executor
from sandbox.grading import Quiet, grade_one
from sandbox.languages import LanguageUnavailable, toolchain
from sandbox.limits import Limits
from sandbox.spec import GradeRequest, Program, StdioCase
from sandbox.speed import BY_LANGUAGE
from sandbox.verdict import Outcome, Verdict

SQUARES = tuple(StdioCase(stdin=f"{i}\n", stdout=f"{i * i}\n") for i in range(4))


@pytest.fixture(scope="module", params=["jail", "landlock", "plain"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    try:
        opened = open_backend(request.param)
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    yield opened
    opened.close()


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[slot.Job]:
    """Those that are started, in their order."""
    seen: list[slot.Job] = []
    start = slot.ZygoteSlot.start

    def noted(self: slot.ZygoteSlot, job: slot.Job) -> slot.ZygoteRun:
        seen.append(job)
        return start(self, job)

    monkeypatch.setattr(slot.ZygoteSlot, "start", noted)
    return seen


def grade(backend: Backend, *sources: str, cases=SQUARES, language: str = "python", **changes: object) -> list[Verdict]:
    executor = Executor(backend)
    try:
        requests = [GradeRequest(program=Program(source=s, language=language), cases=cases, **changes) for s in sources]
        return [grade_one(executor, r, Quiet(), 0, backend.isolation, BY_LANGUAGE) for r in requests]
    finally:
        executor.close()


def test_a_script_is_compiled_in_its_first_run_only(backend: Backend, jobs: list[slot.Job]) -> None:
    right, wrong = "print(int(input()) ** 2)\n", "print(int(input()) ** 3)\n"
    verdicts = grade(backend, right, wrong, right)
    assert [v.num_passed for v in verdicts] == [4, 2, 4]  # 0 and 1 are their own cubes
    assert [job.driver for job in jobs] == 3 * ["first", "again", "again", "again"]


def test_few_runs_or_little_output_are_not_worth_it(backend: Backend, jobs: list[slot.Job]) -> None:
    source = "print(int(input()) ** 2)\n"
    assert grade(backend, source, cases=SQUARES[:2])[0].outcome is Outcome.AC
    assert grade(backend, source, limits=Limits(output_bytes=4000))[0].outcome is Outcome.AC
    assert {job.driver for job in jobs} == {"script"}


def test_a_failing_run_says_the_same_compiled_or_not(backend: Backend, jobs: list[slot.Job]) -> None:
    source = "def f(n):\n    return 1 // (n - 2)  # \N{GREEK SMALL LETTER PI}\nprint(f(int(input())))\n"
    cases = tuple(StdioCase(stdin="2\n", stdout="") for _ in range(3))
    [again] = grade(backend, source, cases=cases)
    [alone] = grade(backend, source, cases=cases[:1])
    assert {job.driver for job in jobs} == {"first", "again", "script"}
    assert {(c.outcome, c.detail) for c in again.cases} == {(alone.cases[0].outcome, alone.cases[0].detail)}
    assert "ZeroDivisionError" in alone.detail


def test_tracebacks_show_the_lines_of_a_program_that_was_not_compiled_there(backend: Backend) -> None:
    source = (
        "import traceback\ntry:\n    int(input()) / 0\nexcept ZeroDivisionError:\n    print(traceback.format_exc())\n"
    )
    cases = tuple(StdioCase(stdin="2\n", stdout="") for _ in range(3))
    heads = {case.output_head for case in grade(backend, source, cases=cases)[0].cases}
    assert len(heads) == 1
    assert "int(input()) / 0" in heads.pop()


def test_what_does_not_compile_says_so_at_once(backend: Backend, jobs: list[slot.Job]) -> None:
    [verdict] = grade(backend, "def (:\n")
    assert (verdict.outcome, len(jobs)) == (Outcome.CE, 1)


def test_a_program_cannot_hand_over_code_or_anything_else_to_its_next_run(backend: Backend) -> None:
    """It sends the frame that a driver sends, on every descriptor; changes marshal, its own code, and files; and looks."""
    source = """
import marshal, os, struct, sys
n = int(input())
other = compile("print(int(input()) ** 2)", "main.py", "exec")
frame = b'{"code": "' + marshal.dumps(other).hex().encode() + b'"}'
for fd in range(3, 64):
    try: os.write(fd, struct.pack("<I", len(frame)) + frame)
    except OSError: pass
marshal.loads = marshal.dumps = lambda data: other
for name in ("left", "/tmp/left", "/dev/shm/left"):
    if os.path.exists(name): print(n * n), sys.exit()
    try: open(name, "w").write("here")
    except OSError: pass
print("no")
"""
    if backend.name == "plain":
        source = source.replace('"left", "/tmp/left", "/dev/shm/left"', '"left",')  # /tmp is everybody's there
    [verdict] = grade(backend, source)
    assert [case.outcome for case in verdict.cases] == [Outcome.WA] * 4


C = """
#include <fcntl.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
int main(int argc, char **argv) {
    int n, files = 0, open_ones = 0;
    struct stat state;
    if (scanf("%d", &n) != 1) return 1;
    const char *paths[] = {"/proc/self/exe", "./main"};
    for (int i = 0; i < 2; i++) {
        int fd = open(paths[i], O_RDWR);
        if (fd >= 0 && write(fd, "#!/bin/true", 11) > 0 && i == 0) { puts("rewritten"); return 0; }
        if (fd >= 0) close(fd);
    }
    chmod("/proc/self/exe", 0777), truncate("/proc/self/exe", 0);
    DIR *here = opendir(".");
    for (struct dirent *e; (e = readdir(here));) files += e->d_name[0] != '.';
    closedir(here);
    for (int fd = 3; fd < 64; fd++) open_ones += !fstat(fd, &state);
    if (strcmp(argv[0], "./main") || open_ones) { printf("%s %d\\n", argv[0], open_ones); return 0; }
    printf("%d %d\\n", n * n, files);
    return 0;
}
"""


def _needs(language: str) -> None:
    try:
        toolchain(language)
    except LanguageUnavailable as error:
        pytest.skip(str(error))


def test_a_binary_starts_from_memory_and_no_run_can_change_it_for_the_next(
    backend: Backend, jobs: list[slot.Job]
) -> None:
    _needs("c")
    cases = tuple(StdioCase(stdin=f"{i}\n", stdout=f"{i * i} 0\n") for i in range(4))
    [verdict] = grade(backend, C, cases=cases, language="c")
    assert verdict.outcome is Outcome.AC, (verdict.detail, [case.output_head for case in verdict.cases])
    assert [job.files for job in jobs[1:]] == [()] * 4  # the first one compiled
    assert all(job.binary for job in jobs[1:])


def test_where_memory_cannot_be_executed_the_binary_is_a_file(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    _needs("c")

    def refuse(data: bytes) -> int:
        raise PermissionError

    monkeypatch.setattr(slot, "sealed_binary", refuse)
    source = '#include <stdio.h>\nint main() { int n; scanf("%d", &n); printf("%d\\n", n * n); return 0; }\n'
    assert grade(backend, source, language="c")[0].outcome is Outcome.AC


def test_a_slot_keeps_the_last_binary_of_other_users_only_and_gives_all_back(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    _needs("c")
    made: list[int] = []
    seal = slot.sealed_binary
    monkeypatch.setattr(slot, "sealed_binary", lambda data: made.append(fd := seal(data)) or fd)
    source = '#include <stdio.h>\nint main() { int n; scanf("%d", &n); printf("%d\\n", n * n); return 0; }\n'
    verdicts = grade(backend, source, source, "//\n" + source, language="c")
    assert [v.outcome for v in verdicts] == [Outcome.AC] * 3
    apart = os.geteuid() == 0 and backend.name != "plain"
    assert len(made) == (2 if apart else 12)  # one for each text, or for each run
    for fd in made:
        with pytest.raises(OSError, match="Bad file descriptor"):
            slot.os.fstat(fd)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_binary_that_belongs_to_its_programs_keeps_nothing_for_their_next_run() -> None:
    """As an ordinary user: closed to all, with a mark in its times and attributes."""
    _needs("c")
    python = system_python()
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from sandbox.selftest import chosen, selftest\n"
        "from sandbox.selftest_table import lines\n"
        "report = selftest(*chosen(only='own_binary'), backend='jail')\n"
        "print(*lines(report), sep='\\n'); sys.exit(not report.ok)\n"
    )
    with readable_copy() as folder:
        done = subprocess.run(
            [*DROP, python, "-B", "-c", code], cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
    if "no jail" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert (done.returncode, done.stderr) == (0, ""), done.stdout[-3000:]


def test_a_script_too_deep_to_be_handed_over_is_compiled_every_time(backend: Backend, jobs: list[slot.Job]) -> None:
    source = f"f = {'lambda: ' * 1200}1\nprint(int(input()) ** 2)\n"
    assert grade(backend, source)[0].outcome is Outcome.AC
    assert [job.driver for job in jobs] == 4 * ["first"]
