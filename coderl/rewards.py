"""What is a verdict worth? Named parts per verdict, summed to one number; NaN where nobody knows.

all_pass   1 if every case passed, else 0
fraction   share of the cases that passed
points     share of the points of the task's groups; as fraction where it has none
coderl     -1 compile error, -0.6 runtime error or limit, -0.3 wrong answer, +1 all passed (Le et al. 2022, eq. 4)
rltf       coderl's errors, but -0.3 + 1.3 * share passed where the program ran (Liu et al. 2023, eq. 5)
"""

from __future__ import annotations

import ast
import math

from coderl.bandit_findings import bandit_harm
from coderl.config import RewardConfig
from coderl.program_rewards import ast_match, dataflow_match, harm, parsed
from sandbox.verdict import CaseResult, Outcome, Status, Verdict, worst

_ERRORS = frozenset(Outcome) - {Outcome.AC, Outcome.PA, Outcome.WA, Outcome.SKIP, Outcome.CE}


TIME_NOISE_MS = 2.0  # of cpu time per case: what a fork and an import cost, more or less
MIN_SPEEDUP = 0.25  # in log2: a fifth faster or slower is noise


def reward_parts(
    verdict: Verdict | None,
    *,
    num_visible: int,
    truncated: bool,
    config: RewardConfig,
    program: str = "",
    reference: str = "",
    length_share: float = 0.0,
    reference_verdict: Verdict | None = None,
) -> dict[str, float]:
    """The named parts of the reward of one sample.

    The first `num_visible` case results are those of the visible cases; with `config.cases` "visible" only they count
    (all of them if a task has no visible case). An UNSCORABLE verdict, or None, gives {"execution": nan}. The
    other arguments are for the parts that the config gives a weight: the texts of program and reference, the share of the
    token limit that the completion took, and the verdict on the reference. Such a part is there for every scorable sample.
    """
    if verdict is None or verdict.status is Status.UNSCORABLE:
        return {"execution": math.nan}
    cases = verdict.cases
    if config.cases == "visible" and num_visible:
        cases = cases[:num_visible]
    parts = {"execution": _execution(verdict, cases, config.scheme)}
    if truncated and config.truncated_penalty:
        parts["truncated"] = -config.truncated_penalty
    if config.length_weight:
        parts["length"] = -config.length_weight * length_share
    if config.forbidden_weight:
        seen = verdict.outcome is Outcome.SV or any(Outcome.SV in (c.outcome, *c.flags) for c in verdict.cases)
        parts["forbidden"] = -config.forbidden_weight * seen
    if config.time_weight:
        parts["time"] = config.time_weight * _speedup(verdict, reference_verdict)
    return parts | _text_parts(program, reference, config)


def total(parts: dict[str, float]) -> float:
    """The sum of the parts; NaN if any part is."""
    return math.fsum(parts.values())


def _text_parts(program: str, reference: str, config: RewardConfig) -> dict[str, float]:
    if not (config.format_weight or config.ast_weight or config.dataflow_weight or config.harm_weight):
        return {}
    tree, target = parsed(program), parsed(reference)
    both = tree is not None and target is not None
    parts = {
        "format": config.format_weight * (tree is not None),
        "ast": config.ast_weight * ast_match(tree, target) if tree and target and both else 0.0,
        "dataflow": config.dataflow_weight * dataflow_match(tree, target) if tree and target and both else 0.0,
        "harm": -config.harm_weight * _harm(program, tree, config.harm_source) if tree and config.harm_weight else 0.0,
    }
    weights = {name: getattr(config, f"{name}_weight") for name in parts}
    return {name: value for name, value in parts.items() if weights[name]}


def _harm(program: str, tree: ast.Module, source: str) -> float:
    return bandit_harm(program) if source == "bandit" else harm(tree)


def _speedup(verdict: Verdict, reference: Verdict | None) -> float:
    """log2 of the reference's cpu time over the program's, -1 to 1; 0 unless both passed, and within the noise."""
    if verdict.status is not Status.PASS or reference is None or reference.status is not Status.PASS:
        return 0.0
    own, other = (sum(case.cpu_ms + TIME_NOISE_MS for case in v.cases) for v in (verdict, reference))
    gain = math.log2(other / own)
    return 0.0 if abs(gain) < MIN_SPEEDUP else max(-1.0, min(1.0, gain))


def _execution(verdict: Verdict, cases: tuple[CaseResult, ...], scheme: str) -> float:
    # A program that does not compile, or holds no code, has CE in every case; a verdict without cases tells as a whole.
    outcome = worst(case.outcome for case in cases) if cases else verdict.outcome
    share = sum(case.outcome is Outcome.AC for case in cases) / len(cases) if cases else 0.0
    if scheme == "all_pass":
        return float(outcome is Outcome.AC)
    if scheme == "points" and verdict.points is not None and verdict.max_points:
        return verdict.points / verdict.max_points
    if scheme in ("fraction", "points"):
        return share
    if outcome is Outcome.CE:
        return -1.0
    if outcome in _ERRORS:
        return -0.6
    if scheme == "rltf":
        return -0.3 + 1.3 * share
    return 1.0 if outcome is Outcome.AC else -0.3
