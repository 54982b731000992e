"""HumanEval+ and MBPP+: both published formats, the references, the special oracles, and programs that base tests let pass."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import Grader
from sandbox.spec import AssertCase, CallCase
from tasks import jsonl
from tasks.errors import TaskError
from tasks.evalplus_oracle import shaped
from tasks.registry import load
from tasks.task import Split, Task

DATA = Path(os.environ.get("CODERL_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
FOLDER = DATA / "evalplus" / "humanevalplus"
RELEASES = {name: FOLDER / f"HumanEvalPlus{name}.jsonl.gz" for name in ("", "-Mini", "-OriginFmt")}
needs_data = pytest.mark.skipif(not RELEASES[""].exists(), reason=f"no EvalPlus data in {DATA}")


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=2) as opened:
        yield opened


def outcomes(grader: Grader, task: Task, *programs: str) -> list[str]:
    return [str(verdict.outcome) for verdict in grader.grade([task.request(text) for text in programs])]


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


PLUS = {
    "task_id": "Mbpp/2", "prompt": '"""\nWrite a function to find the shared elements.\n'
    'assert set(similar_elements((3, 4),(4, 1))) == set((4,))\n"""\n', "entry_point": "similar_elements",
    "canonical_solution": "\ndef similar_elements(test_tup1, test_tup2):\n  return tuple(set(test_tup1) & set(test_tup2))\n",
    "base_input": [[[3, 4], [4, 1]]], "atol": 0, "plus_input": [[[], [1]], [[1, 2, 3], [3, 2, 9]]],
    "contract": "\n  assert isinstance(test_tup1, tuple) # $_CONTRACT_$\n", "assertion": "",
}  # fmt: skip
SQUARE = {
    **PLUS, "task_id": "Mbpp/581", "entry_point": "surface_Area",
    "prompt": '"""\nWrite a function for the area of a square pyramid.\nassert surface_Area(3,4)==33\n"""\n',
    "canonical_solution": "\ndef surface_Area(b, s):\n  return 2 * b * s + pow(b, 2)\n", "base_input": [[3, 4]],
    "plus_input": [[1, 2], [8, 3]],
}  # fmt: skip
HUB_MBPP = {
    "task_id": 3, "code": "def is_not_prime(n):\n    return n < 2 or any(n % d == 0 for d in range(2, n))\n",
    "prompt": "Write a function to find composite numbers.", "source_file": "Benchmark Questions.ipynb", "test_imports": [],
    "test_list": ["assert is_not_prime(2) == False", "assert is_not_prime(10) == True"],
    "test": "import numpy as np\nfrom math import inf\n\ndef is_floats(x) -> bool:\n    if isinstance(x, np.ndarray):\n"
    "        return x.dtype == np.float64\n    return isinstance(x, float)\n\n"
    "def assertion(out, exp, atol):\n    if atol == 0 and is_floats(exp):\n"
    "        atol = 1e-6\n    if out != exp and atol != 0:\n        assert np.allclose(out, exp, rtol=1e-07, atol=atol)\n    "
    "else:\n        assert out == exp\n\ninputs = [[2], [10], [35], [37]]\nresults = [False, True, True, False]\n"
    "for i, (inp, exp) in enumerate(zip(inputs, results)):\n    assertion(is_not_prime(*inp), exp, 0)\n",
}  # fmt: skip
HUMANEVAL_PLUS = {
    "task_id": "HumanEval/2",
    "prompt": 'def truncate_number(number: float) -> float:\n    """Decimals.\n\n    >>> truncate_number(3.5)\n    0.5\n'
    '    """\n',
    "entry_point": "truncate_number", "canonical_solution": "    return number % 1.0\n", "contract": "",
    "base_input": [[3.5], [1.25]], "plus_input": [[0.1], [123456.75]], "atol": 1e-6,
}  # fmt: skip


def test_expected_values_come_from_the_canonical_solution_in_the_referee(tmp_path: Path, grader: Grader) -> None:
    (task,) = load(f"humanevalplus:{lines(tmp_path / 'h.jsonl', HUMANEVAL_PLUS)}")
    assert task.visible == (CallCase(function="truncate_number", args=(3.5,), expected=0.5),)
    assert len(task.hidden) == 2 and all(isinstance(case, AssertCase) for case in task.hidden)
    near, far = task.prompt + "    return number % 1.0 + 1e-7\n", task.prompt + "    return number % 1.0 + 1e-4\n"
    (reference, close, wrong) = grader.grade([task.request(text) for text in (task.reference, near, far)])
    assert reference.outcome == "AC"
    assert [case.outcome for case in close.cases[1:]] == ["AC", "AC"]  # within atol, though not equal to the example
    assert wrong.outcome == "WA"
    only_base = task.prompt + "    return {3.5: 0.5, 1.25: 0.25}.get(number, 0.0)\n"
    (verdict,) = grader.grade([task.request(only_base)])
    assert [case.outcome for case in verdict.cases] == ["AC", "AC", "WA"]  # example, base, plus


def test_nothing_of_the_data_runs_while_it_is_loaded(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    evil = f"open({str(trap)!r}, 'w')\n"
    body = "    return 1\n" + evil
    load(f"humanevalplus:{lines(tmp_path / 'h.jsonl', {**HUMANEVAL_PLUS, 'canonical_solution': body})}")
    solution = PLUS["canonical_solution"] + evil
    load(f"mbppplus:{lines(tmp_path / 'm.jsonl', {**PLUS, 'canonical_solution': solution})}")
    assert not trap.exists()


def test_mbpp_plus_gets_its_tuples_back_and_sets_compare_as_sets(tmp_path: Path, grader: Grader) -> None:
    (task,) = load(f"mbppplus:{lines(tmp_path / 'm.jsonl', PLUS)}")
    assert (task.id, task.split, task.signature) == (
        "mbppplus/2",
        Split.VALIDATION,
        "def similar_elements(test_tup1, test_tup2):",
    )
    assert task.prompt.startswith("Write a function to find") and "assert set(" in task.prompt
    strict = "def similar_elements(a, b):\n    assert isinstance(a, tuple) and isinstance(b, tuple)\n    return {}\n"
    as_list = strict.format("sorted(set(a) & set(b), reverse=True)")
    assert outcomes(grader, task, task.reference, as_list, strict.format("(4,)")) == ["AC", "AC", "WA"]


def test_the_other_reading_of_an_ambiguous_task_is_right_too(tmp_path: Path, grader: Grader) -> None:
    # b = 8, h = 3: the slant height is sqrt(4^2 + 3^2) = 5, so 8^2 + 2 * 8 * 5 = 144; with s = 3 itself 64 + 48 = 112
    (task,) = load(f"mbppplus:{lines(tmp_path / 'm.jsonl', {**SQUARE, 'prompt': 'Area.', 'base_input': []})}")
    other = "def surface_Area(b, h):\n    return round(b * b + 2 * b * ((b / 2) ** 2 + h * h) ** 0.5)\n"
    assert outcomes(grader, task, task.reference, other, other.replace("2 * b", "3 * b")) == ["AC", "AC", "WA"]


def test_the_hubs_test_program_runs_unchanged_without_numpy(tmp_path: Path, grader: Grader) -> None:
    (task,) = load(f"mbppplus:{lines(tmp_path / 'm.jsonl', HUB_MBPP)}")
    (case,) = task.hidden
    assert isinstance(case, AssertCase) and case.code == HUB_MBPP["test"] + "\n" and case.names == ("is_not_prime",)
    wrong = "def is_not_prime(n):\n    return n % 2 == 0 and n > 2\n"
    assert outcomes(grader, task, task.reference, wrong) == ["AC", "WA"]


@pytest.mark.parametrize(
    ("number", "given", "expected"),
    [
        (2, [[3], [4]], [(3,), (4,)]),
        (63, [[[3, 5]]], [[(3, 5)]]),
        (75, [[[6, 24]], 6], [[(6, 24)], 6]),
        (106, [[5], [9]], [[5], (9,)]),
        (115, [[[1, 2], []]], [[{1, 2}, {}]]),
        (124, ["0", "1j"], [0.0, 1j]),
        (250, [[8, [2]], 4], [(8, [2]), 4]),
        (259, [[[1, 3]], [[6, 7]]], [((1, 3),), ((6, 7),)]),
        (580, [[4, [5, [6]]]], [(4, (5, (6,)))]),
        (722, [{"a": [6.2, 70]}, 6.0], [{"a": (6.2, 70)}, 6.0]),
        (11, [[1]], [[1]]),
    ],
)
def test_the_shapes_that_json_lost(number: int, given: list[Any], expected: list[Any]) -> None:
    assert repr(shaped(number, given)) == repr(expected)


def test_tasks_round_trip_and_bad_rows_are_named(tmp_path: Path) -> None:
    tasks = load(f"mbppplus:{lines(tmp_path / 'm.jsonl', PLUS, SQUARE, HUB_MBPP)}")
    tasks += load(f"humanevalplus:{lines(tmp_path / 'h.jsonl', HUMANEVAL_PLUS)}")
    jsonl.write(tmp_path / "ours.jsonl", tasks)
    assert jsonl.read(tmp_path / "ours.jsonl") == tasks
    for change, fault in (
        ({"plus_input": [3]}, r'field "plus_input\[0\]": is \'3\'; write the arguments as an array'),
        ({"canonical_solution": "def g(): pass"}, "does not define 'similar_elements'"),
        ({"canonical_solution": "def :"}, 'field "canonical_solution": is not Python'),
        ({"task_id": "Mbpp/x"}, "is 'Mbpp/x'"),
        ({"base_input": [], "plus_input": []}, "is empty, and so is plus_input"),
    ):
        with pytest.raises(TaskError, match=rf"m.jsonl:1: .*{fault}"):
            load(f"mbppplus:{lines(tmp_path / 'm.jsonl', {**PLUS, **change})}")


@needs_data
def test_the_references_of_the_small_release_pass_and_empty_bodies_do_not(grader: Grader) -> None:
    tasks = load(f"humanevalplus:{RELEASES['-Mini']}")
    assert len(tasks) == 164
    assert {outcome for task in tasks[:60] for outcome in outcomes(grader, task, task.reference)} == {"AC"}
    assert "AC" not in {
        outcome for task in tasks[:60] for outcome in outcomes(grader, task, task.prompt + "    return None\n")
    }


@needs_data
def test_the_released_test_program_that_nothing_passes_is_mended(grader: Grader) -> None:
    (task,) = load(f"humanevalplus:{RELEASES['-OriginFmt']}?ids=HumanEval/32")
    assert outcomes(grader, task, task.reference, task.prompt + "    return 0.0\n") == ["AC", "WA"]


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("release", ["", "-OriginFmt"])
def test_every_reference_of_the_releases_passes(grader: Grader, release: str) -> None:
    tasks = load(f"humanevalplus:{RELEASES[release]}")
    verdicts = grader.grade([task.request(task.reference) for task in tasks])
    assert {t.id: v.detail for t, v in zip(tasks, verdicts, strict=True) if v.outcome != "AC"} == {}
    assert len(tasks) == 164
