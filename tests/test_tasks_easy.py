"""The shipped suite: sound, and solved by its own references."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

from sandbox.spec import CallCase
from sandbox.verdict import Outcome
from tasks.easy import FILES, FOLDER
from tasks.registry import load
from tasks.task import Split, Task

pytestmark = pytest.mark.skipif(
    not all((FOLDER / name).exists() for name in FILES), reason="the suite is not written yet"
)


def inputs(task: Task, field: str) -> set[str]:
    return {repr((case.args, case.kwargs)) for case in getattr(task, field) if isinstance(case, CallCase)}


def test_there_are_at_least_300_tasks_with_ids_and_prompts_of_their_own() -> None:
    tasks = load("easy")
    assert len(tasks) >= 300
    for field in ("id", "prompt"):
        assert [name for name, num in Counter(getattr(task, field) for task in tasks).items() if num > 1] == []
    assert {task.split for task in tasks} >= {Split.TRAIN, Split.TEST}


def test_visible_and_hidden_inputs_never_meet_or_repeat() -> None:
    for task in load("easy"):
        assert not inputs(task, "visible") & inputs(task, "hidden"), task.id
        assert len(inputs(task, "visible")) == len(task.visible) > 0, task.id
        assert len(inputs(task, "hidden")) == len(task.hidden) > 0, task.id


def test_no_constant_passes() -> None:
    for task in load("easy"):
        assert len({repr(case.expected) for case in task.cases if isinstance(case, CallCase)}) > 1, task.id


def test_every_reference_is_accepted_by_the_sandbox() -> None:
    grader = pytest.importorskip("sandbox.grader", reason="no grader yet")
    tasks = load("easy")
    verdicts = grader.Grader().grade([task.request(task.reference) for task in tasks])
    assert [(t.id, v.detail) for t, v in zip(tasks, verdicts, strict=True) if v.outcome is not Outcome.AC] == []


def shape(task: Task) -> str:
    """The reference with its function and parameters renamed: equal for one solution under two names."""
    tree = ast.parse(task.reference)
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == task.entry_point)
    names = {argument.arg: f"v{i}" for i, argument in enumerate(function.args.args)} | {function.name: "f"}
    for node in ast.walk(tree):
        for field in ("id", "arg", "name"):
            if getattr(node, field, None) in names:
                setattr(node, field, names[getattr(node, field)])
    return ast.dump(tree)


def test_no_solution_stands_on_both_sides_of_the_split() -> None:
    trained = {shape(task): task.id for task in load("easy?split=train")}
    assert [(task.id, trained[shape(task)]) for task in load("easy?split=test") if shape(task) in trained] == []
