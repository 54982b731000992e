"""What do the backends of zygotes share? The slots that they opened, and how one is opened and given back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from sandbox.backend import SandboxUnavailable
from sandbox.languages import Toolchain, toolchain
from sandbox.slot import Configure, ZygoteSlot


class ZygotePool:
    """See `sandbox.backend.Backend`. Opens its first slot at once, so that what is missing shows then."""

    name = ""
    remedy = ""  # the end of the line that says why no slot opens

    def __init__(self) -> None:
        self._slots: set[ZygoteSlot] = set()
        self._lock = threading.Lock()
        self._first: ZygoteSlot | None = self._open(())
        self.isolation = self._first.isolation

    def open_slot(self, binds: tuple[str, ...] = (), preload: tuple[str, ...] = ()) -> ZygoteSlot:
        if binds or preload:
            return self._open(binds, preload)
        with self._lock:
            slot, self._first = self._first, None
        return slot or self._open(())

    def toolchain(self, language: str) -> Toolchain:
        return toolchain(language)

    def close(self) -> None:
        for slot in list(self._slots):
            slot.close()

    def _plan(self, binds: tuple[str, ...]) -> tuple[Configure, Callable[[], None]]:
        """How a new slot is configured, and what gives back what it holds."""
        raise NotImplementedError

    def _make(
        self, binds: tuple[str, ...], preload: tuple[str, ...], on_close: Callable[[ZygoteSlot], None]
    ) -> ZygoteSlot:
        give_back: Callable[[], None] = lambda: None

        def end(slot: ZygoteSlot) -> None:
            on_close(slot)
            give_back()

        try:
            configure, give_back = self._plan(binds)
            return self._start(with_preload(configure, preload), end)
        except (SandboxUnavailable, OSError) as error:
            give_back()
            raise SandboxUnavailable(f"no {self.name}: {error}{self.remedy}") from None
        except BaseException:
            give_back()
            raise

    def _start(self, configure: Configure, on_close: Callable[[ZygoteSlot], None]) -> ZygoteSlot:
        return ZygoteSlot(self.name, configure, on_close)

    def _open(self, binds: tuple[str, ...], preload: tuple[str, ...] = ()) -> ZygoteSlot:
        slot = self._make(binds, preload, self._forget)
        with self._lock:
            self._slots.add(slot)
        return slot

    def _forget(self, slot: ZygoteSlot) -> None:
        with self._lock:
            self._slots.discard(slot)


def with_preload(configure: Configure, preload: tuple[str, ...]) -> Configure:
    """The same configuration, with modules that the zygote imports once for all programs."""

    def configured() -> tuple[dict[str, Any], list[int]]:
        config, descriptors = configure()
        return {**config, "preload": preload}, descriptors

    return configured
