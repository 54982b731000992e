"""Measures of diversity against numbers computed by hand, and what they must say of copies and of unlike programs."""

from __future__ import annotations

import math

import pytest

from coderl.evaluate.diversity import bleu, distinct, diversity, mean_edit_distance, self_bleu


def test_distinct_n_is_the_share_of_ngrams_that_differ():
    samples = [["a", "b", "a"], ["a", "b"]]
    assert distinct(samples, 1) == 2 / 5  # a, b of a b a a b
    assert distinct(samples, 2) == 2 / 3  # ab, ba of ab ba ab
    assert distinct([["a"]], 2) == 0.0  # no pair to look at


def test_bleu_is_the_value_computed_by_hand():
    # 1-grams: 3 of 4; 2-grams: ab, bc of 3, smoothed (2+1)/(3+1); 3-grams: abc of 2, (1+1)/(2+1); 4-grams: (0+1)/(1+1)
    expected = (3 / 4 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert bleu(list("abcx"), [list("abcd")]) == pytest.approx(expected, abs=1e-12)


def test_a_short_sample_pays_the_brevity_penalty_of_the_nearest_reference():
    # ab against abcd (4) and abc (3): all n-grams match, nearest length 3, exp(1 - 3/2)
    assert bleu(list("ab"), [list("abcd"), list("abc")]) == pytest.approx(math.exp(-0.5), abs=1e-12)


def test_a_token_counts_at_most_as_often_as_one_reference_has_it():
    # aaaa against ab and ba: one a of 4; 2-grams (0+1)/(3+1), 3-grams 1/3, 4-grams 1/2
    assert bleu(list("aaaa"), [list("ab"), list("ba")]) == pytest.approx((1 / 4 * 1 / 4 * 1 / 3 * 1 / 2) ** 0.25)


def test_self_bleu_is_one_for_copies_and_zero_for_strangers():
    assert self_bleu([list("abcde")] * 3) == pytest.approx(1.0)
    assert self_bleu([list("ab"), list("cd")]) == 0.0
    assert self_bleu([[], []]) == 1.0


def test_edit_distance_pairs_neighbours_and_is_a_share_of_the_longer_one():
    samples = [list("abcd"), list("abxd"), list("ab"), []]  # 1 of 4 changed; 2 of 2 deleted
    assert mean_edit_distance(samples) == (1 / 4 + 1) / 2


def test_renamed_copies_are_one_syntax_tree_and_a_task_with_one_sample_does_not_count():
    first, second = "def f(a):\n    return a + 1\n", "def f(b):\n    # the next\n    return b + 1\n"
    found = diversity(
        {"t/1": [first, second], "t/2": [first, "def f(a):\n    return a - 1\n"], "t/3": [first]},
        {"t/1": [True, False], "t/2": [False, False], "t/3": [True]},
    )
    assert found is not None
    assert found.num_tasks == 2
    assert found.unique_asts == (1 / 2 + 1) / 2
    assert found.pass_gain == (1 / 2 + 0) / 2  # t/1: pass@2 1, pass@1 1/2
    assert found.edit_distance == pytest.approx((2 / 12 + 1 / 12) / 2)  # a, a renamed; + for -; indents count


def test_copies_have_no_diversity_whatever_they_are_written_in():
    found = diversity({"t": ["int f() { return 1; }"] * 4}, {"t": [True] * 4})
    assert found is not None
    assert (found.unique_asts, found.self_bleu, found.edit_distance, found.pass_gain) == (0.25, 1.0, 0.0, 0.0)


def test_single_samples_say_nothing_about_diversity():
    assert diversity({"t": ["x = 1"]}, {"t": [True]}) is None
