"""Pass rates of a policy: the share of samples that pass, asked once per task and policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("accelerate")

from coderl import pass_rates as module
from coderl.config import RunConfig, parse
from coderl.errors import RunFolderError
from coderl.pass_rates import pass_rates
from tasks.registry import load

TASKS = "generated?level=1&count=6"


def config(**changes: object) -> RunConfig:
    new = {"hidden_size": 32, "intermediate_size": 64, "num_layers": 1, "num_heads": 2, "vocab_size": 400}
    return parse(
        {
            "stages": ["eval"],
            "policy": {"model": "new:", "new": {**new, "max_positions": 96}},
            "tasks": {"test": [TASKS]},
            "generation": {"max_new_tokens": 4, "batch_size": 4},
            "eval": {"samples_per_task": 2},
            **changes,
        }
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tasks that were sampled; the policy is real, and its verdict on task i is that i of its 2 samples pass."""
    seen: list[str] = []
    evaluate = module.evaluate

    def scripted(bench, settings, tasks, **more):
        evaluation, rollouts = evaluate(bench, settings, tasks, **more)
        assert [score.task_id for score in evaluation.scores] == [task.id for task in tasks]
        scores = []
        for score in evaluation.scores:
            scores.append(replace(score, num_passed=len(seen) % 3, num_samples=2 if len(seen) < 3 else 0))
            seen.append(score.task_id)
        return replace(evaluation, scores=tuple(scores)), rollouts

    monkeypatch.setattr(module, "evaluate", scripted)
    return seen


def test_rates_are_shares_of_scorable_samples_and_each_task_is_sampled_once(tmp_path: Path, asked: list[str]) -> None:
    tasks, cache = load(TASKS)[:4], tmp_path / "cache.jsonl"
    first = pass_rates(config(), tasks[:3], cache=cache)
    assert first == {tasks[0].id: 0.0, tasks[1].id: 0.5, tasks[2].id: 1.0}
    cache.write_bytes(cache.read_bytes() + b'{"key": "ha')  # a killed run
    assert pass_rates(config(), tasks, cache=cache) == {**first, tasks[3].id: None}
    assert pass_rates(config(), tasks, cache=cache) == {**first, tasks[3].id: None}
    assert asked == [task.id for task in tasks]


def test_another_policy_task_or_temperature_is_another_question_and_another_batch_size_is_not(tmp_path: Path) -> None:
    digest = module._policy_digest
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "weights").write_text("1")
    raw = {"model": str(folder)}
    digests = [digest(config()), digest(config(seed=1)), digest(config(eval={"samples_per_task": 3})),
               digest(config(policy=raw))]  # fmt: skip
    (folder / "weights").write_text("2")
    digests.append(digest(config(policy=raw)))
    assert len(set(digests)) == 5
    assert digest(config(generation={"max_new_tokens": 4, "batch_size": 2})) == digest(config())


def test_a_cache_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text("[]\n")
    with pytest.raises(RunFolderError, match=r"c.jsonl:1: is no pass rate; delete the file"):
        pass_rates(config(), load(TASKS)[:1], cache=tmp_path / "c.jsonl")
