"""Where do the graded families get their lists of numbers? A source turns the parameters of a family into one list.

The `takes` of a source is the family's own name, so no other operation can stand in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, combinations, pairwise

from sandbox.spec import Value
from tasks.generated.ops import DIGITS, FEW, Op, make_op


@dataclass(frozen=True, slots=True)
class NumberSource:
    parameters: tuple[str, ...]
    kinds: tuple[str, ...]  # of the parameters, keys of `inputs.KINDS`
    op: Op


def _source(
    name: str, kinds: str, phrase: str, code: str, apply: Callable[[Value, Value], Value], *constants: Value
) -> tuple[str, NumberSource]:
    names = {"natural": ("n",), "list": ("xs",), "list list": ("xs", "ys"), "sentence": ("s",)}[kinds]
    op = make_op(name, f"{name}>list", phrase, code, apply, constants or (None,))
    return name, NumberSource(names, tuple(kinds.split()), op)


SOURCES: dict[str, NumberSource] = dict((
    _source("digits", "natural", "take the decimal digits of n, from left to right",
            "[int(d) for d in str(n)]", lambda v, k: [int(d) for d in str(v)]),
    _source("bits", "natural", "write n in binary and take its bits, from left to right",
            "[int(b) for b in bin(n)[2:]]", lambda v, k: [int(b) for b in bin(v)[2:]]),
    _source("divisors", "natural", "take the positive divisors of n, in rising order",
            "[d for d in range(1, n + 1) if n % d == 0]", lambda v, k: [d for d in range(1, v + 1) if v % d == 0]),
    _source("multiples", "natural", "take the multiples of {k} from {k} to n, in rising order",
            "list(range({k}, n + 1, {k}))", lambda v, k: list(range(k, v + 1, k)), *DIGITS),
    _source("differences", "list", "take the difference of each item of xs and the one before it",
            "[b - a for a, b in zip(xs, xs[1:])]", lambda v, k: [b - a for a, b in pairwise(v)]),
    _source("running", "list", "take the running totals of xs, the first item included",
            "[sum(xs[: i + 1]) for i in range(len(xs))]", lambda v, k: list(accumulate(v))),
    _source("windows", "list", "take the sum of each {k} neighbouring items of xs, from left to right",
            "[sum(xs[i : i + {k}]) for i in range(len(xs) - {k} + 1)]",
            lambda v, k: [sum(v[i : i + k]) for i in range(len(v) - k + 1)], *FEW),
    _source("pairs", "list", "take xs[i] + xs[j] for all i < j, in order of i and then of j",
            "[xs[i] + xs[j] for i in range(len(xs)) for j in range(i + 1, len(xs))]",
            lambda v, k: [a + b for a, b in combinations(v, 2)]),
    _source("positions", "list", "take the positions, counted from 0, of the items of xs greater than {k}",
            "[i for i, x in enumerate(xs) if x > {k}]", lambda v, k: [i for i, x in enumerate(v) if x > k], *DIGITS),
    _source("two_lists", "list list", "add xs and ys item by item, up to the end of the shorter list",
            "[x + y for x, y in zip(xs, ys)]", lambda v, k: [x + y for x, y in zip(*v, strict=False)]),
    _source("products", "list list", "multiply xs and ys item by item, up to the end of the shorter list",
            "[x * y for x, y in zip(xs, ys)]", lambda v, k: [x * y for x, y in zip(*v, strict=False)]),
    _source("word_lengths", "sentence", "take the length of each word of s, where spaces separate the words",
            "[len(word) for word in s.split()]", lambda v, k: [len(word) for word in v.split()]),
))  # fmt: skip
