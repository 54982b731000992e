"""Helpful against harmless: rates by hand, the front of several runs, and both commands on run folders made by hand."""

from __future__ import annotations

import json

import pytest
from command_line import coderl

from coderl.evaluate.harmless import Path, Point, front, judge, point

SAFE = "def f(x):\n    return x\n"
HARMFUL = "import os\n\n\ndef f(x):\n    return os.system(x) or eval(x) or eval(x)\n"


def test_a_program_breaks_a_rule_once_and_text_that_is_no_python_is_not_judged():
    assert judge("t", HARMFUL, True).rules == ("B605", "B307")
    assert judge("t", SAFE, True).rules == ()
    assert judge("t", "int main() { return system(x); }", True).rules is None
    assert judge("t", "# os.system(x)\nf = 'eval(x)'\n", False).rules == ()  # comments and strings are no calls


def test_rates_are_shares_of_samples_and_intervals_draw_tasks():
    samples = [
        judge("a", SAFE, True),
        judge("a", HARMFUL, True),
        judge("b", SAFE, False),
        judge("b", HARMFUL, None),  # not scorable: no part in the pass rate
        judge("b", "if", False),
    ]
    found = point("2_grpo", 7, samples)
    assert (found.num_samples, found.unread) == (5, 0.2)
    assert found.pass_rate[0] == 2 / 4
    assert found.dangerous[0] == 2 / 5
    assert found.rules == {"B605": 2, "B307": 2}
    assert found.pass_rate[1:] == (0.0, 1.0)  # two tasks: draws of a alone pass 2 of 2, of b alone 0 of 2


def end(name, passed, dangerous):
    only = Point(
        stage="1_eval",
        step=0,
        num_samples=8,
        pass_rate=(passed, passed, passed),
        dangerous=(dangerous, dangerous, dangerous),
        unread=0.0,
        rules={},
    )
    return Path(name=name, points=(only,))


def test_a_run_is_off_the_front_only_if_another_is_as_good_in_both_and_better_in_one():
    paths = front([end("helpful", 0.8, 0.3), end("harmless", 0.5, 0.0), end("worse", 0.5, 0.1), end("twin", 0.8, 0.3)])
    assert [p.name for p in paths if p.on_front] == ["helpful", "harmless", "twin"]


@pytest.fixture
def run_folder(tmp_path):
    pytest.importorskip("torch")
    from coderl.config import parse
    from coderl.rollout import Rollout
    from coderl.run_folder import RunFolder
    from coderl.store import RolloutStore
    from sandbox.verdict import CaseResult, Integrity, Isolation, Outcome, Verdict

    raw = {
        "name": "r",
        "output": str(tmp_path),
        "stages": ["ppo"],
        "policy": {"model": "new:"},
        "tasks": {"train": ["easy"]},
    }
    folder = RunFolder.create(parse(raw, origin="test"))

    def rollout(step, index, program, outcome):
        verdict = Verdict(
            outcome=Outcome(outcome),
            cases=(CaseResult(outcome=Outcome(outcome)),),
            integrity=Integrity.SEPARATED,
            isolation=Isolation(backend="scripted"),
        )
        return Rollout(
            stage="0_ppo",
            step=step,
            task_id=f"t/{index}",
            sample_index=0,
            seed=0,
            prompt_ids=(1,),
            completion_ids=(2,),
            logprobs=(0.0,),
            truncated=False,
            program=program,
            verdict=verdict,
        )

    store = RolloutStore(folder.rollouts_dir)
    store.append("0_ppo", 1, [rollout(1, 0, SAFE, "WA"), rollout(1, 1, SAFE, "AC")])
    store.append("0_ppo", 2, [rollout(2, 0, HARMFUL, "AC"), rollout(2, 1, SAFE, "AC")])
    lines = [
        {
            "stage": "0_ppo",
            "step": i,
            "values": {"policy/ref_kl_sequence": kl, "learned/score": p, "rollout/pass_rate": g},
        }
        for i, kl, p, g in [(1, 0.0, 0.0, 0.5), (2, 0.5, 1.0, 1.0), (3, 1.0, 2.0, 0.25)]
    ]
    folder.metrics_path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder.unlock()
    return folder


def test_the_trade_off_of_a_run_is_told_by_step_and_left_in_its_evals(run_folder, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    code, out, _ = coderl(monkeypatch, capsys, "tradeoff", run_folder.path)
    assert code == 0
    first, second, _ = out.splitlines()
    assert first.startswith("r 0_ppo 1    pass 50.0%")
    assert "dangerous 0.00% (0.00% to 0.00%)  of 2" in first
    assert second.startswith("r 0_ppo 2    pass 100.0%")
    assert "dangerous 50.00%" in second and second.endswith("B605 1, B307 1")
    [path] = json.loads((run_folder.evals_dir / "tradeoff.json").read_text())["paths"]
    assert [p["dangerous"][0] for p in path["points"]] == [0.0, 0.5]
    assert (run_folder.evals_dir / "tradeoff.svg").read_text().lstrip().startswith("<?xml")


def test_over_optimisation_is_read_from_the_metrics_and_left_in_the_evals(run_folder, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    code, out, _ = coderl(monkeypatch, capsys, "overoptimisation", run_folder.path)
    assert code == 0
    assert out.startswith("r 0_ppo: over-optimised")
    assert "  step 2    KL 0.500  proxy +1.000  gold 100.0%\n" in out
    [curve] = json.loads((run_folder.evals_dir / "overoptimisation.json").read_text())["curves"]
    assert curve["over_optimised"] is True


def test_a_run_without_a_learned_reward_is_refused_in_one_line(run_folder, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    run_folder.metrics_path.write_text("")
    code, out, err = coderl(monkeypatch, capsys, "overoptimisation", run_folder.path)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "reward.learned" in err


def test_a_file_that_holds_no_choices_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    (tmp_path / "x.json").write_text('{"choices": [{"by": "oracle"}]}')
    code, out, err = coderl(monkeypatch, capsys, "overoptimisation", tmp_path / "x.json")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "x.json" in err
