"""Where does randomness come from? Every stream is a function of the run's seed and a name for its purpose.

So batch size, worker count, order of arrival and resuming change nothing (rule 4 of the architecture).
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def derive(seed: int, *names: object) -> int:
    """A 63-bit seed from the run seed and names, e.g. derive(0, "grpo", 12, "easy/double", 3)."""
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def uniforms(seed: int, count: int) -> NDArray[np.float64]:
    """`count` uniform numbers in [0, 1) for one sample; the first k are the same whatever `count` is."""
    return np.random.Generator(np.random.Philox(key=seed)).random(count)


def cursor(seed: int, name: str, size: int, start: int, count: int) -> list[int]:
    """Indices start..start+count of an endless stream of fresh permutations of range(size): the data order of a run."""
    indices: list[int] = []
    for position in range(start, start + count):
        epoch, offset = divmod(position, size)
        if not indices or offset == 0:
            order = np.random.Generator(np.random.Philox(key=derive(seed, name, epoch))).permutation(size)
        indices.append(int(order[offset]))
    return indices
