"""Does a zygote serve run after run, each as if it were the first, and die with its judge?"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from sandbox.backend import Backend, Job, RunExit, SandboxUnavailable, Slot, open_backend
from sandbox.limits import Limits
from sandbox.slot import read_report
from sandbox.zygote import send_report


@pytest.fixture(scope="module", params=["jail", "plain"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    try:
        opened = open_backend(request.param)
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    yield opened
    opened.close()


@pytest.fixture
def slot(backend: Backend) -> Iterator[Slot]:
    opened = backend.open_slot()
    yield opened
    opened.close()


def outcome(slot: Slot, source: str, stdin: bytes = b"", **limits: float) -> tuple[RunExit, str, str]:
    """Usage, stdout and stderr of a program whose output fits a pipe."""
    run = slot.start(Job(driver="script", source=source.encode(), limits=Limits(**limits)))
    os.set_blocking(run.stdin, True)
    os.write(run.stdin, stdin)
    run.close_stdin()
    texts = []
    for fd in (run.stdout, run.stderr):
        os.set_blocking(fd, True)
        chunks = []
        while chunk := os.read(fd, 1 << 16):
            chunks.append(chunk)
        texts.append(b"".join(chunks).decode())
    return run.finish(), texts[0], texts[1]


def test_what_one_run_changes_the_next_does_not_see(slot: Slot) -> None:
    outcome(slot, "import builtins, json, os; builtins.len = json.dumps = 1; os.environ['X'] = 'y'; os.chdir('/')")
    _, text, _ = outcome(slot, "import json, os; print(len(json.dumps([])), 'X' in os.environ, os.listdir())")
    assert text == "2 False []\n"


def test_input_reaches_the_program_and_errors_go_to_stderr(slot: Slot) -> None:
    usage, text, errors = outcome(slot, "import sys; print(input()[::-1]); sys.exit('bad')", b"abc\n")
    assert (usage.exit_code, text, errors) == (1, "cba\n", "bad\n")


def test_an_exception_is_exit_one_with_a_traceback(slot: Slot) -> None:
    usage, _, errors = outcome(slot, "1 / 0")
    assert usage.exit_code == 1 and errors.endswith("ZeroDivisionError: division by zero\n")


def test_standard_streams_are_pipes_not_seekable(slot: Slot) -> None:
    assert outcome(slot, "import sys; print(sys.stdin.seekable(), sys.stdout.isatty())")[1] == "False False\n"


def test_one_job_at_a_time(slot: Slot) -> None:
    run = slot.start(Job(driver="script", source=b"while True: pass", limits=Limits()))
    with pytest.raises(RuntimeError, match="finish it first"):
        slot.start(Job(driver="script", source=b"", limits=Limits()))
    run.kill()
    assert run.finish().signal == 9


def test_limits_may_change_from_run_to_run_in_both_directions(slot: Slot) -> None:
    code = "import resource as r; print(r.getrlimit(r.RLIMIT_FSIZE)[1], r.getrlimit(r.RLIMIT_STACK)[1])"
    for size in (1 << 20, 8 << 20, 2 << 20):
        assert outcome(slot, code, file_bytes=size, stack_bytes=size)[1] == f"{size} {size}\n"


def test_slots_run_side_by_side(backend: Backend) -> None:
    slots = [backend.open_slot() for _ in range(3)]
    seconds: list[float] = []

    def work(slot: Slot) -> None:
        for _ in range(5):
            seconds.append(outcome(slot, "import time; time.sleep(0.1)")[0].wall_ms / 1000)

    start = time.monotonic()
    threads = [threading.Thread(target=work, args=(slot,)) for slot in slots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.monotonic() - start
    for slot in slots:
        slot.close()
    assert len(seconds) == 15 and elapsed < sum(seconds) / 2  # 15 x 0.1 s one after the other would take the sum


def test_a_slot_outlives_the_thread_that_opened_it(backend: Backend) -> None:
    found: list[Slot] = []
    thread = threading.Thread(target=lambda: found.append(backend.open_slot()))
    thread.start()
    thread.join()
    assert outcome(found[0], "print(1)")[1] == "1\n"
    found[0].close()


def test_closing_twice_is_harmless(backend: Backend) -> None:
    opened = backend.open_slot()
    opened.close()
    opened.close()


def test_an_unknown_backend_is_named() -> None:
    with pytest.raises(ValueError, match="backend 'jale'"):
        open_backend("jale")


def test_where_no_file_can_be_handed_over_the_run_is_lost_and_the_zygote_lives() -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        descriptors = [os.open(os.devnull, os.O_RDONLY) for _ in range(254)]  # one too many to send
        usage = {"cpu_ms": 1.5, "wall_ms": 2.5, "memory_bytes": 4096}
        send_report(near, {"run": 7, "exit_code": 0, **usage, "descriptors": descriptors})
        number, ended, files = read_report(far.recv(1 << 16))
    assert number == 7 and ended.lost and "cannot be handed over" in ended.detail and not files


def test_a_report_arrives_as_it_was_made() -> None:
    usage = {"cpu_ms": 1.25, "wall_ms": 2.5, "memory_bytes": 1 << 40}
    flags = dict.fromkeys(
        ("oom", "cpu_exceeded", "wall_exceeded", "pids_exceeded", "forbidden", "files_exceeded"), False
    )
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        for exit_code, signal in ((0, None), (255, None), (None, 9)):
            for name in flags:
                end = {"exit_code": exit_code, "signal": signal, **flags, name: True}
                send_report(near, {"run": 3, **usage, **end, "fetched": [("a", "no such file")]})
                number, ended, files = read_report(far.recv(1 << 16))
                assert (number, ended, files) == (3, RunExit(**usage, **end), [["a", "no such file"]])


def test_what_the_zygote_was_started_and_rehearsed_with_is_not_in_sight_of_programs(slot: Slot) -> None:
    source = (
        "import linecache, os, sys\n"
        "print('LD_BIND_NOW' in os.environ, 'program' in sys.modules, linecache.cache.keys() - {'main.py'})\n"
        "import subprocess\n"
        "print(subprocess.run([sys.executable, '-c', 'import os; print(os.environ.get(\"LD_BIND_NOW\"))'], "
        "capture_output=True).stdout)"
    )
    assert outcome(slot, source)[1] == "False False set()\nb'None\\n'\n"
