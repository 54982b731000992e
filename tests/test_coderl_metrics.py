"""metrics.jsonl reads back bit for bit, survives being killed, and is the truth that trackers copy."""

from __future__ import annotations

import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from coderl import metrics as metrics_module
from coderl.config import parse
from coderl.errors import ConfigError, MissingExtra, RunFolderError
from coderl.metrics import Metrics, Progress, number, read_metrics
from coderl.run_folder import RunFolder
from coderl.trackers import open_tracker


@pytest.fixture
def folder(tmp_path):
    raw = {"stages": ["grpo"], "policy": {"model": "new:"}, "tasks": {"train": ["easy"]}, "output": str(tmp_path)}
    made = RunFolder.create(parse(raw))
    yield made
    made.unlock()


def fill(folder: RunFolder, steps: range) -> None:
    with Metrics(folder, trackers=[], run_name="run") as metrics:
        for step in steps:
            metrics.log("0_grpo", step, {"loss": step / 3})


class Recorder:
    """A tracker that remembers what it was told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, dict[str, float]]] = []

    def start(self) -> None:
        self.seen = []

    def log(self, stage: str, step: int, values: dict[str, float]) -> None:
        self.seen.append((stage, step, values))

    def close(self) -> None: ...


@given(st.floats())
def test_every_finite_number_reads_back_bit_for_bit_and_the_others_are_null(value):
    written = json.loads(json.dumps(number(value), allow_nan=False))
    if math.isfinite(value):
        assert math.copysign(1, written) == math.copysign(1, value) and written == value
    else:
        assert written is None


def test_a_line_per_step_and_event_in_order(folder):
    with Metrics(folder, trackers=[], run_name="run") as metrics:
        metrics.log("0_grpo", 1, {"loss": 0.1, "rollout/reward": math.nan})
        metrics.event("0_grpo", 1, "unscorable", "2 of 8", tasks=["a/1"])
        assert metrics.num_lines == 2
    assert [json.loads(line) for line in folder.metrics_path.read_text().splitlines()] == [
        {"stage": "0_grpo", "step": 1, "values": {"loss": 0.1, "rollout/reward": None}},
        {"stage": "0_grpo", "step": 1, "event": "unscorable", "message": "2 of 8", "data": {"tasks": ["a/1"]}},
    ]


def test_a_line_is_on_disk_as_soon_as_it_is_logged(folder):
    with Metrics(folder, trackers=[], run_name="run") as metrics:
        metrics.log("0_grpo", 1, {"loss": 1.0})
        assert len(read_metrics(folder)) == 1  # a SIGKILL now loses nothing


def test_a_line_that_is_no_json_is_named(folder):
    fill(folder, range(1, 3))
    with folder.metrics_path.open("ab") as file:
        file.write(b"{bad\n")
    with pytest.raises(RunFolderError, match=r"metrics\.jsonl:3: is not JSON \(.*take that line out"):
        read_metrics(folder)


def test_half_a_line_left_by_a_kill_is_neither_read_nor_kept(folder):
    fill(folder, range(1, 3))
    whole = folder.metrics_path.read_bytes()
    folder.metrics_path.write_bytes(whole + b'{"stage": "0_gr')
    assert [record["step"] for record in read_metrics(folder)] == [1, 2]
    fill(folder, range(3, 4))
    assert [record["step"] for record in read_metrics(folder)] == [1, 2, 3]
    assert folder.metrics_path.read_bytes().startswith(whole)


def test_cut_back_and_continued_the_file_equals_one_that_was_never_cut(folder, tmp_path):
    fill(folder, range(1, 6))
    straight = folder.metrics_path.read_bytes()
    with Metrics(folder, trackers=[], run_name="run") as metrics:
        metrics.truncate_to(2)
        assert metrics.num_lines == 2
        for step in range(3, 6):
            metrics.log("0_grpo", step, {"loss": step / 3})
    assert folder.metrics_path.read_bytes() == straight


def test_a_checkpoint_that_knows_of_more_lines_than_there_are_is_refused(folder):
    fill(folder, range(1, 3))
    with (
        Metrics(folder, trackers=[], run_name="run") as metrics,
        pytest.raises(RunFolderError, match=r"holds 2 lines.*after 5.*--overwrite"),
    ):
        metrics.truncate_to(5)
    assert len(read_metrics(folder)) == 2


def test_a_resumed_tracker_gets_the_whole_curve_once_and_no_step_that_was_cut(folder, monkeypatch):
    fill(folder, range(1, 5))
    recorder = Recorder()
    monkeypatch.setattr(metrics_module, "open_tracker", lambda *_: recorder)
    with Metrics(folder, trackers=["tensorboard"], run_name="run") as metrics:
        metrics.truncate_to(2)
        metrics.log("0_grpo", 3, {"loss": 9.0, "policy/ref_kl": math.inf})
    assert [(step, values) for _, step, values in recorder.seen] == [
        (1, {"loss": 1 / 3}),
        (2, {"loss": 2 / 3}),
        (3, {"loss": 9.0}),
    ]


def test_another_process_of_the_launch_writes_nothing(folder, monkeypatch):
    fill(folder, range(1, 3))
    before = folder.metrics_path.read_bytes()
    monkeypatch.setenv("RANK", "1")
    with Metrics(folder, trackers=["tensorboard"], run_name="run") as metrics:
        metrics.truncate_to(0)
        metrics.log("0_grpo", 1, {"loss": 1.0})
        metrics.event("0_grpo", 1, "x", "y")
    assert folder.metrics_path.read_bytes() == before


def test_a_full_disk_is_one_line_that_says_how_to_go_on(folder, monkeypatch):
    real = open
    full = lambda path, mode, **options: real("/dev/full" if mode == "ab" else path, mode, **options)
    monkeypatch.setattr(metrics_module, "open", full, raising=False)
    with (
        Metrics(folder, trackers=[], run_name="run") as metrics,
        pytest.raises(
            RunFolderError, match=r"the disk is full: free some space and run it again .a training: with --resume."
        ),
    ):
        metrics.log("0_grpo", 1, {"loss": 1.0})
    assert metrics.num_lines == 0


def test_tensorboard_holds_each_value_under_its_stage(folder):
    pytest.importorskip("torch")
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with Metrics(folder, trackers=["tensorboard"], run_name="run") as metrics:
        metrics.log("0_grpo", 1, {"loss": 0.5})
        metrics.log("0_grpo", 2, {"loss": 0.25})
    events = accumulator.EventAccumulator(str(folder.tensorboard_dir))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("0_grpo/loss")] == [(1, 0.5), (2, 0.25)]


def test_a_tracker_that_is_not_installed_is_one_line_that_says_how_to_get_it(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(MissingExtra, match=r"wandb.*pip install wandb"):
        open_tracker("wandb", folder, "run")
    with pytest.raises(ConfigError, match="tensorboard, wandb, trackio"):
        open_tracker("mlflow", folder, "run")


def test_without_a_terminal_progress_is_a_plain_line_every_ten_seconds_and_at_both_ends():
    seconds, out = [0.0], io.StringIO()
    console = Console(file=out, force_terminal=False, width=200)
    with Progress(100, "1_grpo", console=console, clock=lambda: seconds[0]) as progress:
        for done in range(1, 101):
            seconds[0] = 0.3 * done
            progress.update(done, {"rollout/reward": 0.5, "grad_norm/policy": 3.0})
    shown = out.getvalue().splitlines()
    # At 0.3 s (the first step), then 10 s after the last line: 10.5 s (step 35), 20.7 s (step 69), and the end.
    assert [line.split()[1].rstrip(",") for line in shown] == ["1/100", "35/100", "69/100", "100/100"]
    assert shown[1] == "1_grpo 35/100, 20 s left  reward 0.5"  # 65 steps of 0.3 s
    assert "grad" not in out.getvalue() and "\x1b" not in out.getvalue()


def test_progress_of_a_resumed_stage_estimates_from_its_own_steps_alone():
    seconds, out = [0.0], io.StringIO()
    console = Console(file=out, force_terminal=False, width=200)
    with Progress(100, "x", done=90, console=console, clock=lambda: seconds[0]) as progress:
        seconds[0] = 4.0
        progress.update(91, {})
    assert out.getvalue() == "x 91/100, 36 s left\n"  # 9 steps of 4 s; 4 s over 91 steps would say 0 s
