"""What a verdict is worth, by the published tables."""

from __future__ import annotations

import math

import pytest

from coderl.config import RewardConfig
from coderl.rewards import reward_parts, total
from sandbox.verdict import CaseResult, Integrity, Isolation, Outcome, Verdict, worst


def verdict(*outcomes: str) -> Verdict:
    cases = tuple(CaseResult(outcome=Outcome(o)) for o in outcomes)
    return Verdict(
        outcome=worst(c.outcome for c in cases),
        cases=cases,
        integrity=Integrity.SEPARATED,
        isolation=Isolation(backend="plain"),
    )


def reward(given: Verdict | None, *, num_visible: int = 0, truncated: bool = False, **settings: object) -> float:
    config = RewardConfig(**{"cases": "all", **settings})
    return total(reward_parts(given, num_visible=num_visible, truncated=truncated, config=config))


@pytest.mark.parametrize(
    ("scheme", "outcomes", "expected"),
    [
        ("all_pass", ["AC", "AC"], 1.0),
        ("all_pass", ["AC", "WA"], 0.0),
        ("fraction", ["AC", "WA", "AC", "TLE"], 0.5),
        ("coderl", ["AC", "AC"], 1.0),
        ("coderl", ["AC", "WA"], -0.3),
        ("coderl", ["AC", "RE"], -0.6),
        ("coderl", ["WA", "TLE"], -0.6),
        ("coderl", ["CE"], -1.0),
        ("rltf", ["CE"], -1.0),
        ("rltf", ["RE", "AC"], -0.6),
        ("rltf", ["AC", "WA"], -0.3 + 1.3 * 0.5),
        ("rltf", ["AC", "AC"], 1.0),
    ],
)
def test_tables(scheme, outcomes, expected):
    assert reward(verdict(*outcomes), scheme=scheme) == pytest.approx(expected)


@pytest.mark.parametrize("outcome", ["IE", "JE"])
@pytest.mark.parametrize("scheme", ["all_pass", "fraction", "coderl", "rltf"])
def test_a_failure_of_the_infrastructure_or_the_task_is_never_a_reward(outcome, scheme):
    assert math.isnan(reward(verdict("AC", outcome), scheme=scheme))
    assert math.isnan(reward(None, scheme=scheme, truncated=True, truncated_penalty=0.5))


def test_visible_rewards_do_not_see_hidden_cases():
    assert reward(verdict("AC", "WA"), num_visible=1, cases="visible") == 1.0
    assert reward(verdict("AC", "WA"), num_visible=1, cases="all") == 0.0


def test_a_task_without_visible_cases_is_rewarded_on_all():
    assert reward(verdict("AC", "WA"), num_visible=0, cases="visible") == 0.0


def test_a_program_that_did_not_compile_has_no_case_results_and_still_gets_the_tables_value():
    broken = Verdict(outcome=Outcome.CE, cases=(), integrity=Integrity.SEPARATED, isolation=Isolation(backend="plain"))
    assert reward(broken, scheme="coderl") == -1.0
    assert reward(broken, scheme="all_pass") == 0.0


def test_the_penalty_for_running_out_of_tokens_is_a_part_of_its_own():
    config = RewardConfig(truncated_penalty=0.25)
    parts = reward_parts(verdict("AC"), num_visible=0, truncated=True, config=config)
    assert parts == {"execution": 1.0, "truncated": -0.25}
    assert total(parts) == 0.75
