"""Which tasks does a step take, and what did it learn about their difficulty?

Pure: draws depend on the run's seed, what was drawn before and the results that were recorded, never on processes, workers
or the order of arrival. `state` is what a checkpoint needs. Samplers:

- uniform: an endless stream of fresh permutations of the tasks;
- pools: tasks of one level (or range of levels) are a pool; a pool is taken as often as its weight says;
- signal: a task is taken as often as its own weight says.

The weight is the signal that another sample is expected to give, E[p (1 - p)] with p ~ Beta(a, b), that is
a b / ((a + b) (a + b + 1)), plus FLOOR, so that nothing is ever left for good. For a pool, a and b are its passes and failures,
plus one each; for a task its own, plus PRIOR samples at the rate of its pool, so that a task never tried counts as its pool
does. p (1 - p) is the variance of a reward of 0 or 1: what a group baseline can learn from. Older results fade by `decay`
each time that a task is sampled again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coderl.seeds import cursor, derive, uniforms

FLOOR = 0.01  # of a weight, whose largest part is 1/4
PRIOR = 2.0  # samples
MAX_POOLS = 6
BINS = ("untried", "none", "under_half", "over_half", "all")  # of a task's running pass rate
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """Task number `index`, for the `repeat`-th time in its step (the first is 0): what its sampling seeds need."""

    index: int
    repeat: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Of `graded` scorable samples of task number `index`, `passed` passed."""

    index: int
    passed: int
    graded: int


class Curriculum:
    """The running pass rates of a stage's tasks, and the draws made from them."""

    def __init__(
        self, ids: Sequence[str], levels: Sequence[int], *, sampler: str, decay: float, seed: int, name: str
    ) -> None:
        self._ids, self._sampler, self._decay, self._seed, self._name = tuple(ids), sampler, decay, seed, name
        first = {task: i for i, task in reversed(list(enumerate(self._ids)))}
        self._slot = np.array([first[task] for task in self._ids], dtype=np.int64)  # a task listed twice is one task
        self._first = first
        self.pools, self._pool_of = pools(levels)  # names, and which pool each task is in
        self._members = [np.flatnonzero(self._pool_of == pool) for pool in range(len(self.pools))]
        self._passed, self._graded = np.zeros(len(ids)), np.zeros(len(ids))
        self._drawn = 0  # tasks drawn so far
        self._of_pool = [0] * len(self.pools)  # how many of these by pool, for the sampler `pools`
        self._this_step: dict[int, int] = {}

    def begin_step(self) -> None:
        """Forget which tasks the step before this took."""
        self._this_step = {}

    def draw(self, count: int) -> list[Draw]:
        """The next `count` tasks."""
        draws = []
        for index in self._indices(count):
            slot = int(self._slot[index])
            repeat = self._this_step[slot] = self._this_step.get(slot, -1) + 1
            draws.append(Draw(index=index, repeat=repeat))
        self._drawn += count
        return draws

    def record(self, results: Iterable[Result]) -> None:
        """Take in what became of drawn tasks, in the order of the draws."""
        for result in results:
            slot = self._slot[result.index]
            if result.graded:
                self._passed[slot] = self._decay * self._passed[slot] + result.passed
                self._graded[slot] = self._decay * self._graded[slot] + result.graded

    def metrics(self) -> dict[str, float]:
        """The map of difficulty: for each pool the share of its tasks in each of BINS, and its mean pass rate."""
        values: dict[str, float] = {}
        for name, members in zip(self.pools, self._members, strict=True):
            passed, graded = self._passed[self._slot[members]], self._graded[self._slot[members]]
            tried = graded > 0
            rates = passed[tried] / graded[tried]
            counts = (
                np.count_nonzero(~tried),
                np.count_nonzero(rates == 0),
                np.count_nonzero((rates > 0) & (rates < 0.5)),
                np.count_nonzero((rates >= 0.5) & (rates < 1)),
                np.count_nonzero(rates == 1),
            )
            values |= {f"difficulty/{name}/{bin_}": n / len(members) for bin_, n in zip(BINS, counts, strict=True)}
            values[f"difficulty/{name}/pass_rate"] = float(rates.mean()) if tried.any() else float("nan")
        return values

    def state(self) -> dict[str, Any]:
        """Plain values; tasks are named by id, so that a changed list of tasks cannot mix them up."""
        seen = np.flatnonzero(self._graded)
        rates = {self._ids[i]: [float(self._passed[i]), float(self._graded[i])] for i in seen}
        return {"drawn": self._drawn, "of_pool": list(self._of_pool), "rates": rates}

    def load_state(self, state: dict[str, Any]) -> None:
        self._drawn, self._of_pool = state["drawn"], list(state["of_pool"])
        self._passed[:], self._graded[:] = 0.0, 0.0
        for task, (passed, graded) in state["rates"].items():
            if task in self._first:
                self._passed[self._first[task]], self._graded[self._first[task]] = passed, graded

    def weights(self) -> Array:
        """The weight of each task under the sampler `signal`."""
        prior = self._pool_rates()[self._pool_of]
        passed, graded = self._passed[self._slot], self._graded[self._slot]
        return _signal(passed + PRIOR * prior, graded - passed + PRIOR * (1 - prior)) + FLOOR

    def pool_weights(self) -> Array:
        """The weight of each pool under the sampler `pools`."""
        passed, graded = self._pool_sums()
        return _signal(passed + 1, graded - passed + 1) + FLOOR

    def _indices(self, count: int) -> list[int]:
        if self._sampler == "uniform":
            return cursor(self._seed, self._name, len(self._ids), self._drawn, count)
        chance = uniforms(derive(self._seed, self._name, "curriculum", self._drawn), max(count, len(self._ids)))
        return self._by_pools(count, chance) if self._sampler == "pools" else self._by_signal(count, chance)

    def _by_pools(self, count: int, chance: Array) -> list[int]:
        weights = self.pool_weights()
        edges = np.cumsum(weights / weights.sum())
        indices = []
        for pool in np.minimum(np.searchsorted(edges, chance[:count], side="right"), len(edges) - 1):
            members, start = self._members[pool], self._of_pool[pool]
            (place,) = cursor(self._seed, f"{self._name}/{self.pools[pool]}", len(members), start, 1)
            self._of_pool[pool] += 1
            indices.append(int(members[place]))
        return indices

    def _by_signal(self, count: int, chance: Array) -> list[int]:
        """Weighted sampling without replacement: the largest u^(1/w) (Efraimidis and Spirakis 2006)."""
        keys = np.log1p(-chance[: len(self._ids)]) / self.weights()
        taken = np.zeros(len(self._ids))
        for slot, repeat in self._this_step.items():
            taken[self._slot == slot] = repeat + 1  # what the step has already comes again only where no other is left
        order = np.lexsort((-keys, taken))
        return [int(order[i % len(order)]) for i in range(count)]

    def _pool_sums(self) -> tuple[Array, Array]:
        size = len(self.pools)
        return (
            np.bincount(self._pool_of, weights=self._passed, minlength=size).astype(np.float64),
            np.bincount(self._pool_of, weights=self._graded, minlength=size).astype(np.float64),
        )

    def _pool_rates(self) -> Array:
        passed, graded = self._pool_sums()
        return (passed + 1) / (graded + 2)


def pools(levels: Sequence[int]) -> tuple[list[str], NDArray[np.int64]]:
    """The names of the pools, easiest first, and the pool of each task; neighbouring levels share one if there are many.

    >>> pools([2, 1, 2, 5])
    (['1', '2', '5'], array([1, 0, 1, 2]))
    """
    distinct = sorted(set(levels))
    parts = [list(part) for part in np.array_split(distinct, min(len(distinct), MAX_POOLS))]
    names = [str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts]
    where = {int(level): number for number, part in enumerate(parts) for level in part}
    return names, np.array([where[level] for level in levels], dtype=np.int64)


def has_signal(rewards: Iterable[float]) -> bool:
    """Whether a group's baseline leaves anything to learn: two scorable samples with different rewards (NaN: unscorable)."""
    return len({reward for reward in rewards if not math.isnan(reward)}) > 1


def _signal(a: Array, b: Array) -> Array:
    """E[p (1 - p)] for p ~ Beta(a, b)."""
    total = a + b
    return a * b / (total * (total + 1))
