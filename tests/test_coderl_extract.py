"""Which program does a completion hold?"""

from __future__ import annotations

import pytest

from coderl.extract import extract_program, fenced_block
from tasks.task import Split, Style, Task

INSTRUCTION = Task(id="t/a", prompt="Write f.", style=Style.INSTRUCTION, split=Split.TRAIN, visible=(), hidden=())
COMPLETION = Task(
    id="t/b",
    prompt="def f(x):\n    ",
    style=Style.COMPLETION,
    split=Split.TRAIN,
    visible=(),
    hidden=(),
    stop=("\ndef ", "\nclass "),
)


def test_the_last_fenced_block_wins():
    """Correctness, point 6."""
    text = "First:\n```python\na = 1\n```\nBetter:\n```py\na = 2\n```\nDone."
    assert fenced_block(text, truncated=False) == "a = 2\n"


def test_text_without_a_fence_is_the_program():
    assert fenced_block("def f(): pass", truncated=False) == "def f(): pass"


@pytest.mark.parametrize(("truncated", "expected"), [(True, None), (False, "x = 1")])
def test_an_open_fence_is_a_format_failure_only_if_the_sample_was_cut_off(truncated, expected):
    """Correctness, point 6."""
    assert fenced_block("```python\nx = 1", truncated=truncated) == expected


def test_the_response_prefix_belongs_to_the_program():
    program = extract_program(
        INSTRUCTION, "\n    return 1\n```", response_prefix="```python\ndef f():", truncated=False
    )
    assert program == "def f():\n    return 1\n"


def test_a_completion_is_cut_at_the_first_stop_string_and_joined_to_the_stripped_prompt():
    text = "\n    return x\ndef g(): pass\nclass A: pass"
    program = extract_program(COMPLETION, text, response_prefix="", stop=COMPLETION.stop, truncated=False)
    assert program == "def f(x):\n    return x\n"


def test_the_string_that_ended_a_sample_is_no_part_of_the_program():
    text = "\n    return 1\n\nprint"
    prefix = "```python\ndef f():"
    program = extract_program(INSTRUCTION, text, response_prefix=prefix, stop=("\n```", "\nprint"), truncated=False)
    assert program == "def f():\n    return 1\n"


@pytest.mark.parametrize("text", ["", "   \n", "```python\n```", "``", "```", "\x00", "````\n```"])
def test_any_text_gives_a_program_or_an_empty_string(text):
    assert isinstance(extract_program(INSTRUCTION, text, response_prefix="", truncated=True), str)


def test_an_empty_block_is_no_code():
    assert extract_program(INSTRUCTION, "```python\n\n```", response_prefix="", truncated=False) == ""
