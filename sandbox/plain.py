"""How does a program run with limits and nothing else?

The backend for a machine that is already thrown away after use, and for tests of the judge. Covered: CPU, wall, memory
(address space), file size and open files, a fresh work folder, no survivors of an ordinary program. NOT covered:
the program reads and writes whatever the caller may, and reaches the network. Never chosen by "auto".
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import sysconfig
import tempfile
import threading
from typing import Any

from sandbox.backend import SandboxUnavailable
from sandbox.languages import Toolchain, toolchain
from sandbox.pool import with_preload
from sandbox.slot import REMOVAL_DESCRIPTORS, ZygoteSlot, want_descriptors
from sandbox.verdict import Isolation


class PlainBackend:
    """See `sandbox.backend.Backend`."""

    name = "plain"

    def __init__(self) -> None:
        logging.getLogger("sandbox").warning("backend plain does NOT isolate: programs run with all your rights")
        self.isolation = Isolation(backend="plain", layers=("rlimits",))
        self._slots: set[ZygoteSlot] = set()
        self._lock = threading.Lock()
        try:
            want_descriptors(REMOVAL_DESCRIPTORS)
            self._folder = tempfile.mkdtemp(prefix=f"sandbox-plain-{os.getpid()}-")
        except OSError as error:
            raise SandboxUnavailable(f"no temporary folder ({error.strerror}): set TMPDIR to a writable one") from None

    def open_slot(self, binds: tuple[str, ...] = (), preload: tuple[str, ...] = ()) -> ZygoteSlot:
        slot = ZygoteSlot("plain", with_preload(self._configure, preload), self._slots.discard)
        with self._lock:
            self._slots.add(slot)
        self.isolation = slot.isolation
        return slot

    def toolchain(self, language: str) -> Toolchain:
        return toolchain(language)

    def close(self) -> None:
        for slot in list(self._slots):
            slot.close()
        shutil.rmtree(self._folder, ignore_errors=True)  # of a zygote that was killed

    def _configure(self) -> tuple[dict[str, Any], list[int]]:
        site = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
        visible = [path for path in dict.fromkeys(site) if path in sys.path]
        return {"mode": "plain", "site": visible, "folder": self._folder}, []
