"""pass@k by group, with translations drawn together, and best of N by visible tests: hand-computed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coderl.evaluate.breakdown import Tally, best_of_n, estimates, groups, problem_of
from coderl.evaluate.passk import bootstrap_interval, mcnemar_p_value
from tasks.task import Split, Style, Task

TASK = Task(id="a/1", prompt="p", style=Style.INSTRUCTION, split=Split.TEST, visible=(), hidden=())


def tally(passed, visible=None, **changes):
    return Tally(task=replace(TASK, **changes), passed=tuple(passed), visible=tuple(visible or [True] * len(passed)))


def test_tasks_are_grouped_by_what_differs_among_them_only():
    tallies = [
        tally([True, True], id="a/1", level=2),
        tally([True, False], id="a/2", level=0),
        tally([False, False], id="b/1", level=2),
    ]
    found = {(g.by, g.value): (g.num_tasks, g.pass_at_k[1][0]) for g in groups(tallies, [1], num_resamples=50, seed=0)}
    assert found == {  # one language: no line for it
        ("level", "unknown"): (1, 0.5),
        ("level", "2"): (2, 0.5),
        ("source", "a"): (2, 0.75),
        ("source", "b"): (1, 0.0),
    }


def test_a_task_with_too_few_scorable_samples_has_no_part_in_pass_at_k():
    tallies = [tally([True, False], id="a/1"), tally([False], id="a/2")]
    found = estimates(tallies, [1, 2, 3], num_resamples=50, seed=0)
    assert found[1][0] == 0.25  # (1/2 + 0) / 2
    assert found[2][0] == 1.0  # a/1 alone
    assert 3 not in found


@pytest.mark.parametrize(
    ("task_id", "language", "problem"),
    [
        ("HumanEval-X/CPP/7", "cpp", "HumanEval-X/7"),
        ("HumanEval-X/JavaScript/7", "javascript", "HumanEval-X/7"),
        ("MultiPL-E/HumanEval_7/js", "javascript", "MultiPL-E/HumanEval_7"),
        ("easy/add", "python", "easy/add"),
    ],
)
def test_translations_are_one_problem(task_id, language, problem):
    assert problem_of(replace(TASK, id=task_id, language=language)) == problem


def test_copies_of_problems_in_other_languages_do_not_narrow_the_interval():
    rates = [0.0, 1.0, 1.0, 0.0, 0.5, 1.0, 0.0, 0.25]
    names = [str(i) for i in range(len(rates))]
    once = bootstrap_interval(rates, seed=3)
    clustered = bootstrap_interval(rates * 4, clusters=names * 4, seed=3)
    naive = bootstrap_interval(rates * 4, seed=3)
    assert clustered == pytest.approx(once)  # equal sizes: the same draws of the same means
    assert naive[1] - naive[0] < 0.7 * (once[1] - once[0])


def test_clusters_of_unequal_size_weigh_by_their_values():
    # clusters a (mean 0, 3 values) and b (1 value of 1): draws aa 0, ab 1/4, ba 1/4, bb 1 with chances 1/4 each
    values, clusters = [0.0, 0.0, 0.0, 1.0], ["a", "a", "a", "b"]
    assert bootstrap_interval(values, clusters=clusters, confidence=0.98) == (0.0, 1.0)
    low, high = bootstrap_interval(values, clusters=clusters, confidence=0.4)  # the middle two quarters
    assert (low, high) == (0.25, 0.25)


def test_choosing_by_visible_tests_lies_between_a_random_sample_and_the_best():
    # 1 of 4 passes all; 2 of 4 pass the visible tests, the good one among them
    tallies = [tally([True, False, False, False], [True, True, False, False])]
    found = {b.n: b for b in best_of_n(tallies, num_resamples=10, seed=0)}
    assert list(found) == [1, 2, 4]
    assert [found[n].random for n in found] == [0.25] * 3
    assert found[1].visible == 0.25
    # pairs: 5 of 6 hold a sample that passes visibly; good with one that fails visibly (2 pairs) 1, both visible (1) 1/2
    assert found[2].visible == pytest.approx((2 * 1 + 1 * 0.5) / 6)
    assert found[4].visible == 0.5
    assert [found[n].oracle for n in found] == [0.25, 0.5, 1.0]  # pass@N


def test_without_visible_tests_choosing_by_them_is_choosing_at_random():
    [one, two] = best_of_n([tally([True, False])], num_resamples=10, seed=0)
    assert (one.visible, two.visible, two.oracle) == (0.5, 0.5, 1.0)


def test_single_samples_leave_nothing_to_choose():
    assert best_of_n([tally([True])], num_resamples=10, seed=0) == ()


@pytest.mark.parametrize(
    ("lost", "gained", "expected"),
    [
        (0, 0, 1.0),
        (1, 5, 2 * (1 + 6) / 64),
        (5, 1, 2 * (1 + 6) / 64),
        (0, 5, 2 / 32),
        (3, 3, 1.0),  # 2 P(X <= 3) is above 1
    ],
)
def test_mcnemar_is_the_binomial_tail_computed_by_hand(lost, gained, expected):
    assert mcnemar_p_value(lost, gained) == pytest.approx(expected)
