"""Do plain values come back from their JSON as they were, and is everything else refused in bounded time?"""

from __future__ import annotations

import json
import math
import sys
import time
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.codec import MAX_DEPTH, MAX_NODES, CodecError, decode, dumps, encode, loads

ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary()
HASHABLE = st.recursive(ATOMS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.sets(HASHABLE, max_size=4)
    ),
    max_leaves=20,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("tdsfbixchrg") | st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=20,
)


def shape(value: Any) -> Any:
    """Text that is equal for values that are equal, with equal types, all the way down; NaN included."""
    if isinstance(value, list | tuple):
        return (type(value).__name__, [shape(item) for item in value])
    if isinstance(value, set | frozenset):
        return (type(value).__name__, sorted(repr(shape(item)) for item in value))
    if isinstance(value, dict):
        return ("dict", [(shape(key), shape(item)) for key, item in value.items()])
    return (type(value).__name__, repr(value))


@given(VALUES)
def test_a_plain_value_comes_back_equal_with_equal_types(value: Any) -> None:
    assert shape(decode(loads(dumps(encode(value))))) == shape(value)


@given(JSON)
def test_any_json_is_a_value_or_a_codec_error_and_values_encode_again(tree: Any) -> None:
    try:
        value = decode(tree)
    except CodecError:
        return
    assert shape(decode(encode(value))) == shape(value)


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:0123456789eE.-tfNaInity', max_size=200).map(str.encode))
def test_any_bytes_are_a_value_or_a_codec_error(data: bytes) -> None:
    with suppress(CodecError):
        decode(loads(data))


def test_the_form_of_every_tag() -> None:
    value = [(1,), {"k": {2}}, frozenset({3}), b"\xff", 1 << 64, -math.inf, 1j]
    assert encode(value) == [
        {"t": [1]}, {"d": [["k", {"s": [2]}]]}, {"f": [3]}, {"b": "ff"}, {"i": "0x10000000000000000"}, {"x": "-inf"},
        {"c": [0.0, 1.0]},
    ]  # fmt: skip


class Liar(dict[Any, Any]):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class LyingItems(dict[Any, Any]):
    def items(self) -> Any:
        return [("other", 1)]


Point = namedtuple("Point", "x y")


def test_standard_subclasses_count_as_their_base_and_liars_do_not() -> None:
    filled: defaultdict[str, int] = defaultdict(int, a=1)
    values = [Counter("aab"), filled, OrderedDict(b=2), deque([1, 2]), Point(1, 2), LyingItems(true=1)]
    assert decode(encode(values)) == [{"a": 2, "b": 1}, {"a": 1}, {"b": 2}, [1, 2], (1, 2), {"true": 1}]
    with pytest.raises(CodecError):
        encode(Liar())


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("values", "tree"),
    [
        ([1, (1 << 63) - 1, -(1 << 63)], [1, (1 << 63) - 1, -(1 << 63)]),
        ([1, 1 << 63], [1, {"i": "0x8000000000000000"}]),
        ([1, -(1 << 63) - 1], [1, {"i": "-0x8000000000000001"}]),
        ([0.5, math.inf], [0.5, {"x": "inf"}]),
        (["a", "\u00e9"], ["a", "\u00e9"]),
        ((True, False), {"t": [True, False]}),
    ],
)
def test_a_list_of_one_kind_travels_as_its_elements_do(values: Any, tree: Any) -> None:
    assert encode(values) == tree
    assert shape(decode(tree)) == shape(values)
    assert encode(values) is not values
    assert decode(tree) is not tree  # who changes a value does not change what came


@pytest.mark.parametrize("tree", [[0.5, math.inf], ["a", "\ud800"], [1] * MAX_NODES])
def test_one_bad_element_spoils_a_list_of_one_kind_and_too_many_do(tree: Any) -> None:
    for way in (decode, encode) if tree[1] != math.inf else (decode,):
        with pytest.raises(CodecError):
            way(tree)


def test_depth_is_bounded_where_values_still_fit() -> None:
    assert decode(encode(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    for value in (nested(MAX_DEPTH + 1), nested(100_000)):
        with pytest.raises(CodecError):
            encode(value)


def bombs() -> dict[str, bytes]:
    prime = 2**61 - 1
    same_hash = (
        ",".join(str(i * prime) for i in range(4))
        + ","
        + ",".join(f'{{"i":"{hex(i * prime)}"}}' for i in range(9, 3000))
    )
    return {
        "duplicate keys": b'{"t":[],"t":[1]}',
        "NaN": b"[NaN]",
        "Infinity": b"[-Infinity]",
        "an infinite float": b"[1e999]",
        "a long number": b"9" * 1_000_000,
        "a lone surrogate": b'"\\ud800"',
        "a bare object": b'{"a":1,"b":2}',
        "no tag": b"{}",
        "an unknown tag": b'{"z":1}',
        "a reference": b'{"h":1}',
        "a deep nest": b"[" * 200_000,
        "a deep closed nest": b"[" * 50_000 + b"]" * 50_000,
        "an unhashable key": b'{"d":[[[],1]]}',
        "a key twice": b'{"d":[[1,1],[1.0,2]]}',
        "an element twice": b'{"s":[1,true]}',
        "half a pair": b'{"d":[[1]]}',
        "bad hex": b'{"b":"f"}',
        "a decimal large int": b'{"i":"12"}',
        "a complex of three": b'{"c":[0.0,0.0,0.0]}',
        "not UTF-8": b"\xff",
        "two values": b"1 2",
        "nothing": b"",
        "colliding keys": b'{"s":[' + same_hash.encode() + b"]}",
    }


@pytest.mark.parametrize("name", bombs())
def test_what_is_not_a_value_is_refused_in_bounded_time(name: str) -> None:
    start = time.process_time()
    with pytest.raises(CodecError):
        decode(loads(bombs()[name]))
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize("most_digits", [0, 640, 4300, 10_000])
def test_numbers_are_bounded_whatever_the_interpreter_allows(most_digits: int) -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(most_digits)
    try:
        assert loads(b"[%s]" % (b"9" * 640)) == [10**640 - 1]
        with pytest.raises(CodecError):
            loads(b"9" * 4301)
    finally:
        sys.set_int_max_str_digits(before)


def test_shared_parts_cannot_grow_without_bound() -> None:
    value: Any = [0]
    for _ in range(60):
        value = [value, value]
    with pytest.raises(CodecError):
        encode(value)


def test_powers_of_two_are_honest_keys() -> None:
    value = {2**i for i in range(2000)}
    assert decode(encode(value)) == value


def test_replacing_json_functions_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "dumps", lambda *a, **k: "5")
    monkeypatch.setattr(json, "loads", lambda *a, **k: 5)
    assert loads(dumps([4])) == [4]
