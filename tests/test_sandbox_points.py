"""Do groups of cases earn the points they should, and do cases that change nothing stay unrun?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox import Award, CallCase, CaseResult, Grader, GradeRequest, Group, Outcome, Program, StdioCase, Verdict
from sandbox.points import earned, is_lost, outcome_and_points


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=1) as opened:
        yield opened


def results(*codes: str) -> list[CaseResult]:
    """AC, WA, .. or a number: partly accepted with that share."""
    return [
        CaseResult(outcome=Outcome.PA, share=float(code)) if code[0] == "0" else CaseResult(outcome=Outcome(code))
        for code in codes
    ]


@pytest.mark.parametrize(
    ("award", "codes", "points"),
    [
        (Award.ALL, ("AC", "AC"), 12.0),
        (Award.ALL, ("AC", "0.9"), 0.0),
        (Award.ALL, ("AC", "SKIP"), 0.0),
        (Award.MIN, ("AC", "0.5"), 6.0),
        (Award.MIN, ("0.25", "0.5"), 3.0),
        (Award.MIN, ("AC", "TLE"), 0.0),
        (Award.SUM, ("AC", "WA", "0.5"), 6.0),  # 12 / 3 * (1 + 0 + 0.5)
    ],
)
def test_a_group_earns_what_its_award_says(award: Award, codes: tuple[str, ...], points: float) -> None:
    found = results(*codes)
    assert earned(Group(cases=tuple(range(len(codes))), points=12, award=award), found) == pytest.approx(points)


def test_only_points_that_nothing_can_change_any_more_are_lost() -> None:
    pair = {award: Group(cases=(0, 1), points=1, award=award) for award in Award}
    assert is_lost(1, [pair[Award.ALL]], results("WA"))
    assert is_lost(1, [pair[Award.ALL]], results("0.5"))
    assert not is_lost(1, [pair[Award.MIN]], results("0.5"))
    assert is_lost(1, [pair[Award.MIN]], results("WA"))
    assert not is_lost(1, [pair[Award.SUM]], results("WA"))
    assert not is_lost(1, [pair[Award.ALL]], results("AC"))
    assert not is_lost(1, [Group(cases=(0, 1), points=1, stop_early=False)], results("WA"))
    assert not is_lost(1, [pair[Award.ALL], Group(cases=(1,), points=1)], results("WA"))  # the other may still be won
    assert not is_lost(2, [pair[Award.ALL]], results("WA", "WA"))  # in no group


@pytest.mark.parametrize(
    ("codes", "outcome", "points"),
    [
        (("AC", "AC", "AC"), "AC", 10.0),
        (("AC", "AC", "WA"), "PA", 4.0),
        (("WA", "AC", "TLE"), "TLE", 0.0),
        (("AC", "AC", "JE"), "JE", None),
        (("AC", "IE", "AC"), "IE", None),
    ],
)
def test_a_verdict_is_partial_where_some_but_not_all_points_are_earned(
    codes: tuple[str, ...], outcome: str, points: float | None
) -> None:
    groups = [Group(cases=(0, 1), points=4), Group(cases=(2,), points=6)]
    assert outcome_and_points(groups, results(*codes)) == (outcome, points)


def grade(grader: Grader, source: str, *groups: Group) -> Verdict:
    calls = tuple(CallCase(function="f", args=(i,), expected=i) for i in range(6))
    (verdict,) = grader.grade([GradeRequest(program=Program(source=source), cases=calls, groups=groups)])
    return verdict


def test_subtasks_are_graded_one_by_one_and_the_rest_of_a_lost_one_is_skipped(grader: Grader) -> None:
    groups = (Group(cases=(0, 1), points=20), Group(cases=(2, 3, 4), points=30), Group(cases=(5,), points=50))
    verdict = grade(grader, "def f(x): return x if x != 3 else 0", *groups)
    assert [case.outcome for case in verdict.cases] == ["AC", "AC", "AC", "WA", "SKIP", "AC"]
    assert (verdict.outcome, verdict.points, verdict.max_points, verdict.status) == ("PA", 70.0, 100.0, "FAIL")
    assert Verdict.from_json(verdict.to_json()) == verdict
    full = grade(grader, "def f(x): return x", *groups)
    assert (full.outcome, full.points) == ("AC", 100.0)


def test_a_program_that_does_not_compile_earns_none_of_the_points(grader: Grader) -> None:
    verdict = grade(grader, "def f(", Group(cases=(0,), points=3))
    assert (verdict.outcome, verdict.points, verdict.max_points) == ("CE", 0.0, 3.0)
    assert grade(grader, "def f(x): return x").points is None


@pytest.mark.parametrize(
    "group", [Group(cases=(), points=1), Group(cases=(9,), points=1), Group(cases=(0,), points=float("nan"))]
)
def test_a_group_that_cannot_be_is_the_fault_of_the_task(grader: Grader, group: Group) -> None:
    verdict = grade(grader, "def f(x): return x", group)
    assert (verdict.outcome, verdict.points) == ("JE", None)
    assert "group 0" in verdict.detail


def test_groups_of_stdio_cases_stop_as_well(grader: Grader) -> None:
    cases = tuple(StdioCase(stdin=str(i), stdout=str(min(i, 1))) for i in range(4))
    groups = (Group(cases=(0, 2, 3), points=1), Group(cases=(1,), points=1))
    request = GradeRequest(program=Program(source="print(input())"), cases=cases, groups=groups)
    (verdict,) = grader.grade([request])
    assert [case.outcome for case in verdict.cases] == ["AC", "AC", "WA", "SKIP"]


def test_a_verdict_written_before_there_were_points_still_loads() -> None:
    record = {
        "outcome": "AC", "integrity": "separated", "isolation": {"backend": "jail", "layers": []}, "detail": "",
        "attempts": 1, "schema": 1,
        "cases": [{
            "outcome": "AC", "flags": ["AC"], "detail": "", "cpu_ms": 1.0, "wall_ms": 1.0, "memory_bytes": 1,
            "processes": 1, "exit_code": 0, "signal": None, "output_head": "", "output_digest": "",
            "output_truncated": False,
        }],
    }  # fmt: skip
    loaded = Verdict.from_json(record)
    assert (loaded.points, loaded.cases[0].share) == (None, None)
