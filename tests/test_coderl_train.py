"""Whole runs of a tiny policy: every method end to end, killed and resumed, and what stops a run."""

from __future__ import annotations

import gzip
import html
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from served import Served  # noqa: E402

from coderl.config import RunConfig, parse  # noqa: E402
from coderl.errors import ConfigError, TrainingStopped  # noqa: E402
from coderl.run_folder import RunFolder  # noqa: E402
from coderl.store import RolloutStore  # noqa: E402
from coderl.train import run  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
TASKS = "generated?family=compose&level=1&split={}&count={}&seed=0"


def config(tmp_path: Path, **changes: object) -> RunConfig:
    raw = {
        "name": "tiny",
        "output": str(tmp_path),
        "stages": ["sft", "grpo", "eval"],
        "policy": {
            "model": "new:",
            "new": {
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_layers": 1,
                "num_heads": 2,
                "vocab_size": 400,
                "max_positions": 96,
            },
        },
        "tasks": {"train": [TASKS.format("train", 40)], "test": [TASKS.format("test", 8)]},
        "generation": {"max_new_tokens": 16, "batch_size": 32},
        "reward": {"scheme": "rltf", "cases": "all"},
        "sft": {"steps": 4, "batch_size": 8, "checkpoint_every": 2, "optimizer": {"learning_rate": 3e-3}},
        "grpo": {"steps": 4, "prompts_per_step": 3, "samples_per_prompt": 4, "checkpoint_every": 1, "kl_coef": 0.01},
        "ppo": {
            "steps": 4,
            "prompts_per_step": 4,
            "samples_per_prompt": 2,
            "checkpoint_every": 1,
            "epochs": 2,
            "minibatches": 2,
            "kl_target": 1.0,
        },
        "eval": {"samples_per_task": 2},
        "trackers": [],
        **changes,
    }
    return parse(raw)


def lines(folder: RunFolder) -> list[dict[str, object]]:
    """The metrics without what depends on the clock."""
    kept = []
    for line in folder.metrics_path.read_text().splitlines():
        record = json.loads(line)
        if "values" in record:
            record["values"] = {k: v for k, v in record["values"].items() if not k.startswith("time/")}
        record.pop("time", None)
        kept.append(record)
    return kept


def finished(settings: RunConfig) -> RunFolder:
    folder = RunFolder.create(settings)
    run(settings, folder)
    return folder


def test_a_profiled_run_is_the_same_run_and_says_where_the_time_of_each_stage_goes(tmp_path):
    plain = finished(config(tmp_path / "plain", stages=["sft", "grpo"]))
    settings = config(tmp_path / "profiled", stages=["sft", "grpo"])
    folder = RunFolder.create(settings)
    run(settings, folder, profile=True)
    assert lines(folder) == lines(plain)
    told = (folder.profile_dir / "1_grpo.txt").read_text()
    first = told.splitlines()
    assert first[0].startswith("1_grpo: 4 steps")
    seconds = {line.split()[0]: float(line.split()[1]) for line in first[1:7]}
    assert list(seconds) == ["generate", "grade", "score", "update", "idle", "step"]
    assert sum(seconds.values()) == pytest.approx(2 * seconds["step"], abs=0.005)
    assert "aten::" in told and "operators of step 2" in told
    with gzip.open(folder.profile_dir / "0_sft.trace.json.gz") as trace:
        assert json.load(trace)["traceEvents"]


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """The finished run of `config` without changes."""
    return finished(config(tmp_path_factory.mktemp("usual")))


@pytest.mark.parametrize("method", ["grpo", "ppo"])
def test_a_run_writes_its_folder_whole(tmp_path, usual, method):
    folder = usual if method == "grpo" else finished(config(tmp_path, stages=["sft", "ppo", "eval"]))
    records = lines(folder)
    assert [r["stage"] for r in records if "values" in r] == ["0_sft"] * 4 + [f"1_{method}"] * 4 + ["2_eval"]
    rollouts = list(RolloutStore(folder.rollouts_dir).read(f"1_{method}"))
    per_step = 12 if method == "grpo" else 8
    assert len(rollouts) == 4 * per_step
    for rollout in rollouts:
        assert rollout.verdict is not None
        assert rollout.verdict.isolation.backend in ("jail", "docker", "landlock")
        assert rollout.reward == pytest.approx(sum(rollout.reward_parts.values()))
        assert all(lp <= 0 for lp in rollout.logprobs)
    assert (folder.model_dir(f"1_{method}") / "config.json").is_file()
    assert "2_eval" in folder.report_path.read_text()
    first = next(r["values"] for r in records if r["stage"] == f"1_{method}")
    assert first["policy/ref_kl"] == pytest.approx(0.0, abs=1e-4)  # the policy starts at its reference
    if method == "grpo":
        assert first["policy/ratio_max"] == 1.0  # on policy, exactly


def test_remembered_verdicts_change_nothing_that_is_learned(tmp_path):
    """The same run with a memory that is never doubted, and with every verdict reached anew."""
    runs, reused = [], []
    for share in (0.0, 1.0):
        settings = config(
            tmp_path / str(share),
            stages=["sft", "grpo", "eval"],
            tasks={"train": [TASKS.format("train", 2)], "test": [TASKS.format("test", 2)]},
            sft={"steps": 80, "batch_size": 8, "optimizer": {"learning_rate": 1e-2}},
            sandbox={"recheck": share},
        )
        folder = finished(settings)
        values = [json.loads(line).get("values", {}) for line in folder.metrics_path.read_text().splitlines()]
        reused.append(sum(v.get("time/verdicts_reused", 0.0) for v in values))
        runs.append((lines(folder), [(r.reward, r.program) for r in RolloutStore(folder.rollouts_dir).read("1_grpo")]))
    assert runs[0] == runs[1]
    assert reused[0] > 0
    assert reused[1] == 0


def test_the_same_config_gives_the_same_metrics_bit_for_bit(tmp_path):
    first = finished(config(tmp_path / "a"))
    second = finished(config(tmp_path / "b"))
    assert lines(first) == lines(second)


SCRIPT = """
import os, sys
from coderl.config import load
from coderl.run_folder import RunFolder
from coderl.train import run
for line in sys.stdin:
    what, path = line.strip().split(" ", 1)
    if pid := os.fork():
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        continue
    config = load(path)
    if what == "new":
        run(config, RunFolder.create(config))
    else:
        run(config, RunFolder.open(config.output + "/" + config.name), resume=True)
    sys.exit(0)
"""


class Trainer:
    """A fresh interpreter that has imported the trainer and done nothing yet: it forks for each run."""

    def __init__(self, hash_seed: int) -> None:
        environment = os.environ | {"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", SCRIPT]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)

    def start(self, what: str, path: Path) -> int:
        """The process id of a `new` run of this config, or of one that is to `resume`."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what} {path}\n")
        self._process.stdin.flush()
        return self._read()

    def ended(self) -> int:
        """The exit code of what was started, negative for a signal, once it has ended."""
        return self._read()

    def close(self) -> None:
        self._process.communicate(timeout=60)

    def _read(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


@pytest.fixture(scope="module")
def trainers():
    """Two, whose strings hash differently: what depends on the order of a set differs between them."""
    both = Trainer(1), Trainer(2)
    yield both
    for trainer in both:
        trainer.close()


@pytest.mark.parametrize(
    ("method", "kill_after_lines", "curriculum"),
    [("grpo", 3, {}), ("grpo", 6, {"sampler": "signal", "gate": "replace", "max_rounds": 2}), ("ppo", 7, {})],
)
def test_killed_with_sigkill_and_resumed_the_metrics_are_the_same_bit_for_bit(
    tmp_path, trainers, method, kill_after_lines, curriculum
):
    import yaml

    one, other = trainers

    paths = {}
    for name in ("straight", "killed"):
        settings = config(tmp_path / name, stages=["sft", method, "eval"])
        paths[name] = tmp_path / f"{name}.yaml"
        raw = settings.model_dump(mode="json")
        raw[method]["curriculum"] |= curriculum
        paths[name].write_text(yaml.safe_dump(raw))
    # In a process of its own, like the other: what ran before in this one decides where tensors lie, and so how they round.
    one.start("new", paths["straight"])
    assert one.ended() == 0
    straight = RunFolder.open(tmp_path / "straight" / "tiny")
    pid = one.start("new", paths["killed"])
    metrics = tmp_path / "killed" / "tiny" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= kill_after_lines):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    assert one.ended() == -signal.SIGKILL, "the run ended before it could be killed"
    other.start("resume", paths["killed"])
    assert other.ended() == 0
    folder = RunFolder.open(tmp_path / "killed" / "tiny")
    assert lines(folder) == lines(straight)
    stored = [[r.to_json() for r in RolloutStore(f.rollouts_dir).read(f"1_{method}")] for f in (straight, folder)]
    for rollout in (r for batch in stored for r in batch):
        for case in rollout["verdict"]["cases"]:
            for measured in ("cpu_ms", "wall_ms", "memory_bytes", "processes"):
                case[measured] = 0
    assert stored[0] == stored[1]


def test_sft_without_any_reference_is_one_clear_line(tmp_path):
    settings = config(tmp_path, stages=["sft"])
    from types import SimpleNamespace

    from coderl.methods.sft import Sft

    with pytest.raises(ConfigError, match="none of its tasks has a reference"):
        Sft(SimpleNamespace(policy=None, sft_tasks=[]), settings.sft, "0_sft")


def test_a_run_that_stops_itself_says_why_in_its_report(tmp_path):
    optimizer = {"learning_rate": 1e30, "max_grad_norm": 1e30}  # the second step's loss is not a number
    settings = config(tmp_path, stages=["sft"], sft={"steps": 4, "batch_size": 8, "optimizer": optimizer})
    folder = RunFolder.create(settings)
    with pytest.raises(TrainingStopped) as stopped:
        run(settings, folder)
    assert [(line["stage"], line["message"]) for line in lines(folder) if line.get("event") == "stopped"] == [
        ("0_sft", str(stopped.value))
    ]
    assert html.escape(str(stopped.value)) in folder.report_path.read_text(encoding="utf-8")


def test_metrics_hold_no_nan_after_training(usual):
    logged = [record for record in lines(usual) if "values" in record]
    assert len(logged) == 9
    for record in logged:
        for name, value in record["values"].items():
            assert value is not None and not math.isnan(value), (record["stage"], name)


def test_a_run_on_two_served_graders_one_of_which_is_killed_mid_batch_is_the_run_on_a_local_one(tmp_path, monkeypatch):
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    from sandbox import remote

    short = {"stages": ["grpo", "eval"], "grpo": {"steps": 2, "prompts_per_step": 3, "samples_per_prompt": 4}}
    here = finished(config(tmp_path, name="here", **short))
    monkeypatch.setenv("SANDBOX_TOKEN", "a token of some length")
    with Served(token="a token of some length") as server, Served(token="a token of some length") as victim:
        grade, cut_off = remote.Endpoint.grade, []

        def killing(endpoint, parcel, call):
            """The server dies once it has sent the first verdict of a parcel that holds more."""
            for number, answer in enumerate(grade(endpoint, parcel, call)):
                yield answer
                if number == 0 and len(parcel.items) > 1 and endpoint.url == victim.endpoint:
                    victim.process.kill()
                    victim.process.wait()
                    cut_off.append(len(parcel.items))

        monkeypatch.setattr(remote.Endpoint, "grade", killing)
        endpoints = [server.endpoint, victim.endpoint]
        served = {"backend": "remote", "endpoints": endpoints, "min_isolation": "landlock", "workers": 2}
        there = finished(config(tmp_path, name="there", sandbox=served, **short))
        graded = sum(
            server.metric(f'sandbox_programs_total{{outcome="{outcome}"}}') for outcome in ("AC", "WA", "RE", "CE")
        )
    assert cut_off
    assert lines(there) == lines(here)
    assert graded > 0


def test_endpoints_and_the_remote_backend_go_together():
    for sandbox in ({"backend": "remote"}, {"endpoints": ["http://127.0.0.1:8080"]}):
        with pytest.raises(ConfigError, match="go together"):
            config(Path("unused"), sandbox=sandbox)


def test_a_greedy_evaluation_says_that_it_took_one_sample_of_each_task():
    from coderl.config import EvalConfig
    from coderl.evaluate.passrate import score

    assert score([], [], EvalConfig(temperature=0, samples_per_task=4), seed=0).samples_per_task == 1
