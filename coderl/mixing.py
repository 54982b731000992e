"""How does a learned score join the reward of execution, so that a program that fails never outranks one that passes?

With e the reward of execution, z the normalised score, c the coefficient (below 1/2) and top the reward of a pass:

    gate        e + c s(z) where the program passed, else e              the score ranks passing programs only
    tie_break   e + c g tanh(z), g the smallest gap between two different e of the group (1 at most)
                                                                         order by e first, by the score among equals
    sum         e + c tanh(z), for a failing program at most top - 1.01 c

s is the logistic function. In all three every passing program of a group is above every failing one (point 36 of the list in
docs/algorithms.md). Pure; no model is called here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise


def mixed(
    execution: Sequence[float], passed: Sequence[bool], scores: Sequence[float], *, mix: str, coef: float
) -> list[float]:
    """The rewards of one group (the samples of one task). NaN where execution is NaN. Raises ValueError for another mix."""
    if mix not in ("gate", "tie_break", "sum"):
        raise ValueError(f"mix {mix!r}: use gate, tie_break or sum")
    known = sorted({e for e in execution if not math.isnan(e)})
    gap = min([1.0, *(b - a for a, b in pairwise(known))])
    top = min((e for e, p in zip(execution, passed, strict=True) if p), default=math.inf)
    rewards = []
    for e, is_pass, z in zip(execution, passed, scores, strict=True):
        if mix == "gate":
            reward = e + coef / (1 + math.exp(-max(min(z, 50.0), -50.0))) if is_pass else e
        elif mix == "tie_break":
            reward = e + coef * gap * math.tanh(z)
        else:
            reward = e + coef * math.tanh(z)
            if not is_pass:
                reward = min(reward, top - 1.01 * coef)
        rewards.append(reward)
    return rewards
