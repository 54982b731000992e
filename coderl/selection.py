"""Which of N samples would be chosen, and how often would it pass? Pure, on the n >= N samples of one task.

By a score the expectation over all subsets of N samples is exact: order the samples by score, ties drawn at random; the best of
a subset lies in the group of equal scores that reaches up to rank k with chance (C(k, N) - C(k - size, N)) / C(n, N). With the
verdict itself as the score this is the oracle, and equals the unbiased pass@N of Chen et al. 2021. By agreement the choice
depends on the whole subset, so subsets are drawn.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import comb

import numpy as np


def expected_best(scores: Sequence[float], values: Sequence[float], n: int) -> float:
    """The expected value of the highest-scored of n samples drawn without replacement, ties broken at random.

    >>> expected_best([3, 2, 1], [0.0, 1.0, 1.0], 3), expected_best([0, 0], [0.0, 1.0], 1)
    (0.0, 0.5)
    """
    if not 1 <= n <= len(scores) or len(scores) != len(values):
        raise ValueError(f"best of {n} cannot be estimated from {len(scores)} scores and {len(values)} values")
    groups: dict[float, list[float]] = {}
    for score, value in zip(scores, values, strict=True):
        groups.setdefault(score, []).append(value)
    total, rank, expected = comb(len(scores), n), 0, 0.0
    for score in sorted(groups):
        members = groups[score]
        chance = (comb(rank + len(members), n) - comb(rank, n)) / total
        expected += chance * sum(members) / len(members)
        rank += len(members)
    return expected


def expected_agreed(
    answers: Sequence[Hashable | None], values: Sequence[float], n: int, *, seed: int, num_subsets: int = 64
) -> float:
    """The expected value of a sample of the largest group of equal answers among n (None never agrees with anything).

    Groups of the same size share the choice. The mean over `num_subsets` random subsets; over the one subset if n is all.
    """
    if not 1 <= n <= len(answers) or len(answers) != len(values):
        raise ValueError(f"best of {n} cannot be estimated from {len(answers)} answers and {len(values)} values")
    generator = np.random.default_rng(seed)
    rounds = num_subsets if n < len(answers) else 1
    chosen = [generator.permutation(len(answers))[:n].tolist() for _ in range(rounds)]
    return sum(_agreed([answers[i] for i in s], [values[i] for i in s]) for s in chosen) / rounds


def _agreed(answers: Sequence[Hashable | None], values: Sequence[float]) -> float:
    groups: dict[Hashable, list[float]] = {}
    for answer, value in zip(answers, values, strict=True):
        if answer is not None:
            groups.setdefault(answer, []).append(value)
    if not groups:
        return sum(values) / len(values)
    largest = max(map(len, groups.values()))
    winners = [sum(members) / len(members) for members in groups.values() if len(members) == largest]
    return sum(winners) / len(winners)
