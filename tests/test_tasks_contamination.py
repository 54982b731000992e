"""Decontamination: copies are found whatever their layout, templates and idioms are not taken for copies."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tasks.contamination import overlaps
from tasks.registry import load
from tasks.task import Split, Style, Task

DATA = Path(os.environ.get("CODERL_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
MBPP, SANITIZED = DATA / "mbpp" / "mbpp.jsonl", DATA / "mbpp" / "sanitized-mbpp.json"
needs_data = pytest.mark.skipif(not MBPP.exists(), reason=f"no benchmark data in {DATA}")
WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu"


def task(name: str, prompt: str, reference: str = "") -> Task:
    return Task(
        id=name, prompt=prompt, style=Style.INSTRUCTION, split=Split.TRAIN, visible=(), hidden=(), reference=reference
    )


def found(tasks: list[Task], evaluation: list[Task], n: int = 10) -> dict[str, str]:
    return {match.task_id: match.how for match in overlaps(tasks, evaluation, n=n).matches}


def test_ten_words_in_a_row_are_found_whatever_the_layout_and_nine_are_not() -> None:
    ten, nine = " ".join(WORDS.split()[:10]), " ".join(WORDS.split()[:9])
    evaluation = [task("e", f"Given {WORDS}, do it.")]
    spread = ten.upper().replace(" ", ",\n  ")
    assert found([task("a", f"First {spread} last"), task("b", f"First {nine} last")], evaluation) == {
        "a": "10 words of the prompt"
    }
    assert found([task("b", f"First {nine} last")], evaluation, n=9) == {"b": "9 words of the prompt"}


def test_a_short_prompt_is_compared_as_a_whole() -> None:
    evaluation = [task("e", "Sort a list.")]
    same, longer = task("a", "sort   a LIST"), task("b", "Sort a list of pairs.")
    assert found([same, longer], evaluation) == {"a": "same prompt"}


def test_references_are_compared_sign_by_sign() -> None:
    evaluation = [task("e", "one", "def f(x):\n    return x + 2\n")]
    assert found([task("a", "two", "def f(x):  return x + 2")], evaluation) == {"a": "same reference"}
    assert found([task("b", "two", "def f(x):  return x - 2")], evaluation) == {}


def test_a_copied_passage_of_code_is_found_and_an_idiom_is_not() -> None:
    idiom = "for i in range(len(xs)):\n    for j in range(i):\n"  # 23 tokens
    passage = idiom + "        if xs[i] < xs[j]:\n            total += 1\n"  # 37
    evaluation = [task("e", "one", f"def e(xs):\n{passage}")]
    assert found([task("a", "two", f"def other(ys, xs):\n{passage}")], evaluation) == {
        "a": "30 tokens of the reference"
    }
    assert found([task("b", "two", f"def other(ys, xs):\n{idiom}        pass\n")], evaluation) == {}


def test_the_template_of_a_benchmark_is_no_copy_but_equal_prompts_still_are() -> None:
    template = "Write a python function that does the following with its argument and returns the result: "
    evaluation = [task(f"e{i}", template + f"step {i}") for i in range(11)]
    result = overlaps([task("a", template + "another thing"), task("b", template + "step 3")], evaluation)
    assert [(match.task_id, match.evaluation_id, match.how) for match in result.matches] == [("b", "e3", "same prompt")]
    assert "write a python function" in result.templates
    assert found([task("a", template + "another thing")], evaluation[:10]) == {"a": "10 words of the prompt"}


@needs_data
def test_nearly_all_of_sanitized_mbpp_is_found_in_mbpp_and_a_tenth_of_its_training_part_in_its_test_part() -> None:
    full, sanitized = load(f"mbpp:{MBPP}"), load(f"mbpp:{SANITIZED}")
    matches = overlaps(sanitized, full).matches
    assert len(matches) > 0.95 * len(sanitized)
    assert sum(match.task_id == match.evaluation_id for match in matches) > 0.98 * len(matches)
    train, test = ([t for t in full if t.split is split] for split in (Split.TRAIN, Split.TEST))
    kinds = Counter(match.how for match in overlaps(train, test).matches)
    assert kinds == {"10 words of the prompt": 27, "30 tokens of the reference": 6, "same reference": 1}
