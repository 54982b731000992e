"""What is a verdict worth? Named parts per verdict, summed to one number; NaN where nobody knows.

all_pass   1 if every case passed, else 0
fraction   share of the cases that passed
coderl     -1 compile error, -0.6 runtime error or limit, -0.3 wrong answer, +1 all passed (Le et al. 2022, eq. 4)
rltf       coderl's errors, but -0.3 + 1.3 * share passed where the program ran (Liu et al. 2023, eq. 5)
"""

from __future__ import annotations

import math

from coderl.config import RewardConfig
from sandbox.verdict import CaseResult, Outcome, Status, Verdict, worst

_ERRORS = frozenset(Outcome) - {Outcome.AC, Outcome.PA, Outcome.WA, Outcome.SKIP, Outcome.CE}


def reward_parts(
    verdict: Verdict | None, *, num_visible: int, truncated: bool, config: RewardConfig
) -> dict[str, float]:
    """The named parts of the reward of one sample.

    The first `num_visible` case results are those of the visible cases; with `config.cases` "visible" only they count
    (all of them if a task has no visible case). An UNSCORABLE verdict, or None, gives {"execution": nan}.
    """
    if verdict is None or verdict.status is Status.UNSCORABLE:
        return {"execution": math.nan}
    cases = verdict.cases
    if config.cases == "visible" and num_visible:
        cases = cases[:num_visible]
    parts = {"execution": _execution(verdict.outcome, cases, config.scheme)}
    if truncated and config.truncated_penalty:
        parts["truncated"] = -config.truncated_penalty
    return parts


def total(parts: dict[str, float]) -> float:
    """The sum of the parts; NaN if any part is."""
    return math.fsum(parts.values())


def _execution(overall: Outcome, cases: tuple[CaseResult, ...], scheme: str) -> float:
    # A program that does not compile, or holds no code, has no case results to look at.
    outcome = worst(case.outcome for case in cases) if cases else overall
    share = sum(case.outcome is Outcome.AC for case in cases) / len(cases) if cases else 0.0
    if scheme == "all_pass":
        return float(outcome is Outcome.AC)
    if scheme == "fraction":
        return share
    if outcome is Outcome.CE:
        return -1.0
    if outcome in _ERRORS:
        return -0.6
    if scheme == "rltf":
        return -0.3 + 1.3 * share
    return 1.0 if outcome is Outcome.AC else -0.3
