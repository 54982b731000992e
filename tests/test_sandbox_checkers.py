"""Does each checker accept and refuse what its table says?"""

from __future__ import annotations

import math
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.checkers import text_matches, values_match
from sandbox.spec import Checker, Comparison

EXACT, LINES, TOKENS, FLOATS = Checker.EXACT, Checker.LINES, Checker.TOKENS, Checker.FLOATS
EQUAL, UNORDERED = Checker.EQUAL, Checker.UNORDERED

# answer, expected, and under which of EXACT, EQUAL, FLOATS, UNORDERED it is accepted
VALUES: list[tuple[Any, Any, set[Checker]]] = [
    (1, 1, {EXACT, EQUAL, FLOATS, UNORDERED}),
    (1.0, 1, {EQUAL, FLOATS, UNORDERED}),
    (True, 1, set()),
    (1, True, set()),
    (True, True, {EXACT, EQUAL, FLOATS, UNORDERED}),
    ([True], [1], set()),
    ({True: 0}, {1: 0}, set()),
    ({True}, {1}, set()),
    ({(1, True)}, {(1, 1)}, set()),
    ((1, 2), [1, 2], {EQUAL, FLOATS, UNORDERED}),
    ([(1, 2)], [[1, 2]], {EQUAL, FLOATS, UNORDERED}),
    (0.1 + 0.2, 0.3, {FLOATS}),
    (1000001.0, 1000000.0, {FLOATS}),  # relative: exactly 1e-6 of the larger
    (1000003, 1000000, set()),
    ([2, 1], [1, 2], {UNORDERED}),
    ([1, 1, 2], [1, 2, 2], set()),
    ([[2, 1]], [[1, 2]], set()),  # only the outermost order is free
    ([{"a": [1]}, {1, 2}], [{2, 1}, {"a": (1,)}], {UNORDERED}),
    (math.nan, math.nan, set()),
    ([math.nan], [math.nan], set()),
    ({"a": math.nan}, {"a": math.nan}, set()),
    (math.inf, math.inf, {EXACT, EQUAL, FLOATS, UNORDERED}),
    (10**400, 1e308, set()),
    (10**400, math.inf, set()),
    (1e308, 10**400, set()),
    (1.0, math.inf, set()),
    (math.inf, 1.0, set()),
    (-math.inf, math.inf, set()),
    ("1", 1, set()),
    ({1}, [1], set()),
    ({1}, frozenset({1}), {EQUAL, FLOATS, UNORDERED}),
    (b"a", "a", set()),
    (None, 0, set()),
    ({1: 2, 3: 4}, {3: 4, 1: 2}, {EXACT, EQUAL, FLOATS, UNORDERED}),
    ({1: 0.1 + 0.2}, {1: 0.3}, {FLOATS}),
    ({1: 2}, {1: 2, 3: 4}, set()),
    (-0.0, 0.0, {EXACT, EQUAL, FLOATS, UNORDERED}),
    ([], (), {EQUAL, FLOATS, UNORDERED}),
]


@pytest.mark.parametrize(("answer", "expected", "accepted"), VALUES)
def test_values_compare_as_the_table_says(answer: Any, expected: Any, accepted: set[Checker]) -> None:
    assert {c for c in (EXACT, EQUAL, FLOATS, UNORDERED) if values_match(c, answer, expected)} == accepted


def test_one_nan_object_on_both_sides_is_not_equal_to_itself() -> None:
    nan = math.nan
    for checker in Checker:
        assert not values_match(checker, [nan, (nan,)], [nan, (nan,)])


TEXTS: list[tuple[bytes, bytes, set[Checker]]] = [
    (b"1 2\n", b"1 2\n", {EXACT, LINES, TOKENS, FLOATS, UNORDERED}),
    (b"1 2  \r\n\n", b"1 2", {LINES, TOKENS, FLOATS, UNORDERED}),
    (b"1\n2", b"1 2", {TOKENS, FLOATS}),
    (b" 1", b"1", {TOKENS, FLOATS}),
    (b"2\n1", b"1\n2", {UNORDERED}),
    (b"1e-7", b"0.0000001", {FLOATS}),
    (b"0.30000000000000004", b"0.3", {FLOATS}),
    (b"1_0", b"10", set()),
    (b"nan", b"nan", {EXACT, LINES, TOKENS, UNORDERED}),
    (b"inf", b"1e400", set()),
    (b"1e500", b"1e400", set()),
    (b"+inf", b"Infinity", {FLOATS}),
    (b"-inf", b"inf", set()),
    (b"0", b"inf", set()),
    (b"inf", b"0", set()),
    (b"yes", b"YES", set()),
    (b"", b"", {EXACT, LINES, TOKENS, FLOATS, UNORDERED}),
    (b"", b"4", set()),
    (b"4\0", b"4", set()),
    (b"1\n\n2", b"1\n2", {TOKENS, FLOATS}),
]


@pytest.mark.parametrize(("answer", "expected", "accepted"), TEXTS)
def test_texts_compare_as_the_checkers_say(answer: bytes, expected: bytes, accepted: set[Checker]) -> None:
    checkers = (EXACT, LINES, TOKENS, FLOATS, UNORDERED)
    assert {c for c in checkers if text_matches(c, answer, expected)} == accepted


def colliding_items(count: int) -> dict[int, int]:
    """Pairs of one hash: CPython's tuples hash by xxHash, whose last step is undone here (Objects/tupleobject.c)."""
    mask, prime_1, prime_2, prime_5 = (1 << 64) - 1, 11400714785074694791, 14029467366897019727, 2870177450012600261
    inverse = pow(prime_2, -1, 1 << 64)
    found: dict[int, int] = {}
    key = 0
    while len(found) < count:
        key += 1
        lane = prime_5 + key * prime_2 & mask
        value = (12345 - (lane << 31 | lane >> 33) * prime_1) * inverse & mask
        value -= value >> 63 << 64
        if abs(value) < 2**61 - 1:  # such an int is its own hash
            found[key] = value
    return found


@pytest.mark.parametrize("checker", Checker)
def test_an_answer_is_not_cut_into_more_parts_than_the_expected_one_has(checker: Checker) -> None:
    answer = b"ab\n" * 1_000_000
    tracemalloc.start()
    for rule in (Comparison(checker=checker), Comparison(checker=checker, exact_spaces=True)):
        assert not text_matches(rule, answer, b"ab\nab\n")
    assert tracemalloc.get_traced_memory()[1] < 3 * len(answer)
    tracemalloc.stop()


@pytest.mark.parametrize("checker", Checker)
def test_huge_and_colliding_and_endless_values_are_judged_in_bounded_time(checker: Checker) -> None:
    colliding = [i * (2**61 - 1) for i in range(20_000)]
    laughs: Any = [0]
    for _ in range(60):
        laughs = [laughs, laughs]
    endless: list[Any] = []
    endless.append(endless)
    start = time.process_time()
    values_match(checker, colliding, list(reversed(colliding)))
    items = colliding_items(20_000)
    assert len({hash(item) for item in items.items()}) == 1
    assert not values_match(checker, items, 4)
    assert not values_match(checker, [items], [items | {0: 0}])
    assert not values_match(checker, laughs, laughs)
    assert not values_match(checker, endless, endless)
    text_matches(checker, b"9" * 1_000_000, b"9" * 999_999 + b"8")
    assert time.process_time() - start < 30.0


@given(st.lists(st.integers(-3, 3) | st.text(max_size=1)), st.randoms())
def test_unordered_accepts_exactly_the_permutations(values: list[Any], random: Any) -> None:
    other = list(values)
    random.shuffle(other)
    assert values_match(UNORDERED, other, values)
    assert not values_match(UNORDERED, [*other, 9], values)
    assert not values or not values_match(UNORDERED, [*other[1:], 9], values)


SETTINGS: list[tuple[Comparison, bytes, bytes, bool]] = [
    (Comparison(checker=FLOATS, absolute=0.5, relative=0.0), b"1.4", b"1", True),
    (Comparison(checker=FLOATS, absolute=0.1, relative=0.0), b"1.4", b"1", False),
    (Comparison(checker=FLOATS, absolute=0.0, relative=0.1), b"109", b"100", True),
    (Comparison(checker=FLOATS, absolute=0.0, relative=0.1), b"111", b"100", False),  # of the expected: 11 > 10
    (Comparison(checker=FLOATS, absolute=0.0, relative=0.1), b"100", b"111", True),  # 11 <= 11.1
    (Comparison(checker=FLOATS, absolute=0.0, relative=0.01), b"1", b"0", False),
    (Comparison(checker=TOKENS, ignore_case=True), b"yes  NO", b"YES no", True),
    (Comparison(checker=EXACT, ignore_case=True), b"yes\n", b"YES", False),
    (Comparison(checker=UNORDERED, ignore_case=True), b"B\na", b"A\nb", True),
    (Comparison(checker=TOKENS, exact_spaces=True), b"a  b", b"a b", False),
    (Comparison(checker=TOKENS, exact_spaces=True), b"a b\n", b"a b", False),
    (Comparison(checker=FLOATS, exact_spaces=True), b"a 1.0000001\n", b"a 1\n", True),
    (Comparison(checker=FLOATS, exact_spaces=True), b"a  1\n", b"a 1\n", False),
]


@pytest.mark.parametrize(("rule", "answer", "expected", "accepted"), SETTINGS)
def test_settings_of_a_comparison_decide_about_text(
    rule: Comparison, answer: bytes, expected: bytes, accepted: bool
) -> None:
    assert text_matches(rule, answer, expected) is accepted


def test_settings_of_a_comparison_decide_about_values() -> None:
    wide = Comparison(checker=FLOATS, absolute=0.5, relative=0.0)
    assert values_match(wide, [1.4, {"k": (2.6,)}], [1, {"k": (3,)}])
    assert not values_match(wide, [1.6], [1])
    folded = Comparison(checker=EQUAL, ignore_case=True)
    assert values_match(folded, ["Ä", {"Key": "x"}, {"Q"}], ["ä", {"KEY": "X"}, {"q"}])
    assert not values_match(folded, ["a"], ["b"])
    assert not values_match(Checker.EQUAL, "a", "A")


@pytest.mark.parametrize("fault", [{"absolute": -1}, {"relative": math.nan}, {"absolute": True}, {"ignore_case": 1}])
def test_a_comparison_that_makes_no_sense_is_refused(fault: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"checker.{next(iter(fault))}"):
        Comparison(checker=FLOATS, **fault)
