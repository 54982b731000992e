"""Parts of the reward that the user wrote."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch")

from coderl.errors import ConfigError
from coderl.own_rewards import own_parts
from coderl.run_folder import RunFolder
from coderl.store import RolloutStore
from coderl.train import run
from sandbox.verdict import Status
from tests.test_coderl_train import config

OWN = """
def brief(*, task, completion, program, verdict):
    return -len(program) / 100

def cautious(*, task, completion, program, verdict):
    return verdict.status == "FAIL" and completion.startswith(" ") and bool(task.id)
"""


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    functions = {f"{tmp_path}/own.py:brief": 0.5, f"{tmp_path}/own.py:cautious": -2}
    grpo = {"steps": 1, "prompts_per_step": 2, "samples_per_prompt": 2, "checkpoint_every": 1}
    return config(tmp_path, stages=["grpo"], grpo=grpo, reward={"scheme": "all_pass", "functions": functions})


def test_a_functions_value_times_its_weight_is_a_part_of_each_reward(settings):
    folder = RunFolder.create(settings)
    run(settings, folder)
    rollouts = list(RolloutStore(folder.rollouts_dir).read("0_grpo"))
    assert len(rollouts) == 4
    for rollout in rollouts:
        passed = rollout.verdict.status is Status.PASS
        own = {
            "brief": -0.005 * len(rollout.program),
            "cautious": -2.0 * (not passed and rollout.completion[:1] == " "),
        }
        assert rollout.reward_parts == pytest.approx({"execution": float(passed), **own})
        assert rollout.reward == pytest.approx(math.fsum(rollout.reward_parts.values()))
    values = next(line for line in folder.metrics_path.read_text().splitlines() if '"values"' in line)
    assert '"reward/brief"' in values


def test_a_run_goes_on_with_the_functions_it_began_with(settings, tmp_path):
    folder = RunFolder.create(settings)
    run(settings, folder)
    folder.unlock()
    (tmp_path / "own.py").write_text(OWN + "\n# another\n")
    folder = RunFolder.resume(settings)
    with pytest.raises(
        ConfigError, match=r"own.py has changed since the run began: go back to .*reward_functions/brief.py"
    ):
        run(settings, folder, resume=True)
    (tmp_path / "own.py").write_text(OWN)
    run(settings, folder, resume=True)


FAULTS = {
    "no file": (None, "own.py: no such file"),
    "a syntax error": ("def brief(:", r"own.py: SyntaxError: .*\(own.py, line 1\): correct it"),
    "an import that fails": ("import nowhere_at_all", "own.py: ModuleNotFoundError: .*nowhere_at_all"),
    "no function": ("def short(): pass", "own.py has no function brief"),
    "other arguments": ("def brief(text): return 1", "own.py:brief: TypeError: .*unexpected keyword"),
    "an error inside": ("def brief(**given):\n    return 1 / 0", "own.py:brief: line 2: ZeroDivisionError"),
    "no number": (
        "def brief(**given): return 'much'",
        "own.py:brief returned 'much' for task t: return a finite number",
    ),
    "NaN": ("def brief(**given): return float('nan')", "own.py:brief returned nan"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_with_a_function_is_one_line(name, tmp_path):
    from types import SimpleNamespace

    source, line = FAULTS[name]
    if source is not None:
        (tmp_path / "own.py").write_text(source)
    with pytest.raises(ConfigError, match=f"reward.functions: .*{line}") as refused:
        own_parts(
            {f"{tmp_path}/own.py:brief": 1.0}, task=SimpleNamespace(id="t"), completion="", program="", verdict=None
        )
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("functions", "line"),
    [
        ({"own.py": 1}, "functions"),
        ({"own:brief": 1}, "functions"),
        ({"own.py:length": 1}, "the reward has a part length already"),
        ({"a.py:f": 1, "b.py:f": 1}, "the reward has a part f already"),
        ({"own.py:f": "inf"}, "functions"),
    ],
)
def test_names_and_weights_are_checked_with_the_config(functions, line, tmp_path):
    with pytest.raises(ConfigError, match=line):
        config(tmp_path, reward={"functions": functions})
