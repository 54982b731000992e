"""How is a run shut in where no namespace can be made? The zygote's half of the `landlock` and `docker` backends.

Landlock opens a few folders for reading and two for writing; seccomp takes away sockets and what acts on other processes;
programs get an unused uid where the zygote is root. In a container the zygote is process 1: one kill(-1) ends a run, and
no signal reaches it. Elsewhere it adopts orphans and sweeps until it has no child left; Landlock keeps signals in
(version 6), or the uid does. A work folder is bounded by looking at it, emptied after every run.
"""

from __future__ import annotations

import os
import resource
import signal
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from sandbox import seccomp
from sandbox import syscalls as sys
from sandbox.cell import DEVICES, Work, descendants, fix_limits, run_limits, tree_usage
from sandbox.cgroup import Meter

SCOPES_VERSION, TCP_VERSION = 6, 4  # of Landlock
LOOK_SECONDS = 0.1  # between two looks at the work folder
MAX_PATH = 2000  # characters: looking at what lies deeper would cost more than it tells


def build(config: dict[str, Any]) -> LandlockCell:
    """Shut the zygote in as far as it can work. Raises OSError where a required layer is missing."""
    version, rooted, first = sys.landlock_version(), os.geteuid() == 0, os.getpid() == 1
    own_kernel = config.get("own_kernel", False)  # of a runtime such as gVisor's, which has no Landlock
    if version < 1 and not (own_kernel and rooted and first):
        raise OSError("Landlock is not switched on: boot with lsm=landlock,... (Linux 5.13 or later)")
    if version < SCOPES_VERSION and not rooted and not first:
        raise OSError(
            f"Landlock is of version {version}, and programs would share the uid of this process: "
            "version 6 (Linux 6.12) or root is needed to keep their signals in"
        )
    return LandlockCell(config, version, rooted, first)


class LandlockCell:
    """See `sandbox.cell.Cell`."""

    def __init__(self, config: dict[str, Any], version: int, rooted: bool, first: bool):
        import sys as interpreter

        self._rooted, self._first = rooted, first
        self._kill_id, self._run_id = config["host_id"], config["host_id"] + 1
        self._meter = _meter(config["cgroup"], first)
        self._folders: list[str] = config["write"]
        self.folder = self._folders[0]
        self.tick_seconds = 0.05 if self._meter else 0.02
        self._limits: list[tuple[int, tuple[int, int]]] = []
        self._bounds, self._full, self._looked = (0, 0), False, 0.0
        interpreter.path.extend(config["site"])
        os.environ.update(HOME=self.folder, TMPDIR=self._folders[1])
        os.umask(0o022)
        fix_limits()
        for folder in self._folders if rooted else ():
            os.chown(folder, self._run_id, self._run_id)
        rules = dict.fromkeys(config["read"], sys.LANDLOCK_READ)
        if hidden := config.get("read_root_but"):  # of a root whose folders the judge does not know
            rules |= dict.fromkeys(_all_but(hidden, "/"), sys.LANDLOCK_READ)
            rules["/dev"] = sys.LANDLOCK_READ_DIR
        rules |= {path: sys.LANDLOCK_READ & ~sys.LANDLOCK_READ_DIR for path in rules if not os.path.isdir(path)}
        rules |= {f"/dev/{name}": sys.LANDLOCK_DEVICE for name in DEVICES}
        rules |= dict.fromkeys(self._folders, sys.LANDLOCK_OWN)
        sys.prctl(sys.PR_SET_CHILD_SUBREAPER, 1)
        sys.prctl(sys.PR_SET_DUMPABLE, 0)
        if rooted or first:
            with suppress(OSError):
                sys.drop_bounding_set()
        sys.prctl(sys.PR_SET_NO_NEW_PRIVS, 1)
        self._restrict = sys.landlock_restrict(sys.landlock_ruleset(version, rules)) if version else _nothing
        sys.load_filter(seccomp.base_filter(shared=not first))()  # a container has sockets of its own
        self._last_steps = (
            sys.set_dumpable(0) if rooted else sys.drop_capabilities(),
            sys.load_filter(seccomp.final_filter(owner=not rooted and not first)),
        )
        self.layers: tuple[str, ...] = (
            *config["layers"], *(["landlock"] if version else []),
            *(["landlock-tcp"] if version >= TCP_VERSION else []),
            *(["landlock-scope"] if version >= SCOPES_VERSION else []), "seccomp", "rlimits", "no_new_privs",
            *(["pid-1"] if first else []), *(config["cgroup_layers"] if self._meter else []), *(["uid-drop"] if rooted else []),
            *([] if self._meter else ["address-space-cap"]),
        )  # fmt: skip

    def prepare(self, job: Work) -> None:
        if self._meter:
            self._meter.reset(job)
        self._bounds, self._full = (job.file_bytes, job.files), False
        spare = 8 if self._meter and self._meter.bounds_processes else 0
        spare += 0 if self._rooted else _num_processes(os.geteuid())  # the limit counts all that share the uid
        self._limits = run_limits(job, cap_address_space=self._meter is None, spare_processes=spare)

    def enter(self, job: Work) -> None:
        if self._meter:
            self._meter.join()
        with suppress(OSError), open("/proc/self/oom_score_adj", "wb", 0) as stream:
            stream.write(b"1000")  # where memory ends, it ends for the program
        os.chdir(self.folder)
        for what, bounds in self._limits:
            resource.setrlimit(what, bounds)
        self._restrict()
        if self._rooted:
            os.setgroups([])
            os.setresgid(self._run_id, self._run_id, self._run_id)
            os.setresuid(self._run_id, self._run_id, self._run_id)
        for step in self._last_steps:
            step()

    def usage(self, child: int) -> tuple[float, int]:
        now = time.monotonic()
        if now - self._looked > LOOK_SECONDS:
            self._looked = now
            self._full |= any(_beyond(folder, *self._bounds) for folder in self._folders)
            if self._full:
                self.kill_all(child)
        cpu = self._meter.cpu_seconds() if self._meter else None
        if self._meter and self._meter.killed():
            return cpu or 0.0, 1 << 62  # the rest of the run waits for the dead, perhaps for ever
        if cpu is not None:
            return cpu, 0
        seconds, resident = tree_usage(descendants(os.getpid()))
        return seconds, 0 if self._meter else resident

    def kill_all(self, child: int) -> bool:
        if self._first:
            return sys.kill_everyone()
        seen: set[int] = set()
        while (pids := set(descendants(os.getpid()))) - seen:  # who is stopped cannot fork
            for pid in pids - seen:
                with suppress(OSError):
                    os.kill(pid, signal.SIGSTOP)
            seen |= pids
        if seen and self._rooted:
            self._kill_by_id()
        for pid in seen:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        return True

    def counters(self) -> dict[str, Any]:
        result = self._meter.counters() if self._meter else {}
        self._full |= any(_beyond(folder, *self._bounds) for folder in self._folders)
        result["files_exceeded"] = self._full
        for folder in self._folders:
            wipe(folder)
        return result

    def _kill_by_id(self) -> None:
        """Whatever has the programs' uid dies at once; they cannot signal who does it, whose real uid is another."""
        helper = os.fork()
        if helper == 0:
            try:
                os.setresuid(self._kill_id, self._run_id, self._kill_id)
                os.kill(-1, signal.SIGKILL)
            finally:
                os._exit(0)
        os.waitpid(helper, 0)


def _nothing() -> None:
    """In place of Landlock, where there is none."""


def _all_but(hidden: Sequence[str], folder: str) -> Iterator[str]:
    """Paths that together open `folder` but for the `hidden` ones in it."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if any(other.startswith(path + "/") for other in hidden) and not os.path.islink(path):
            yield from _all_but(hidden, path)
        elif path not in hidden:
            yield path


def _meter(fds: dict[str, int], first: bool) -> Meter | None:
    """The control groups, where there are some; in a container, whose engine may forbid it, if they can be joined."""
    if not fds:
        return None
    meter = Meter(fds)
    if first:
        child = os.fork()
        if child == 0:
            try:
                meter.join()
                os._exit(0)
            finally:
                os._exit(1)
        if os.waitpid(child, 0)[1]:
            return None
    return meter


def wipe(folder: str) -> None:
    """Empty a folder in which nothing runs any more, however deep or forbidding what lies in it."""
    with suppress(PermissionError):  # the place is not ours: then nobody could close it either
        os.chmod(folder, 0o700)
    top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        number = 0
        while names := os.listdir(top):
            for name in names:
                if not stat.S_ISDIR(os.lstat(name, dir_fd=top).st_mode):
                    os.unlink(name, dir_fd=top)
                    continue
                os.chmod(name, 0o700, dir_fd=top)
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
                try:
                    for below in os.listdir(inner):
                        if stat.S_ISDIR(os.lstat(below, dir_fd=inner).st_mode):
                            os.chmod(below, 0o700, dir_fd=inner)
                            number += 1
                            os.rename(below, f".wipe-{number}-{os.getpid()}", src_dir_fd=inner, dst_dir_fd=top)
                        else:
                            os.unlink(below, dir_fd=inner)
                finally:
                    os.close(inner)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


def _beyond(folder: str, max_bytes: int, max_files: int) -> bool:
    """Whether a folder holds more than allowed, or nests too deep; stops looking when it does."""
    num_bytes, num_files, waiting = 0, 0, [folder]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                num_files += 1
                with suppress(OSError):
                    state = entry.stat(follow_symlinks=False)
                    num_bytes += 512 * state.st_blocks
                    if stat.S_ISDIR(state.st_mode):
                        waiting.append(entry.path)
                if num_bytes > max_bytes or num_files > max_files or len(entry.path) > MAX_PATH:
                    return True
    return False


def _num_processes(uid: int) -> int:
    """Threads of all processes with this uid."""
    count = 0
    for name in os.listdir("/proc"):
        with suppress(OSError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == uid:
                count += len(os.listdir(f"/proc/{name}/task"))
    return count + 2
