"""Do the tests that decide come first, and does that leave every reward as it was?"""

import random

from coderl.case_order import CaseOrder, arranged, restored
from coderl.config import RewardConfig, SandboxConfig
from coderl.rewards import reward_parts
from coderl.workbench import open_grader
from sandbox import CallCase, Isolation, StdioCase
from sandbox.verdict import CaseResult, Integrity, Outcome, Verdict
from tasks.task import Split, Style, Task


def task(num_visible, num_hidden, case=lambda i: StdioCase(stdin=f"{i}\n", stdout=f"{2 * i}\n"), name="t"):
    cases = tuple(case(i) for i in range(num_visible + num_hidden))
    return Task(
        id=f"s/{name}", prompt="", style=Style.INSTRUCTION, split=Split.TRAIN,
        visible=cases[:num_visible], hidden=cases[num_visible:],
    )  # fmt: skip


def verdict(*outcomes, cpu_ms=()):
    times = cpu_ms or [0.0] * len(outcomes)
    cases = tuple(CaseResult(outcome=Outcome(o), cpu_ms=ms) for o, ms in zip(outcomes, times, strict=True))
    worst = next((c.outcome for c in cases if c.outcome is not Outcome.AC), Outcome.AC)
    return Verdict(outcome=worst, cases=cases, integrity=Integrity.SEPARATED, isolation=Isolation(backend="x"))


def test_what_fails_most_for_its_price_comes_first_but_visible_before_hidden():
    t = task(2, 4)
    order = CaseOrder([t])
    request = t.request("", stop_early=True)
    assert order.of(request) == [0, 1, 2, 3, 4, 5]
    # two runs of each case, one failure of cases 1, 3 and 5; 3 takes 27 ms of cpu time, so 30 in all, 5 takes none
    order.learn(request, verdict("AC", "WA", "AC", "WA", "AC", "AC", cpu_ms=[0, 0, 0, 27, 0, 0]))
    order.learn(request, verdict("AC", "AC", "AC", "AC", "AC", "WA", cpu_ms=[0, 0, 0, 27, 0, 0]))
    # worth: 5 has 1.1 / 3 / 3 = 0.122; 2 and 4 have 0.1 / 3 / 3 = 0.0111; 3 has 1.1 / 3 / 30 = 0.0122
    assert order.of(request) == [1, 0, 5, 3, 2, 4]


def test_a_case_that_was_not_run_or_that_nobody_could_judge_teaches_nothing():
    t = task(0, 3)
    order = CaseOrder([t])
    request = t.request("", stop_early=True)
    order.learn(request, verdict("AC", "IE", "SKIP"))
    order.learn(request, verdict("CE", "CE", "CE"))
    assert order.of(request) == [1, 2, 0]  # the first one passed; of the others nothing is known


def test_where_every_case_counts_or_cases_share_a_process_the_order_is_the_given_one():
    t, calls = task(0, 3), task(0, 3, lambda i: CallCase(function="f", args=(i,), expected=i), name="c")
    order = CaseOrder([t, calls])
    for each in (t, calls):
        order.learn(each.request("", stop_early=True), verdict("AC", "AC", "WA"))
    assert order.of(t.request("", stop_early=True)) == [2, 0, 1]
    assert order.of(t.request("", stop_early=False)) == [0, 1, 2]
    assert order.of(calls.request("", stop_early=True)) == [0, 1, 2]
    assert order.of(task(0, 3).request("", stop_early=True)) == [0, 1, 2]  # equal, but of no task that is known


def test_results_return_to_their_places():
    t = task(0, 3)
    request, order = t.request("", stop_early=True), [2, 0, 1]
    assert arranged(request, order).cases == (t.hidden[2], t.hidden[0], t.hidden[1])
    found = restored(verdict("AC", "WA", "SKIP"), order)
    assert [c.outcome for c in found.cases] == ["WA", "SKIP", "AC"]
    assert restored(verdict(), order) == verdict()


def test_rewards_are_those_of_the_given_order_and_fewer_runs_are_needed():
    """Programs that are right up to a number, and one that breaks in two ways; tests in rising order, so the last decide."""
    t = task(2, 8)
    sources = [f"n = int(input())\nprint(2 * n if n < {k} else 0)\n" for k in (1, 5, 9, 10)]
    sources += ["n = int(input())\nprint(1 // (n - 4) and 2 * n if n < 9 else 0)\n"]
    rng = random.Random(0)
    batches = [[rng.choice(sources) + f"# {step}.{i}\n" for i in range(6)] for step in range(4)]  # none is remembered
    rewards, runs = {}, {}
    for order in ("given", "deciding"):
        with open_grader(SandboxConfig(backend="plain", workers=1, case_order=order, recheck=0.5), [t]) as grader:
            found = [v for batch in batches for v in grader.grade([t.request(s, stop_early=True) for s in batch])]
            assert grader.take_flaky() == []
        parts = [
            reward_parts(v, num_visible=2, truncated=False, config=RewardConfig(cases=cases))
            for v in found
            for cases in ("visible", "all")
        ]
        rewards[order] = parts
        runs[order] = sum(c.outcome is not Outcome.SKIP for v in found for c in v.cases)
    assert rewards["given"] == rewards["deciding"]
    assert {part["execution"] for part in rewards["given"]} == {0.0, 1.0}
    assert runs["deciding"] < 0.8 * runs["given"]
