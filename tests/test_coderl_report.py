"""The report of a synthetic run: what it claims, what it refuses to claim, and that hostile text stays text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

pytest.importorskip("matplotlib")

from coderl.config import parse
from coderl.errors import RunFolderError
from coderl.metrics import Metrics
from coderl.report import write_report
from coderl.report.evidence import comparison, read_evidence
from coderl.report.markup import escape, tag, visible
from coderl.rollout import Rollout
from coderl.run_folder import RunFolder
from coderl.store import RolloutStore
from sandbox.verdict import CaseResult, Integrity, Isolation, Outcome, Verdict

HOSTILE = "</code></pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u202e\x1b[31m\ud800\x00"


class Page(HTMLParser):
    """What a browser would see: elements, their attributes, and text."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, element, attributes):
        self.elements.append((element, dict(attributes)))
        if element not in ("meta", "br"):
            self.open.append(element)

    def handle_startendtag(self, element, attributes):
        self.elements.append((element, dict(attributes)))

    def handle_endtag(self, element):
        assert self.open.pop() == element

    def handle_data(self, data):
        self.text += data


def rollout(step, reward, *, stage="1_grpo", task_id="easy/a", program="def f():\n    return 1\n", outcome=Outcome.AC):
    isolation = Isolation(backend="jail", layers=("userns", "seccomp"))
    cases = (CaseResult(outcome=outcome),)
    return Rollout(
        stage=stage,
        step=step,
        task_id=task_id,
        sample_index=0,
        seed=0,
        prompt_ids=(1,),
        completion_ids=(2, 3),
        logprobs=(-0.5, -0.25),
        truncated=False,
        completion=program,
        program=program,
        verdict=Verdict(
            outcome=outcome, cases=cases, integrity=Integrity.SEPARATED, isolation=isolation, detail=HOSTILE
        ),
        reward_parts={"pass": reward},
        reward=reward,
    )


def evaluation(folder, metrics, label, passed, step=0):
    """One evaluation of four samples per task; `passed` says how many passed for each task."""
    scores = [
        {"task_id": f"easy/{i}", "level": 1 + i % 2, "num_samples": 4, "num_passed": c} for i, c in enumerate(passed)
    ]
    mean = sum(passed) / 4 / len(passed)
    values = {"eval/num_tasks": len(passed), "eval/truncated": 0.125}
    values |= {"eval/pass@1": mean, "eval/pass@1_low": mean - 0.1, "eval/pass@1_high": mean + 0.1}
    record = {"scores": scores, "isolation": "jail (userns, seccomp)", "temperature": 0.8}
    (folder.evals_dir / f"{label}_{step:05d}.json").write_text(json.dumps(record))
    metrics.log(label, step, values)


def make_run(tmp_path, *, before=(0, 1, 0, 2) * 10, after=(3, 4, 2, 4) * 10, steps=30, name="r"):
    raw = {
        "name": name,
        "output": str(tmp_path),
        "stages": ["eval", "grpo", "eval"],
        "policy": {"model": "new:"},
        "tasks": {"train": ["easy?split=train"], "test": ["easy?split=test"]},
    }
    folder = RunFolder.create(parse(raw))
    store = RolloutStore(folder.rollouts_dir)
    with Metrics(folder, trackers=[], run_name="r") as metrics:
        if before:
            evaluation(folder, metrics, "0_eval", before)
        for step in range(1, steps + 1):
            values = {
                "rollout/reward": step / steps,
                "rollout/pass_rate": step / steps,
                "policy/ref_kl": 0.001 * step,
                "loss": float("nan") if step == 3 else 0.1,
                "verdict/AC": step / steps,
                "time/generate": 1.0,
                "time/grade": 0.25,
                "time/update": 2.0,
            }
            if step < steps:
                values["verdict/WA"] = 1 - step / steps
            metrics.log("1_grpo", step, values)
            store.append("1_grpo", step, [rollout(step, 1.0), rollout(step, 0.0, program=HOSTILE, outcome=Outcome.WA)])
        if after:
            evaluation(folder, metrics, "2_eval", after)
    return folder


def text_of(folder):
    return " ".join(Page(write_report(folder).read_text(encoding="utf-8")).text.split())


def test_the_page_is_well_formed_and_loads_and_runs_nothing(tmp_path):
    source = write_report(make_run(tmp_path)).read_text(encoding="utf-8")
    page = Page(source)
    assert page.open == []
    elements = {element for element, _ in page.elements}
    assert not elements & {"script", "link", "iframe", "object", "embed", "img", "image", "form", "base"}
    attributes = [pair for _, found in page.elements for pair in found.items()]
    assert not [name for name, _ in attributes if name.startswith("on") or name in ("src", "action", "formaction")]
    assert all(value.startswith("#") for name, value in attributes if name in ("href", "xlink:href"))
    assert not re.search(r"url\((?!#)", source)
    policy = next(found["content"] for _, found in page.elements if found.get("http-equiv"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_a_hostile_program_is_shown_as_the_text_it_is(tmp_path):
    folder = make_run(tmp_path)
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    shown = "</code></pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\\u202e\\x1b[31m\\ud800\\x00"
    assert page.text.count(shown) >= 2  # as a program, and as the detail of a verdict
    assert "\u202e" not in page.text


def test_hostile_names_of_runs_tasks_and_metrics_stay_text(tmp_path):
    folder = make_run(tmp_path, name='r"><script>x<')
    RolloutStore(folder.rollouts_dir).append("1_grpo", 31, [rollout(31, 1.0, task_id="<script>y</script>")])
    with Metrics(folder, trackers=[], run_name="r") as metrics:
        metrics.log("3_<script>", 1, {"<script>": 1.0, "verdict/<b>": 1.0, "loss": 1.0})
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "script" not in {element for element, _ in page.elements}
    assert "<script>y</script>" in page.text


def test_a_run_that_helped_says_so_with_its_interval(tmp_path):
    text = text_of(make_run(tmp_path))
    # before (0+1+0+2)/16 = 18.75 %, after (3+4+2+4)/16 = 81.25 %; each task gains 2, 3 or 3 of 4, so the interval is above 0
    assert (
        "The policy became better. pass@1 on 40 held-out tasks went from 18.8% (0_eval) to 81.2% (2_eval): +62.5"
        in text
    )
    assert "not finished" not in text


def test_a_run_that_hurt_says_so(tmp_path):
    text = text_of(make_run(tmp_path, before=(3, 4, 2, 4) * 10, after=(0, 1, 0, 2) * 10))
    assert "The policy became worse." in text
    assert "-62.5 points" in text


def test_a_change_that_may_be_chance_is_not_called_a_gain(tmp_path):
    text = text_of(make_run(tmp_path, before=(0, 4) * 10, after=(1, 4, 0, 3, 4, 0) * 3 + (0, 4)))
    assert "cannot be told from chance" in text
    assert "became" not in text


def test_without_an_evaluation_before_nothing_is_claimed(tmp_path):
    assert "was not measured" in text_of(make_run(tmp_path, before=()))


def test_a_run_that_is_going_on_can_be_reported(tmp_path):
    text = text_of(make_run(tmp_path, after=(), steps=1))
    assert "This run is not finished." in text
    assert "Stage 1_grpo" in text


def test_an_empty_run_can_be_reported(tmp_path):
    folder = make_run(tmp_path, before=(), after=(), steps=0)
    assert "This run is not finished." in text_of(folder)


def test_evaluations_on_fewer_tasks_are_compared_on_those_both_have(tmp_path):
    folder = make_run(tmp_path, after=(4, 4))
    found = comparison(read_evidence(folder).evaluations)
    assert found.num_tasks == 2
    assert (found.before_mean, found.after_mean) == (0.125, 1.0)  # of the first two: (0 + 1) / 8


def test_the_page_names_what_ran_where_and_how_to_repeat_it(tmp_path):
    folder = make_run(tmp_path)
    record = json.loads(folder.versions_path.read_text())
    record["command"], record["commit"] = "coderl train 'my config'", "abc123"
    record["resumed"] = [{"started": "later", "changes": {"grpo.steps": [30, 40]}}]
    folder.versions_path.write_text(json.dumps(record))
    text = text_of(folder)
    for expected in (
        "jail (userns, seccomp)", "easy?split=train", "easy?split=test", "coderl train 'my config'", "abc123",
        "grpo.steps 30 → 40", record["python"], "level 1", "level 2", "separated", "0.8",
    ):  # fmt: skip
        assert expected in text, expected


def test_samples_are_of_the_first_middle_and_last_step_best_and_worst(tmp_path):
    found = read_evidence(make_run(tmp_path, steps=5)).samples
    assert [(s.step, s.rollout.reward) for s in found] == [(1, 1), (1, 0), (3, 1), (3, 0), (5, 1), (5, 0)]


def test_values_that_were_not_finite_leave_a_gap_not_a_zero(tmp_path):
    [curves] = read_evidence(make_run(tmp_path, steps=5)).curves
    assert [value == value for value in curves.values["loss"]] == [True, True, False, True, True]


def test_damaged_rollouts_are_named_and_the_rest_is_reported(tmp_path):
    folder = make_run(tmp_path, steps=3)
    path = RolloutStore(folder.rollouts_dir).segments()[0].path
    path.write_bytes(path.read_bytes()[:20])
    text = text_of(folder)
    assert str(path) in text
    assert "The policy became better" in text


def test_a_damaged_evaluation_is_one_line(tmp_path):
    folder = make_run(tmp_path, steps=1)
    (folder.evals_dir / "0_eval_00000.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"0_eval_00000\.json: damaged"):
        write_report(folder)


def test_the_page_is_the_same_each_time_it_is_written(tmp_path):
    folder = make_run(tmp_path, steps=25)
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first
    assert len(first) < 500_000


def test_escaping_is_the_default_and_does_not_happen_twice():
    assert tag("p", "<", tag("b", "&")) == "<p>&lt;<b>&amp;</b></p>"
    assert tag("p", "x", title='"') == '<p title="&quot;">x</p>'
    assert escape("a\u2066b") == "a\\u2066b"
    assert visible("é\t中\n") == "é\t中\n"


def test_events_are_told_with_their_step_and_stay_text(tmp_path):
    folder = make_run(tmp_path)
    with Metrics(folder, trackers=[], run_name="r") as metrics:
        metrics.event("1_grpo", 7, "unscorable", f"2 of 8 {HOSTILE}")
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "1_grpo step 7, unscorable" in page.text and "2 of 8 </code>" in page.text
    assert "script" not in {element for element, _ in page.elements}
