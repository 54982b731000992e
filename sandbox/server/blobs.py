"""Which programs and tasks has the server seen, by the hash of their JSON text?

Bounded by bytes of text, the least recently used go first. What is kept is the record that was read from the text, so that a
task shared by many programs is read once.
"""

from __future__ import annotations

from collections import OrderedDict

from sandbox.requests_json import TaskPart
from sandbox.spec import Program


class BlobStore:
    """Not shared between threads."""

    def __init__(self, max_bytes: int):
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, tuple[Program | TaskPart, int]] = OrderedDict()
        self.num_bytes = 0

    def put(self, name: str, value: Program | TaskPart, size: int) -> None:
        if name in self._kept:
            self._kept.move_to_end(name)
            return
        self._kept[name] = (value, size)
        self.num_bytes += size
        while self.num_bytes > self._max_bytes:
            _, (_, old) = self._kept.popitem(last=False)
            self.num_bytes -= old

    def get(self, name: str) -> tuple[Program | TaskPart, int] | None:
        """The record of that name, and the bytes of its text."""
        if name not in self._kept:
            return None
        self._kept.move_to_end(name)
        return self._kept[name]
