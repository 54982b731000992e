"""`coderl explain`: what it says of a rollout is what was stored, and the program is really run again."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from coderl.commands.explain import lines  # noqa: E402
from coderl.config import parse  # noqa: E402
from coderl.errors import ConfigError, RunFolderError  # noqa: E402
from coderl.explain import explain  # noqa: E402
from coderl.run_folder import RunFolder  # noqa: E402
from coderl.store import RolloutStore, read_segment  # noqa: E402
from coderl.train import run  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    new = {"hidden_size": 32, "intermediate_size": 64, "num_layers": 1, "num_heads": 2, "vocab_size": 400}
    settings = parse(
        {
            "output": str(tmp_path_factory.mktemp("runs")),
            "stages": ["grpo", "eval", "sample"],
            "policy": {"model": "new:", "new": {**new, "max_positions": 96}},
            "tasks": {
                "train": ["generated?family=compose&level=1&count=8"],
                "test": ["generated?family=compose&level=1&count=1"],
            },
            "eval": {"samples_per_task": 1, "temperature": 0.5},
            "sample": {"num_tasks": 1, "samples_per_task": 2, "temperature": 2.0},
            "sandbox": {"time_factor": 3.0},
            "generation": {"max_new_tokens": 12},
            "reward": {"scheme": "rltf"},
            "grpo": {
                "steps": 2,
                "prompts_per_step": 2,
                "samples_per_prompt": 2,
                "entropy_coef": 0.5,  # so that the first step moves the policy whatever it sampled
                "optimizer": {"learning_rate": 1e-2},
            },
            "trackers": [],
        }
    )
    made = RunFolder.create(settings)
    run(settings, made)
    return made


def test_a_rollout_of_the_first_step_was_sampled_by_the_reference(folder):
    found = explain(folder, "0_grpo/1/0")
    assert found.agrees
    assert len(found.token_kl) == len(found.rollout.completion_ids)
    assert max(map(abs, found.token_kl)) < 1e-4
    text = "\n".join(lines(found))
    assert f"= {found.rollout.reward:g}" in text and "the same as then" in text
    assert sum("case" in line for line in text.splitlines()) == len(found.rollout.verdict.cases)


@pytest.mark.parametrize("name", ["1_eval/0/0", "2_sample/0/1"])
def test_what_the_policy_at_the_start_of_a_stage_sampled_has_no_kl_to_it_at_any_temperature(folder, name):
    assert max(map(abs, explain(folder, name).token_kl)) < 1e-4


def test_a_program_is_run_again_in_the_sandbox_that_the_run_asks_for(folder):
    assert explain(folder, "0_grpo/1/0").replayed.time_factor == 3.0


def test_after_an_update_the_kl_is_no_longer_zero(folder):
    assert any(max(map(abs, explain(folder, f"0_grpo/2/{i}").token_kl)) > 1e-3 for i in range(4))


def test_a_program_that_was_changed_in_the_store_does_not_agree(folder):
    store = RolloutStore(folder.rollouts_dir)
    [segment] = [s for s in store.segments() if s.step == 2]
    rollouts = read_segment(segment.path)
    reference = explain(folder, "0_grpo/2/1").task.reference
    store.append(segment.stage, 2, [rollouts[0], rollouts[1].with_(program=reference), *rollouts[2:]])
    found = explain(folder, "0_grpo/2/1")
    assert found.replayed.outcome == "AC" and not found.agrees
    assert "NOT the same" in "\n".join(lines(found))


def test_what_is_recorded_replays_to_the_same_verdict(folder, tmp_path):
    import subprocess
    import sys

    from typer.testing import CliRunner

    from coderl.cli import app

    path = tmp_path / "kept" / "rollout.json"
    done = CliRunner().invoke(app, ["explain", str(folder.path), "0_grpo/1/0", "--record", str(path)])
    assert done.exit_code == 0 and f"`sandbox replay {path}`" in done.stdout
    again = subprocess.run(
        [sys.executable, "-m", "sandbox", "replay", str(path)], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0 and explain(folder, "0_grpo/1/0").replayed.outcome in again.stdout, again.stderr


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("nonsense", ConfigError, "STAGE/STEP/NUMBER"),
        ("0_grpo/9/0", RunFolderError, "steps 1 to 2"),
        ("0_grpo/1/99", RunFolderError, "rollouts 0 to 3"),
        ("7_ppo/1/0", RunFolderError, "no stage 7_ppo"),
    ],
)
def test_a_name_of_nothing_is_one_clear_line(folder, name, kind, words):
    with pytest.raises(kind, match=words):
        explain(folder, name)
