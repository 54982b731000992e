"""pass@k against hand-computed values and enumeration; intervals against what they must do."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coderl.evaluate.passk import bootstrap_interval, paired_difference, pass_at_k


@pytest.mark.parametrize(
    ("n", "c", "k", "expected"),
    [
        (5, 2, 1, 0.4),  # k = 1 is the share that passes: 2/5
        (4, 1, 2, 0.5),  # 1 - C(3,2)/C(4,2) = 1 - 3/6
        (5, 2, 3, 0.9),  # 1 - C(3,3)/C(5,3) = 1 - 1/10
        (10, 3, 5, 11 / 12),  # 1 - C(7,5)/C(10,5) = 1 - 21/252
        (5, 0, 5, 0.0),
        (5, 5, 1, 1.0),
        (5, 3, 3, 1.0),  # 2 fail, so 3 of 5 always hold one that passes
    ],
)
def test_pass_at_k_is_the_value_computed_by_hand(n, c, k, expected):
    """Correctness, point 37."""
    assert pass_at_k(n, c, k) == pytest.approx(expected, abs=1e-12)


@given(n=st.integers(1, 8), data=st.data())
def test_pass_at_k_is_the_share_of_draws_that_hold_a_pass(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    draws = list(itertools.combinations([i < c for i in range(n)], k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-12)


def test_pass_at_k_is_stable_where_binomials_overflow_a_float():
    exact = 1 - math.comb(9990, 5000) / math.comb(10000, 5000)
    assert pass_at_k(10000, 10, 5000) == pytest.approx(exact, rel=1e-9)


def test_pass_at_k_is_unbiased_and_one_minus_the_failure_rate_to_the_k_is_not():
    p, n, k = 0.3, 6, 3
    chance = [math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    expected = 1 - (1 - p) ** k  # 0.657
    assert sum(w * pass_at_k(n, c, k) for c, w in enumerate(chance)) == pytest.approx(expected, abs=1e-12)
    naive = sum(w * (1 - (1 - c / n) ** k) for c, w in enumerate(chance))
    assert abs(naive - expected) > 0.01


@pytest.mark.parametrize(("n", "c", "k"), [(3, 1, 4), (3, 1, 0), (3, 4, 1), (3, -1, 1), (0, 0, 1)])
def test_pass_at_k_refuses_what_it_cannot_estimate(n, c, k):
    with pytest.raises(ValueError, match="samples"):
        pass_at_k(n, c, k)


def test_the_interval_of_equal_values_is_a_point():
    assert bootstrap_interval([0.25] * 7) == (0.25, 0.25)


def test_the_interval_matches_the_normal_approximation_for_many_problems():
    values = [float(i % 4 == 0) for i in range(400)]  # mean 0.25, standard error sqrt(.25 * .75 / 400) = 0.02165
    low, high = bootstrap_interval(values, num_resamples=4000)
    assert low == pytest.approx(0.25 - 1.96 * 0.02165, abs=0.004)
    assert high == pytest.approx(0.25 + 1.96 * 0.02165, abs=0.004)


def test_the_interval_depends_on_the_seed_alone():
    values = list(np.random.default_rng(3).random(30))
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Correctness, point 37."""
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        low, high = bootstrap_interval(list(generator.random(40) < 0.4), num_resamples=400, seed=trial)
        covered += low <= 0.4 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_no_problems_is_an_error():
    with pytest.raises(ValueError, match="no problems"):
        bootstrap_interval([])


def test_pairing_takes_the_difficulty_of_problems_out():
    before = {f"t{i}": float(i % 2) * 0.9 for i in range(60)}  # half are easy
    after = {name: value + 0.1 for name, value in before.items()}  # each is a little better
    found = paired_difference(before, after)
    assert found.estimate == pytest.approx(0.1)
    assert (found.low, found.high) == (pytest.approx(0.1), pytest.approx(0.1))
    assert found.share_not_better == 0.0
    low, high = bootstrap_interval(list(after.values()))
    assert high - low > 0.2  # unpaired, the difference would drown


def test_the_difference_is_after_minus_before_and_does_not_depend_on_order():
    before, after = {"a": 0.0, "b": 0.5, "c": 1.0}, {"c": 0.0, "a": 0.0, "b": 0.0}
    found = paired_difference(before, after)
    assert found.estimate == pytest.approx(-0.5)  # (0 - 0.5 - 1) / 3
    assert found.share_not_better == 1.0
    assert found == paired_difference(dict(reversed(before.items())), after)


def test_runs_on_different_tasks_cannot_be_compared():
    with pytest.raises(ValueError, match="'b' is in one of them only"):
        paired_difference({"a": 1.0}, {"a": 1.0, "b": 0.0})
