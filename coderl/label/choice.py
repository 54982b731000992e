"""Which item does an annotator get next? Pure: from what is known of all items to one of them, the same every time.

Gold questions come mixed among the others, by chance. Of the others, those that the reward model is least sure of come first
(uncertainty sampling, Lewis & Gale 1994); an item is asked until as many annotators as wanted have it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from coderl.seeds import derive


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An item new to the annotator; `taken` counts the others who have answered it or have it before them."""

    key: str
    position: int
    uncertainty: float
    gold: bool
    taken: int


def next_item(
    waiting: Sequence[Waiting], *, overlap: float, seed: int, annotator: str, num_answered: int
) -> str | None:
    """The key of the item to show, None where nothing is left for this annotator."""
    gold = [item for item in waiting if item.gold]
    others = [item for item in waiting if not item.gold and item.taken < wanted(item.key, overlap, seed=seed)]
    if not gold and not others:
        return None
    # As in drawing without replacement: so gold questions are spread evenly, and nobody can tell when one comes.
    if _uniform(seed, annotator, num_answered) * (len(gold) + len(others)) < len(gold):
        return min(gold, key=lambda item: derive(seed, annotator, item.key)).key
    return min(others, key=lambda item: (-item.uncertainty, item.position)).key


def wanted(key: str, overlap: float, *, seed: int) -> int:
    """How many annotators an item is for: with overlap 1.2, one each, and a second for a fifth of the items, by chance."""
    whole = math.floor(overlap)
    return whole + (_uniform(seed, "overlap", key) < overlap - whole)


def shown_order(num_choices: int, *, seed: int, annotator: str, key: str) -> tuple[int, ...]:
    """Which choice stands at each place: a permutation of its own for every annotator and item."""
    order = np.random.default_rng(derive(seed, "order", annotator, key)).permutation(num_choices)
    return tuple(int(i) for i in order)


def uncertainty(scores: Sequence[Sequence[float]]) -> float:
    """How unsure an ensemble is about an item, in nats, between 0 and log 2; scores[m][i] is member m's of choice i.

    The entropy of the chance that one choice beats another, s(r_i - r_j) averaged over members, averaged over all two choices:
    high where the scores are close, or where members contradict each other.
    """
    values = np.asarray(scores, dtype=np.float64)  # (M, K)
    entropies = []
    for i, j in combinations(range(values.shape[1]), 2):
        p = float(np.mean(0.5 * (1 + np.tanh((values[:, i] - values[:, j]) / 2))))
        entropies.append(-sum(q * math.log(q) for q in (p, 1 - p) if q > 0))
    return sum(entropies) / len(entropies)


def _uniform(*names: object) -> float:
    return derive(0, "label", *names) / 2**63
