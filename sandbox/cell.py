"""What does one way of isolating give the zygote? The contract, the parts that all share, and `plain`.

Runs inside the zygote only. `PlainCell` bounds, and isolates nothing: see `sandbox.plain`.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import Any, Protocol

ADDRESS_SPACE_CAP = 1 << 30  # where no cgroup bounds memory
OPEN_FILES = 256
DEVICES = ("null", "zero", "full", "random", "urandom")  # those of /dev that a program may use
TICKS_PER_SECOND, PAGE_BYTES = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
PR_SET_CHILD_SUBREAPER = 36


class Work(Protocol):
    """One job as the zygote sees it: the numbers of `Limits`, and no program."""

    number: int
    driver: str
    cpu_seconds: float
    wall_seconds: float
    memory_bytes: int
    output_bytes: int
    file_bytes: int
    files: int
    processes: int
    stack_bytes: int
    fetch: list[str]
    reserves_memory: bool


class Cell(Protocol):
    layers: tuple[str, ...]
    tick_seconds: float  # longest pause between two looks at `usage`
    folder: str  # where programs work

    def prepare(self, job: Work) -> None:
        """In the zygote, before the fork."""

    def enter(self, job: Work) -> None:
        """In the fork: after this nothing of the host is in reach."""

    def usage(self, child: int) -> tuple[float, int]:
        """CPU seconds and resident bytes of the living tree, so far."""

    def kill_all(self, child: int) -> bool:
        """SIGKILL every descendant of the zygote; False if it is certain that there is none, dead or alive."""

    def counters(self) -> dict[str, Any]:
        """After the run, when all are dead: what this cell knows better (fields of RunExit)."""


def build(config: dict[str, Any]) -> Cell:
    sys.path.extend(config["site"])
    return PlainCell(config["folder"])


class PlainCell:
    layers: tuple[str, ...] = ("rlimits",)
    tick_seconds = 0.02

    def __init__(self, folder: str) -> None:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans of a run come to the zygote
        import shutil  # here: what these load (compressors, for one) makes every fork of a jail slower
        import tempfile

        self._make_folder, self._remove = tempfile.mkdtemp, shutil.rmtree
        self._base, self.folder = folder, ""
        self._limits: list[tuple[int, tuple[int, int]]] = []
        fix_limits()

    def prepare(self, job: Work) -> None:
        self._limits = run_limits(job, cap_address_space=True)
        self.folder = self._make_folder(dir=self._base)

    def enter(self, job: Work) -> None:
        os.chdir(self.folder)
        os.environ["HOME"] = os.environ["TMPDIR"] = self.folder
        for what, bounds in self._limits:
            resource.setrlimit(what, bounds)

    def usage(self, child: int) -> tuple[float, int]:
        return tree_usage(descendants(os.getpid()))

    def kill_all(self, child: int) -> bool:
        for pid in descendants(os.getpid()):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        return True

    def counters(self) -> dict[str, Any]:
        self._remove(self.folder, ignore_errors=True)
        return {}


def fix_limits() -> None:
    """The bounds that are the same for every run: once, in the zygote."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # a file over its limit ends the program: Python would go on
    for what, bound in (
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 1),  # refuses core files (less than a page) and, unlike 0, core pipes too
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        value = _within(what, bound)
        resource.setrlimit(what, (value, value))


def run_limits(job: Work, *, cap_address_space: bool, spare_processes: int = 0) -> list[tuple[int, tuple[int, int]]]:
    """The arguments of the setrlimit calls of one run. RLIMIT_CPU is a whole-second back-stop for the supervisor."""
    bounds = {
        resource.RLIMIT_CPU: int(job.cpu_seconds) + 2,
        resource.RLIMIT_FSIZE: job.file_bytes,
        resource.RLIMIT_NPROC: job.processes + spare_processes,
        resource.RLIMIT_STACK: job.stack_bytes,
    }
    if cap_address_space and not job.reserves_memory:
        with open("/proc/self/statm", "rb") as stream:
            base = int(stream.read().split()[0]) * PAGE_BYTES
        bounds[resource.RLIMIT_AS] = base + min(2 * job.memory_bytes, ADDRESS_SPACE_CAP)
    return [(what, (_within(what, bound),) * 2) for what, bound in bounds.items()]


def _within(what: int, bound: int) -> int:
    hard = resource.getrlimit(what)[1]
    return bound if hard == resource.RLIM_INFINITY else min(bound, hard)


def descendants(root: int) -> list[int]:
    """Every living process below `root`, from /proc."""
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        with suppress(OSError), open(f"/proc/{pid}/task/{pid}/children", "rb") as stream:
            children = [int(word) for word in stream.read().split()]
            found += children
            queue += children
    return found


def tree_usage(pids: list[int]) -> tuple[float, int]:
    """CPU seconds (their own and of the children they waited for) and resident bytes of these processes."""
    cpu, resident = 0, 0
    for pid in pids:
        with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as stream:
            words = stream.read().rpartition(b")")[2].split()
            cpu += sum(int(word) for word in words[11:15])
            resident += int(words[21]) * PAGE_BYTES
    return cpu / TICKS_PER_SECOND, resident
