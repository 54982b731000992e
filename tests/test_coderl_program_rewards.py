"""What the text of a program earns or costs."""

from __future__ import annotations

import pytest

from coderl.config import RewardConfig
from coderl.program_rewards import ast_match, dataflow_match, findings, harm, parsed
from coderl.rewards import reward_parts, total
from sandbox.verdict import CaseResult, Integrity, Isolation, Outcome, Verdict, worst

REFERENCE = "def f(xs):\n    total = 0\n    for x in xs:\n        total += x\n    return total\n"


def tree(text):
    found = parsed(text)
    assert found is not None
    return found


def verdict(*outcomes, cpu_ms=10.0, **more):
    cases = tuple(CaseResult(outcome=Outcome(o), flags=(Outcome(o),), cpu_ms=cpu_ms) for o in outcomes)
    isolation = Isolation(backend="scripted")
    overall = worst(c.outcome for c in cases)
    return Verdict(outcome=overall, cases=cases, integrity=Integrity.SEPARATED, isolation=isolation, **more)


def parts(given, *, program=REFERENCE, reference=REFERENCE, length_share=0.5, reference_verdict=None, **settings):
    return reward_parts(
        given,
        num_visible=0,
        truncated=False,
        config=RewardConfig(**settings),
        program=program,
        reference=reference,
        length_share=length_share,
        reference_verdict=reference_verdict,
    )


def test_a_program_matches_itself_and_an_unrelated_one_hardly():
    own, other = tree(REFERENCE), tree("print(1)")
    assert ast_match(own, own) == dataflow_match(own, own) == 1.0
    assert ast_match(other, own) == dataflow_match(other, own) == 0.0


def test_dataflow_is_blind_to_names_and_syntax_is_not():
    renamed = tree(REFERENCE.replace("total", "s").replace("xs", "numbers"))
    assert dataflow_match(renamed, tree(REFERENCE)) == 1.0
    assert 0 < ast_match(renamed, tree(REFERENCE)) < 1


def test_dataflow_by_hand():
    # edges of the reference: total from [], x from [xs], total from [x], return from [total]; the other lacks two of them
    other = tree("def f(xs):\n    total = 0\n    for x in xs:\n        total = 1\n    return xs\n")
    assert dataflow_match(other, tree(REFERENCE)) == 0.5


@pytest.mark.parametrize(
    ("program", "tests"),
    [
        ("import os\nos.system('ls')", ["B605"]),
        ("from os import system as s\ns('ls')", ["B605"]),
        ("import subprocess as sp\nsp.run(['ls'])", ["B603"]),
        ("eval('1')\nexec('2')", ["B307", "B102"]),
        ("import os\nos.execv('/bin/ls', [])", ["B606"]),
        ("def evaluate(x): return x\nevaluate(1)\nprint(sorted([1]))\n'a'.join([])", []),
    ],
)
def test_findings(program, tests):
    assert [test for test, _, _ in findings(tree(program))] == tests


def test_harm_is_bounded():
    assert harm(tree("import os\n" + "os.system('x')\n" * 5)) == 1.0
    assert harm(tree(REFERENCE)) == 0.0


def test_every_weighted_part_is_there_and_apart():
    found = parts(
        verdict("AC"), format_weight=0.1, length_weight=0.2, ast_weight=1.0, dataflow_weight=1.0, harm_weight=0.5
    )
    assert found == {"execution": 1.0, "length": -0.1, "format": 0.1, "ast": 1.0, "dataflow": 1.0, "harm": 0.0}
    assert total(found) == pytest.approx(3.0)


def test_harmful_code_costs_whether_it_passes_or_not():
    for outcome in ("AC", "WA"):
        found = parts(verdict(outcome), program="import os\nos.system('x')", harm_weight=0.5)
        assert found["harm"] == -0.5


def test_a_forbidden_operation_seen_by_the_sandbox_costs():
    assert parts(verdict("AC", "SV"), forbidden_weight=2.0)["forbidden"] == -2.0
    assert parts(verdict("AC", "WA"), forbidden_weight=2.0)["forbidden"] == 0.0


def test_text_that_does_not_parse_earns_no_part():
    found = parts(verdict("CE"), program="def f(:", scheme="coderl", format_weight=1.0, ast_weight=1.0, harm_weight=1.0)
    assert found == {"execution": -1.0, "format": 0.0, "ast": 0.0, "harm": 0.0}


def test_an_unscorable_verdict_has_no_other_parts():
    assert list(parts(verdict("IE"), format_weight=1.0, harm_weight=1.0)) == ["execution"]


@pytest.mark.parametrize(("own", "reward"), [(98.0, -0.0), (48.0, 1.0), (23.0, 1.0), (140.0, -0.506), (400.0, -1.0)])
def test_the_speed_of_a_program_that_passes(own, reward):
    # the reference takes 98 ms, both have 2 ms added: log2(100 / (own + 2))
    found = parts(verdict("AC", cpu_ms=own), reference_verdict=verdict("AC", cpu_ms=98.0), time_weight=1.0)
    assert found["time"] == pytest.approx(reward, abs=1e-3)


def test_noise_and_wrong_answers_have_no_speed():
    fast, slow = verdict("AC", cpu_ms=100.0), verdict("AC", cpu_ms=112.0)
    assert parts(slow, reference_verdict=fast, time_weight=1.0)["time"] == 0.0
    assert parts(verdict("WA", cpu_ms=1.0), reference_verdict=fast, time_weight=1.0)["time"] == 0.0


def test_points_are_a_share_of_all_points():
    assert parts(verdict("AC", "WA", points=30.0, max_points=40.0), scheme="points")["execution"] == 0.75
    assert parts(verdict("AC", "WA"), scheme="points")["execution"] == 0.5


def test_parts_normalised_before_the_sum_have_equal_say():
    """Correctness, point 27: with a format bonus of spread 100, the sum forgets correctness; normalised parts do not."""
    torch = pytest.importorskip("torch")
    from coderl.algorithms.grpo import normalized_parts, sample_advantages

    given = [
        {"execution": 1.0, "format": 0.0},
        {"execution": 0.0, "format": 100.0},
        {"execution": 1.0, "format": 100.0},
        {"execution": 0.0, "format": 0.0},
        {},
    ]
    groups = torch.zeros(5, dtype=torch.long)
    summed = torch.tensor([total(p) if p else float("nan") for p in given])
    drowned = sample_advantages(summed, groups, baseline="group", scale="std")
    equal = normalized_parts(given, groups)
    assert drowned[1] > 0.8 and drowned[0] < -0.8
    assert equal.tolist() == pytest.approx([0.0, 0.0, 2 * 0.5 / 0.57735, -2 * 0.5 / 0.57735, 0.0], abs=1e-3)


def test_bandit_is_heard_where_the_config_says_so_and_nosec_silences_nothing():
    pytest.importorskip("bandit", reason="the extra `harm` is not installed")
    from coderl.bandit_findings import bandit_findings, bandit_harm

    program = "import os, random\nassert os\nos.system(x)  # nosec\n"
    assert ("B605", "HIGH") in bandit_findings(program)
    assert bandit_harm(program) == 1.0  # the assert and the import of random are of low severity
    assert bandit_harm("eval(x)\n") == 0.5
    assert bandit_harm("import random\nassert random.random()\n") == 0.0
    # a rule of our own that bandit lacks, and one of bandit's that we lack
    assert (harm(tree("shutil.rmtree(x)")), bandit_harm("import shutil\nshutil.rmtree(x)\n")) == (0.5, 0.0)
    weak = "import requests\nrequests.get(x, verify=False, timeout=1)\n"
    assert (harm(tree(weak)), bandit_harm(weak)) == (0.0, 1.0)
    assert parts(verdict("AC"), program=weak, harm_weight=0.5, harm_source="bandit")["harm"] == -0.5
    assert parts(verdict("AC"), program=weak, harm_weight=0.5)["harm"] == 0.0


def test_bandit_never_raises_for_what_a_program_holds():
    pytest.importorskip("bandit", reason="the extra `harm` is not installed")
    from coderl.bandit_findings import bandit_harm

    for program in ("", "def f(:", "x = '\ud800'", "a" + ".b" * 3000, "\x00"):
        assert bandit_harm(program) == 0.0


def test_a_missing_bandit_is_one_clear_line(monkeypatch):
    from coderl import bandit_findings
    from coderl.errors import ConfigError

    monkeypatch.setattr(bandit_findings, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"reward.harm_source: bandit is not installed: pip install 'coderl\[harm\]'"):
        bandit_findings.require()
