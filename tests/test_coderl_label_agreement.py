"""Agreement statistics: the published examples to the digits published, and equal to trusted libraries' on anything."""

from __future__ import annotations

import math

import numpy as np
import pytest

from coderl.label.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha, mean_cohen_kappa, percent_agreement

# Fleiss 1971, table 1: 14 raters, 10 subjects, 5 categories; kappa 0.210.
FLEISS = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip
# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), part C: 4 observers, 12 units, answers missing;
# nominal 0.743, ordinal 0.815, interval 0.849.
_ = None
KRIPPENDORFF = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
]


def units(matrix):
    return [[value for value in column if value is not None] for column in zip(*matrix, strict=True)]


def test_cohens_kappa_of_a_two_by_two_table_worked_by_hand():
    # 50 applicants: both yes 20, only the first 5, only the second 10, both no 15. p_o = 35/50 = 0.7;
    # p_e = (25/50)(30/50) + (25/50)(20/50) = 0.5; kappa = (0.7 - 0.5) / (1 - 0.5) = 0.4.
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)


def test_fleiss_kappa_of_the_example_of_1971():
    assert fleiss_kappa(FLEISS) == pytest.approx(0.210, abs=5e-4)


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_krippendorffs_alpha_of_his_example_with_missing_answers(level, published):
    assert krippendorff_alpha(units(KRIPPENDORFF), level=level) == pytest.approx(published, abs=5e-4)


def test_the_libraries_say_the_same_of_the_published_examples():
    library = pytest.importorskip("krippendorff")
    matrix = np.array([[np.nan if v is None else v for v in row] for row in KRIPPENDORFF], dtype=float)
    for level in ("nominal", "ordinal", "interval"):
        theirs = library.alpha(reliability_data=matrix, level_of_measurement=level)
        assert krippendorff_alpha(units(KRIPPENDORFF), level=level) == pytest.approx(theirs, abs=1e-12)
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    assert fleiss_kappa(FLEISS) == pytest.approx(inter_rater.fleiss_kappa(FLEISS), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_libraries_say_the_same_of_random_answers(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    library = pytest.importorskip("krippendorff")
    random = np.random.default_rng(seed)
    truth = random.integers(4, size=40)
    matrix = np.where(random.random((5, 40)) < 0.6, truth, random.integers(4, size=(5, 40)))
    first, second = matrix[0].tolist(), matrix[1].tolist()
    for ours, theirs in (("none", None), ("linear", "linear"), ("quadratic", "quadratic")):
        expected = metrics.cohen_kappa_score(first, second, weights=theirs)
        assert cohen_kappa(first, second, weights=ours) == pytest.approx(expected, abs=1e-12)
    counts = [[int((column == c).sum()) for c in range(4)] for column in matrix.T]
    assert fleiss_kappa(counts) == pytest.approx(inter_rater.fleiss_kappa(counts), abs=1e-12)
    holes = np.where(random.random(matrix.shape) < 0.4, np.nan, matrix.astype(float))
    rows = [[int(v) for v in column if not math.isnan(v)] for column in holes.T]
    for level in ("nominal", "ordinal", "interval"):
        expected = library.alpha(reliability_data=holes, level_of_measurement=level)
        assert krippendorff_alpha(rows, level=level) == pytest.approx(expected, abs=1e-12)


def test_names_and_order_of_annotators_and_units_change_nothing():
    answers = units(KRIPPENDORFF)
    renamed = [[f"answer {value}" for value in reversed(unit)] for unit in reversed(answers)]
    assert krippendorff_alpha(renamed) == pytest.approx(krippendorff_alpha(answers), abs=1e-12)


def test_where_all_answers_are_the_same_there_is_no_chance_to_compare_with():
    assert math.isnan(cohen_kappa([1, 1], [1, 1]))
    assert math.isnan(fleiss_kappa([[2, 0], [2, 0]]))
    assert math.isnan(krippendorff_alpha([["a", "a"], ["a", "a"]]))
    assert math.isnan(krippendorff_alpha([["a"], []]))


def test_answers_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="same units"):
        cohen_kappa([1, 2], [1])
    with pytest.raises(ValueError, match="same number of answers"):
        fleiss_kappa([[2, 0], [1, 0]])


def test_the_mean_of_cohens_kappa_weighs_two_annotators_by_what_they_share():
    both = {"u1": "A", "u2": "B", "u3": "A", "u4": "B"}
    # eve and max agree fully on 4 units (kappa 1); ann gives u1, u2 the other way round (kappa -1 with each, 2 units).
    answers = {"eve": both, "max": both, "ann": {"u1": "B", "u2": "A"}}
    assert mean_cohen_kappa(answers) == pytest.approx((4 * 1 + 2 * -1 + 2 * -1) / 8)


def test_percent_agreement_counts_pairs_of_answers():
    # 3 answers, of whose 3 pairs one agrees; 2 answers that agree; one alone says nothing: (1/3 + 1) / 2.
    assert percent_agreement([["A", "A", "B"], ["A", "A"], ["B"]]) == pytest.approx(2 / 3)
