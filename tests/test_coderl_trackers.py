"""What trackers are left with after a resume, what a service is called with, and what a terminal shows."""

from __future__ import annotations

import io
import math
import subprocess
import sys

import pytest
from rich.console import Console

from coderl.config import parse
from coderl.metrics import Metrics
from coderl.progress import Progress
from coderl.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path):
    raw = {"stages": ["grpo"], "policy": {"model": "new:"}, "tasks": {"train": ["easy"]}, "output": str(tmp_path)}
    return RunFolder.create(parse(raw))


READ_BACK = """
import sys, warnings
from coderl.metrics import Metrics
from coderl.run_folder import RunFolder
folder = RunFolder.open(sys.argv[1])
for resumed in (False, True):
    with Metrics(folder, trackers=["tensorboard"], run_name="r") as metrics:
        if resumed:
            metrics.truncate_to(1)
        for step in (2, 3) if resumed else (1, 2, 3):
            metrics.log("0_grpo", step, {"loss": step + 10 * resumed, "nan": float("nan")})
warnings.simplefilter("ignore")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(str(folder.tensorboard_dir))
events.Reload()
print(events.Tags()["scalars"], [(e.step, e.value) for e in events.Scalars("0_grpo/loss")])
"""


def test_tensorboard_reads_each_step_of_a_resumed_run_once(folder):
    pytest.importorskip("tensorboard")
    pytest.importorskip("torch")
    command = [sys.executable, "-c", READ_BACK, str(folder.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "['0_grpo/loss'] [(1, 1.0), (2, 12.0), (3, 13.0)]"


class FakeTracker:
    """Records how accelerate's trackers are called."""

    calls: list[tuple[str, object]]

    def __init__(self, project, **settings):
        FakeTracker.calls = [("init", (project, settings["name"]))]

    def start(self):
        self.calls.append(("start", None))

    def store_init_configuration(self, values):
        self.calls.append(("config", values["seed"]))

    def log(self, values, step):
        self.calls.append((f"log {step}", values))

    def finish(self):
        self.calls.append(("finish", None))


def test_a_service_gets_the_config_and_steps_that_only_grow(folder, monkeypatch):
    tracking = pytest.importorskip("accelerate.tracking")
    monkeypatch.setitem(sys.modules, "trackio", io)  # any module: that it can be imported is all that is asked
    monkeypatch.setattr(tracking, "TrackioTracker", FakeTracker)
    with Metrics(folder, trackers=["trackio"], run_name="mine") as metrics:
        metrics.log("0_sft", 5, {"loss": 1.0, "nan": math.nan})
        metrics.event("0_sft", 5, "e", "m")
        metrics.log("1_grpo", 1, {"loss": 2.0})
    assert FakeTracker.calls == [
        ("init", ("coderl", "mine")),
        ("start", None),
        ("config", 0),
        ("log 1", {"0_sft/loss": 1.0, "stage_step": 5}),
        ("log 2", {"1_grpo/loss": 2.0, "stage_step": 1}),
        ("finish", None),
    ]


def test_a_terminal_gets_a_bar_with_live_numbers():
    console = Console(file=io.StringIO(), force_terminal=True, width=120, _environ={})
    with Progress(100, "1_grpo", console=console) as progress:
        progress.update(50, {"rollout/reward": 0.25, "loss": math.nan})
    text = console.file.getvalue()
    assert "50/100" in text
    assert "reward 0.25" in text
    assert "nan" not in text
