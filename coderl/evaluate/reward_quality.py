"""How good is a reward model on problems it has not seen? Pure functions of its scores.

Accuracy on pairs with an interval over problems, calibration of s(r_a - r_b), AUC against pass and fail, best of N.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coderl.evaluate.passk import bootstrap_interval
from coderl.selection import expected_best

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPair:
    """A pair with the scores of its sides; lengths are in tokens. Ties take no part in accuracy and calibration."""

    task_id: str
    chosen: float
    rejected: float
    margin: float
    chosen_length: int
    rejected_length: int

    @property
    def credit(self) -> float:
        """1 if the better side has the higher score, 1/2 if both have the same."""
        return float(self.chosen > self.rejected) + 0.5 * float(self.chosen == self.rejected)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredSample:
    task_id: str
    score: float
    passed: bool


def pair_quality(pairs: Sequence[ScoredPair], *, seed: int) -> dict[str, float]:
    """Accuracy (mean over problems of the mean over their pairs, with a 95 % interval), calibration, and where it is right."""
    by_task: dict[str, list[float]] = {}
    for pair in pairs:
        by_task.setdefault(pair.task_id, []).append(pair.credit)
    per_task = [sum(credits) / len(credits) for credits in by_task.values()]
    low, high = bootstrap_interval(per_task, seed=seed)
    differences = np.array([pair.chosen - pair.rejected for pair in pairs])
    values = {
        "reward_model/pairs": float(len(pairs)),
        "reward_model/problems": float(len(by_task)),
        "reward_model/accuracy": sum(per_task) / len(per_task),
        "reward_model/accuracy_low": low,
        "reward_model/accuracy_high": high,
        "reward_model/ece": calibration_error(differences),
        "reward_model/brier": brier(differences),
    }
    for name, members in _buckets(pairs).items():
        if members:
            values[f"reward_model/accuracy_{name}"] = sum(p.credit for p in members) / len(members)
    return values


def sample_quality(samples: Sequence[ScoredSample], *, sizes: Sequence[int]) -> dict[str, float]:
    """AUC against the verdict (all samples; mean within problems that have both), and best of N beside random and oracle."""
    values: dict[str, float] = {"reward_model/samples": float(len(samples))}
    everywhere = auc([s.score for s in samples], [s.passed for s in samples])
    by_task: dict[str, list[ScoredSample]] = {}
    for sample in samples:
        by_task.setdefault(sample.task_id, []).append(sample)
    within = [auc([s.score for s in g], [s.passed for s in g]) for g in by_task.values()]
    found = [value for value in within if value is not None]
    if everywhere is not None:
        values["reward_model/auc"] = everywhere
    if found:
        values["reward_model/auc_within_problems"] = sum(found) / len(found)
    for n in sizes:
        groups = [g for g in by_task.values() if len(g) >= n]
        if not groups:
            continue
        passed = [[float(s.passed) for s in group] for group in groups]
        scores = [[s.score for s in group] for group in groups]
        values[f"reward_model/best_of_{n}"] = _mean(
            [expected_best(s, p, n) for s, p in zip(scores, passed, strict=True)]
        )
        values[f"reward_model/best_of_{n}_oracle"] = _mean([expected_best(p, p, n) for p in passed])
        values[f"reward_model/best_of_{n}_random"] = _mean([sum(p) / len(p) for p in passed])
    return values


def auc(scores: Sequence[float], passed: Sequence[bool]) -> float | None:
    """The chance that a passing sample has a higher score than a failing one, ties half; None without one of each."""
    values, labels = np.asarray(scores, dtype=np.float64), np.asarray(passed, dtype=bool)
    positive, negative = values[labels], np.sort(values[~labels])
    if not len(positive) or not len(negative):
        return None
    below = np.searchsorted(negative, positive, side="left")
    not_above = np.searchsorted(negative, positive, side="right")
    return float((below + not_above).sum() / (2 * len(positive) * len(negative)))


def calibration_error(differences: Floats, num_bins: int = 10) -> float:
    """Expected calibration error (Naeini et al. 2015) of the confidence s(|d|) in the side that has the higher score."""
    confidence = 1 / (1 + np.exp(-np.abs(differences)))
    right = (differences > 0) + 0.5 * (differences == 0)
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    error = 0.0
    for number in range(num_bins):
        members = bins == number
        if members.any():
            error += float(members.mean() * abs(right[members].mean() - confidence[members].mean()))
    return error


def brier(differences: Floats) -> float:
    """Mean of (1 - s(d))^2: 0 for sure and right, 1/4 for a coin, 1 for sure and wrong."""
    return float(((1 - 1 / (1 + np.exp(-np.clip(differences, -500, 500)))) ** 2).mean())


def _buckets(pairs: Sequence[ScoredPair]) -> dict[str, list[ScoredPair]]:
    return {
        "margin_to_0.5": [p for p in pairs if p.margin <= 0.5],
        "margin_above_0.5": [p for p in pairs if p.margin > 0.5],
        "chosen_longer": [p for p in pairs if p.chosen_length > p.rejected_length],
        "rejected_longer": [p for p in pairs if p.chosen_length < p.rejected_length],
        "same_length": [p for p in pairs if p.chosen_length == p.rejected_length],
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
