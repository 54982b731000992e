"""Are the holes of an interpreter's heap filled, in silence, and does a fork touch fewer pages for it?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = """
import gc, os, resource, sys
from sandbox import dense, zygote
zygote.warm()
SOURCE = "def f(x):\\n    return [i * x for i in range(3)]\\nf(2)\\n"
def faults():
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
    for _ in range(10):
        child = zygote.fork()
        if not child:
            exec(compile(SOURCE, "main.py", "exec"), {})
            os._exit(0)
        os.waitpid(child, 0)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - before
gc.collect()
holes, before = sum(size * count for size, count in dense._free_blocks().items()), faults()
dense.fill_holes()
left, after = sum(size * count for size, count in dense._free_blocks().items()), faults()
print(holes, left, before, after)
"""


def test_holes_are_filled_and_forks_touch_fewer_pages() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-c", PROGRAM],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "PYTHONHASHSEED": "0"},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    holes, left, before, after = map(int, done.stdout.split())
    assert holes > 100_000  # bytes: else there was nothing to do
    assert left < holes / 2  # new pools have free blocks, too
    assert after < 0.95 * before  # about 0.83
