"""Does what a reward model likes part from what passes, as the policy moves away from its start? Pure.

Gao, Schulman and Hilton 2022 (arXiv:2210.10760): with d = sqrt(KL(policy || start)), the gold reward gained is

    best of N    d (alpha - beta d)        their equation 1; KL = log N - (N-1)/N, exactly for scores without ties
    RL           d (alpha - beta log d)    their equation 2

Here the proxy is the reward model's score and gold is the rate at which programs pass all tests. beta above 0 bends the
curve down; a curve is over-optimised where gold is below its peak for sure while the proxy is not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from coderl.evaluate.passk import paired_difference

BINS = 12  # points of an RL curve: neighbouring steps are averaged
MIN_SPREAD = 2.0  # of the distances, largest over smallest, below which no law is fitted
MIN_FALL = 0.05  # of the gold rate below its peak, for an RL curve, whose points have no problems in common


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """`at` is N, or the last training step of the bin; `kl` in nats per completion; `proxy` a score, `gold` a pass rate."""

    at: int
    kl: float
    proxy: float
    gold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """`kind` is "rl" or "best_of_n"; points by training step or N. `alpha` and `beta` are of the law above, None where
    the points do not tell them: fewer than 3, or all beyond the first at much the same distance.
    """

    name: str
    kind: str
    points: tuple[Point, ...]
    alpha: float | None
    beta: float | None
    over_optimised: bool
    verdict: str

    def told(self) -> Iterator[str]:
        """The verdict, with the law where one could be fitted, and a line per point."""
        law = "" if self.alpha is None or self.beta is None else f"; alpha {self.alpha:+.3f}, beta {self.beta:+.3f}"
        yield f"{self.name}: {self.verdict}{law}"
        for point in self.points:
            at = f"N {point.at}" if self.kind == "best_of_n" else f"step {point.at}"
            yield f"  {at:<9} KL {point.kl:.3f}  proxy {point.proxy:+.3f}  gold {point.gold:.1%}"

    @property
    def peak(self) -> Point:
        """Where gold is highest; the smallest KL of several."""
        return max(self.points, key=lambda p: (p.gold, -p.kl))


def best_of_n_kl(n: int) -> float:
    """KL, in nats, of the best of n samples from the distribution of one (Stiennon et al. 2020, arXiv:2009.01325, G.3).

    >>> round(best_of_n_kl(4), 4)
    0.6363
    """
    if n < 1:
        raise ValueError(f"best of {n}: N is 1 or more")
    return math.log(n) - (n - 1) / n


def rl_curve(name: str, lines: Sequence[Mapping[str, Any]]) -> Curve | None:
    """From the metrics of the steps of one RL stage with a learned reward; None where fewer than two steps have all values."""
    steps = []
    for line in lines:
        values = line.get("values", {})
        kl = values.get("policy/ref_kl_sequence")
        if kl is None and values.get("policy/ref_kl") is not None and values.get("rollout/length") is not None:
            kl = values["policy/ref_kl"] * values["rollout/length"]
        found = (kl, values.get("learned/score"), values.get("rollout/pass_rate"))
        if not any(value is None for value in found):
            steps.append((line["step"], *found))
    if len(steps) < 2:
        return None
    points = []
    for own in np.array_split(np.array(steps, dtype=np.float64), min(BINS, len(steps))):
        _, kl, proxy, gold = own.mean(0).tolist()
        points.append(Point(at=int(own[-1, 0]), kl=max(kl, 0.0), proxy=proxy, gold=gold))
    peak, last = max(points, key=lambda p: (p.gold, -p.kl)), points[-1]
    falls = last.gold < peak.gold - MIN_FALL and last.proxy >= peak.proxy
    rule = f"gold at the last step more than {MIN_FALL:g} below its peak, the proxy no lower than there"
    return _curve(name, "rl", points, falls, rule)


def best_of_n_curve(name: str, choices: Sequence[Mapping[str, Any]], *, seed: int = 0) -> Curve | None:
    """From the choices by `reward_model` that `coderl sample --best-of` or the stage writes; None where there are under two."""
    own = sorted((c for c in choices if c["by"] == "reward_model" and c.get("score") is not None), key=lambda c: c["n"])
    if len(own) < 2:
        return None
    points = [Point(at=c["n"], kl=best_of_n_kl(c["n"]), proxy=c["score"], gold=c["pass_rate"]) for c in own]
    peak = max(range(len(points)), key=lambda i: (points[i].gold, -i))
    difference = paired_difference(own[peak]["per_task"], own[-1]["per_task"], seed=seed)
    falls = difference.high < 0 and points[-1].proxy >= points[peak].proxy
    return _curve(name, "best_of_n", points, falls, "gold at the largest N below its peak, paired interval below 0")


def fit(kind: str, points: Sequence[Point]) -> tuple[float, float] | tuple[None, None]:
    """alpha and beta by least squares on gold - gold of the first point, at d = sqrt(KL); None where d varies too little."""
    distances = np.sqrt([p.kl for p in points[1:]])
    used = distances > 0
    if used.sum() < 2 or distances.max() < MIN_SPREAD * distances[used].min():
        return None, None
    d = distances[used]
    gain = np.array([p.gold - points[0].gold for p in points[1:]])[used]
    bend = -(d**2) if kind == "best_of_n" else -d * np.log(d)
    (alpha, beta), *_ = np.linalg.lstsq(np.stack([d, bend], axis=1), gain, rcond=None)
    return float(alpha), float(beta)


def _curve(name: str, kind: str, points: Sequence[Point], falls: bool, rule: str) -> Curve:
    alpha, beta = fit(kind, points)
    peak, last = max(points, key=lambda p: (p.gold, -p.kl)), points[-1]
    state = "over-optimised" if falls else "not over-optimised"
    verdict = (
        f"{state} (rule: {rule}): gold peaks at {peak.gold:.1%} (KL {peak.kl:.2f}) and is "
        f"{last.gold:.1%} at KL {last.kl:.2f}; proxy {points[0].proxy:+.2f} to {last.proxy:+.2f}"
    )
    return Curve(
        name=name, kind=kind, points=tuple(points), alpha=alpha, beta=beta, over_optimised=falls, verdict=verdict
    )
