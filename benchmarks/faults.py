"""How many pages of memory does one run touch, in the zygote and in its forks? Page faults, which no busy machine changes.

Used by `grader_throughput.py --steps`: the zygote is started with a few lines more, which send the counts of the kernel back in
the report.
"""

from __future__ import annotations

from statistics import median
from typing import Any
from unittest.mock import patch

from workload import Work

from sandbox import Grader, slot
from sandbox.slot import BOOT

TRACE = """
import resource, struct
import sandbox.zygote as zygote
counts = [0, 0]  # of the zygote at the last report, of the processes that died since
collect, send = zygote.collect, zygote.send_report
def counted(process):
    found = collect(process)
    counts[1] += struct.unpack_from("9q", zygote._usage)[8]  # ru_minflt
    return found
def send_report(channel, report):
    if "run" in report:
        now = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        report["detail"] = f"{now - counts[0]} {counts[1]}"
        counts[:] = now, 0
    send(channel, report)
zygote.collect, zygote.send_report = counted, send_report
"""


def report(work: Work) -> None:
    """Grade `work`, and print the median faults of a run."""
    found: list[tuple[int, int]] = []
    wait = slot.ZygoteSlot.wait_report

    def counted(self: Any, number: int, backstop: float) -> Any:
        ended = wait(self, number, backstop)
        zygote, forks = map(int, ended.detail.split())
        found.append((zygote, forks))
        return ended

    boot = BOOT.replace("from sandbox.zygote import main", TRACE + "from sandbox.zygote import main")
    with (
        patch.object(slot, "BOOT", boot),
        patch.object(slot.ZygoteSlot, "wait_report", counted),
        Grader(backend="jail", workers=1) as grader,
    ):
        grader.grade(work.requests[:1])
        found.clear()
        grader.grade(work.requests)
    zygote, forks = (median(column) for column in zip(*found, strict=True))
    print(f"\n{work.kind}: {zygote + forks:.0f} page faults a run, {forks:.0f} of them in the fork and what it starts")
