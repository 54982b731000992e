"""`coderl compare`: one table from runs that start alike; what is finished is not run again; differences are paired."""

from __future__ import annotations

from itertools import product

import pytest
import yaml

pytest.importorskip("torch")
pytest.importorskip("accelerate")

from coderl import cli
from coderl.compare import (
    Outcome,
    carry_out,
    markdown,
    method_config,
    outcome,
    read_comparison,
    rows,
    sign_flip_p_value,
)
from coderl.config import RunConfig
from coderl.errors import ConfigError, RunFolderError
from coderl.run_folder import RunFolder
from coderl.train import run

TASKS = "generated?family=compose&level=1&split={}&count={}&seed=0"
SMALL = {
    "seeds": [0],
    "start": {
        "stages": ["sft", "eval"],
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
        "tasks": {"train": [TASKS.format("train", 12)], "test": [TASKS.format("test", 5)]},
        "generation": {"max_new_tokens": 12, "batch_size": 64},
        "sft": {"steps": 2, "batch_size": 4},
        "eval": {"samples_per_task": 2},
        "trackers": [],
    },
    "methods": {
        "GRPO": {"stages": ["grpo", "eval"], "grpo": {"steps": 2, "prompts_per_step": 2, "samples_per_prompt": 3}},
        "visible": {
            "stages": ["best_of_n"],
            "best_of_n": {"samples_per_task": 2, "n": [2], "by": ["visible"]},
            "result": "visible@2",
        },
    },
}


def test_a_comparison_runs_every_method_and_seed_once_and_goes_on_where_it_stopped(tmp_path, capsys, monkeypatch):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    comparison = read_comparison(str(path))
    made: list[str] = []

    def counted(config: RunConfig, folder: RunFolder, *, resume: bool) -> None:
        made.append(config.name)
        if made == ["start-0", "GRPO-0"]:
            raise KeyboardInterrupt
        run(config, folder, resume=resume)

    with pytest.raises(KeyboardInterrupt):
        carry_out(comparison, tmp_path / "runs", counted)
    table = carry_out(comparison, tmp_path / "runs", counted)
    assert made[2:] == ["GRPO-0", "visible-0"]
    assert carry_out(comparison, tmp_path / "runs", counted) == table
    assert len(made) == 4
    assert [row.name for row in table] == ["start", "GRPO", "visible"]
    assert [row.num_samples for row in table] == [0, 12, 0]
    assert table[0].difference is None and table[1].difference is not None
    assert all(row.seconds > 0 for row in table)
    monkeypatch.setattr(
        "sys.argv", ["coderl", "compare", *(str(tmp_path / "runs" / f"{n}-0") for n in ("start", "GRPO"))]
    )
    assert cli.main() == 0
    printed = capsys.readouterr().out
    assert "| start-0 |" in printed and "| GRPO-0 |" in printed
    with pytest.raises(RunFolderError, match="no choice 'visible@9'"):
        outcome(RunFolder.open(tmp_path / "runs" / "visible-0"), "visible@9")
    with pytest.raises(RunFolderError, match="has no stage eval"):
        outcome(RunFolder.open(tmp_path / "runs" / "visible-0"))


def test_every_config_of_the_shipped_comparison_is_valid_and_differs_in_its_own_sections_only():
    from pathlib import Path

    comparison = read_comparison("methods")
    assert len(comparison.seeds) == 3
    names = {m.name for m in comparison.methods}
    assert {"GRPO", "RLOO", "REINFORCE++", "PPO", "DPO", "iterated DPO", "rejection sampling"} <= names
    for method in comparison.methods:
        config = method_config(comparison, method, 1, Path("x"), model="new:")
        assert config.tasks.test == comparison.start["tasks"]["test"]
        assert config.generation.max_new_tokens == 32


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"methods": {"a": {}}}, "methods.a: give at least its stages"),
        ({"methods": {"a": {"stages": ["grpo"], "grpo": {"stepps": 1}}}}, "did you mean 'steps'"),
        ({"more": 1}, "and no others"),
    ],
)
def test_a_faulty_comparison_is_one_line_before_anything_runs(tmp_path, change, words):
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **change}))
    with pytest.raises(ConfigError) as caught:
        read_comparison(str(path))
    assert words in str(caught.value)


def made(rates, **changes):
    return Outcome(**{"rates": rates, "seconds": 60.0, "num_samples": 10, **changes})


def test_a_row_is_the_mean_over_seeds_on_shared_tasks_and_paired_with_the_first():
    outcomes = {
        "start": [made({"a": 0.0, "b": 0.5}), made({"a": 0.5, "b": 0.5})],
        "better": [made({"a": 0.5, "b": 1.0, "c": 1.0}), made({"a": 1.0, "b": 1.0}, seconds=180.0)],
    }
    first, second = rows(outcomes)
    assert first.per_seed == (0.25, 0.5) and second.per_seed == (0.75, 1.0)
    assert second.mean == 0.875
    assert second.difference is not None
    assert second.difference.estimate == pytest.approx(0.5)  # both tasks rise by 0.5: no spread
    assert second.difference.low == second.difference.high == pytest.approx(0.5)
    assert second.seconds == 120.0
    lines = markdown([first, second]).splitlines()
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|") == lines[3].count("|")
    assert lines[3].startswith("| better | 0.875 | ") and "+0.500 (+0.500 to +0.500)" in lines[3]
    with pytest.raises(RunFolderError, match="no test task in common"):
        rows({"a": [made({"x": 1.0})], "b": [made({"y": 1.0})]})


def test_the_p_value_is_that_of_all_sign_flips():
    values = [0.5, 0.25, 0.25, -0.125, 0.5, 0.0]
    flips = [abs(sum(s * v for s, v in zip(signs, values, strict=True))) for signs in product((-1, 1), repeat=6)]
    exact = sum(f >= abs(sum(values)) - 1e-12 for f in flips) / len(flips)
    assert sign_flip_p_value(values) == pytest.approx(exact, abs=0.02)
    assert sign_flip_p_value([0.0, 0.0]) == 1.0
    assert sign_flip_p_value([1.0] * 30) < 0.001
