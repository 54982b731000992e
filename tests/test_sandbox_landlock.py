"""Does the landlock backend keep a program in without namespaces, as root and as an ordinary user?"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from ordinary_user import DROP, readable_copy, system_python

from sandbox import landlockcell, seccomp
from sandbox.landlock import _without
from sandbox.landlockcell import wipe

# name: (program, stdin, stdout, limits, outcome)
PROGRAMS: dict[str, tuple[str, str, dict[str, float], str]] = {
    "honest": ("open('a', 'w').write('q'); print(open('a').read(), input())", "q x\n", {}, "AC"),
    "threads and processes": (
        "import threading, subprocess\nt = threading.Thread(target=print, args=(1,)); t.start(); t.join()\n"
        "print(subprocess.run(['/bin/echo', 'hi'], capture_output=True, text=True).stdout)",
        "1\nhi\n",
        {},
        "AC",
    ),
    "a host file": ("print(open('/etc/passwd').read())", "", {}, "RE"),
    "the host's /tmp": ("import os; print(os.listdir('/tmp'))", "", {}, "RE"),
    "writing outside": ("open('/tmp/landlock-test', 'w')", "", {}, "RE"),
    "the caller's memory": ("import os; open(f'/proc/{os.getppid()}/mem', 'rb')", "", {}, "RE"),
    "a socket": ("import socket; socket.socket()", "", {}, "RE"),
    "a datagram pair": ("import socket; socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)", "", {}, "RE"),
    "killing everything": ("import os; os.kill(-1, 9); print(1)", "x", {}, "WA|RE"),
    "killing the zygote": ("import os; os.kill(os.getppid(), 9)", "", {}, "RE"),
    "its group": ("import os; os.kill(0, 9)", "", {}, "RE"),
    "limits of the zygote": (
        "import os, resource; resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))",
        "",
        {},
        "RE",
    ),
    "a namespace": ("import ctypes; ctypes.CDLL(None).unshare(0x10000000)", "", {}, "SV"),
    "memory": ("x = [bytearray(1 << 20) for _ in range(4000)]", "", {"memory_bytes": 100 << 20}, "MLE"),
    "disk": ("f = open('a', 'wb')\nwhile 1: f.write(b'x' * (1 << 20))", "", {"file_bytes": 8 << 20}, "FLE"),
    "many files": ("for i in range(10**7): open(str(i), 'w')", "", {"files": 300}, "FLE"),
    "a fork bomb": (
        "import os\nwhile 1:\n  try: os.fork()\n  except OSError: pass",
        "",
        {"cpu_seconds": 0.5},
        "PLE|TLE|WTLE",
    ),
    "a daemon": (
        "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    [os.close(fd) for fd in (0, 1, 2)]\n"
        "    time.sleep(1000)\n  os._exit(0)\nprint(1)",
        "1\n",
        {},
        "AC",
    ),
    "forbidding leavings": (
        "import os\nos.mkdir('d'); open('d/x', 'w'); os.mkdir('e', 0)\n"
        "try: os.chmod('d', 0); os.chmod('.', 0)\nexcept PermissionError: pass\nprint(1)",
        "1\n",
        {},
        "AC",
    ),
    "a file of the caller's": (
        "import ctypes, os\nwon, libc = [], ctypes.CDLL(None)\nfor change in (\n"
        "    lambda: os.chmod(FILE, 0o777), lambda: os.utime(FILE, (1, 1)), lambda: os.chown(FILE, -1, os.getgid()),\n"
        "    lambda: os.setxattr(FILE, 'user.a', b'1'), lambda: os.chmod(os.path.dirname(FILE), 0o777),\n"
        "    lambda: os.chown(FILE, -1, os.getgid(), follow_symlinks=False),\n"
        "    lambda: 1 // (1 + libc.syscall(452, -100, FILE.encode(), 511, 0)),\n"
        "    lambda: os.truncate(FILE, 0), lambda: os.unlink(FILE), lambda: os.link(FILE, 'a'), lambda: os.rename(FILE, 'a'),\n"
        "):\n    try: won.append(change())\n    except (OSError, ZeroDivisionError): pass\nprint(won)",
        "[]\n",
        {},
        "AC",
    ),
    "what the last one left": ("import os; print(os.listdir('.'))", "[]\n", {}, "AC"),
}

CODE = """
import glob, json, os, subprocess, sys, tempfile
sys.path.insert(0, sys.argv[1])
from sandbox.backend import SandboxUnavailable
from sandbox.grader import Grader
from sandbox.landlock import PREFIX
from sandbox.limits import Limits
from sandbox.spec import GradeRequest, Program, StdioCase
programs = json.load(sys.stdin)
try:
    grader = Grader(backend="landlock", workers=1)
except SandboxUnavailable as error:
    sys.exit(f"unavailable: {error}")
found, folder = {}, tempfile.mkdtemp(prefix="owned-")
own = os.path.join(folder, "own")
with open(own, "w") as stream: stream.write("secret")
os.chmod(own, 0o600)
before = os.stat(own), os.stat(folder)
for name, (source, stdout, limits, _) in programs.items():
    limits = Limits(**{"cpu_seconds": 2.0, "wall_seconds": 8.0, **limits})
    case = StdioCase(stdin="x\\n", stdout=stdout)
    source = source.replace("FILE", repr(own))
    (verdict,) = grader.grade([GradeRequest(program=Program(source=source), cases=(case,), limits=limits)])
    found[name] = [verdict.outcome.value, verdict.detail, verdict.isolation.layers]
here = glob.escape(tempfile.gettempdir()) + f"/{PREFIX}{os.getpid()}-*"
assert glob.glob(here)
grader.close()
assert not glob.glob(here)
assert (os.stat(own).st_ctime_ns, os.stat(folder).st_ctime_ns) == tuple(state.st_ctime_ns for state in before)
os.unlink(own), os.rmdir(folder)
print(json.dumps(found))
"""


def judged(user: str) -> dict[str, list[str]]:
    """The verdicts on PROGRAMS, in a process of that user's."""
    if os.geteuid() != 0:
        pytest.skip("only root can be root, or become nobody")
    python = system_python()
    with readable_copy() as folder:
        done = subprocess.run(
            [*(DROP if user == "nobody" else ()), python, "-B", "-c", CODE, "."],
            input=json.dumps(PROGRAMS), capture_output=True, text=True, cwd=folder, timeout=120, check=False,
        )  # fmt: skip
    if done.stderr.startswith("unavailable"):
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_hostile_programs_get_their_verdicts_and_leave_nothing(user: str) -> None:
    found = judged(user)
    wrong = {name: found[name][:2] for name, (*_, must) in PROGRAMS.items() if found[name][0] not in must.split("|")}
    assert wrong == {}
    layers = found["honest"][2]
    assert {"landlock", "seccomp", "no_new_privs"} <= set(layers)
    assert ("uid-drop" in layers) == (user == "root")


def test_a_folder_is_emptied_however_deep_and_forbidding_its_content(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):  # deeper than a path can be long, and than a recursive walk can go
        os.mkdir("d" * 20, dir_fd=here)
        deeper = os.open("d" * 20, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "x").write_text("x")
    (tmp_path / "closed").chmod(0)
    (tmp_path / "link").symlink_to("/etc")
    wipe(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert os.path.exists("/etc/passwd")


def test_hidden_folders_are_left_out_of_what_is_opened(tmp_path: Path) -> None:
    for name in ("lib/a", "lib/site-packages/secret", "bin"):
        (tmp_path / name).mkdir(parents=True)
    opened = _without(str(tmp_path), [str(tmp_path / "lib/site-packages")])
    assert opened == [str(tmp_path / "bin"), str(tmp_path / "lib/a")]


def test_without_namespaces_the_filter_refuses_more() -> None:
    assert len(seccomp.base_filter(shared=True)) > len(seccomp.base_filter())


def test_a_machine_without_landlock_is_refused_whatever_the_judge_says_of_its_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(landlockcell.sys, "landlock_version", lambda: 0)
    for own_kernel in (False, True):  # of a runtime; here the zygote is not process 1 of it
        with pytest.raises(OSError, match="Landlock is not switched on"):
            landlockcell.build({"own_kernel": own_kernel})
