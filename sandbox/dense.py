"""How do runs touch few pages of the memory that they share with their zygote?

Every page that a fork writes is copied, and Python writes wherever it allocates: into the holes that the start of an
interpreter leaves all over its heap. Here they are filled for good, so that what is allocated from now on lies side by side.
Measured for compiling and running three lines: 173 page faults instead of 208.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

_BYTES_HEAD = sys.getsizeof(b"")
_FILLING: list[object] = []


def fill_holes() -> None:
    """Take every free block of the pools in use. Does nothing where Python does not say which those are."""
    for size, count in _free_blocks().items():
        if size == 16:
            _FILLING.extend([object() for _ in range(count)])
        elif size >= _BYTES_HEAD:
            _FILLING.extend([bytes(size - _BYTES_HEAD) for _ in range(count)])
        else:
            _FILLING.extend([complex(i, i) for i in range(count)])


def _free_blocks() -> dict[int, int]:
    """How many there are by their size, from the table of sys._debugmallocstats: class, size, pools, used, free."""
    found: dict[int, int] = {}
    read, write = os.pipe()
    stderr = os.dup(2)
    try:
        os.dup2(write, 2)
        with suppress(AttributeError):
            sys._debugmallocstats()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(write)
    with open(read, "rb") as stream:
        for line in stream:
            words = line.split()
            if len(words) == 5 and all(word.isdigit() for word in words):
                found[int(words[1])] = int(words[4])
    return found
