"""How is a run bounded and measured by control groups, where they can be written?

One group per slot, kept and reset: `make` creates it (in the judge), `Meter` works it through open descriptors (in
the zygote, which sees no cgroup file system). Both versions: v1 with the controllers memory, pids and cpuacct, each where
writable; v2 with memory and pids delegated. Without: the supervisor sums /proc instead.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.limits import Limits

PREFIX = "coderl-"
V1_FILES = {
    "memory": (
        "tasks",
        "memory.limit_in_bytes",
        "memory.max_usage_in_bytes",
        "memory.oom_control",
        "memory.force_empty",
    ),
    "pids": ("tasks", "pids.max", "pids.events"),
    "cpuacct": ("tasks", "cpuacct.usage"),
}
V2_FILES = (
    "cgroup.procs", "memory.max", "memory.peak", "memory.events", "memory.reclaim", "pids.max", "pids.events", "cpu.stat",
)  # fmt: skip
LEFT_OVER_BYTES = 4 << 20  # file caches of earlier runs charged to the group: more than this is worth a clean-up


@dataclass(slots=True)
class Group:
    """The control groups of one slot: `folders` by controller ("unified" for v2)."""

    folders: dict[str, Path]

    @property
    def layers(self) -> tuple[str, ...]:
        if "unified" in self.folders:
            return ("cgroup-v2-memory", "cgroup-v2-pids")
        return tuple(f"cgroup-v1-{controller}" for controller in self.folders)

    def open(self) -> dict[str, int]:
        """Descriptors by "controller/file", for a `Meter`. Raises OSError, and keeps none, if there are not enough."""
        fds: dict[str, int] = {}
        try:
            for controller, folder in self.folders.items():
                folder.mkdir(exist_ok=True)  # the last guard took it along
                for name in V2_FILES if controller == "unified" else V1_FILES[controller]:
                    with suppress(FileNotFoundError, PermissionError):  # this kernel has no such file
                        mode = {0o200: os.O_WRONLY, 0o400: os.O_RDONLY}.get(
                            (folder / name).stat().st_mode & 0o600, os.O_RDWR
                        )
                        fds[f"{controller}/{name}"] = os.open(folder / name, mode)
                swap = folder / "memory.swap.max" if controller == "unified" else folder / "memory.swappiness"
                with suppress(OSError):
                    swap.write_text("0")
        except BaseException:
            for fd in fds.values():
                os.close(fd)
            raise
        return fds

    def remove(self) -> None:
        deadline = time.monotonic() + 2.0
        for folder in self.folders.values():
            while folder.exists():
                with suppress(OSError):
                    folder.rmdir()
                    break
                if time.monotonic() > deadline:
                    break
                time.sleep(0.005)  # busy: a killed process is still on its way out


def make(name: str) -> Group | None:
    """A new group `coderl-<pid>-<name>` below the caller's own; None where no group that bounds memory can be made."""
    where = parents()
    for parent in where.values():
        sweep(parent)
    folders: dict[str, Path] = {}
    for controller, parent in where.items():
        folder = parent / f"{PREFIX}{os.getpid()}-{name}"
        with suppress(OSError):
            folder.mkdir()
            folders[controller] = folder
    group = Group(folders)
    if "memory" in folders or "unified" in folders:
        return group
    group.remove()
    return None


def parents(process: Path = Path("/proc/self")) -> dict[str, Path]:
    """The folder below which `process` (this one, but for a test) may make groups, by controller."""
    mounts: dict[str, Path] = {}
    for line in (process / "mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2":
            mounts["unified"] = Path(where)
        elif kind == "cgroup":
            mounts.update({controller: Path(where) for controller in V1_FILES if controller in options.split(",")})
    found: dict[str, Path] = {}
    for line in (process / "cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for controller in names.split(",") if names else ["unified"]:
            if controller not in mounts:
                continue
            folder = mounts[controller] / path.lstrip("/")
            if controller == "unified":
                folder = _delegated(folder, mounts[controller])
            if os.access(folder, os.W_OK) and folder.is_dir():
                found[controller] = folder
    if "memory" in found:
        found.pop("unified", None)  # a hybrid: the memory controller belongs to v1
    elif "unified" in found:
        found = {"unified": found["unified"]}
    return found


def _delegated(folder: Path, top: Path) -> Path:
    """The nearest group at or above `folder` that hands memory and pids to its children (v2 forbids it to own some)."""
    for candidate in (folder, *folder.parents):
        with suppress(OSError):
            if {"memory", "pids"} <= set((candidate / "cgroup.subtree_control").read_text().split()):
                return candidate
        if candidate == top:
            break
    return Path("/nonexistent")


def sweep(parent: Path) -> None:
    """Remove groups whose judge is dead (killed, so that it could not)."""
    for folder in parent.glob(f"{PREFIX}*"):
        match = re.fullmatch(rf"{PREFIX}(\d+)-.*", folder.name)
        if match and not Path(f"/proc/{match[1]}").exists():
            with suppress(OSError):
                folder.rmdir()


class Meter:
    """The zygote's hand on the groups: reset before a run, join in the fork, read after it."""

    def __init__(self, fds: dict[str, int]):
        self._fds = fds
        v2 = any(name.startswith("unified/") for name in fds)
        self._join = [fd for name, fd in fds.items() if name.endswith(("/tasks", "/cgroup.procs"))]
        self._limit = fds["unified/memory.max" if v2 else "memory/memory.limit_in_bytes"]
        self._peak = fds.get("unified/memory.peak" if v2 else "memory/memory.max_usage_in_bytes")
        self._oom = fds["unified/memory.events" if v2 else "memory/memory.oom_control"]
        self._empty = fds.get("unified/memory.reclaim" if v2 else "memory/memory.force_empty")
        self._pids_max = fds.get("unified/pids.max" if v2 else "pids/pids.max")
        self._pids_events = fds.get("unified/pids.events" if v2 else "pids/pids.events")
        self._cpu, self._cpu_v2 = fds.get("cpuacct/cpuacct.usage"), fds.get("unified/cpu.stat")
        self._set: tuple[int, int] | None = None
        self._ooms = self._refused = self._base = 0
        self._cpu_base = 0.0
        self.bounds_processes = self._pids_max is not None

    def reset(self, limits: Limits | Any) -> None:
        wanted = (limits.memory_bytes, limits.processes)
        if wanted != self._set:
            self._set = None
            os.pwrite(self._limit, b"%d" % limits.memory_bytes, 0)
            if self._pids_max is not None:
                os.pwrite(self._pids_max, b"%d" % limits.processes, 0)
            self._set = wanted
        if self._reset_peak() > LEFT_OVER_BYTES and self._empty is not None:
            with suppress(OSError):
                os.pwrite(self._empty, b"%d" % limits.memory_bytes, 0)
            self._reset_peak()
        self._ooms, self._refused = _count(self._oom, b"oom_kill "), _count(self._pids_events, b"max ")
        self._cpu_base = self._cpu_seconds()

    def join(self) -> None:
        for fd in self._join:
            os.write(fd, b"0")  # 0: the writing process

    def cpu_seconds(self) -> float | None:
        """Of the whole tree since `reset`, dead or alive; None where nothing counts it."""
        if self._cpu is None and self._cpu_v2 is None:
            return None
        return self._cpu_seconds() - self._cpu_base

    def killed(self) -> bool:
        """Has the memory limit killed a process since `reset`?"""
        return _count(self._oom, b"oom_kill ") > self._ooms

    def counters(self) -> dict[str, Any]:
        result: dict[str, Any] = {
            "oom": self.killed(),
            "pids_exceeded": _count(self._pids_events, b"max ") > self._refused,
        }
        if self._peak is not None:
            result["memory_bytes"] = max(0, int(os.pread(self._peak, 64, 0)) - self._base)
        cpu = self.cpu_seconds()
        if cpu is not None:
            result["cpu_ms"] = 1000 * cpu
        return result

    def _reset_peak(self) -> int:
        """Begin a new peak (v2: since Linux 6.12) and return where it starts."""
        if self._peak is None:
            return 0
        with suppress(OSError):
            os.pwrite(self._peak, b"0", 0)
        self._base = int(os.pread(self._peak, 64, 0))
        return self._base

    def _cpu_seconds(self) -> float:
        if self._cpu is not None:
            return int(os.pread(self._cpu, 64, 0)) / 1e9
        return _count(self._cpu_v2, b"usage_usec ") / 1e6


def _count(fd: int | None, key: bytes) -> int:
    """The number after `key` in a file of "key number" lines."""
    if fd is None:
        return 0
    for line in os.pread(fd, 4096, 0).splitlines():
        if line.startswith(key):
            return int(line[len(key) :])
    return 0
