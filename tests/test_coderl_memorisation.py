"""Learned by heart or not: each measure by hand, renamed tasks that stay the same tasks, and the command on a tiny model."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from command_line import coderl, save_tiny_model

from coderl.evaluate.memorisation import References, conclude, overlap, renamed_change, verbatim
from coderl.evaluate.renaming import renamed
from sandbox.spec import AssertCase, CallCase, ProgramCase, StdioCase
from tasks.registry import load
from tasks.task import Split, Style, Task

FIRST = "def f(xs):\n    return [x + 1 for x in xs if x % 2 == 0]\n"
OTHER = "def f(xs):\n    return {x: xs.count(x) for x in sorted(set(xs))}\n"


def test_a_copy_is_covered_whole_and_an_unlike_program_only_where_a_run_of_tokens_is_shared():
    known = References([FIRST], n=4)
    assert known.covered(FIRST) == 1.0
    # tokens: def f ( xs ) : INDENT return, 8 of the 29 of OTHER, are the only run of four that FIRST has
    assert known.covered(OTHER) == pytest.approx(8 / 29)
    assert known.covered("") == 0.0


def test_a_copy_under_other_names_is_one_and_a_short_program_counts_only_as_a_whole():
    known = References([FIRST, "x = 1\n"], n=8)
    assert known.copies(FIRST.replace("xs", "numbers").replace("x ", "n ").replace("for x", "for n"))
    assert not known.copies(OTHER)
    assert (known.covered("x = 1\n"), known.covered("x = 2\n")) == (1.0, 0.0)


def test_overlap_is_beside_what_held_out_references_have_anyway():
    known = References([FIRST])
    found = overlap(known, {"a": [FIRST, FIRST], "b": [FIRST, OTHER], "c": [FIRST]}, {"a": OTHER, "b": FIRST}, seed=0)
    assert found is not None
    base = known.covered(OTHER)  # c has no reference: left out
    assert found.num_programs == 4
    assert found.samples == pytest.approx((1 + (1 + base) / 2) / 2)
    assert found.references == pytest.approx((base + 1) / 2)
    assert (found.copies, found.reference_copies) == (0.75, 0.5)
    assert found.difference.estimate == pytest.approx(found.samples - found.references)
    assert overlap(known, {"c": [FIRST]}, {}, seed=0) is None


def test_trained_references_completed_more_often_than_others_are_memorised():
    found = verbatim([True] * 9 + [False], [True] + [False] * 9, seed=0)
    assert found is not None
    assert (found.trained, found.held_out, found.difference.estimate) == pytest.approx((0.9, 0.1, 0.8))
    assert conclude(None, found, None).verdict == "memorised"
    same = verbatim([True] * 9 + [False], [True] * 9 + [False], seed=0)
    assert conclude(None, same, None).verdict == "no memorisation found"
    assert verbatim([True], [], seed=0) is None


def test_a_loss_by_renaming_is_memorisation_only_where_held_out_tasks_do_not_lose_as_much():
    brittle = {f"t/{i}": (0.8, 0.2) for i in range(20)}
    steady = {f"h/{i}": (0.8, 0.8) for i in range(20)}
    found = renamed_change(brittle, steady, seed=0)
    assert found is not None
    assert (found.trained, found.held_out) == (pytest.approx((0.8, 0.2)), pytest.approx((0.8, 0.8)))
    assert found.difference.estimate == pytest.approx(0.6)
    assert conclude(None, None, found).reasons == ("renaming costs 60.0% more on trained tasks than on others",)
    alike = renamed_change(brittle, {f"h/{i}": (0.5, -0.1) for i in range(20)}, seed=0)
    assert conclude(None, None, alike).verdict == "no memorisation found"


TASK = Task(
    id="t/add",
    prompt="Write `add(a, b)` that returns the sum. Add nothing else; do not add comments. Example: add(1, 2) is 3.",
    style=Style.INSTRUCTION,
    split=Split.TRAIN,
    signature="def add(a, b):",
    entry_point="add",
    visible=(CallCase(function="add", args=(1, 2), expected=3),),
    hidden=(AssertCase(code="assert add(add(1, 1), 2) == 4\nassert box.add == 1", names=("add", "box")),),
    reference="def add(a, b):\n    return a + b if b else add(a, b)\n",
)


def test_a_renamed_task_has_the_name_everywhere_but_in_prose():
    other = renamed(TASK)
    assert other is not None
    new = other.entry_point
    assert new.startswith("solve_")
    assert other.id == TASK.id
    assert other.prompt == TASK.prompt.replace("add(", f"{new}(")
    assert "do not add comments" in other.prompt
    assert other.signature == f"def {new}(a, b):"
    assert other.visible[0] == replace(TASK.visible[0], function=new)
    assert other.hidden == (
        AssertCase(code=f"assert {new}({new}(1, 1), 2) == 4\nassert box.add == 1", names=(new, "box")),
    )
    assert other.reference == f"def {new}(a, b):\n    return a + b if b else {new}(a, b)\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"language": "go"},
        {"entry_point": ""},
        {"visible": (StdioCase(stdin="1", stdout="1"),)},
        {"prompt": "Add two numbers.", "signature": ""},
    ],
)
def test_what_cannot_be_renamed_is_left_out(changes):
    assert renamed(replace(TASK, **changes)) is None


def test_renamed_references_still_pass_their_tests():
    from sandbox import Grader, Status

    tasks = [*load("easy?limit=6"), *load("generated?family=compose&level=2&split=test&count=3&seed=0")]
    others = [other for task in tasks if (other := renamed(task)) is not None]
    assert len(others) == len(tasks)
    with Grader(workers=2) as grader:
        verdicts = grader.grade([t.request(t.reference) for t in others])
        swapped = grader.grade([o.request(t.reference) for o, t in zip(others, tasks, strict=True)])
    assert all(v.status is Status.PASS for v in verdicts)
    assert not any(v.status is Status.PASS for v in swapped)  # the old name is not looked for any more


def test_a_test_program_calls_the_new_name():
    other = renamed(replace(TASK, hidden=(ProgramCase(after="check(add)\n"),), visible=()))
    assert other is not None
    assert other.hidden == (ProgramCase(after=f"check({other.entry_point})\n"),)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    pytest.importorskip("torch")
    return save_tiny_model(tmp_path_factory.mktemp("model"))


def given(model, out, *train):
    test = "generated?family=compose&level=1&split=test&count=3&seed=0"
    short = ("generation.max_new_tokens=8", *train)
    return ("eval", *short, "--model", model, "--tasks", test, "--samples", "1", "--memorisation", "--out", out)


def test_the_command_compares_trained_and_held_out_tasks(model, tmp_path, monkeypatch, capsys):
    out = tmp_path / "m.json"
    train = 'tasks.train=["generated?family=compose&level=1&split=train&count=4&seed=0"]'
    code, printed, _ = coderl(monkeypatch, capsys, *given(model, out, train))
    assert code == 0
    record = json.loads(out.read_text())
    assert printed.splitlines()[0] == record["verdict"] == "no memorisation found"  # it has learned nothing at all
    assert (record["verbatim"]["num_trained"], record["verbatim"]["num_held_out"]) == (4, 3)
    assert record["verbatim"]["trained"] == 0.0
    assert (record["renamed"]["num_trained"], record["renamed"]["num_held_out"]) == (4, 3)
    stored = sorted(p.name for p in (tmp_path / "m.rollouts").iterdir())
    assert stored == ["held_out", "held_out_renamed", "trained", "trained_renamed"]


def test_completing_word_for_word_is_told_from_the_tokens(model, monkeypatch):
    from types import SimpleNamespace

    from coderl import memory_check
    from coderl.config import PolicyConfig, PromptConfig, parse
    from coderl.generate import Sample
    from coderl.policy import load_policy
    from coderl.prompts import PromptRenderer

    policy = load_policy(PolicyConfig(model=str(model)), seed=0)
    tasks = load("generated?family=compose&level=1&split=test&count=2&seed=0")
    renderer = PromptRenderer(policy.tokenizer, PromptConfig())
    whole = [policy.encode_completion(renderer.target(t, renderer.render(t))) for t in tasks]

    def by_heart(_model, _tokenizer, requests, **_):
        """Knows the first reference to its end, and ends the second one early."""
        for request, target, cut in zip(requests, whole, (0, 1), strict=True):
            assert request.prompt_ids[-(len(target) // 2) :] == target[: len(target) // 2]
            rest = target[len(target) // 2 : len(target) - cut]
            yield Sample(key=request.key, ids=rest, logprobs=(0.0,) * len(rest), truncated=False)

    monkeypatch.setattr("coderl.engines.generate", by_heart)
    config = parse({"stages": ["eval"], "policy": {"model": str(model)}, "tasks": {"test": ["easy"]}})
    bench = SimpleNamespace(
        config=config, policy=policy, renderer=renderer, accelerator=SimpleNamespace(unwrap_model=lambda engine: engine)
    )
    assert memory_check.completed(bench, tasks) == [True, False]


def test_without_training_tasks_there_is_nothing_to_have_learned_by_heart(model, tmp_path, monkeypatch, capsys):
    code, out, err = coderl(monkeypatch, capsys, *given(model, tmp_path / "m.json"))
    assert (code, out) == (2, "")
    assert "no training tasks" in err.splitlines()[-1]
