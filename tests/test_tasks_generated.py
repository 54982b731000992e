"""The generated source: what is asked, what is expected, and that its splits never meet."""

from __future__ import annotations

import io
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import redirect_stdout
from hashlib import sha256
from itertools import islice
from random import Random
from typing import Any

import pytest

from sandbox.spec import AssertCase, CallCase, Case, StdioCase, Value
from sandbox.verdict import Outcome, Status
from tasks.errors import TaskError
from tasks.generated.chains import expression, interpret
from tasks.generated.compose import PARAMETERS
from tasks.generated.families import FAMILIES
from tasks.generated.inputs import UNDEFINED, draw_inputs, evaluate, probes
from tasks.generated.ops import OPS
from tasks.generated.problem import Problem, fingerprint, make_task, split_of
from tasks.generated.stream import DRAWS, stream
from tasks.registry import load
from tasks.task import Split, Task

LEVELS = range(1, 4)
PROGRAMS, CLASSES = ("stdin_list", "stdin_table"), ("ledger",)
WITH_PARTS = ("tally", "records", "nested", "machine", "ledger", "stdin_table")
OF_FUNCTIONS = [name for name in DRAWS if name not in PROGRAMS + CLASSES]


def given(case: Case) -> object:
    """The input of a case."""
    if isinstance(case, CallCase):
        return case.args
    if isinstance(case, StdioCase):
        return case.stdin
    assert isinstance(case, AssertCase)
    return [line.partition(" == ")[0] for line in case.code.splitlines()]


def wanted(case: Case) -> object:
    if isinstance(case, CallCase):
        return case.expected
    if isinstance(case, StdioCase):
        return case.stdout
    assert isinstance(case, AssertCase)
    return [line.partition(" == ")[2] for line in case.code.splitlines()]


def inputs_of(problem: Problem, task: Task) -> list[tuple[Value, ...]]:
    """The arguments behind the hidden cases: those of the problem's inputs that give just these cases."""
    if problem.make_case is None:
        return [case.args for case in task.hidden if isinstance(case, CallCase)]
    rng, found = Random(fingerprint(problem.kinds, problem.solve)), []
    for _ in range(700):
        args = draw_inputs(problem.kinds, rng)
        result = evaluate(problem.solve, args)
        if result is not UNDEFINED and problem.case(args, result) in task.hidden:
            found.append(args)
    assert len({repr(args) for args in found}) >= len(task.hidden)
    return found


def function_of(task: Task) -> Callable[..., Any]:
    namespace: dict[str, Any] = {}
    exec(task.reference, namespace)
    function: Callable[..., Any] = namespace[task.entry_point]
    return function


def op(kind: str, name: str) -> Any:
    return next(found for found in OPS[kind] if found.name == name)


def test_tasks_that_behave_alike_are_never_in_two_splits() -> None:
    kinds = {f"def f({name}):": (kind,) for kind, name in PARAMETERS.items()}
    splits: dict[object, set[Split]] = defaultdict(set)
    tasks = list(islice(stream(["compose"], LEVELS, None, 0), 5000))
    for task in tasks:
        function, signature = function_of(task), kinds[task.signature]
        behaviour = [repr(evaluate(function, args)) for args in probes(signature)]
        splits[signature, *behaviour].add(task.split)
    assert all(len(found) == 1 for found in splits.values())
    assert len(splits) < len(tasks)  # some tasks do behave alike, so the line above says something
    shares = [sum(task.split is split for task in tasks) / len(tasks) for split in Split]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.03)


def test_loads_of_two_splits_share_no_prompt_id_or_reference() -> None:
    train, test = load("generated?count=300&seed=1"), load("generated?split=test&count=100&seed=2")
    assert {task.split for task in train} == {Split.TRAIN}
    assert {task.split for task in test} == {Split.TEST}
    for field in ("id", "prompt", "reference"):
        assert not {getattr(task, field) for task in train} & {getattr(task, field) for task in test}


def test_commuting_operations_share_a_fingerprint_and_so_a_split() -> None:
    add, subtract = op("int", "add"), op("int", "subtract")
    one, other = interpret(((add, 5), (subtract, 2))), interpret(((subtract, 2), (add, 5)))
    assert fingerprint(("int",), one) == fingerprint(("int",), other) == fingerprint(("int",), lambda x: x + 3)
    assert fingerprint(("int",), one) != fingerprint(("int",), lambda x: x + 4)


def test_a_longer_stream_starts_with_the_shorter_one() -> None:
    assert load("generated?count=80&seed=3")[:30] == load("generated?count=30&seed=3")
    assert load("generated?count=30&seed=3") != load("generated?count=30&seed=4")


def test_another_process_with_another_hash_seed_makes_equal_tasks() -> None:
    code = "from tasks.registry import load; print(load('generated?count=40&family=compose,words,branch'))"
    command = [sys.executable, "-c", code]
    prints = {
        subprocess.run(
            command,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert prints == {f"{load('generated?count=40&family=compose,words,branch')}\n".encode()}


def test_equal_ids_mean_equal_tasks_whatever_the_seed() -> None:
    one = {task.id: task for task in load("generated?count=250&level=1&seed=1")}
    other = {task.id: task for task in load("generated?count=250&level=1&seed=2")}
    common = one.keys() & other.keys()
    assert len(common) > 100
    assert all(one[name] == other[name] for name in common)


@pytest.mark.parametrize("family", OF_FUNCTIONS)
def test_every_reference_gives_what_interpretation_expects(family: str) -> None:
    levels = DRAWS[family][1]
    tasks = list(islice(stream([family], levels, None, 0), 30))
    assert {task.level for task in tasks} == set(levels)
    for task in tasks:
        function = function_of(task)
        for case in task.cases:
            assert isinstance(case, CallCase)
            got = function(*case.args)
            assert (type(got), got) == (type(case.expected), case.expected), task.reference


@pytest.mark.parametrize("family", DRAWS)
def test_visible_and_hidden_inputs_differ_and_no_constant_passes(family: str) -> None:
    for task in islice(stream([family], DRAWS[family][1], None, 5), 30):
        inputs = [repr(given(case)) for case in task.cases]
        assert len(set(inputs)) == len(inputs)
        assert 2 <= len(task.visible) <= 3
        assert 5 <= len(task.hidden) <= (12 if family in WITH_PARTS else 8)
        assert len({repr(wanted(case)) for case in task.hidden}) > 1


@pytest.mark.parametrize("family", DRAWS)
def test_near_misses_that_differ_on_the_probes_fail_a_hidden_case(family: str) -> None:
    draw, levels = DRAWS[family]
    rng, caught, num_wrong = Random(0), 0, 0
    for i in range(40):
        problem = draw(rng, levels[i % len(levels)])
        task = make_task(problem, fingerprint(problem.kinds, problem.solve))
        pool = inputs_of(problem, task)
        for variant in problem.variants():
            if fingerprint(problem.kinds, variant) == fingerprint(problem.kinds, problem.solve):
                continue
            num_wrong += 1
            caught += any(evaluate(variant, args) != evaluate(problem.solve, args) for args in pool)
    assert num_wrong > 40
    assert caught / num_wrong > 0.97


@pytest.mark.parametrize(
    ("kind", "names", "expected"),
    [
        ("int", [("add", 3), ("double", None)], "(x + 3) * 2"),
        ("int", [("double", None), ("add", 3)], "x * 2 + 3"),
        ("int", [("square", None), ("negate", None)], "-x ** 2"),  # a sign binds looser than a power
        ("int", [("negate", None), ("square", None)], "(-x) ** 2"),
        ("int", [("add", 2), ("subtract_from", 9)], "9 - (x + 2)"),
        ("text", [("suffix", "n"), ("lower", None)], "(x + 'n').lower()"),
        ("list", [("append", 4), ("reverse", None)], "(x + [4])[::-1]"),
    ],
)
def test_expressions_have_the_brackets_they_need_and_no_others(kind: str, names: list[Any], expected: str) -> None:
    assert expression(tuple((op(kind, name), constant) for name, constant in names), "x") == expected


def test_prompt_and_completion_are_the_program_also_without_trailing_white_space() -> None:
    for task in load("generated?count=20"):
        body = task.reference.removeprefix(task.prompt.rstrip())
        assert body.startswith("\n    return ")
        assert body.count("\n") == 2
        assert not any(stop in body for stop in task.stop)


def test_results_that_fail_or_explode_are_undefined() -> None:
    assert evaluate(lambda x: 1 // x, (0,)) == UNDEFINED
    assert evaluate(lambda x: x**x, (100,)) == UNDEFINED
    assert evaluate(lambda x: x * 100, ("a",)) == UNDEFINED


def test_the_split_of_a_hash_has_its_bounds_at_80_and_90_percent() -> None:
    bounds = {
        "c" * 12: Split.TRAIN,
        "cd" + "0" * 10: Split.VALIDATION,
        "e" * 12: Split.TEST,
    }  # 0xcccc.. / 2**48 is just under 0.8
    assert {digest: split_of(digest) for digest in bounds} == bounds


def test_a_spent_level_says_how_many_tasks_there_are() -> None:
    with pytest.raises(TaskError, match=r"only \d+ distinct tasks .* levels 1-1; lower count"):
        load("generated?level=1&count=1000")


def test_there_are_at_least_25_graded_families() -> None:
    assert len(FAMILIES) >= 25
    assert len(load("generated?family=all&level=1-5&count=200")) == 200


def test_references_are_accepted_by_the_sandbox_and_a_near_miss_is_not() -> None:
    grader = pytest.importorskip("sandbox.grader", reason="no grader yet").Grader()
    tasks = load("generated?count=20&family=all&level=1-5") + load("generated?count=20")
    verdicts = grader.grade([task.request(task.reference) for task in tasks])
    assert [(t.id, v.outcome) for t, v in zip(tasks, verdicts, strict=True) if v.outcome is not Outcome.AC] == []
    wrong = [task.request(task.reference.replace("return ", "return 0 and ")) for task in tasks]
    assert all(verdict.status is Status.FAIL for verdict in grader.grade(wrong))


def test_a_weak_task_keeps_its_meaning_and_shows_one_test_that_doing_nothing_often_passes():
    plain, weak = load("generated?level=1-2&count=200"), load("generated?level=1-2&count=200&weak=1")
    for one, other in zip(plain, weak, strict=True):
        assert other.prompt == one.prompt and other.reference == one.reference and other.id != one.id
        assert other.hidden == (*one.visible, *one.hidden)
        assert len(other.visible) == 1
    echoes = sum(task.visible[0].args == (task.visible[0].expected,) for task in weak)
    assert echoes > 100
    assert not any(all(c.args == (c.expected,) for c in task.hidden) for task in weak)  # the hidden ones see through it


def test_a_weak_program_has_a_test_on_stdin_like_its_others() -> None:
    for task in load("generated?family=stdin_list&level=1&count=10&weak=1"):
        assert {type(case) for case in task.cases} == {StdioCase}


@pytest.mark.parametrize("family", [*PROGRAMS, *CLASSES])
def test_references_of_programs_and_classes_give_what_interpretation_expects(family: str) -> None:
    tasks = list(islice(stream([family], DRAWS[family][1], None, 1), 30))
    assert {task.level for task in tasks} == set(DRAWS[family][1])
    kind = StdioCase if family in PROGRAMS else AssertCase
    for task in tasks:
        assert task.entry_point == ""
        for case in task.cases:
            assert isinstance(case, kind)
            if isinstance(case, StdioCase):
                reading, printed = iter(case.stdin.splitlines()), io.StringIO()
                with redirect_stdout(printed):
                    exec(task.reference, {"input": reading.__next__})
                assert printed.getvalue() == case.stdout, task.reference
            elif isinstance(case, AssertCase):
                namespace: dict[str, Any] = {}
                exec(task.reference, namespace)
                exec(case.code, {name: namespace[name] for name in case.names})


def test_a_program_and_a_function_with_the_same_meaning_are_in_one_split() -> None:
    """Splits go by meaning, not by family: `tally` and `stdin_table` have their inputs and steps in common."""
    rng = Random(3)
    for level in (1, 3, 5):
        state = rng.getstate()
        function = DRAWS["tally"][0](rng, level)
        rng.setstate(state)
        program = DRAWS["stdin_table"][0](rng, level)
        digests = [fingerprint(problem.kinds, problem.solve) for problem in (function, program)]
        assert digests[0] == digests[1]
        tasks = [make_task(problem, digests[0]) for problem in (function, program)]
        assert tasks[0].split is tasks[1].split
        assert tasks[0].prompt != tasks[1].prompt


def test_the_tasks_of_the_quickstart_never_change() -> None:
    """Its published numbers rest on these tasks: ids, prompts, tests and all."""
    tasks = load("generated?family=compose&level=1-2&split=train&count=300&seed=0")
    tasks += load("generated?family=compose&level=1-3&split=validation&count=100&seed=0")
    told = [(task.id, task.prompt, task.reference, task.split, task.level, *map(given, task.cases)) for task in tasks]
    results = [list(map(wanted, task.cases)) for task in tasks]
    assert sha256(repr((told, results)).encode()).hexdigest()[:16] == "36c4b5f7d3592dd9"
