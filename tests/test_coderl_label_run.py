"""The whole way: samples of a tiny policy, labels, a reward model and DPO from them, and then the least sure pairs first."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("sqlalchemy")
pytest.importorskip("fastapi")

from coderl.config import parse  # noqa: E402
from coderl.errors import ConfigError  # noqa: E402
from coderl.label.sources import fill  # noqa: E402
from coderl.label.store import Kind, LabelStore, Submission  # noqa: E402
from coderl.label.summary import write_export  # noqa: E402
from coderl.metrics import read_metrics  # noqa: E402
from coderl.pairs import read_pairs  # noqa: E402
from coderl.run_folder import RunFolder  # noqa: E402
from coderl.store import RolloutStore  # noqa: E402
from coderl.train import run  # noqa: E402

FILL = {"ways": 2, "per_task": 2, "gold": 0.0, "reward_model": None, "seed": 0}


def trained(path: Path, name: str, **changes: object) -> RunFolder:
    raw = {
        "name": name,
        "output": str(path),
        "policy": {
            "model": "new:",
            "new": {
                "hidden_size": 32, "intermediate_size": 64, "num_layers": 1, "num_heads": 2, "vocab_size": 400,
                "max_positions": 96,
            },
        },
        "tasks": {"train": ["generated?family=compose&level=1&split=train&count=12&seed=0"]},
        "generation": {"max_new_tokens": 16, "batch_size": 64},
        "trackers": [],
        **changes,
    }  # fmt: skip
    settings = parse(raw)
    folder = RunFolder.create(settings)
    run(settings, folder)
    return folder


@pytest.fixture(scope="module")
def sampled(tmp_path_factory) -> RunFolder:
    return trained(
        tmp_path_factory.mktemp("runs"),
        "sampled",
        stages=["sft", "sample"],
        sft={"steps": 30, "batch_size": 12, "optimizer": {"learning_rate": 5e-3}},
        sample={"num_tasks": 12, "samples_per_task": 6},
    )


def labelled(store: LabelStore) -> int:
    """Answer everything: the longer program is better. Returns how many."""
    store.add_annotator("eve")
    count = 0
    while (found := store.next("eve", 0.0)) is not None:
        a, b = (len(choice.program) for choice in found.item.choices)
        kind, ranks = (Kind.TIE, (1, 1)) if a == b else (Kind.FIRST, (1, 2) if a > b else (2, 1))
        store.submit(
            "eve",
            Submission(
                submit_key=f"k{found.id}",
                assignment=found.id,
                kind=kind,
                ranks=ranks,
                strength=2,
                reason="",
                seconds=1.0,
            ),
            1.0,
        )
        count += 1
    return count


def test_labels_of_a_run_train_a_reward_model_and_dpo_which_say_what_to_ask_next(sampled, tmp_path):
    store = LabelStore(f"sqlite:///{tmp_path / 'labels.sqlite'}")
    said = fill(store, sampled.path, **FILL)
    items = store.items()
    assert len(items) > 6 and f"{len(items)} of them new" in said
    rollouts = {(r.prompt_ids, r.completion_ids): r for r in RolloutStore(sampled.rollouts_dir).read()}
    for found in items.values():
        for choice in found.choices:
            rollout = rollouts[found.prompt_ids, choice.completion_ids]
            assert choice.program == rollout.program and choice.result.passed == rollout.verdict.num_passed
        assert found.question.startswith("#") or "def " in found.question
    assert "0 of them new" in fill(store, sampled.path, **FILL)
    assert labelled(store) == len(items)
    write_export(store, tmp_path / "labels.jsonl")
    pairs = read_pairs(tmp_path / "labels.jsonl")
    assert len(pairs) == len(items) and {pair.annotator for pair in pairs} == {"eve"}

    files = {"pairs": [str(tmp_path / "labels.jsonl")]}
    learned = trained(
        tmp_path,
        "learned",
        stages=["reward_model", "dpo"],
        policy={"model": str(sampled.last_model())},
        reward_model={**files, "steps": 30, "batch_size": 8, "members": 2, "optimizer": {"learning_rate": 5e-3}},
        dpo={**files, "steps": 2, "batch_size": 4},
    )
    finished = [record["stage"] for record in read_metrics(learned) if "pairs/accuracy" in record.get("values", {})]
    assert {"0_reward_model", "1_dpo"} <= set(finished)

    fill(store, sampled.path, **{**FILL, "reward_model": learned.reward_model_dir("0_reward_model")})
    with store._reading() as connection:
        values = list(connection.exec_driver_sql("select uncertainty from label_items").scalars())
    assert len(set(values)) > 3 and all(0 <= value <= 0.6932 for value in values)
    store.close()


def test_evaluations_are_not_labelled_and_a_run_without_samples_says_so(sampled, tmp_path):
    bare = trained(tmp_path, "bare", stages=["sft"], sft={"steps": 1, "batch_size": 2})
    store = LabelStore(f"sqlite:///{tmp_path / 'labels.sqlite'}")
    with pytest.raises(ConfigError, match="sample some first"):
        fill(store, bare.path, **FILL)
    with pytest.raises(ConfigError, match="9 programs that differ"):
        fill(store, sampled.path, **{**FILL, "ways": 9})
    store.close()


@pytest.mark.parametrize(
    ("option", "fault"), [({"gold": 0.1}, "--gold"), ({"reward_model": Path("rm")}, "--reward-model")]
)
def test_what_only_a_run_can_give_is_refused_for_a_file(tmp_path, option, fault):
    path = tmp_path / "c.jsonl"
    path.write_text('{"task_id": "t", "prompt": "p", "completions": ["a", "b"]}\n')
    store = LabelStore(f"sqlite:///{tmp_path / 'labels.sqlite'}")
    with pytest.raises(ConfigError, match=fault):
        fill(store, path, **{**FILL, **option})
    store.close()
