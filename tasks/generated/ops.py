"""Which primitive operations do composed problems chain, how are they said in English, and how are they written in
Python?

Three views of each operation that must agree, and that a test holds against each other: `apply` (what it means),
`code` (the expression) and `phrases` (2 to 4 wordings; {v} is the value, {k} the constant).

Brackets: `binds` is how loosely the expression hangs together (0 name, call or index; 1 power or sign; 2 product; 3
sum) and `needs` the loosest operand that it can take without brackets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sandbox.spec import Value

DIGITS = tuple(range(2, 10))
FEW = (2, 3)
LETTERS = tuple("aeinst")


@dataclass(frozen=True, slots=True)
class Op:
    name: str
    takes: str  # int | list | text
    gives: str
    phrases: tuple[str, ...]
    code: str  # {e} the operand, {k} the constant as Python
    apply: Callable[[Value, Value], Value]
    constants: tuple[Value, ...] = (None,)
    needs: int = 3
    binds: int = 0


def make_op(name: str, types: str, phrases: str, code: str, apply: Callable[[Value, Value], Value], *rest: Value) -> Op:
    takes, _, gives = types.partition(">")
    return Op(name, takes, gives or takes, tuple(phrases.split(" | ")), code, apply, *rest)


_INT = (
    make_op("add", "int", "add {k} to {v} | increase {v} by {k} | raise {v} by {k}",
        "{e} + {k}", lambda v, k: v + k, DIGITS, 3, 3),
    make_op("subtract", "int", "subtract {k} from {v} | decrease {v} by {k} | take {k} away from {v}",
        "{e} - {k}", lambda v, k: v - k, DIGITS, 3, 3),
    make_op("subtract_from", "int", "subtract {v} from {k} | take {v} away from {k} | take {k} minus {v}",
        "{k} - {e}", lambda v, k: k - v, DIGITS, 2, 3),
    make_op("double", "int", "double {v} | take twice {v} | multiply {v} by 2", "{e} * 2",
        lambda v, k: v * 2, (None,), 2, 2),
    make_op("triple", "int", "triple {v} | multiply {v} by 3", "{e} * 3", lambda v, k: v * 3, (None,), 2, 2),
    make_op("multiply", "int", "multiply {v} by {k} | scale {v} by {k} | make {v} {k} times as big",
        "{e} * {k}", lambda v, k: v * k, DIGITS[2:], 2, 2),
    make_op("divide", "int", "divide {v} by {k} | floor divide {v} by {k} | split {v} by {k}",
        "{e} // {k}", lambda v, k: v // k, DIGITS, 2, 2),
    make_op("remainder", "int", "take {v} modulo {k} | get the remainder of {v} by {k} | reduce {v} mod {k}",
        "{e} % {k}", lambda v, k: v % k, DIGITS, 2, 2),
    make_op("negate", "int", "negate {v} | flip the sign of {v}", "-{e}", lambda v, k: -v, (None,), 1, 1),
    make_op("square", "int", "square {v} | multiply {v} by itself", "{e} ** 2", lambda v, k: v**2, (None,), 0, 1),
    make_op("absolute", "int", "take the absolute value of {v} | drop the sign of {v}", "abs({e})",
        lambda v, k: abs(v)),
    make_op("at_most", "int", "cap {v} at {k} | limit {v} to at most {k}", "min({e}, {k})",
        lambda v, k: min(v, k), DIGITS),
    make_op("at_least", "int", "lift {v} to at least {k} | make {v} no less than {k}",
        "max({e}, {k})", lambda v, k: max(v, k), DIGITS),
    make_op("to_text", "int>text", "turn {v} into a string | write {v} as text", "str({e})", lambda v, k: str(v)),
)  # fmt: skip
_LIST = (
    make_op("reverse", "list", "reverse {v} | flip {v} around | turn {v} back to front", "{e}[::-1]",
        lambda v, k: v[::-1], (None,), 0),
    make_op("sort", "list", "sort {v} | put {v} in ascending order | order {v}", "sorted({e})", lambda v, k: sorted(v)),
    make_op("drop_first", "list", "drop the first item of {v} | remove the first item from {v} "
            "| skip the first item of {v}",
        "{e}[1:]", lambda v, k: v[1:], (None,), 0),
    make_op("drop_last", "list", "drop the last item of {v} | remove the last item from {v} "
            "| cut the last item off {v}",
        "{e}[:-1]", lambda v, k: v[:-1], (None,), 0),
    make_op("drop", "list", "drop the first {k} items of {v} | skip the first {k} items of {v}",
        "{e}[{k}:]", lambda v, k: v[k:], FEW, 0),
    make_op("take", "list", "keep the first {k} items of {v} | take the first {k} items of {v}",
        "{e}[:{k}]", lambda v, k: v[:k], FEW, 0),
    make_op("take_last", "list", "keep the last {k} items of {v} | take the last {k} items of {v}",
        "{e}[-{k}:]", lambda v, k: v[-k:], FEW, 0),
    make_op("every_second", "list", "keep every second item of {v} | take every other item of {v}",
        "{e}[::2]", lambda v, k: v[::2], (None,), 0),
    make_op("repeat", "list", "repeat {v} {k} times | make {k} copies of {v} in a row", "{e} * {k}",
        lambda v, k: v * k, FEW, 2, 2),
    make_op("append", "list", "append {k} to {v} | put {k} at the end of {v} | add {k} after {v}",
        "{e} + [{k}]", lambda v, k: [*v, k], DIGITS, 3, 3),
    make_op("prepend", "list", "put {k} in front of {v} | insert {k} at the start of {v}",
        "[{k}] + {e}", lambda v, k: [k, *v], DIGITS, 3, 3),
    make_op("add_each", "list", "add {k} to each item of {v} | increase each item of {v} by {k}",
        "[n + {k} for n in {e}]", lambda v, k: [n + k for n in v], DIGITS),
    make_op("multiply_each", "list", "multiply each item of {v} by {k} | scale each item of {v} by {k}",
        "[n * {k} for n in {e}]", lambda v, k: [n * k for n in v], DIGITS),
    make_op("keep_even", "list", "keep the even items of {v} | drop the odd items of {v}",
        "[n for n in {e} if n % 2 == 0]", lambda v, k: [n for n in v if n % 2 == 0]),
    make_op("keep_above", "list", "keep the items of {v} above {k} | keep the items of {v} greater than {k}",
        "[n for n in {e} if n > {k}]", lambda v, k: [n for n in v if n > k], DIGITS),
    make_op("sum", "list>int", "sum {v} | add up {v} | get the total of {v}", "sum({e})", lambda v, k: sum(v)),
    make_op("length", "list>int", "count the items of {v} | get the length of {v}", "len({e})", lambda v, k: len(v)),
    make_op("largest", "list>int", "get the largest item of {v} | get the maximum of {v}", "max({e})",
        lambda v, k: max(v)),
    make_op("smallest", "list>int", "get the smallest item of {v} | get the minimum of {v}", "min({e})",
        lambda v, k: min(v)),
    make_op("first", "list>int", "get the first item of {v} | pick the first item of {v}", "{e}[0]",
        lambda v, k: v[0], (None,), 0),
    make_op("last", "list>int", "get the last item of {v} | pick the last item of {v}", "{e}[-1]",
        lambda v, k: v[-1], (None,), 0),
)  # fmt: skip
_TEXT = (
    make_op("reverse", "text", "reverse {v} | flip {v} around | spell {v} backwards", "{e}[::-1]",
        lambda v, k: v[::-1], (None,), 0),
    make_op("upper", "text", "make {v} upper case | put {v} in capitals", "{e}.upper()",
        lambda v, k: v.upper(), (None,), 0),
    make_op("lower", "text", "make {v} lower case | put {v} in small letters", "{e}.lower()",
        lambda v, k: v.lower(), (None,), 0),
    make_op("drop_first", "text", "drop the first letter of {v} | remove the first letter from {v}", "{e}[1:]",
        lambda v, k: v[1:], (None,), 0),
    make_op("drop_last", "text", "drop the last letter of {v} | remove the last letter from {v}", "{e}[:-1]",
        lambda v, k: v[:-1], (None,), 0),
    make_op("take", "text", "keep the first {k} letters of {v} | take the first {k} letters of {v}",
        "{e}[:{k}]", lambda v, k: v[:k], FEW, 0),
    make_op("take_last", "text", "keep the last {k} letters of {v} | take the last {k} letters of {v}",
        "{e}[-{k}:]", lambda v, k: v[-k:], FEW, 0),
    make_op("repeat", "text", "repeat {v} {k} times | make {k} copies of {v} in a row", "{e} * {k}",
        lambda v, k: v * k, FEW, 2, 2),
    make_op("suffix", "text", "append the letter {k} to {v} | put the letter {k} after {v}",
        "{e} + {k!r}", lambda v, k: v + k, LETTERS, 3, 3),
    make_op("prefix", "text", "put the letter {k} in front of {v} | put the letter {k} before {v}",
        "{k!r} + {e}", lambda v, k: k + v, LETTERS, 3, 3),
    make_op("remove", "text", "remove each letter {k} from {v} | delete each letter {k} in {v}",
        "{e}.replace({k!r}, '')", lambda v, k: v.replace(k, ""), LETTERS, 0),
    make_op("length", "text>int", "count the letters of {v} | get the length of {v}", "len({e})", lambda v, k: len(v)),
    make_op("count", "text>int", "count the letter {k} in {v} | count how often {k} is in {v}",
        "{e}.count({k!r})", lambda v, k: v.count(k), LETTERS, 0),
)  # fmt: skip

OPS: dict[str, tuple[Op, ...]] = {"int": _INT, "list": _LIST, "text": _TEXT}  # by the type they take
