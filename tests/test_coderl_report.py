"""The report of a synthetic run: what it claims, what it refuses to claim, and that hostile text stays text."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

pytest.importorskip("matplotlib")

from coderl.config import parse
from coderl.errors import RunFolderError
from coderl.metrics import Metrics
from coderl.report import write_report
from coderl.report.budget import budget
from coderl.report.difficulty import task_changes, task_groups
from coderl.report.evidence import comparison, read_evidence
from coderl.report.markup import escape, tag
from coderl.report.samples import failed_tests
from coderl.rollout import Rollout
from coderl.run_folder import RunFolder
from coderl.store import RolloutStore
from sandbox import CallCase, printable
from sandbox.verdict import CaseResult, Integrity, Isolation, Outcome, Verdict
from tasks.task import Split, Style, Task

HOSTILE = "</code></pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u202e\x1b[31m\ud800\x00"

TASK = Task(
    id="demo/double",
    prompt="Return twice n.",
    style=Style.INSTRUCTION,
    split=Split.TRAIN,
    visible=(CallCase(function="double", args=(2,), expected=4),),
    hidden=(
        CallCase(function="double", args=(3,), kwargs={"by": "<b>"}, expected=6),
        CallCase(function="double", args=(4,), expected=8),
    ),
)


class Page(HTMLParser):
    """What a browser would see: elements, their attributes, and text."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.pieces: list[str] = []
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
        self.pieces.append(data)


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


def make_run(tmp_path, *, before=(0, 1, 0, 2) * 10, after=(3, 4, 2, 4) * 10, steps=1, name="r"):
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
    """The text of each element, apart by white space."""
    return " ".join(" ".join(Page(write_report(folder).read_text(encoding="utf-8")).pieces).split())


def test_the_page_is_well_formed_and_loads_and_runs_nothing(tmp_path):
    source = write_report(make_run(tmp_path, steps=30)).read_text(encoding="utf-8")
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
    assert printable("é\t中\n") == "é\t中\n"


def test_events_are_told_with_their_step_and_stay_text(tmp_path):
    folder = make_run(tmp_path)
    with Metrics(folder, trackers=[], run_name="r") as metrics:
        metrics.event("1_grpo", 7, "unscorable", f"2 of 8 {HOSTILE}")
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "1_grpo step 7, unscorable" in page.text and "2 of 8 </code>" in page.text
    assert "script" not in {element for element, _ in page.elements}


def test_events_of_one_kind_are_told_first_and_last_only(tmp_path):
    folder = make_run(tmp_path, steps=1)
    with Metrics(folder, trackers=[], run_name="r") as metrics:
        for step in range(1, 8):
            metrics.event("1_grpo", step, "reward_hacking", f"gap {step}")
    text = text_of(folder)
    assert "reward hacking 1_grpo 1_grpo step 1, reward_hacking: gap 1" in text
    assert [f"gap {step}" in text for step in range(1, 8)] == [True, True, False, False, False, False, True]
    assert "4 more like these" in text


def test_a_run_without_alarms_says_what_was_looked_for(tmp_path):
    assert "None. Looked for, among others: reward hacking, mode collapse" in text_of(make_run(tmp_path))


def test_what_the_watchdog_wrote_is_an_alarm(tmp_path):
    folder = make_run(tmp_path, steps=1)
    (folder.path / "hang.txt").write_text("1_grpo step 1: grading\nThread 0x1 (most recent call first):\n")
    assert "nothing moved for 1800 s in 1_grpo step 1: grading; see hang.txt" in text_of(folder)


def test_the_map_of_difficulty_counts_what_was_gained_and_lost(tmp_path):
    # of each four tasks: 0/4 -> 3/4 gained, 2/4 -> 1/4 lost, 4/4 -> 4/4 and 1/4 -> 1/4 neither
    folder = make_run(tmp_path, before=(0, 2, 4, 1) * 5, after=(3, 1, 4, 1) * 5, steps=1)
    text = text_of(folder)
    assert "Of 20 tasks, 10 were solved before and 10 after: 5 were gained, 5 lost." in text
    # odd tasks (2/4, 1/4) are level 2: mean (0.5 + 0.25) / 2 = 37.5 % before, (0.25 + 0.25) / 2 = 25 % after
    assert "level 2 10 37.5% 25.0% -12.5 5 → 0 0 5" in text
    assert "level 1 10 50.0% 87.5% +37.5 5 → 10 5 0" in text


def test_groups_are_by_level_source_and_tag_and_only_where_they_tell_tasks_apart():
    before = {f"a/{i}": (1, 2, 0) for i in range(4)} | {f"b/{i}": (1, 2, 2) for i in range(4)} | {"c/0": (1, 2, 1)}
    after = dict.fromkeys(before, (1, 2, 2)) | {"unseen/0": (1, 2, 2), "b/0": (1, 0, 0)}
    changes = task_changes(before, after)
    assert {c.task_id for c in changes} == before.keys() - {"b/0"}  # no scorable sample after, or none before: left out
    tasks = {name: replace(TASK, id=name, tags=("even",)) for name in ("a/0", "a/2", "b/2", "c/0")}
    groups = task_groups(changes, tasks)
    assert [(g.name, g.num_tasks, g.num_gained) for g in groups] == [
        ("all", 8, 4),
        ("source a", 4, 4),
        ("tag even", 4, 2),
    ]


def test_a_failed_test_is_told_with_input_expected_and_got_and_stays_text(tmp_path):
    results = (
        CaseResult(outcome=Outcome.AC),
        CaseResult(outcome=Outcome.WA, output_head=HOSTILE),
        CaseResult(outcome=Outcome.SKIP),
    )
    wrong = rollout(1, 0.0, task_id=TASK.id, outcome=Outcome.WA)
    wrong = wrong.with_(verdict=replace(wrong.verdict, cases=results))
    [failed] = failed_tests(wrong, TASK)
    assert (failed.number, failed.hidden, failed.asked, failed.expected) == (2, True, "double(3, by='<b>')", "6")
    folder = make_run(tmp_path, steps=1)
    RolloutStore(folder.rollouts_dir).append("1_grpo", 2, [wrong, rollout(2, 1.0)])
    page = Page(write_report(folder, tasks=[TASK]).read_text(encoding="utf-8"))
    assert "2 (hidden)WAdouble(3, by='<b>')6</code>" in page.text
    assert not {element for element, _ in page.elements} & {"script", "img"}


def test_a_verdict_on_other_tests_than_the_task_has_now_is_told_without_them():
    wrong = rollout(1, 0.0, task_id=TASK.id, outcome=Outcome.WA)  # one case; the task has three
    [failed] = failed_tests(wrong, TASK)
    assert (failed.asked, failed.expected, failed.hidden) == ("", "", False)


def test_a_source_of_tasks_that_is_gone_is_named_and_the_rest_is_reported(tmp_path):
    folder = make_run(tmp_path, steps=1)
    text = folder.config_path.read_text()
    folder.config_path.write_text(text.replace("easy?split=test", "jsonl:/nowhere.jsonl"))
    said = text_of(folder)
    assert "could not be loaded: jsonl:/nowhere.jsonl" in said
    assert "The policy became better" in said


def test_the_time_of_a_stage_is_shared_out_and_what_is_missing_is_other(tmp_path):
    folder = make_run(tmp_path, before=(), after=(), steps=0)
    with Metrics(folder, trackers=[], run_name="r") as metrics:
        for step in (1, 2):
            metrics.log(
                "1_grpo", step, {"time/generate": 30.0, "time/grade": 15.0, "time/update": 9.0, "time/step": 60.0}
            )
        metrics.log("2_sft", 1, {"time/update": 60.0, "time/step": 60.0})
    text = text_of(folder)
    # 120 s: 60 + 30 + 18 = 108 s known, 12 s other; all stages: 180 s, of which learning 18 + 60 = 78 s
    assert "1_grpo 2 2 min 0 s 60 s 50% 25% 15% 10%" in text
    assert "all 3 3 min 0 s 60 s 33% 17% 43% 7%" in text
    assert "To make the sampling of 1_grpo faster: generation." in text


def test_parts_that_overlap_leave_nothing_over():
    found = budget("1_grpo", {"time/step": [10.0, math.nan], "time/generate": [9.0], "time/grade": [8.0]})
    assert (found.num_steps, found.total, found.rest) == (1, 10.0, 0.0)
    assert budget("1_grpo", {"loss": [1.0]}) is None


def test_every_kind_of_stage_is_told(tmp_path):
    raw = {
        "name": "all", "output": str(tmp_path), "policy": {"model": "new:"},
        "stages": ["sft", "sample", "pairs", "reward_model", "dpo", "rejection", "ppo", "best_of_n"],
        "tasks": {"train": ["easy?limit=2"], "test": ["easy?limit=2"]}, "sft": {"steps": 160}, "reward_model": {"steps": 200},
    }  # fmt: skip
    folder = RunFolder.create(parse(raw))
    with Metrics(folder, trackers=[], run_name="all") as metrics:
        metrics.log("1_sample", 0, {"rollout/pass_rate": 0.25, "rollout/num_samples": 20480.0})
        metrics.log("2_pairs", 0, {"pairs/count": 12.0, "pairs/tasks": 3.0})
        for step in (1, 2):
            metrics.log("0_sft", step, {"loss": 3.0 / step})
            metrics.log("3_reward_model", step, {"loss": 0.7, "pairs/accuracy": 0.5 * step, "pairs/score_margin": 0.1})
            chosen = {"pairs/reward_chosen": 0.2 * step, "pairs/reward_rejected": -0.1}
            metrics.log("4_dpo", step, {"loss": 0.69, **chosen, "policy/clip_fraction": 0.0})
            metrics.log(
                "6_ppo", step, {"rollout/pass_rate": 0.5, "reward/execution": 0.5, "reward/learned": 0.1 * step}
            )
        interval = {"reward_model/accuracy_low": 0.7, "reward_model/accuracy_high": 0.9}
        metrics.log("3_reward_model", 2, {"reward_model/accuracy": 0.8125, **interval})
        metrics.log("7_best_of_n", 0, {"best_of_n/visible@2": 0.75})
    choices = [
        {"by": by, "n": n, "pass_rate": rate, "low": rate - 0.1, "high": rate + 0.1, "per_task": {}}
        for by, n, rate in (("random", 1, 0.5), ("random", 2, 0.5), ("visible", 1, 0.5), ("visible", 2, 0.75))
    ]
    (folder.evals_dir / "7_best_of_n.json").write_text(json.dumps({"choices": choices}))
    text = text_of(folder)
    for expected in (
        "0_sft imitates reference solutions: 2 of 160 steps, loss 3 → 1.5", "samples 20480", "12 pairs",
        "trains a reward model on pairs: 2 of 200 steps, pairs in order 0.5 → 1",
        "held-out pairs in the right order 0.8125 (95 % interval 0.7 to 0.9)", "Implicit reward of pairs",
        "5_rejection imitates its own samples that passed: not reached", "learns from the verdicts on its own samples (PPO)",
        "Parts of the reward", "0 at every step: Clipped tokens", "visible 50.0% (40.0% to 60.0%) 75.0% (65.0% to 85.0%)",
    ):  # fmt: skip
        assert expected in text, expected


def test_reports_of_one_config_share_a_digest_and_others_do_not(tmp_path):
    def digest(folder):
        return re.search(r"same digest: (\w{16})", text_of(folder))[1]

    first = make_run(tmp_path / "a", steps=1)
    text = first.config_path.read_text()
    assert digest(first) == digest(first)
    one = digest(first)
    first.config_path.write_text(text.replace("seed: 0", "seed: 1", 1))
    assert digest(first) != one


def test_a_labelled_run_tells_what_people_said(tmp_path):
    pytest.importorskip("sqlalchemy")
    from coderl.label.store import LabelStore

    folder = make_run(tmp_path)
    LabelStore(f"sqlite:///{folder.path / 'labels.sqlite'}").close()
    assert "holds no answers yet" in text_of(folder)


def test_people_who_disagree_are_an_alarm(tmp_path):
    pytest.importorskip("sqlalchemy")
    from label_items import item, new_store

    from coderl.label.store import Kind, Submission

    folder = make_run(tmp_path, steps=1)
    store = new_store(folder.path, *(item(n) for n in range(12)), overlap=2.0)
    for name in ("eve", "max"):
        store.add_annotator(name)
        while (found := store.next(name, 0.0)) is not None:
            said = {"kind": Kind.FIRST, "strength": 1, "reason": "", "seconds": 3.0}
            ranks = (1, 2) if name == "eve" else (2, 1)
            given = Submission(submit_key=f"{name}{found.id}", assignment=found.id, ranks=ranks, **said)
            store.submit(name, given, 1.0)
    store.close()
    text = text_of(folder)
    assert "people do not agree which program is better annotators_disagree: Krippendorff's alpha is -0." in text
    assert "over 12 comparisons" in text
