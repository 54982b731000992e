"""How is a run bounded and measured by control groups, where they can be written?

One group per slot, kept and reset: `make` creates it (in the judge), `Meter` works it through open descriptors (in
the zygote, which sees no cgroup file system). Both versions: v1 with the controllers memory, pids and cpuacct, each where
writable; v2 with memory and pids delegated. Without: the supervisor sums /proc instead.
"""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.limits import Limits

PREFIX = "coderl-"
SWITCH = "cgroup.subtree_control"  # of v2: the controllers that a group hands to its children
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
    "cgroup.procs", "memory.max", "memory.current", "memory.peak", "memory.events", "memory.reclaim",
    "pids.max", "pids.events", "cpu.stat",
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
    found: dict[str, Path] = {}
    for controller, (top, own) in _own(process).items():
        folder = _delegated(own, top) if controller == "unified" else own
        if os.access(folder, os.W_OK) and folder.is_dir():
            found[controller] = folder
    if "memory" in found:
        found.pop("unified", None)  # a hybrid: the memory controller belongs to v1
    elif "unified" in found:
        found = {"unified": found["unified"]}
    return found


def hand_down(process: Path = Path("/proc/self")) -> str:
    """The shell command after which `process` may make groups of version 2; "" where none would help.

    Its own group is its to divide, but does not hand memory and pids down, which v2 forbids while processes are in it.
    `make` does not do it by itself: they may be a person's, or a container's whose engine will want to add one.
    """
    for controller, (_, own) in _own(process).items():
        with suppress(OSError):
            offered = set((own / "cgroup.controllers").read_text().split()) if controller == "unified" else set()
            if {"memory", "pids"} <= offered and all(os.access(own / name, os.W_OK) for name in (".", SWITCH)):
                switch = f"echo +memory +pids > {own}/{SWITCH}"
                if not (own / "cgroup.type").exists():  # the machine's top group may keep its processes
                    return switch
                # `cat` itself is gone when its turn comes
                move = f"for p in $(cat {own}/cgroup.procs); do echo $p > {own}/all/cgroup.procs; done 2>/dev/null"
                return f"mkdir -p {own}/all; {move}; {switch}"
    return ""


def _own(process: Path) -> dict[str, tuple[Path, Path]]:
    """By controller: where its hierarchy is mounted, and the group of `process` in it."""
    mounts: dict[str, Path] = {}
    for line in (process / "mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2":
            mounts["unified"] = Path(where)
        elif kind == "cgroup":
            mounts.update({controller: Path(where) for controller in V1_FILES if controller in options.split(",")})
    found: dict[str, tuple[Path, Path]] = {}
    for line in (process / "cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for controller in names.split(",") if names else ["unified"]:
            if controller in mounts:
                found[controller] = mounts[controller], mounts[controller] / path.lstrip("/")
    return found


def _delegated(folder: Path, top: Path) -> Path:
    """The nearest group at or above `folder` that hands memory and pids to its children (v2 forbids it to own some)."""
    for candidate in (folder, *folder.parents):
        with suppress(OSError):
            if {"memory", "pids"} <= set((candidate / SWITCH).read_text().split()):
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
        self._current = fds.get("unified/memory.current")
        self._oom = fds["unified/memory.events" if v2 else "memory/memory.oom_control"]
        self._empty = fds.get("unified/memory.reclaim" if v2 else "memory/memory.force_empty")
        self._pids_max = fds.get("unified/pids.max" if v2 else "pids/pids.max")
        self._pids_events = fds.get("unified/pids.events" if v2 else "pids/pids.events")
        self._cpu, self._cpu_v2 = fds.get("cpuacct/cpuacct.usage"), fds.get("unified/cpu.stat")
        self._set: tuple[int, int] | None = None
        self._ooms = self._refused = self._base = self._seen = 0
        self._highest: int | None = None  # of all runs so far, where a new peak cannot be begun
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
        self._begin_peak()
        if self._base > LEFT_OVER_BYTES and self._empty is not None:
            with suppress(OSError):  # EAGAIN: some of it is in use
                os.pwrite(self._empty, b"%d" % self._base, 0)
            self._begin_peak()
        self._ooms, self._refused = _count(self._oom, b"oom_kill "), _count(self._pids_events, b"max ")
        self._cpu_base = self._cpu_seconds()

    @property
    def joining(self) -> list[Callable[[], Any]]:
        """The steps of `join`."""
        return [functools.partial(os.write, fd, b"0") for fd in self._join]  # 0: the writing process

    def join(self) -> None:
        for step in self.joining:
            step()

    def cpu_seconds(self) -> float | None:
        """Of the whole tree since `reset`, dead or alive; None where nothing counts it."""
        if self._cpu is None and self._cpu_v2 is None:
            return None
        return self._cpu_seconds() - self._cpu_base

    def killed(self) -> bool:
        """Has the memory limit killed a process since `reset`? Asked at every tick: what is in use now is noted as well."""
        if self._current is not None:
            self._seen = max(self._seen, int(os.pread(self._current, 64, 0)))
        return _count(self._oom, b"oom_kill ") > self._ooms

    def counters(self) -> dict[str, Any]:
        result: dict[str, Any] = {
            "oom": self.killed(),
            "pids_exceeded": _count(self._pids_events, b"max ") > self._refused,
        }
        result |= self._memory()
        cpu = self.cpu_seconds()
        if cpu is not None:
            result["cpu_ms"] = 1000 * cpu
        return result

    def _begin_peak(self) -> None:
        self._highest = None
        if self._peak is not None:
            try:
                os.pwrite(self._peak, b"0", 0)
            except OSError:  # v2 before Linux 6.12
                self._highest = int(os.pread(self._peak, 64, 0))
            else:
                self._base = int(os.pread(self._peak, 64, 0))
                return
        if self._current is not None:
            self._base = self._seen = int(os.pread(self._current, 64, 0))

    def _memory(self) -> dict[str, int]:
        """The peak since `reset`: exact ("memory_bytes"), or at least (by the highest so far, or by looking at times)."""
        peak = -1 if self._peak is None else int(os.pread(self._peak, 64, 0))
        if self._peak is not None and self._highest is None:
            return {"memory_bytes": max(0, peak - self._base)}
        if self._highest is not None and peak > self._highest:
            return {"memory_at_least": max(0, peak - self._base)}
        return {"memory_at_least": max(0, self._seen - self._base)}

    def _cpu_seconds(self) -> float:
        if self._cpu is not None:
            return int(os.pread(self._cpu, 64, 0)) / 1e9
        return _count(self._cpu_v2, b"usage_usec ") / 1e6


def _count(fd: int | None, key: bytes) -> int:
    """The number after `key` in a file of "key number" lines."""
    if fd is None:
        return 0
    data = b"\n" + os.pread(fd, 4096, 0)
    start = data.find(b"\n" + key)
    return int(data[start + len(key) + 1 :].partition(b"\n")[0]) if start >= 0 else 0
