"""How many points do these case results earn, and which cases need not run?

Pure. A case's share is 1 if accepted, what its checker gave if partly accepted, and 0 otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

from sandbox.spec import Award, Group
from sandbox.verdict import CaseResult, Outcome, worst

UNSCORABLE = {Outcome.IE, Outcome.JE}


def share(result: CaseResult) -> float:
    if result.outcome is Outcome.AC:
        return 1.0
    return result.share or 0.0 if result.outcome is Outcome.PA else 0.0


def earned(group: Group, results: Sequence[CaseResult]) -> float:
    """The points of one group.

    >>> results = [CaseResult(outcome=Outcome.AC), CaseResult(outcome=Outcome.WA)]
    >>> [earned(Group(cases=(0, 1), points=30, award=award), results) for award in Award]
    [0.0, 0.0, 15.0]
    """
    shares = [share(results[i]) for i in group.cases]
    if group.award is Award.SUM:
        return group.points * fsum(shares) / len(shares)
    if group.award is Award.MIN:
        return group.points * min(shares)
    return group.points if min(shares) == 1.0 else 0.0


def is_lost(index: int, groups: Sequence[Group], results: Sequence[CaseResult]) -> bool:
    """Is the case at `index` in groups only whose points no further case can change? `results` are those so far."""
    own = [group for group in groups if index in group.cases]
    return bool(own) and all(group.stop_early and _is_decided(group, results) for group in own)


def outcome_and_points(groups: Sequence[Group], results: Sequence[CaseResult]) -> tuple[Outcome, float | None]:
    """The outcome of a whole verdict, and its points; None without groups, or where nobody knows."""
    found = worst(result.outcome for result in results)
    if not groups or found in UNSCORABLE:
        return found, None
    points = fsum(earned(group, results) for group in groups)
    return Outcome.PA if points > 0 and found is not Outcome.AC else found, points


def _is_decided(group: Group, results: Sequence[CaseResult]) -> bool:
    shares = [share(results[i]) for i in group.cases if i < len(results)]
    if group.award is Award.SUM or not shares:
        return False
    return min(shares) < 1.0 if group.award is Award.ALL else min(shares) == 0.0
