"""Choosing among N samples: exact expectations by enumeration, the oracle is pass@k, and inputs that carry no answers."""

from __future__ import annotations

from itertools import combinations

import pytest

from coderl.evaluate.passk import pass_at_k
from coderl.inputs import case_without_answer, changed_cases
from coderl.selection import expected_agreed, expected_best
from sandbox.spec import AssertCase, CallCase, StdioCase

SCORES = [0.5, 0.5, 2.0, -1.0, 2.0, 2.0]
VALUES = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_the_expected_best_is_the_mean_over_all_subsets_with_ties_shared(n):
    outcomes = []
    for subset in combinations(range(6), n):
        top = max(SCORES[i] for i in subset)
        tied = [VALUES[i] for i in subset if SCORES[i] == top]
        outcomes.append(sum(tied) / len(tied))
    assert expected_best(SCORES, VALUES, n) == pytest.approx(sum(outcomes) / len(outcomes))


def test_choosing_by_the_verdict_is_pass_at_k_and_by_a_constant_is_a_random_sample():
    for n in range(1, 7):
        assert expected_best(VALUES, VALUES, n) == pytest.approx(pass_at_k(6, 3, n))
        assert expected_best([0.0] * 6, VALUES, n) == pytest.approx(0.5)


def test_more_samples_than_there_are_cannot_be_chosen_from():
    with pytest.raises(ValueError, match="best of 7"):
        expected_best(SCORES, VALUES, 7)


def test_the_largest_group_of_equal_answers_is_chosen():
    answers = ["a", "a", "b", "c", None, None, None]  # None, None, None is no group
    values = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert expected_agreed(answers, values, 7, seed=0) == 1.0
    assert expected_agreed([None, None], [1.0, 0.0], 2, seed=0) == 0.5  # nothing to go by: a random one
    assert expected_agreed(["a", "b"], [1.0, 0.0], 2, seed=0) == 0.5  # groups of one size share the choice


def test_agreement_over_subsets_is_near_the_enumeration_and_the_same_for_a_seed():
    answers, values = ["a", "a", "b", "b", "b", "c"], [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    exact = 0.0
    for subset in combinations(range(6), 3):
        chosen = [answers[i] for i in subset]
        largest = max(chosen.count(a) for a in chosen)
        tied = sorted({a for a in chosen if chosen.count(a) == largest})
        exact += sum(a == "a" for a in tied) / len(tied) / 20
    found = expected_agreed(answers, values, 3, seed=1, num_subsets=4000)
    assert found == pytest.approx(exact, abs=0.03)
    assert found == expected_agreed(answers, values, 3, seed=1, num_subsets=4000)


def test_changed_inputs_hold_no_answer_keep_their_types_and_differ():
    """Correctness, point 37."""
    cases = (
        CallCase(
            function="f", args=(7, "abc", [1, 2, 3], True, 1.5, {"k": 2}), expected="SECRET", alternatives=("SECRET",)
        ),
        StdioCase(stdin="3\n10 20 30\n", stdout="SECRET", alternatives=("SECRET",)),
        AssertCase(code="assert f(1) == 'SECRET'", names=("f",)),
    )
    changed = changed_cases(cases, 12, seed=3)
    assert len(changed) == len({repr(case) for case in changed}) == 12
    assert "SECRET" not in repr(changed) and "SECRET" not in repr([case_without_answer(case) for case in cases])
    for case in changed:
        if isinstance(case, CallCase):
            assert [type(a) for a in case.args] == [type(a) for a in cases[0].args]
            assert case.args[0] >= 0  # what is never negative stays so
        else:
            assert len(case.stdin.split()) == 4
    assert changed == changed_cases(cases, 12, seed=3) != changed_cases(cases, 12, seed=4)
    assert changed_cases(cases[2:], 5, seed=0) == ()
