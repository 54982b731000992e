"""Is this answer the expected one?

Pure comparisons of what a program printed (bytes) or returned (plain values). No method of a candidate's object runs
here: values come out of `sandbox.codec`. Bounded: values nested deeper, or with more parts, than the codec allows
are unequal, never a crash.

A checker for the other kind of case falls back to its like: EQUAL is LINES for text, LINES and TOKENS are EQUAL for
values. How values compare:

| answer, expected            | EXACT | EQUAL | FLOATS | UNORDERED |
|-----------------------------|-------|-------|--------|-----------|
| 1.0, 1                      | no    | yes   | yes    | yes       |
| True, 1 (also as keys)      | no    | no    | no     | no        |
| (1, 2), [1, 2]              | no    | yes   | yes    | yes       |
| 0.1 + 0.2, 0.3              | no    | no    | yes    | no        |
| [2, 1], [1, 2]              | no    | no    | no     | yes       |
| nan, nan                    | no    | no    | no     | no        |
| "1", 1; {1}, [1]; b"a", "a" | no    | no    | no     | no        |

The order of sets and dicts never counts. FLOATS takes numbers within 1e-6, absolute or relative to the expected one,
except in sets and keys; a `Comparison` has tolerances of its own. An infinity is equal to the same infinity only.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable
from itertools import islice, repeat
from typing import Any

from sandbox.codec import MAX_DEPTH, MAX_NODES
from sandbox.spec import Checker, Comparison, Value

_SIMPLE = frozenset({int, str})  # equal or not, whatever the checker: no NaN, no bool, nothing nested
Pairs = dict[Value, Value]
_NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\Z")
_NUMBER_BYTES = 1000  # longer tokens are text
_NAN = frozenset({b"nan", b"+nan", b"-nan"})
_INFINITE = {
    sign + word: value
    for word in (b"inf", b"infinity")
    for sign, value in ((b"", math.inf), (b"+", math.inf), (b"-", -math.inf))
}
_PLAIN = {checker: Comparison(checker=checker) for checker in Checker}
_PIECES = re.compile(rb"\s+|\S+")


def text_matches(rule: Checker | Comparison, answer: bytes, expected: bytes) -> bool:
    """Is the stdout `answer` accepted where `expected` is asked for?

    >>> text_matches(Checker.LINES, b"1 2 \\r\\n\\n", b"1 2"), text_matches(Checker.TOKENS, b"1 2", b"1\\n2")
    (True, True)
    """
    rule = comparison(rule)
    if rule.ignore_case:
        answer, expected = answer.lower(), expected.lower()
    if rule.checker is Checker.EXACT:
        return answer == expected
    if rule.checker in (Checker.TOKENS, Checker.FLOATS):
        right = _PIECES.findall(expected) if rule.exact_spaces else expected.split()
        most = len(right) + 1  # parts: an answer of more is wrong, and all of them could take a lot of memory
        pieces = islice(_PIECES.finditer(answer), most)
        left = [piece[0] for piece in pieces] if rule.exact_spaces else answer.split(None, most)
        if rule.checker is Checker.TOKENS:
            return left == right
        return len(left) == len(right) and all(map(_tokens_match, left, right, repeat(rule)))
    if answer.rstrip().count(b"\n") != expected.rstrip().count(b"\n"):
        return False
    if rule.checker is Checker.UNORDERED:
        return sorted(_lines(answer)) == sorted(_lines(expected))
    return _lines(answer) == _lines(expected)


def values_match(rule: Checker | Comparison, answer: Value, expected: Value) -> bool:
    """Is the returned `answer` accepted where `expected` is asked for? See the table above.

    >>> values_match(Checker.EQUAL, (1, 2.0), [1, 2]), values_match(Checker.EQUAL, True, 1)
    (True, False)
    """
    rule = comparison(rule)
    same_kind = type(answer) is type(expected) and type(answer) in _SIMPLE
    if same_kind and rule.checker is not Checker.FLOATS and not rule.ignore_case:
        return bool(answer == expected)
    judge = _Judge(rule)
    try:
        if rule.checker is Checker.UNORDERED and _is_sequence(answer) and _is_sequence(expected):
            return judge.same_multiset(answer, expected)
        return judge.same(answer, expected)
    except _TooLarge:
        return False


def comparison(rule: Checker | Comparison) -> Comparison:
    return rule if isinstance(rule, Comparison) else _PLAIN[rule]


class _TooLarge(Exception):
    """More depth, parts or colliding hashes than a value from the codec can have."""


def _lines(text: bytes) -> list[bytes]:
    lines = [line.rstrip() for line in text.split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _tokens_match(left: bytes, right: bytes, rule: Comparison) -> bool:
    if left.lower() in _NAN or right.lower() in _NAN:
        return False
    if left == right:
        return True
    if max(len(left), len(right)) > _NUMBER_BYTES:
        return False
    if infinite := _INFINITE.get(left.lower()):
        return infinite == _INFINITE.get(right.lower())
    if not (_NUMBER.match(left) and _NUMBER.match(right)):
        return False
    numbers = float(left), float(right)
    return not any(map(math.isinf, numbers)) and _close(*numbers, rule)  # 1e999 is no infinity, but beyond comparison


def _close(answer: Any, expected: Any, rule: Comparison) -> bool:
    if answer == expected:
        return True
    try:
        error = abs(answer - expected)
        return bool(error <= rule.absolute or error <= rule.relative * abs(expected)) and math.isfinite(error)
    except OverflowError:  # an int beyond all floats
        return False


def _is_sequence(x: Value) -> bool:
    return type(x) in (list, tuple)


def _is_real(x: Value) -> bool:
    return type(x) in (int, float)


class _Judge:
    def __init__(self, rule: Comparison):
        self._rule = rule
        self._exact = rule.checker is Checker.EXACT
        self._floats = rule.checker is Checker.FLOATS
        self._simple = frozenset() if rule.ignore_case else _SIMPLE
        self._left = MAX_NODES

    def same(self, a: Value, b: Value) -> bool:
        """Not recursive: at some depths CPython 3.11 pays a system call per Python call, ten times the time."""
        pending = [(a, b, 0)]
        while pending:
            a, b, depth = pending.pop()
            self._spend(depth)
            if type(a) is type(b) and type(a) in self._simple and not self._floats:
                if a != b:
                    return False
            elif self._exact and type(a) is not type(b):
                return False
            elif self._floats and _is_real(a) and _is_real(b):
                if not _close(a, b, self._rule):
                    return False
            elif _is_sequence(a) and _is_sequence(b):
                if len(a) != len(b):
                    return False
                if not (set(map(type, a)) <= _SIMPLE and set(map(type, b)) <= _SIMPLE and list(a) == list(b)):
                    pending.extend(zip(a, b, repeat(depth + 1)))
            elif type(a) is dict and type(b) is dict:
                values = self._paired(a, b, depth + 1)
                if values is None:
                    return False
                pending.extend(values)
            elif self.key(a, depth) != self.key(b, depth):
                return False
        return True

    def same_multiset(self, a: Value, b: Value) -> bool:
        """Do `a` and `b` hold equal elements equally often? Not by one Counter: colliding hashes must stay bounded."""
        if len(a) != len(b):
            return False
        balance: dict[int, list[list[Any]]] = {}  # hash -> [key, how often more in `b`]
        for values, sign in ((b, 1), (a, -1)):
            for value in values:
                key = self.key(value, 1)
                bucket = balance.setdefault(hash(key), [])
                entry = next((entry for entry in bucket if entry[0] == key), None)
                if entry is None:
                    self._left -= len(bucket)
                    self._spend(0)
                    bucket.append(entry := [key, 0])
                entry[1] += sign
        return all(count == 0 for bucket in balance.values() for _, count in bucket)

    def _paired(self, a: Pairs, b: Pairs, depth: int) -> list[tuple[Value, Value, int]] | None:
        """The values of two dicts under equal keys; None if their keys differ."""
        if len(a) != len(b):
            return None
        others = {self.key(key, depth): value for key, value in b.items()}
        keys = [self.key(key, depth) for key in a]
        if not all(key in others for key in keys):
            return None
        return [(value, others[key], depth) for key, value in zip(keys, a.values(), strict=True)]

    def key(self, x: Value, depth: int) -> Hashable:
        """Something hashable that is equal for equal values: bool apart from numbers, NaN equal to nothing."""
        self._spend(depth)
        kind = type(x)
        if kind in (float, complex) and x != x:
            return _Unequal()
        if kind in (list, tuple):
            return (kind if self._exact else list, tuple(self.key(item, depth + 1) for item in x))
        if kind in (set, frozenset):
            return (kind if self._exact else set, frozenset(self.key(item, depth + 1) for item in x))
        if kind is dict:
            pairs = [(self.key(key, depth + 1), self.key(value, depth + 1)) for key, value in x.items()]
            self._left -= sum(
                n * (n - 1) // 2 for n in Counter(map(hash, pairs)).values()
            )  # values may be chosen to collide
            self._spend(depth)
            return (dict, frozenset(pairs))
        if kind is str and self._rule.ignore_case:
            x = x.casefold()
        if kind is bool or self._exact:
            return (kind, x)
        return x  # type: ignore[no-any-return]

    def _spend(self, depth: int) -> None:
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH + 1:
            raise _TooLarge


class _Unequal:
    """Stands for a NaN: equal to nothing but itself, and made anew each time."""
