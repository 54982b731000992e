"""Does the jail keep a hostile program in, measure it truly, and leave nothing behind?"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ordinary_user import DROP, readable_copy, system_python

from sandbox.backend import Job, RunExit, SandboxUnavailable, Slot, open_backend
from sandbox.doctor import probe
from sandbox.limits import Limits

ROOT = Path(__file__).resolve().parent.parent
MEBIBYTE = 1 << 20
Outcome = tuple[RunExit, str]
Runner = Callable[..., Outcome]


def run_on(slot: Slot, source: str, **limits: float) -> Outcome:
    """Run a program with no input; its usage, and its stdout and stderr together."""
    defaults = {"cpu_seconds": 5.0, "wall_seconds": 10.0}
    job = Job(driver="script", source=textwrap.dedent(source).encode(), limits=Limits(**{**defaults, **limits}))
    run = slot.start(job)
    run.close_stdin()
    output, open_fds = bytearray(), {run.stdout, run.stderr}
    while open_fds:
        for fd in select.select(sorted(open_fds), [], [], 20)[0]:
            chunk = os.read(fd, 1 << 16)
            output += chunk
            if not chunk:
                open_fds.discard(fd)
        if time.monotonic() > run.deadline:
            run.kill()
    return run.finish(), output.decode(errors="replace")


@pytest.fixture(scope="module")
def slot() -> Iterator[Slot]:
    try:
        backend = open_backend("jail")
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    yield backend.open_slot()
    backend.close()


@pytest.fixture
def run(slot: Slot) -> Iterator[Runner]:
    """Runs programs; after each, nothing of it is alive, and at the end an honest one still works."""

    def runner(source: str, **limits: float) -> Outcome:
        result = run_on(slot, source, **limits)
        assert descendants(zygote_of(slot)) == []
        return result

    yield runner
    usage, output = run_on(slot, "print('honest')")
    assert (usage.exit_code, usage.lost, output) == (0, False, "honest\n")


def zygote_of(slot: Slot) -> int:
    guard = slot._process.pid  # type: ignore[attr-defined]
    (zygote,) = children(guard)
    return zygote


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def descendants(pid: int) -> list[int]:
    return [found for child in children(pid) for found in (child, *descendants(child))]


def test_a_program_runs_and_its_output_arrives(run: Runner) -> None:
    usage, output = run("print(6 * 7)")
    assert (usage.exit_code, usage.signal, output) == (0, None, "42\n")


def test_an_exit_code_and_a_signal_are_told_apart(run: Runner) -> None:
    assert run("raise SystemExit(3)")[0].exit_code == 3
    usage, _ = run("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    assert (usage.exit_code, usage.signal) == (None, signal.SIGTERM)


def test_exit_handlers_and_threads_finish_as_in_an_interpreter(run: Runner) -> None:
    _, output = run(
        """
        import atexit, threading, time
        atexit.register(print, "handler")
        threading.Thread(target=lambda: (time.sleep(0.05), print("thread"))).start()
        """
    )
    assert output == "thread\nhandler\n"


def test_the_program_is_not_root_has_no_capability_and_cannot_gain_one(run: Runner) -> None:
    _, output = run("import os; print(os.getresuid(), os.getgroups()); print(open('/proc/self/status').read())")
    status = dict(line.split(":\t", 1) for line in output.splitlines() if ":\t" in line)
    assert output.startswith("(1000, 1000, 1000)")
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0, kind
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


@pytest.mark.parametrize(
    "path",
    [
        "/root",
        "/home",
        "/work",
        "/sys",
        "/run",
        "/etc/shadow",
        "/etc/hostname",
        str(ROOT),
        "/proc/meminfo",
        "/proc/sys",
    ],
)
def test_files_of_the_host_are_not_there(run: Runner, path: str) -> None:
    if path == "/root" and sys.base_prefix.startswith("/root/"):
        pytest.skip("the interpreter lives below /root")
    assert run(f"import os; print(os.path.exists({path!r}))")[1] == "False\n"


def test_a_file_in_the_hosts_tmp_is_not_seen(run: Runner, tmp_path: Path) -> None:
    secret = tmp_path / "expected.out"
    secret.write_text("42")
    assert run(f"import os; print(os.listdir('/tmp'), os.path.exists({str(secret)!r}))")[1] == "[] False\n"


def test_nothing_outside_the_work_folder_can_be_written(run: Runner) -> None:
    _, output = run(
        """
        import os
        for path in ("/x", "/etc/x", "/usr/x", "/dev/x", "/proc/self/comm", "/site/x", "/box/x", os.__file__):
            try:
                open(path, "w").close()
                print("wrote", path)
            except OSError:
                pass
        for path in ("x", "/tmp/x", "/dev/shm/x", "/dev/null"):
            open(path, "w").close()
        """
    )
    assert output == ""


def test_third_party_packages_are_an_allow_list(run: Runner) -> None:
    numpy = run("import numpy; print(int(numpy.arange(4).sum()))", cpu_seconds=10)
    assert numpy[1] == "6\n"
    _, output = run("import importlib.util as u; print([n for n in ('pytest', 'torch', 'tasks') if u.find_spec(n)])")
    assert output == "[]\n"


def test_no_network(run: Runner) -> None:
    _, output = run(
        """
        import socket
        for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET):
            try:
                socket.socket(family, socket.SOCK_DGRAM).connect(("127.0.0.1", 53))
                print("connected", family)
            except OSError:
                pass
        a, b = socket.socketpair()
        a.send(b"ok"); print(b.recv(2))
        """
    )
    assert output == "b'ok'\n"


def test_asyncio_threads_and_processes_work(run: Runner) -> None:
    usage, output = run(
        """
        import asyncio, multiprocessing, threading
        asyncio.run(asyncio.sleep(0))
        threads = [threading.Thread(target=lambda: None) for _ in range(20)]
        [t.start() for t in threads]; [t.join() for t in threads]
        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(pool.map(abs, [-1, -2, -3]))
        """
    )
    assert (usage.exit_code, output) == (0, "[1, 2, 3]\n")


def test_only_four_descriptors_are_open(run: Runner) -> None:
    code = """
        import os
        found = []
        for fd in range(4, 4096):
            try:
                os.fstat(fd); found.append(fd)
            except OSError:
                pass
        print(found)
        """
    assert run(code)[1] == "[]\n"


def test_the_environment_is_clean(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    names = set(run("import os; print(*os.environ)")[1].split())
    assert names <= {"PATH", "LANG", "HOME", "TMPDIR", "PYTHONHASHSEED"} | {
        "MALLOC_ARENA_MAX", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"
    }  # fmt: skip


def test_two_runs_hash_and_draw_the_same(run: Runner) -> None:
    code = "import random; print(hash('a'), random.random())"
    assert run(code)[1] == run(code)[1]


@pytest.mark.parametrize(
    "call",
    [
        "unshare(0x10000000)", "unshare(0x20000)", "ptrace(0, 0, 0, 0)", "mount(b'a', b'/tmp', b'tmpfs', 0, 0)",
        "umount2(b'/box', 2)", "chroot(b'/tmp')", "setns(0, 0)", "syscall(321, 0, 0, 0)",
        "syscall(56, 0x10000011, 0, 0, 0, 0)", "process_vm_readv(1, 0, 0, 0, 0, 0)", "syscall(250, 0, 0)",
        "syscall(0x40000000 + 39)",
    ],
)  # fmt: skip
def test_tools_of_escape_kill(run: Runner, call: str) -> None:
    usage, output = run(f"import ctypes; libc = ctypes.CDLL(None); print(libc.{call})")
    assert usage.forbidden and usage.signal == signal.SIGSYS and output == ""


@pytest.mark.parametrize("number", [425, 435, 319, 29, 240, 457, 500])
def test_calls_programs_do_without_are_absent(run: Runner, number: int) -> None:
    code = (
        f"import ctypes; l = ctypes.CDLL(None, use_errno=True); print(l.syscall({number}, 0, 0, 0), ctypes.get_errno())"
    )
    assert run(code)[1] == "-1 38\n"


def test_the_i386_door_is_shut(run: Runner) -> None:
    code = """
        import ctypes, mmap
        page = mmap.mmap(-1, 4096, prot=7)
        page.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (getpid); int 0x80; ret
        print(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))())
        """
    usage, output = run(code)
    assert usage.signal in (signal.SIGSYS, signal.SIGSEGV) and output == ""


def test_processes_of_the_host_are_not_seen(run: Runner) -> None:
    _, output = run(
        """
        import os
        print([p for p in os.listdir("/proc") if p.isdigit() and int(p) not in (1, os.getpid())])
        for name in ("environ", "mem", "maps", "root/", "fd/0", "cwd/"):
            try:
                open(f"/proc/1/{name}", "rb").read(1); print("read", name)
            except OSError:
                pass
        """
    )
    assert output == "[]\n"


def test_killing_everyone_kills_only_oneself(run: Runner) -> None:
    assert run("import os; os.kill(-1, 9); print('alive')")[0].lost is False
    assert run("import os; os.kill(0, 9)")[0].signal == signal.SIGKILL
    _, output = run(
        "import os, signal\nfor s in range(1, 65):\n  try: os.kill(1, s)\n  except OSError: pass\nprint('done')"
    )
    assert output == "done\n"


def test_process_1_catches_no_signal_so_that_none_from_inside_reaches_it(run: Runner, slot: Slot) -> None:
    run("pass")
    statuses = [
        Path(f"/proc/{pid}/status").read_text().split() for pid in [zygote_of(slot), *descendants(zygote_of(slot))]
    ]
    caught = [
        int(words[words.index("SigCgt:") + 1], 16) for words in statuses if words[words.index("NSpid:") + 2] == "1"
    ]
    assert caught == [0]


def test_a_fork_bomb_is_clean_in_two_seconds(run: Runner) -> None:
    start = time.monotonic()
    usage, _ = run(
        """
        import os
        while True:
            try:
                os.fork()
            except OSError:
                pass
        """,
        wall_seconds=1.0,
        cpu_seconds=0.5,
    )
    assert time.monotonic() - start < 2.0
    assert usage.cpu_exceeded and not usage.lost


def test_a_refused_process_is_counted_where_a_group_counts(run: Runner, slot: Slot) -> None:
    usage, _ = run("import os\nwhile True: os.fork()", processes=8)
    assert usage.pids_exceeded == any("pids" in layer for layer in slot.isolation.layers)


def test_a_daemon_dies_with_its_run(run: Runner) -> None:
    _, output = run(
        """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for fd in range(256):
                    try: os.close(fd)
                    except OSError: pass
                time.sleep(100)
            os._exit(0)
        time.sleep(0.1)
        """
    )
    assert output == ""  # the fixture then looks for survivors


def test_the_next_run_finds_no_file_of_the_last(run: Runner) -> None:
    look = "import os; print([os.listdir(p) for p in ('.', '/tmp', '/dev/shm', '/var/tmp')])"
    run("import os\nfor p in ('.', '/tmp', '/dev/shm'): open(p + '/mark', 'w').write('x'); os.makedirs(p + '/d/e')")
    assert run(look)[1] == "[[], [], [], []]\n"


def test_memory_over_the_limit_is_told(run: Runner) -> None:
    usage, _ = run("l = []\nwhile True: l.append(bytearray(1 << 20))", memory_bytes=96 * MEBIBYTE)
    assert usage.oom and not usage.lost and usage.signal == signal.SIGKILL


def test_peak_memory_is_measured(run: Runner) -> None:
    usage, _ = run("b'x' * (64 << 20)", memory_bytes=256 * MEBIBYTE)
    assert 60 * MEBIBYTE < usage.memory_bytes < 110 * MEBIBYTE and not usage.oom


def test_file_caches_of_one_run_are_not_charged_to_the_next(run: Runner) -> None:
    touched, _ = run("import itertools, os\nfor _ in itertools.islice(os.walk('/usr'), 4000): pass")
    usage, _ = run("pass")
    assert touched.exit_code == 0
    assert 0 <= usage.memory_bytes < 24 * MEBIBYTE  # without a group: the resident size, interpreter included


def test_cpu_time_sums_over_children(run: Runner) -> None:
    code = "import os\nfor _ in range(3): os.fork()\nwhile True: pass"
    usage, _ = run(code, cpu_seconds=0.4)
    assert usage.cpu_exceeded and usage.cpu_ms < 1500


def test_sleep_is_not_cpu_time_and_the_backstop_fires(slot: Slot) -> None:
    job = Job(driver="script", source=b"import time; time.sleep(60)", limits=Limits(wall_seconds=0.2))
    usage = slot.start(job).finish()
    assert usage.wall_exceeded and not usage.cpu_exceeded and usage.cpu_ms < 100 and usage.wall_ms < 2000


@pytest.mark.parametrize(
    "code",
    [
        "open('f', 'wb').write(bytes(8 << 20))",
        "for i in range(10**6): open(f'{i}', 'w').close()",
        "open('f', 'wb').truncate(1 << 40)",
    ],
    ids=["bytes", "inodes", "sparse"],
)
def test_a_full_work_folder_is_told(run: Runner, code: str) -> None:
    assert run(code, file_bytes=4 * MEBIBYTE, files=64)[0].files_exceeded


def test_an_honest_file_is_not_an_excess(run: Runner) -> None:
    usage, output = run("open('f', 'w').write('abc'); print(open('f').read())")
    assert output == "abc\n" and not usage.files_exceeded


def test_kill_is_immediate_and_may_be_repeated(slot: Slot) -> None:
    run = slot.start(Job(driver="script", source=b"while True: pass", limits=Limits()))
    time.sleep(0.05)
    start = time.monotonic()
    run.kill()
    run.kill()
    usage = run.finish()
    run.kill()
    assert usage.signal == signal.SIGKILL and time.monotonic() - start < 1.0
    assert run.finish() is usage


def test_the_exit_descriptor_is_silent_until_the_end(slot: Slot) -> None:
    run = slot.start(Job(driver="script", source=b"input()", limits=Limits()))
    assert select.select([run.exit_fd], [], [], 0.1)[0] == []
    run.close_stdin()
    assert select.select([run.exit_fd], [], [], 5)[0] == [run.exit_fd]
    assert run.finish().exit_code == 1


def test_a_large_program_arrives_whole(run: Runner) -> None:
    assert run("x = '" + "a" * (4 << 20) + "'; print(len(x))")[1] == f"{4 << 20}\n"


def test_a_dead_zygote_is_lost_once_and_then_rebuilt() -> None:
    backend = open_backend("jail")
    slot = backend.open_slot()
    run = slot.start(Job(driver="script", source=b"while True: pass", limits=Limits()))
    slot._process.kill()  # type: ignore[attr-defined]
    assert run.finish().lost
    assert run_on(slot, "print(1)")[1] == "1\n"
    backend.close()


def _alive(marker: str) -> list[int]:
    """Processes of this machine that are zygotes of a judge whose descriptor list names `marker`."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if marker.encode() in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def test_closing_leaves_no_process_descriptor_or_group() -> None:
    def state() -> tuple[list[str], list[int], list[Path]]:
        groups = Path("/sys/fs/cgroup").rglob(f"coderl-{os.getpid()}-*")
        return sorted(os.listdir("/proc/self/fd")), children(os.getpid()), sorted(groups)

    before = state()
    backend = open_backend("jail")
    slot = backend.open_slot()
    run_on(slot, "print(1)")
    slot.start(Job(driver="script", source=b"while True: pass", limits=Limits()))
    assert state() != before
    backend.close()
    assert state() == before


def test_when_the_judge_is_killed_nothing_survives(tmp_path: Path) -> None:
    copy = tmp_path / "judge"
    shutil.copytree(ROOT / "sandbox", copy / "sandbox")
    code = f"""
import os, sys, time
sys.path.insert(0, {str(copy)!r})
from sandbox.backend import Job, open_backend
from sandbox.limits import Limits
slot = open_backend("jail").open_slot()
program = b"import os, time; os.fork(); print('go', flush=True); time.sleep(60)"
run = slot.start(Job(driver="script", source=program, limits=Limits(wall_seconds=60.0)))
os.set_blocking(run.stdout, True)
os.read(run.stdout, 2)
print("up", flush=True)
time.sleep(60)
"""
    judge = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert judge.stdout is not None and judge.stdout.readline() == b"up\n"
        assert len(_alive(str(copy))) >= 5  # judge, guard, zygote, two processes of the run
    finally:
        judge.kill()
        judge.communicate()
    deadline = time.monotonic() + 5
    while _alive(str(copy)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _alive(str(copy)) == []
    assert not list(Path("/sys/fs/cgroup").rglob(f"coderl-{judge.pid}-*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_gets_a_jail_too() -> None:
    python = system_python()
    code = """
import os, sys
sys.path.insert(0, ".")
from sandbox.backend import Job, open_backend
from sandbox.limits import Limits
backend = open_backend("jail")
slot = backend.open_slot()
def go(source, **limits):
    run = slot.start(Job(driver="script", source=source.encode(), limits=Limits(**limits)))
    run.close_stdin()
    out = run.stdout
    os.set_blocking(out, True)
    text = b""
    while chunk := os.read(out, 4096):
        text += chunk
    return run.finish(), text.decode()
print(go("import os; print(os.getuid(), os.path.exists('/work'), [l for l in open('/proc/self/status') if 'CapEff' in l])")[1])
print(go("l = []\\nwhile True: l.append(bytearray(1 << 20))", memory_bytes=100 << 20)[0].oom)
print(go("import ctypes; ctypes.CDLL(None).unshare(0x10000000)")[0].forbidden)
print(go("import os\\nfor _ in range(3): os.fork()\\nwhile True: pass", cpu_seconds=0.3)[0].cpu_exceeded)
print(go("import os; os.kill(-1, 9)")[0].lost, go("print(1)")[1])
backend.close()
"""
    with readable_copy() as folder:
        done = subprocess.run(
            [*DROP, python, "-B", "-c", code], capture_output=True, text=True, cwd=folder, timeout=60, check=False
        )
    if "no jail" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.stdout.split() == [
        "1000", "False", r"['CapEff:\t0000000000000000\n']", "True", "True", "True", "False", "1"
    ]  # fmt: skip


def test_the_layers_say_what_is_on(slot: Slot) -> None:
    layers = set(slot.isolation.layers)
    assert layers >= {"userns", "pidns", "mountns", "netns", "seccomp", "rlimits", "no_new_privs", "tmpfs"}
    assert ("address-space-cap" in layers) != any(layer.endswith("memory") for layer in layers)


def test_the_doctor_has_a_remedy_for_everything_missing() -> None:
    findings = probe()
    assert {"kernel", "seccomp", "user namespaces", "landlock", "control groups"} <= {f.name for f in findings}
    assert all(bool(finding.remedy) != finding.ok for finding in findings)
