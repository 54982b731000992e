"""Does the backend without isolation still bound a program, and say loudly what it is not?"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.backend import Job, RunExit, Slot, open_backend
from sandbox.limits import Limits


@pytest.fixture(scope="module")
def slot() -> Iterator[Slot]:
    backend = open_backend("plain")
    yield backend.open_slot()
    backend.close()


def finish(slot: Slot, source: str, **limits: float) -> RunExit:
    return slot.start(Job(driver="script", source=source.encode(), limits=Limits(**limits))).finish()


def test_it_shouts_and_claims_no_isolation(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "sandbox"):
        backend = open_backend("plain")
    assert "NOT isolate" in caplog.text and backend.isolation.layers == ("rlimits",)
    backend.close()


def test_cpu_time_sums_over_children(slot: Slot) -> None:
    usage = finish(slot, "import os\nos.fork()\nwhile True: pass", cpu_seconds=0.3)
    assert usage.cpu_exceeded and usage.wall_ms < 1000


def test_memory_over_the_limit_is_told(slot: Slot) -> None:
    assert finish(slot, "l = []\nwhile True: l.append(bytearray(1 << 20))", memory_bytes=64 << 20).oom


def test_a_daemon_dies_with_its_run_and_the_folder_goes(slot: Slot, tmp_path: Path) -> None:
    note = tmp_path / "note"
    code = f"""
import os, time
open({str(note)!r}, "w").write(os.getcwd())
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
    time.sleep(100)
time.sleep(0.2)
"""
    finish(slot, code)
    assert not Path(note.read_text()).exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_sleep_ends_at_the_backstop(slot: Slot) -> None:
    start = time.monotonic()
    assert finish(slot, "import time; time.sleep(60)", wall_seconds=0.1).wall_exceeded
    assert time.monotonic() - start < 1.0
