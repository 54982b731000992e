"""Pairs: the rule of execution, what is left out, the file format, and token ids that are never made anew."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from coderl.config import PairsConfig
from coderl.errors import ConfigError
from coderl.pairing import Candidate, matches
from coderl.pairs import Pair, encode_pairs, read_pairs, write_pairs


def candidates(*scores, task="t", programs=None, lengths=None):
    return [
        Candidate(
            key=key,
            task_id=task,
            program=programs[key] if programs else f"def f(x):\n    return x + {key}",
            score=score,
            length=lengths[key] if lengths else 10,
        )
        for key, score in enumerate(scores)
    ]


def made(found):
    return {(m.chosen.key, m.rejected.key) for m in found}


def test_acecoders_rule_holds_at_its_edges():
    """Correctness, point 32."""
    # chosen > 0.8, rejected > 0, gap > 0.4: 0.8 is not chosen, 0 is not rejected, 1.0 - 0.6 = 0.4 is no gap
    scores = [1.0, 0.9, 0.8, 0.6, 0.5, 0.25, 0.0]
    found = matches(candidates(*scores), PairsConfig(max_per_task=99, balance_lengths=False), seed=0)
    assert made(found) == {(0, 4), (0, 5), (1, 5)}  # 0.9 - 0.5 = 0.4 is no gap either
    assert sorted(m.margin for m in found) == pytest.approx([0.5, 0.65, 0.75])


def test_a_threshold_below_zero_takes_programs_that_pass_nothing():
    found = matches(candidates(1.0, 0.0), PairsConfig(min_rejected=-1), seed=0)
    assert made(found) == {(0, 1)}


def test_a_task_gives_no_more_than_its_cap_and_tasks_do_not_mix():
    """Correctness, point 32."""
    both = candidates(1.0, 0.5, 0.5, 0.5, task="a") + candidates(1.0, 0.25, task="b")
    found = matches(both, PairsConfig(max_per_task=2), seed=0)
    assert [m.chosen.task_id for m in found] == ["a", "a", "b"]
    assert all(m.chosen.task_id == m.rejected.task_id for m in found)


def test_programs_that_differ_in_names_only_are_one_candidate():
    """Correctness, point 32."""
    programs = [
        "def f(x):\n    return x",
        "def f(y):\n    return y",
        "def f(x):\n    return 1",
        "def f(z):\n    return 1",
    ]
    found = matches(candidates(1, 1, 0.5, 0.5, programs=programs), PairsConfig(max_per_task=99), seed=0)
    assert made(found) == {(0, 2)}


def test_hard_negatives_come_first_and_too_near_ones_not_at_all():
    """Correctness, point 30."""
    programs = [
        "def f(x):\n    return x + 1",
        "def f(x):\n    return x",
        "def f(x):\n    return x + 2",
        "def f(x):\n    return 7",
    ]
    all_of = candidates(1, 0.5, 0.5, 0.5, programs=programs)
    ordered = matches(all_of, PairsConfig(max_per_task=3, balance_lengths=False), seed=0)
    assert [(m.rejected.key, m.distance) for m in ordered] == [(2, 1), (1, 2), (3, 3)]
    assert made(matches(all_of, PairsConfig(max_per_task=3, min_distance=2), seed=0)) == {(0, 1), (0, 3)}


def test_lengths_are_balanced_where_there_is_a_choice():
    """Correctness, point 32."""
    found = []
    for number in range(20):  # in each task three shorter rejected programs and one longer one
        found += candidates(1, 0.5, 0.5, 0.5, 0.5, task=str(number), lengths=[10, 5, 6, 7, 15])
    for balance, expected in ((True, 10), (False, None)):
        pairs = matches(found, PairsConfig(max_per_task=1, order="random", balance_lengths=balance), seed=1)
        longer = sum(m.chosen.length > m.rejected.length for m in pairs)
        assert longer == expected if expected else longer > 12


def test_the_same_seed_gives_the_same_pairs_and_another_seed_others():
    many = [c for task in "abcdef" for c in candidates(1, 0.5, 0.4, 0.3, 0.2, task=task)]
    config = PairsConfig(max_per_task=1, order="random")
    assert matches(many, config, seed=3) == matches(many, config, seed=3)
    assert matches(many, config, seed=3) != matches(many, config, seed=4)


def pair(**changes):
    base = {"prompt": "# add\n", "chosen": "a", "rejected": "b", "task_id": "t", "source": "human", "annotator": "eve"}
    return Pair(**{**base, **changes})


def test_pairs_are_read_back_as_they_were_written(tmp_path):
    ids = {"prompt_ids": (1, 2), "chosen_ids": (3,), "rejected_ids": (4, 5), "tokenizer": "abc"}
    pairs = [pair(), pair(margin=0.25, **ids), pair(tie=True, chosen="x\u2028", rejected="x\u2028")]
    write_pairs(tmp_path / "pairs.jsonl", pairs)
    assert read_pairs(tmp_path / "pairs.jsonl") == pairs


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "schema 2"),
        ({"chosen": None}, "chosen: None"),
        ({"rejected": "a"}, "same completion"),
        ({"margin": -1}, "margin -1"),
        ({"margin": True}, "margin: True"),
        ({"tie": 1}, "tie: 1"),
        ({"chosen_ids": [1]}, "go together"),
        ({"chosen_ids": [-1]}, "list of token ids"),
        ({"who": "me"}, "unknown field 'who'"),
    ],
)
def test_a_line_that_is_no_pair_is_named_with_its_fault(tmp_path, change, words):
    good = {"prompt": "p", "chosen": "a", "rejected": "b", "task_id": "t", "source": "human"}
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(good) + "\n\n" + json.dumps({**good, **change}) + "\n")
    with pytest.raises(ConfigError, match=r"line 3: .*docs/pairs\.md") as caught:
        read_pairs(path)
    assert words in str(caught.value)


def test_a_missing_field_and_a_line_that_is_no_json_are_named(tmp_path):
    path = tmp_path / "pairs.jsonl"
    for text, words in (('{"prompt": "p"}', "'chosen' is missing"), ("[1]", "expected an object"), ("{", "line 1")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=words):
            read_pairs(path)


class Letters:
    """A scripted tokenizer: one id per character."""

    eos_token_id = 0

    def __call__(self, text, add_special_tokens):
        return {"input_ids": [ord(c) for c in text]}

    def get_vocab(self):
        return {"a": 97}


POLICY = SimpleNamespace(tokenizer=Letters(), encode_completion=lambda text: (*map(ord, text), 0))


def test_sampled_ids_are_kept_and_written_text_gets_one_prompt_and_a_stop_token_on_both_sides():
    """Correctness, point 28."""
    from coderl.pairs import tokenizer_fingerprint

    own = tokenizer_fingerprint(POLICY.tokenizer)
    sampled = pair(prompt_ids=(9,), chosen_ids=(8,), rejected_ids=(7,), tokenizer=own)
    first, second = encode_pairs([sampled, pair()], POLICY)
    assert (first.prompt_ids, first.chosen_ids, first.rejected_ids) == ((9,), (8,), (7,))  # not ord("a")
    assert (second.prompt_ids, second.chosen_ids, second.rejected_ids) == (tuple(map(ord, "# add")), (97, 0), (98, 0))


def test_ids_of_another_tokenizer_are_refused():
    with pytest.raises(ConfigError, match="belong to another tokenizer"):
        encode_pairs([pair(prompt_ids=(9,), chosen_ids=(8,), rejected_ids=(7,), tokenizer="other")], POLICY)
