"""How does a program run shut in, natively, with no set-up by the user?

The judge's half of the strongest native backend: Linux namespaces, seccomp, Landlock, control groups where writable.
Works as root and, where the system allows user namespaces, as anybody. Fails closed: a layer that is required
and missing is a SandboxUnavailable with its cause, and `Isolation.layers` lists what is really on.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from typing import Any

from sandbox import cgroup
from sandbox.backend import SandboxUnavailable
from sandbox.jailroot import plan
from sandbox.pool import ZygotePool
from sandbox.slot import Configure

HOST_ID = 0x7A00_0000  # ids nobody has: a jail's root and its programs are these on the host, per slot
_numbers = itertools.count()


class JailBackend(ZygotePool):
    """See `sandbox.backend.Backend`."""

    name = "jail"
    remedy = "; `sandbox doctor` names the remedy"

    def __init__(self) -> None:
        if not sys.platform.startswith("linux"):
            raise SandboxUnavailable(f"jail needs Linux, this is {sys.platform}: use a Linux machine or container")
        super().__init__()

    def _plan(self, binds: tuple[str, ...]) -> tuple[Configure, Callable[[], None]]:
        number = next(_numbers)
        group = cgroup.make(str(number))
        return lambda: _configure(number, group, binds), group.remove if group else lambda: None


def _configure(number: int, group: cgroup.Group | None, extra: tuple[str, ...]) -> tuple[dict[str, Any], list[int]]:
    binds, hide = plan(os.path.realpath(sys.base_prefix), extra)
    fds = group.open() if group else {}
    parents: list[tuple[int, str]] = []
    try:
        for folder in group.folders.values() if group else ():
            parents.append((os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY), folder.name))
    except OSError:
        for fd in (*fds.values(), *(fd for fd, _ in parents)):
            os.close(fd)
        raise
    config = {
        "mode": "jail",
        "binds": binds,
        "hide": hide,
        "site": ["/site"],
        "host_id": HOST_ID + 2 * (number % 0x10_0000),
        "cgroup": fds,
        "cgroup_parents": parents,
        "cgroup_layers": group.layers if group else (),
    }
    return config, [*fds.values(), *(fd for fd, _ in parents)]
