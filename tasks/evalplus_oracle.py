"""What runs in the referee for EvalPlus: the canonical solution, and when is an answer as good as its own?

Text for the referee's jail, and the shapes that JSON lost: MBPP's inputs hold tuples, sets and complex numbers, and which ones
is known per task only. Source: evalplus 0.3.1, data/mbpp.py, eval/__init__.py and eval/_special_oracle.py.
"""

from __future__ import annotations

from typing import Any

NUMPY = '''
def _stand_in():
    """numpy, as far as the test program uses it."""
    import sys, types

    def close(a, b, rtol, atol):
        if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
            return len(a) == len(b) and all(close(x, y, rtol, atol) for x, y in zip(a, b))
        return a == b or abs(a - b) <= atol + rtol * abs(b)

    module = types.ModuleType("numpy")
    module.ndarray, module.float64, module.float32 = (), float, float
    module.allclose = lambda a, b, rtol=1e-05, atol=1e-08: close(a, b, rtol, atol)
    sys.modules["numpy"] = module

_stand_in()
'''

_DIFFERENTIAL = """
from copy import deepcopy
from math import inf, nan

def _canonical(source, name):
    names = {{"__name__": "reference"}}
    exec(compile(source, "reference.py", "exec"), names)
    return names[name]

_right = _canonical({reference!r}, {name!r})

def _floats(x):
    return isinstance(x, float) or isinstance(x, (list, tuple)) and all(isinstance(i, float) for i in x)

def _close(out, right, atol):
    if isinstance(out, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(out) == len(right) and all(_close(a, b, atol) for a, b in zip(out, right))
    return out == right or out != out and right != right or abs(out - right) <= atol + 1e-07 * abs(right)

def _agree(out, right, given, atol):
    {special}
    if atol == 0 and _floats(right):
        atol = 1e-6
    return out == right or atol != 0 and _close(out, right, atol)

for _given in {inputs!r}:
    {expected}
    assert _agree({name}(*deepcopy(_given)), _expected, _given, {atol!r})
"""
_SET = "return set(out) == set(right)"
_TRUTH = "return out == right if isinstance(out, bool) else right == (out is not None)"
# By name of the function: where differential testing would be wrong.
_SPECIAL = {
    "find_zero": "return abs(sum(c * out**i for i, c in enumerate(given[0]))) <= atol",
    "sum_div": "if out == 0:\n        return True",
    "surface_Area": "if abs(out - round(given[0]**2 + 2 * given[0] * ((given[0] / 2)**2 + given[1]**2)**0.5)) <= atol:\n"
    "        return True",
    "digit_distance_nums": "width = max(len(str(n)) for n in given)\n"
    "    if out == sum(abs(int(a) - int(b)) for a, b in zip(*(str(n).zfill(width) for n in given))):\n        return True",
    **dict.fromkeys(
        ("similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly", "larg_nnum",
         "intersection_array", "find_dissimilar", "Diff"), _SET),
    **dict.fromkeys(("check_str", "text_match_three", "text_starta_endb"), _TRUTH),
}  # fmt: skip
_LOOSE = (
    "check_str",
    "text_match_three",
    "text_starta_endb",
)  # the reference returns a match, compared as a truth value
_ANY = "are_equivalent"  # EvalPlus takes every answer to its plus inputs: they test nothing


def oracle(reference: str, name: str, inputs: list[Any], atol: float, *, plus: bool) -> str:
    """The test program for the inputs; "" where no answer would be wrong."""
    if plus and name == _ANY:
        return ""
    expected = "_expected = None" if name == "find_zero" else "_expected = _right(*deepcopy(_given))"
    if name in _LOOSE:
        expected += "\n    if not isinstance(_expected, bool):\n        _expected = _expected is not None"
    return _DIFFERENTIAL.format(
        reference=reference, name=name, special=_SPECIAL.get(name, "pass"), inputs=inputs, expected=expected, atol=atol
    ).lstrip("\n")


# Tasks of MBPP+ whose lists are tuples: in which arguments (None: all), and how deep (0: the argument itself).
_TUPLES: tuple[tuple[frozenset[int], tuple[int, ...] | None, frozenset[int]], ...] = (
    (frozenset({2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740, 744,
                809}), None, frozenset({0})),
    (frozenset({63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780}), None, frozenset({1})),
    (frozenset({75, 413, 444, 753}), (0,), frozenset({1})),
    (frozenset({106, 750}), (1,), frozenset({0})),
    (frozenset({250, 307, 405, 446, 617, 720, 763, 808}), (0,), frozenset({0})),
    (frozenset({259, 278, 401, 445}), None, frozenset({0, 1})),
    (frozenset({580, 615, 791}), None, frozenset(range(64))),
    (frozenset({722}), (0,), frozenset({1})),
)  # fmt: skip


def shaped(number: int, given: list[Any]) -> list[Any]:
    """The arguments of one call of MBPP+ task `number`, with the types that JSON lost.

    >>> shaped(2, [[3, 4], [5]]), shaped(252, ["1j"])
    ([(3, 4), (5,)], [1j])
    """
    if number == 115:
        return [[set(item) if isinstance(item, list) and item else {} for item in given[0]]]
    if number == 124:
        return [float(given[0]), complex(given[1])]
    if number == 252:
        return [complex(given[0])]
    for numbers, places, depths in _TUPLES:
        if number in numbers:
            return [_tuples(x, depths) if places is None or i in places else x for i, x in enumerate(given)]
    return given


def _tuples(value: Any, depths: frozenset[int], depth: int = 0) -> Any:
    if depth > max(depths):
        return value
    if isinstance(value, dict):
        return {key: _tuples(item, depths, depth + 1) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    items = [_tuples(item, depths, depth + 1) for item in value]
    return tuple(items) if depth in depths else items
