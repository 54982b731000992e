"""How many threads does torch work with on a CPU, and how do they wait for each other?

By default a thread that waits for its neighbour spins for milliseconds. On a machine that is also busy with something else
(graders, say) that neighbour waits for just this core: with two busy processes beside it on two cores, an update of the
quickstart took five times as long. A thread that goes to sleep after some ten microseconds costs nothing measurable.
Numbers do not depend on it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

SMALL = 2_000_000  # parameters
SPINS = "2000"  # of libgomp's loop


def wait_briefly() -> None:
    """For the OpenMP of this process, if torch is not yet imported; what the environment says goes first."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


@contextlib.contextmanager
def for_sampling(model: Any) -> Iterator[None]:
    """One thread for a small model on a CPU: a product of its takes less time than two threads need to meet beside graders.

    Not in a thread beside the trainer's, whose products that would change too.
    """
    import torch

    parameters = list(model.parameters())
    small = parameters[0].device.type == "cpu" and sum(parameter.numel() for parameter in parameters) < SMALL
    if not small or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
