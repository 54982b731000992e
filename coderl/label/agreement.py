"""How far do people agree, beyond chance? Pure functions of their answers.

    Cohen's kappa          two annotators, every unit answered by both      Cohen 1960
      linear, quadratic    ordered answers: near misses count less          Cohen 1968
    Fleiss' kappa          the same number of answers per unit              Fleiss 1971
    Krippendorff's alpha   any number of annotators, answers missing        Krippendorff 2004, Content Analysis, chapter 11

All are 1 for full agreement and about 0 for answers by chance. Where every answer is the same there is no chance to
compare with: they are NaN then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Answer = TypeVar("Answer", bound=Hashable)
Unit = TypeVar("Unit", bound=Hashable)
Floats = NDArray[np.float64]
Level = Literal["nominal", "ordinal", "interval"]


def cohen_kappa(
    first: Sequence[Answer], second: Sequence[Answer], *, weights: Literal["none", "linear", "quadratic"] = "none"
) -> float:
    """1 - sum w o / sum w e over the table of answers: o observed, e expected from the margins, w 0 on the diagonal.

    Answers stand in pairs: first[i] and second[i] are of one unit. With weights they are numbers; their order counts, not
    their distance. Raises ValueError where the lengths differ or there is nothing.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"{len(first)} and {len(second)} answers: give both annotators' answers to the same units")
    values = _sorted(set(first) | set(second))
    place = {value: i for i, value in enumerate(values)}
    observed = np.zeros((len(values), len(values)))
    for a, b in zip(first, second, strict=True):
        observed[place[a], place[b]] += 1
    expected = np.outer(observed.sum(1), observed.sum(0)) / observed.sum()
    apart = np.abs(np.subtract.outer(np.arange(len(values)), np.arange(len(values)))).astype(float)
    cost = {"none": (apart > 0).astype(float), "linear": apart, "quadratic": apart**2}[weights]
    return _beyond_chance(float((cost * observed).sum()), float((cost * expected).sum()))


def fleiss_kappa(counts: Sequence[Sequence[int]]) -> float:
    """counts[i][c]: how many annotators gave unit i the answer c.

    Raises ValueError unless every unit has the same number of answers, two or more.
    """
    table = np.asarray(counts, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise ValueError("counts: give one row per unit and one column per answer")
    num_answers = table.sum(1)
    if num_answers[0] < 2 or (num_answers != num_answers[0]).any():
        raise ValueError(
            "counts: every unit needs the same number of answers, two or more; else use krippendorff_alpha"
        )
    n = num_answers[0]
    disagreement = 1 - ((table**2).sum(1) - n) / (n * (n - 1))
    shares = table.sum(0) / table.sum()
    return _beyond_chance(float(disagreement.mean()), float(1 - (shares**2).sum()))


def krippendorff_alpha(units: Iterable[Iterable[Answer]], *, level: Level = "nominal") -> float:
    """units[i]: the answers that unit i got, by whomever; a unit with fewer than two says nothing and is passed over.

    1 - D_o / D_e from the table of coincidences. Ordinal and interval answers are numbers. NaN where no unit has two answers.
    """
    rows = [row for row in (list(unit) for unit in units) if len(row) > 1]
    values = _sorted({value for row in rows for value in row})
    place = {value: i for i, value in enumerate(values)}
    coincidences = np.zeros((len(values), len(values)))
    for row in rows:
        count = np.bincount([place[value] for value in row], minlength=len(values)).astype(np.float64)
        coincidences += (np.outer(count, count) - np.diag(count)) / (len(row) - 1)
    totals = coincidences.sum(1)
    cost = _distances(values, totals, level)
    expected = np.outer(totals, totals) / max(totals.sum() - 1, 1)
    np.fill_diagonal(expected, 0)
    return _beyond_chance(float((cost * coincidences).sum()), float((cost * expected).sum()))


def mean_cohen_kappa(answers: Mapping[str, Mapping[Unit, Answer]]) -> float:
    """The mean of Cohen's kappa over all two annotators, weighted by the units that they share; NaN where none share any.

    answers[annotator][unit] is an answer.
    """
    parts: list[tuple[float, int]] = []
    for a, b in combinations(sorted(answers), 2):
        shared = [unit for unit in answers[a] if unit in answers[b]]
        if shared:
            kappa = cohen_kappa([answers[a][unit] for unit in shared], [answers[b][unit] for unit in shared])
            if not math.isnan(kappa):
                parts.append((kappa, len(shared)))
    return sum(k * n for k, n in parts) / sum(n for _, n in parts) if parts else math.nan


def percent_agreement(units: Iterable[Iterable[Answer]]) -> float:
    """The chance that two answers to one unit, drawn at random, are the same; the mean over units with two answers or more."""
    shares = []
    for unit in units:
        row = list(unit)
        if len(row) > 1:
            same = sum(a == b for a, b in combinations(row, 2))
            shares.append(same / (len(row) * (len(row) - 1) / 2))
    return sum(shares) / len(shares) if shares else math.nan


def _distances(values: Sequence[Answer], totals: Floats, level: Level) -> Floats:
    """(V, V): the squared difference of two answers at a level of measurement (Krippendorff 2004, section 11.3)."""
    size = len(values)
    if level == "nominal":
        return 1 - np.eye(size)
    if level == "interval":
        numbers = np.array(values, dtype=np.float64)
        return np.subtract.outer(numbers, numbers) ** 2
    before = np.cumsum(totals) - totals / 2  # the answers up to the middle of each value
    return np.subtract.outer(before, before) ** 2


def _beyond_chance(observed: float, expected: float) -> float:
    return 1 - observed / expected if expected > 0 else math.nan


def _sorted(values: set[Answer]) -> list[Answer]:
    """Numbers and texts by size; what cannot be compared by its name."""
    key: Callable[[Answer], tuple[str, Answer | str]] = lambda v: (
        ("", v) if isinstance(v, int | float | str) else (type(v).__name__, repr(v))
    )
    return sorted(values, key=key)
