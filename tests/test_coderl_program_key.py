"""Programs that differ in layout and names of their own are one; all others are not; nothing makes it raise."""

from __future__ import annotations

import pytest

from coderl.program_key import edit_distance, program_key, tokens


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("def f(x):\n    return x + 1\n", "def f(value):\n\n    return (value + 1)  # one more\n"),
        ("def f(x):\n    y = x * 2\n    return y", 'def f(a):\n    """Doubles."""\n    b = a * 2\n    return b'),
        ("a = 1\nb = a", "c = 1\nd = c"),
    ],
)
def test_layout_comments_and_own_names_do_not_matter(first, second):
    if '"""' in second:  # a docstring counts as `pass`
        first = first.replace("(x):\n", "(x):\n    pass\n")
    assert program_key(first) == program_key(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("def f(x):\n    return x + 1", "def f(x):\n    return x + 2"),
        ("def f(x, y):\n    return x - y", "def f(x, y):\n    return y - x"),  # the order of names is the meaning
        ("def f(x):\n    return len(x)", "def f(x):\n    return sum(x)"),  # built-ins keep their names
        ("def f(x):\n    return x.upper()", "def f(x):\n    return x.lower()"),
        ("def g(a, b):\n    return a - b\nr = g(a=1, b=2)", "def g(b, a):\n    return b - a\nr = g(a=1, b=2)"),
        ("def f(x):\n    return x", "def g(x):\n    return x"),  # the function that the task asks for is not renamed
    ],
)
def test_what_changes_the_meaning_changes_the_key(first, second):
    assert program_key(first) != program_key(second)


@pytest.mark.parametrize(
    "source",
    ["", "def f(:", "\0", "x = '\\d'", "(" * 5000, "-" * 90_000 + "1", "1+" * 30_000 + "1", "a" * 200_000, "\ud800"],
)
def test_hostile_text_has_a_key_and_no_warning(source):
    assert program_key(source) == program_key(source)
    assert isinstance(tokens(source), list)


def test_distance_counts_edited_tokens_and_stops_at_the_limit():
    first, second = tokens("return x + 1"), tokens("return x - 1  # less")
    assert first == ["return", "x", "+", "1"]
    assert edit_distance(first, second) == 1
    assert edit_distance(first, ["x", "+", "1"]) == 1  # one deletion
    assert edit_distance(list("kitten"), list("sitting")) == 3  # the textbook's example
    assert edit_distance(["a"] * 100, ["b"] * 100, limit=7) == 7
    assert edit_distance([], list("abc")) == 3
