"""The rollout store: what goes in comes out, truncation is exact, damage is found and named."""

from __future__ import annotations

import gzip
import math

import pytest

from coderl.errors import RunFolderError
from coderl.rollout import Rollout
from coderl.store import RolloutStore
from sandbox.verdict import CaseResult, Integrity, Isolation, Outcome, Verdict


def rollout(stage="0_grpo", step=1, index=0, **changes):
    verdict = Verdict(
        outcome=Outcome.WA,
        cases=(CaseResult(outcome=Outcome.WA, flags=(Outcome.WA,), cpu_ms=0.1 + 0.2, output_head="\x1b[31m\u2028é"),),
        integrity=Integrity.SEPARATED,
        isolation=Isolation(backend="jail", layers=("userns", "seccomp")),
    )
    fields = {
        "stage": stage,
        "step": step,
        "task_id": "easy/é",
        "sample_index": index,
        "seed": 2**63 - 1,
        "prompt_ids": (1, 2),
        "completion_ids": (3, 4),
        "logprobs": (-0.1, -1 / 3),
        "truncated": False,
        "completion": "def f():\n\treturn '\u2028\ud800'\r\n",  # a lone surrogate, and line ends of Unicode
        "program": "x",
        "verdict": verdict,
        "reward_parts": {"pass": 1 / 3},
        "reward": 1 / 3,
        "advantage": -0.0,
    }
    return Rollout(**{**fields, **changes})


def test_what_is_appended_is_read_bit_for_bit(tmp_path):
    store = RolloutStore(tmp_path / "rollouts")
    given = [rollout(index=i) for i in range(3)]
    store.append("0_grpo", 1, given)
    assert list(RolloutStore(tmp_path / "rollouts").read()) == given


def test_an_unscored_rollout_keeps_its_nan_reward(tmp_path):
    store = RolloutStore(tmp_path)
    store.append("0_grpo", 1, [rollout(reward=math.nan, verdict=None)])
    [read] = store.read()
    assert math.isnan(read.reward)
    assert read.verdict is None


def test_reading_goes_by_stage_number_and_step_not_by_letters(tmp_path):
    store = RolloutStore(tmp_path)
    for stage, step in [("10_grpo", 1), ("2_sft", 100), ("2_sft", 9)]:
        store.append(stage, step, [rollout(stage=stage, step=step)])
    assert [(r.stage, r.step) for r in store.read()] == [("2_sft", 9), ("2_sft", 100), ("10_grpo", 1)]
    assert [r.step for r in store.read("2_sft")] == [9, 100]


def test_reading_an_empty_store_gives_nothing(tmp_path):
    assert list(RolloutStore(tmp_path / "none").read()) == []


@pytest.mark.parametrize(
    ("stage", "step", "kept"),
    [
        (1, 2, [("0_grpo", 5), ("1_grpo", 1), ("1_grpo", 2)]),
        (1, 0, [("0_grpo", 5)]),
        (2, 0, [("0_grpo", 5), ("1_grpo", 1), ("1_grpo", 2), ("1_grpo", 3)]),  # the evaluation, step 0, is done again
        (3, 0, [("0_grpo", 5), ("1_grpo", 1), ("1_grpo", 2), ("1_grpo", 3), ("2_eval", 0)]),
        (0, 0, []),
    ],
)
def test_truncate_keeps_what_the_checkpoint_had_seen(tmp_path, stage, step, kept):
    store = RolloutStore(tmp_path)
    for label, number in [("0_grpo", 5), ("1_grpo", 1), ("1_grpo", 2), ("1_grpo", 3), ("2_eval", 0)]:
        store.append(label, number, [rollout(stage=label, step=number)])
    store.truncate(stage, step)
    assert [(s.stage, s.step) for s in store.segments()] == kept


def test_appending_a_step_again_replaces_it(tmp_path):
    store = RolloutStore(tmp_path)
    store.append("0_grpo", 1, [rollout(index=0)])
    store.append("0_grpo", 1, [rollout(index=1)])
    assert [r.sample_index for r in store.read()] == [1]


def test_the_same_rollouts_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        RolloutStore(tmp_path / name).append("0_grpo", 1, [rollout()])
    first, second = (next((tmp_path / name).rglob("*.gz")).read_bytes() for name in ("a", "b"))
    assert first == second


def test_a_killed_write_leaves_no_segment(tmp_path):
    store = RolloutStore(tmp_path)
    store.append("0_grpo", 1, [rollout()])
    (tmp_path / "0_grpo" / ".0000002.jsonl.gz.abc.draft").write_bytes(b"half")
    assert len(list(store.read())) == 1


def damaged(path, how):
    whole = path.read_bytes()
    if how == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "flipped":
        path.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    elif how == "not gzip":
        path.write_bytes(b"hello\n")
    elif how == "not a rollout":
        path.write_bytes(gzip.compress(b'{"stage": "x"}\n'))
    elif how == "later schema":
        path.write_bytes(gzip.compress(gzip.decompress(whole).replace(b'"schema": 1', b'"schema": 2')))
    else:
        path.write_bytes(gzip.compress(gzip.decompress(whole)[:-9]))


@pytest.mark.parametrize("how", ["cut", "flipped", "not gzip", "not a rollout", "later schema", "half a line"])
def test_a_damaged_segment_is_one_line_that_names_the_file(tmp_path, how):
    store = RolloutStore(tmp_path)
    store.append("0_grpo", 1, [rollout(index=i) for i in range(3)])
    [path] = tmp_path.rglob("*.gz")
    damaged(path, how)
    with pytest.raises(RunFolderError, match="damaged") as caught:
        list(store.read())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
