"""Files that a run leaves are brought back, and nothing else is reached through them."""

from __future__ import annotations

import json
import os

import pytest

from sandbox.backend import Job, RunExit, open_backend
from sandbox.limits import Limits
from sandbox.wire import Wire, pump
from sandbox.workfiles import WorkFile, name_fault, pack

LIMITS = Limits(cpu_seconds=2.0, wall_seconds=10.0)


@pytest.fixture(scope="module", params=["jail", "plain"])
def slot(request):
    backend = open_backend(request.param)
    yield backend.open_slot()
    backend.close()


def run(slot, source: str, fetch: tuple[str, ...], files: tuple[WorkFile, ...] = ()) -> RunExit:
    wire = Wire(
        slot.start(Job(driver="script", source=source.encode(), limits=LIMITS, files=files, fetch=fetch)), LIMITS
    )
    pump([wire], lambda: wire.ended, wire.run.deadline)
    return wire.finish(kill=True)[0]


def test_files_go_in_and_come_out_with_their_bytes(slot):
    data = bytes(range(256)) * 1000
    ended = run(
        slot,
        "import os; os.makedirs('out'); d = open('in/a.bin', 'rb').read(); open('out/b.bin', 'wb').write(d[::-1])",
        ("out/b.bin", "in/a.bin"),
        (WorkFile(name="in/a.bin", data=data),),
    )
    assert [(f.name, f.data) for f in ended.fetched] == [("out/b.bin", data[::-1]), ("in/a.bin", data)]


def test_a_pattern_brings_back_what_matches_in_order(slot):
    ended = run(slot, "for n in 'cab': open(n + '.class', 'w').write(n)", ("*.class",))
    assert [(f.name, f.data) for f in ended.fetched] == [("a.class", b"a"), ("b.class", b"b"), ("c.class", b"c")]


@pytest.mark.parametrize(
    "make",
    [
        "os.symlink('/etc/passwd', 'f')",
        "os.symlink('/proc/1/environ', 'f')",
        "os.mkfifo('f')",
        "os.mkdir('f')",
        "pass",
        "import socket; s = socket.socket(socket.AF_UNIX); s.bind('f')",
    ],
)
def test_what_is_no_regular_file_is_a_fault_and_nobody_waits(slot, make):
    ended = run(slot, f"import os\n{make}", ("f",))
    (fetched,) = ended.fetched
    assert fetched.data is None
    assert fetched.fault


def test_a_folder_that_is_a_link_is_not_followed(slot):
    ended = run(slot, "import os; os.symlink('/etc', 'd')", ("d/passwd",))
    assert ended.fetched[0].data is None


def test_the_next_run_finds_an_empty_folder(slot):
    run(slot, "open('left', 'w').write('x')", ())
    ended = run(slot, "import os; open('seen', 'w').write(repr(os.listdir('.')))", ("seen",))
    assert ended.fetched[0].data == b"['seen']"


def test_exec_replaces_the_process_and_cannot_reach_the_control_socket(slot):
    order = {"argv": ["/bin/sh", "-c", "ls /proc/self/fd | tr '\\n' ' '; echo $X"], "env": {"X": "y"}}
    job = Job(driver="exec", source=json.dumps(order).encode(), limits=LIMITS)
    wire = Wire(slot.start(job), LIMITS)
    pump([wire], lambda: wire.ended, wire.run.deadline)
    ended, seen = wire.finish(kill=True)
    assert ended.exit_code == 0, seen
    assert seen.stdout.split() == [b"0", b"1", b"2", b"3", b"y"]  # 3 is what ls lists with
    assert not wire.frames


def test_a_program_that_cannot_be_started_is_said_by_the_driver(slot):
    order = {"argv": ["/no/such/program"], "env": {}}
    wire = Wire(slot.start(Job(driver="exec", source=json.dumps(order).encode(), limits=LIMITS)), LIMITS)
    pump([wire], lambda: wire.ended, wire.run.deadline)
    wire.finish(kill=True)
    assert b"/no/such/program" in wire.frames[0]


def test_good_names_have_no_fault():
    assert [name_fault(name) for name in ("a", "a/b.txt", "über.txt", "..a", "a b")] == [""] * 5


def test_packing_costs_nothing_without_files():
    assert pack(b"print(1)", ()) == b"\0\0\0\0print(1)"


def test_descriptors_do_not_leak(slot):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        run(slot, "open('a', 'w').write('x')", ("a", "b"))
    assert len(os.listdir("/proc/self/fd")) == before
