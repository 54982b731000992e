"""Does a lifted test run beside helpers of the task, and ask the candidate for its own names only?"""

from __future__ import annotations

import pytest

from sandbox.lift import defined_names, free_names, humaneval, mbpp

PROMPT = 'import math\n\ndef helper(x):\n    return x\n\n\ndef f(x):\n    """Twice x."""\n'


def test_helpers_and_imports_of_the_prompt_become_the_prelude() -> None:
    case = humaneval(PROMPT, "f", "def check(candidate):\n    assert candidate(helper(2)) == 4\n")
    assert case.names == ("f",)
    assert case.prelude == "import math\n\ndef helper(x):\n    return x\n"
    assert case.code.endswith("check(f)\n")


def test_a_prompt_that_ends_in_the_signature_or_lacks_the_function_is_told_apart() -> None:
    assert humaneval("def f(x):\n", "f", "check = print\n").prelude == ""
    with pytest.raises(ValueError, match="'g'"):
        humaneval(PROMPT, "g", "")
    with pytest.raises(SyntaxError):
        humaneval(PROMPT, "f", "def check(:")


def test_free_names_are_those_read_and_not_bound_in_any_way() -> None:
    code = (
        "import a, b.c as d\nfrom e import f\nx = 1\ndef g(y, *z): return y, z, q\nclass H: pass\n"
        "for i in r: pass\ntry: s\nexcept E as e2: e2\n[k for k in t]\nwith u as v: v\nlambda w: w\nprint(len(x))"
    )
    assert free_names(code) == ("E", "q", "r", "s", "t", "u")
    assert free_names("sum(len(x))", {"sum", "x"}) == ("sum", "x")


def test_each_assert_is_a_case_with_the_setup_and_the_imports() -> None:
    first, second = mbpp(
        ["assert f(root) == 1", "assert math.isclose(f(2), 1)"], "root = Node(1)\r\nroot.left = Node(2)", []
    )
    assert first.names == ("Node", "f")
    assert first.code == "root = Node(1)\nroot.left = Node(2)\nassert f(root) == 1\n"
    assert (second.names, second.prelude) == (("Node", "f"), "import math\n")
    (case,) = mbpp(["assert set(f(1)) == {math.pi}"], imports=["import math"])
    assert (case.names, case.prelude) == (("f",), "import math\n")


def test_defined_names_are_functions_and_classes_at_the_top() -> None:
    assert defined_names("import os\r\ndef f():\r\n  def g(): pass\r\nclass C: pass\nx = 1") == {"f", "C"}
