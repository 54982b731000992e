"""How does a program run shut in, natively, with no set-up by the user?

The judge's half of the strongest native backend: Linux namespaces, seccomp, Landlock, control groups where writable.
Works as root and, where the system allows user namespaces, as anybody. Fails closed: a layer that is required
and missing is a SandboxUnavailable with its cause, and `Isolation.layers` lists what is really on.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from typing import Any

from sandbox import cgroup
from sandbox.backend import SandboxUnavailable
from sandbox.jailroot import plan
from sandbox.slot import ZygoteSlot

HOST_ID = 0x7A00_0000  # ids nobody has: a jail's root and its programs are these on the host, per slot
_numbers = itertools.count()


class JailBackend:
    """See `sandbox.backend.Backend`. Opens its first slot at once, so that what is missing shows here."""

    name = "jail"

    def __init__(self) -> None:
        if not sys.platform.startswith("linux"):
            raise SandboxUnavailable(f"jail needs Linux, this is {sys.platform}: use a Linux machine or container")
        self._slots: set[ZygoteSlot] = set()
        self._groups: dict[ZygoteSlot, cgroup.Group | None] = {}
        self._lock = threading.Lock()
        self._first: ZygoteSlot | None = self._open()
        self.isolation = self._first.isolation

    def open_slot(self, binds: tuple[str, ...] = ()) -> ZygoteSlot:
        if binds:
            return self._open(binds)
        with self._lock:
            slot, self._first = self._first, None
        return slot or self._open()

    def close(self) -> None:
        for slot in list(self._slots):
            slot.close()

    def _open(self, binds: tuple[str, ...] = ()) -> ZygoteSlot:
        number = next(_numbers)
        group = cgroup.make(str(number))

        def configure() -> tuple[dict[str, Any], list[int]]:
            return _configure(number, group, binds)

        def on_close(slot: ZygoteSlot) -> None:
            with self._lock:
                self._slots.discard(slot)
            if group is not None:
                group.remove()

        try:
            slot = ZygoteSlot("jail", configure, on_close)
        except SandboxUnavailable as error:
            if group is not None:
                group.remove()
            raise SandboxUnavailable(f"no jail: {error}; `sandbox doctor` names the remedy") from None
        with self._lock:
            self._slots.add(slot)
        return slot


def _configure(number: int, group: cgroup.Group | None, extra: tuple[str, ...]) -> tuple[dict[str, Any], list[int]]:
    binds, hide = plan(os.path.realpath(sys.base_prefix))
    binds += [(path, path) for path in extra]
    fds = group.open() if group else {}
    folders = group.folders.values() if group else ()
    parents = [(os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY), folder.name) for folder in folders]
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
