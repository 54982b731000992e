"""pass@k without bias, and how sure it is: bootstrap over problems, because problems differ more than samples do."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def pass_at_k(n: int, c: int, k: int) -> float:
    """1 - C(n-c, k) / C(n, k): the chance that k of n samples hold one of the c correct (Chen et al. 2021, eq. 1).

    Raises ValueError unless 0 <= c <= n and 1 <= k <= n: with fewer samples than k there is no unbiased estimate.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@{k} of {n} samples with {c} correct: needs 0 <= correct <= samples and 1 <= k <= samples")
    if n - c < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1))


def bootstrap_interval(
    values: Sequence[float], *, num_resamples: int, seed: int, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of the mean of one value per problem. Raises ValueError for no values."""
    means = _resampled_means(np.asarray(values, dtype=np.float64), num_resamples, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_difference(
    before: Sequence[float], after: Sequence[float], *, num_resamples: int, seed: int, level: float = 0.95
) -> tuple[float, float, float]:
    """Mean of after - before on the same problems, with its interval; far narrower than two intervals side by side."""
    if len(before) != len(after):
        raise ValueError(f"{len(before)} problems before but {len(after)} after: compare the same problems")
    differences = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    low, high = bootstrap_interval(list(differences), num_resamples=num_resamples, seed=seed, level=level)
    return float(differences.mean()), low, high


def _resampled_means(values: np.ndarray[tuple[int], np.dtype[np.float64]], num_resamples: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if not len(values):
        raise ValueError("no problems to resample: give at least one value")
    picks = np.random.default_rng(seed).integers(len(values), size=(num_resamples, len(values)))
    means: np.ndarray[tuple[int], np.dtype[np.float64]] = values[picks].mean(axis=1)
    return means
