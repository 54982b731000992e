"""How likely does one of k samples pass, and how sure are we of it? pass@k and bootstrap intervals over problems.

pass@k is the unbiased estimator of Chen et al. 2021 (arXiv:2107.03374), equation 1. Problems, not samples, are resampled:
they are what a benchmark draws from the world, and samples of one problem are not independent. Nor are one problem's
translations into several languages: a cluster of them is drawn whole (Miller 2024, arXiv:2411.00640, 2.2).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


def pass_at_k(num_samples: int, num_passed: int, k: int) -> float:
    """1 - C(n-c, k) / C(n, k): the chance that k of n samples, drawn without replacement, hold one of the c that pass.

    Computed as 1 - prod_{i=n-c+1}^{n} (1 - k/i), as in the paper: no factorial overflows, no large terms cancel.

    >>> pass_at_k(4, 1, 2)
    0.5
    """
    if not 1 <= k <= num_samples:
        raise ValueError(f"pass@{k} cannot be estimated from {num_samples} samples: take at least k of them")
    if not 0 <= num_passed <= num_samples:
        raise ValueError(f"{num_passed} of {num_samples} samples cannot have passed")
    if num_samples - num_passed < k:
        return 1.0
    factors = 1.0 - k / np.arange(num_samples - num_passed + 1, num_samples + 1)
    return float(1.0 - np.prod(factors))


def pass_rates(scores: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """pass@1 of each task with a scorable sample, from the `scores` of a file that an evaluation wrote."""
    return {s["task_id"]: s["num_passed"] / s["num_samples"] for s in scores if s["num_samples"]}


def bootstrap_interval(
    values: Sequence[float],
    *,
    num_resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
    clusters: Sequence[str] | None = None,
) -> tuple[float, float]:
    """Percentile interval (low, high) of the mean of `values`, one value per problem.

    Values with the same name in `clusters` are drawn together; None: each is a cluster of its own.
    """
    if clusters is None or len(set(clusters)) == len(clusters):
        means = _resampled_means(np.asarray(values, dtype=np.float64), num_resamples, seed)
    else:
        means = _cluster_means(values, clusters, num_resamples, seed)
    return _percentiles(means, confidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A difference of means, its interval, and the share of resamples in which it is not above 0."""

    estimate: float
    low: float
    high: float
    share_not_better: float

    def __str__(self) -> str:
        return f"{self.estimate:+.1%}, 95 % interval {self.low:+.1%} to {self.high:+.1%}"


def paired_difference(
    before: dict[str, float],
    after: dict[str, float],
    *,
    num_resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Difference:
    """Paired bootstrap of after - before; both map a task id to its pass@k. The interval is that of the mean difference.

    Pairing takes the difficulty of the problems out of the interval. Raises ValueError unless the tasks are the same.
    """
    if before.keys() != after.keys():
        missing = sorted(before.keys() ^ after.keys())
        raise ValueError(f"the two runs were not evaluated on the same tasks: {missing[0]!r} is in one of them only")
    differences = np.array([after[task_id] - before[task_id] for task_id in sorted(before)], dtype=np.float64)
    return _difference(float(differences.mean()), _resampled_means(differences, num_resamples, seed), confidence)


def difference_of_means(
    first: Sequence[float],
    second: Sequence[float],
    *,
    num_resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Difference:
    """Mean of `first` less mean of `second`, on different problems: each is resampled on its own."""
    means = _resampled_means(np.asarray(first, dtype=np.float64), num_resamples, seed)
    means = means - _resampled_means(np.asarray(second, dtype=np.float64), num_resamples, seed + 1)
    return _difference(float(np.mean(first) - np.mean(second)), means, confidence)


def mcnemar_p_value(num_lost: int, num_gained: int) -> float:
    """Exact two-sided p-value that a change loses and gains tasks with the same chance (McNemar 1947; binomial).

    2 P(X <= min(b, c)) with X ~ Binomial(b + c, 1/2), at most 1; 1 where no task changed.

    >>> mcnemar_p_value(1, 5)
    0.21875
    """
    total, fewer = num_lost + num_gained, min(num_lost, num_gained)
    tail = sum(math.comb(total, i) for i in range(fewer + 1))
    return float(min(1.0, 2 * tail / 2**total))


def _percentiles(means: np.ndarray[tuple[int], np.dtype[np.float64]], confidence: float) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _difference(estimate: float, means: np.ndarray[tuple[int], np.dtype[np.float64]], confidence: float) -> Difference:
    low, high = _percentiles(means, confidence)
    return Difference(estimate=estimate, low=low, high=high, share_not_better=float((means <= 0).mean()))


def _cluster_means(
    values: Sequence[float], clusters: Sequence[str], num_resamples: int, seed: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Means over all values of the clusters that are drawn, (R,)."""
    _, owner = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(owner, weights=np.asarray(values, dtype=np.float64))
    sizes = np.bincount(owner)
    generator = np.random.default_rng(seed)
    draws = (generator.integers(len(sums), size=len(sums)) for _ in range(num_resamples))
    return np.array([sums[drawn].sum() / sizes[drawn].sum() for drawn in draws])


def _resampled_means(
    values: np.ndarray[tuple[int], np.dtype[np.float64]], num_resamples: int, seed: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Means of `num_resamples` draws with replacement, (R,); one at a time, so that memory does not grow with R."""
    if not len(values):
        raise ValueError("no problems: there is nothing to resample")
    generator = np.random.default_rng(seed)
    return np.array([values[generator.integers(len(values), size=len(values))].mean() for _ in range(num_resamples)])
