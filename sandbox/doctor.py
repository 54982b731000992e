"""What does this machine offer a sandbox, and what would make it offer more?

`probe` looks, changes nothing, and names a remedy for everything that is missing. What a jail really switches on is in
`Isolation.layers`; this is for the person whose jail does not open.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox import cgroup, languages, place, seccomp, syscalls
from sandbox.backend import SandboxUnavailable, open_backend

KERNEL_NEEDED = (5, 12)  # mount_setattr
# Tried in a process of its own: a namespace once entered is not left.
NAMESPACE_TRIAL = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x10000000 | 0x20000 | 0x20000000 | 0x40000000):
    sys.exit(os.strerror(ctypes.get_errno()))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at. `required`: without it no jail opens; otherwise a layer is missing or weaker.

    >>> Finding(name="landlock", ok=True, detail="version 7", required=False).remedy
    ''
    """

    name: str
    ok: bool
    detail: str
    required: bool
    remedy: str = ""  # empty when ok


def probe() -> list[Finding]:
    """Everything that matters to the backends, required things first."""
    if not sys.platform.startswith("linux"):
        remedy = "run `sandbox serve` in a Linux container or virtual machine, and use it as backend remote"
        return [Finding(name="kernel", ok=False, detail=sys.platform, required=True, remedy=remedy)]
    return [*_required(), *_optional(), *_backends(), _languages()]


def _required() -> Iterator[Finding]:
    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    yield _finding("kernel", numbers >= KERNEL_NEEDED, release, "the jail needs Linux 5.12 or later")
    fault = "" if _read("/proc/self/status").find("Seccomp_filters") >= 0 else "built without seccomp filters"
    try:
        seccomp.base_filter()
    except OSError as error:
        fault = str(error)
    yield _finding("seccomp", not fault, fault or platform.machine(), "use a kernel with CONFIG_SECCOMP_FILTER")
    trial = subprocess.run(
        [sys.executable, "-I", "-S", "-c", NAMESPACE_TRIAL], capture_output=True, text=True, timeout=30, check=False
    )
    yield _finding("user namespaces", trial.returncode == 0, trial.stderr.strip() or "can be made", _here().namespaces)


def _optional() -> Iterator[Finding]:
    version = syscalls.landlock_version()
    yield _finding(
        "landlock",
        version > 0,
        f"version {version}",
        "a second layer is missing: boot with lsm=landlock,... (Linux 5.13 or later)",
        required=False,
    )
    parents = cgroup.parents()
    memory = "memory" in parents or "unified" in parents
    yield _finding(
        "control groups",
        memory,
        f"{'v2' if 'unified' in parents else 'v1'}: {', '.join(sorted(parents))} writable"
        if memory
        else "memory is not writable: memory is bounded by address space and by polling",
        cgroup.hand_down() or _here().groups,
        required=False,
    )


def _here() -> place.Place:
    return place.find(Path("/"), os.environ)


def _backends() -> Iterator[Finding]:
    """Which backends open: the proof of all the rest."""
    remedies = {
        "jail": "see the lines above",
        "docker": "start an engine (apt-get install docker.io; or set DOCKER_HOST), then `sandbox image build`",
        "landlock": "see the lines above; as root, with an interpreter that other users can read",
    }
    for name, remedy in remedies.items():
        try:
            backend = open_backend(name)
        except SandboxUnavailable as error:
            yield _finding(f"backend {name}", False, str(error), remedy, required=False)
            continue
        backend.close()
        yield _finding(f"backend {name}", True, "works", "", required=False)


def _languages() -> Finding:
    found = languages.available()
    missing = {name: text for name, text in found.items() if text.startswith("language ")}
    there = ", ".join(name for name in found if name not in missing)
    remedy = "; ".join(text.removeprefix("language ") for text in missing.values())
    return _finding("languages", not missing, there, remedy, required=False)


def _finding(name: str, ok: bool, detail: str, remedy: str, *, required: bool = True) -> Finding:
    return Finding(name=name, ok=ok, detail=detail, required=required, remedy="" if ok else remedy)


def _read(path: str) -> str:
    return Path(path).read_text().strip() if os.path.exists(path) else ""
