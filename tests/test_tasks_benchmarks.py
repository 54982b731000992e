"""HumanEval and MBPP as published: every row loads, and what is lifted from it is right."""

from __future__ import annotations

import ast
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox.spec import AssertCase, CallCase
from tasks.errors import TaskError
from tasks.examples import lift_examples
from tasks.registry import load
from tasks.task import Split, Style

DATA = Path(os.environ.get("CODERL_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
HUMANEVAL = DATA / "humaneval" / "data" / "HumanEval.jsonl.gz"
MBPP, SANITIZED = DATA / "mbpp" / "mbpp.jsonl", DATA / "mbpp" / "sanitized-mbpp.json"
needs_data = pytest.mark.skipif(not HUMANEVAL.exists() or not MBPP.exists(), reason=f"no benchmark data in {DATA}")


def run(program: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(program, namespace)
    return namespace


def alike(got: Any, expected: Any) -> bool:
    if isinstance(got, list | tuple) and isinstance(expected, list | tuple):
        return len(got) == len(expected) and all(map(alike, got, expected))
    return bool(got == expected) and isinstance(got, bool) == isinstance(expected, bool)


@needs_data
def test_all_164_humaneval_rows_load_and_prompt_plus_solution_is_the_reference() -> None:
    tasks = load(f"humaneval:{HUMANEVAL}")
    assert [task.id for task in tasks] == [f"HumanEval/{i}" for i in range(164)]
    for task in tasks:
        assert task.style is Style.COMPLETION
        assert task.split is Split.TEST
        assert task.reference.startswith(task.prompt)
        assert task.signature.startswith(f"def {task.entry_point}(")
        assert task.signature.endswith(":")
        (check,) = task.hidden
        assert isinstance(check, AssertCase)
        assert check.code.endswith(f"\ncheck({task.entry_point})\n")


@needs_data
def test_every_example_lifted_from_a_humaneval_docstring_holds_for_the_reference() -> None:
    tasks = load(f"humaneval:{HUMANEVAL}")
    for task in tasks:
        function: Callable[..., Any] = run(task.reference)[task.entry_point]
        for case in task.visible:
            assert isinstance(case, CallCase)
            assert alike(function(*case.args, **case.kwargs), case.expected), (task.id, case)
    assert sum(bool(task.visible) for task in tasks) >= 130


@needs_data
def test_helpers_of_humaneval_prompts_are_in_the_prelude_and_the_function_is_not() -> None:
    tasks = {task.id: task for task in load(f"humaneval:{HUMANEVAL}?ids=HumanEval/32,HumanEval/38,HumanEval/50")}
    for name, helper in (("32", "poly"), ("38", "encode_cyclic"), ("50", "encode_shift")):
        (case,) = tasks[f"HumanEval/{name}"].hidden
        assert isinstance(case, AssertCase)
        defined = [node.name for node in ast.parse(case.prelude).body if isinstance(node, ast.FunctionDef)]
        assert defined == [helper]
        assert helper not in case.names


@needs_data
def test_the_974_mbpp_rows_load_into_the_published_splits() -> None:
    tasks = load(f"mbpp:{MBPP}")
    assert Counter(task.split for task in tasks) == {Split.TEST: 500, Split.VALIDATION: 100, Split.TRAIN: 374}
    by_id = {task.id: task for task in tasks}
    ranges = {(1, 10): "validation", (11, 510): "test", (511, 600): "validation", (601, 974): "train"}
    assert {bounds: by_id[f"mbpp/{bounds[0]}"].split.value for bounds in ranges} == ranges
    assert {bounds: by_id[f"mbpp/{bounds[1]}"].split.value for bounds in ranges} == ranges
    assert sum("fewshot" in task.tags for task in tasks) == 10


@needs_data
@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(("path", "num_rows"), [(MBPP, 974), (SANITIZED, 427)])
def test_every_mbpp_reference_passes_its_cases_with_only_the_names_they_list(path: Path, num_rows: int) -> None:
    tasks = load(f"mbpp:{path}")
    assert len(tasks) == num_rows
    sys.setrecursionlimit(max(3000, sys.getrecursionlimit()))
    for task in tasks:
        candidate = run(task.reference)
        assert len(task.visible) == 1
        assert len(task.hidden) >= 1
        assert task.hidden.count(task.visible[0]) == (task.id == "mbpp/37")
        assert f"def {task.entry_point}" in task.signature
        assert task.signature.endswith(":")
        for case in task.cases:
            assert isinstance(case, AssertCase)
            assert task.entry_point in case.names
            referee: dict[str, Any] = {}
            exec(case.prelude, referee)
            exec(case.code, referee | {name: candidate[name] for name in case.names})


@needs_data
def test_an_mbpp_prompt_shows_the_visible_test_and_no_hidden_one() -> None:
    for task in load(f"mbpp:{SANITIZED}"):
        (shown,) = task.visible
        assert isinstance(shown, AssertCase)
        assert task.prompt.endswith(f"\nYour code should satisfy this test:\n{shown.code.strip()}")
        assert not any(case.code.strip() in task.prompt for case in task.hidden if isinstance(case, AssertCase))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (">>> f([1], b='x')\n[2,\n 3]", [(([1],), {"b": "x"}, [2, 3])]),
        ("f(1) == 2\nf(3) ➞ (4, )  # why\nf(-1) returns None.", [((1,), {}, 2), ((3,), {}, (4,)), ((-1,), {}, None)]),
        (">>> f(1)\n2\n>>> f(1)\n2", [((1,), {}, 2)]),  # repeats count once
        (">>> round(f(1), 2)\n0.5\n>>> f(x)\n1\n>>> f(1)\n<object>\nof(1) == 2\na.f(1) == 2\nf(1", []),
        ('f("a)b") => 3', [(("a)b",), {}, 3)]),
    ],
)
def test_examples_are_lifted_where_they_are_plain_values(text: str, expected: list[Any]) -> None:
    found = [(case.args, case.kwargs, case.expected) for case in lift_examples(text, "f")]
    assert found == expected


def test_a_bad_row_of_a_benchmark_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mbpp.jsonl"
    path.write_text('{"task_id": 11, "text": "t", "code": "def f(): return 1", "test_list": ["assert g() == 1"]}')
    with pytest.raises(TaskError) as caught:
        load(f"mbpp:{path}")
    expected = 'field "test_list": calls nothing that the code defines; test a function of `code`'
    assert str(caught.value) == f"{path}:1: {expected}"
