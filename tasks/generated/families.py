"""Which graded families are there, beside `compose`? Whole functions from an English description, levels 1 to 5.

The level counts operations: after the source of numbers (digits, divisors, windows, ...), after the first step
(`*_steps`), on words, in the branches (`branch`), or terms of a recurrence.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from tasks.generated import tables, walks
from tasks.generated.chains import Chain, draw_chain, interpret, is_sound, near_misses, phrases
from tasks.generated.family_ops import FAMILY_OPS, JOIN, SPLIT
from tasks.generated.inputs import Solve
from tasks.generated.number_sources import SOURCES
from tasks.generated.problem import Problem, is_lively
from tasks.task import Style

LEVELS = range(1, 6)
_NAMES = ("solve", "compute", "answer", "result")


def _problem(
    family: str, level: int, steps: list[str], parameters: tuple[str, ...], kinds: tuple[str, ...], body: list[str],
    solve: Solve, variants: Callable[[], list[Solve]], rng: Random,
) -> Problem:  # fmt: skip
    function, names = rng.choice(_NAMES), ", ".join(parameters)
    signature = f"def {function}({names}):"
    prompt = f"Write a Python function `{function}({names})` that follows these steps and returns the result."
    prompt += "".join(f"\n{i}. {step}" for i, step in enumerate(steps, start=1))
    reference = "".join(f"{line}\n" for line in (signature, *(f"    {line}" for line in body)))
    return Problem(
        family=family, level=level, prompt=prompt, style=Style.INSTRUCTION, function=function, signature=signature,
        reference=reference, kinds=kinds, solve=solve, variants=variants,
    )  # fmt: skip


def _of_chain(
    family: str, level: int, parameters: tuple[str, ...], kinds: tuple[str, ...], chain: Chain, rng: Random
) -> Problem:
    value = parameters[0]
    lines = [op.code.format(e="value" if i else value, k=constant) for i, (op, constant) in enumerate(chain)]
    body = [*(f"value = {line}" for line in lines[:-1]), f"return {lines[-1]}"]
    return _problem(
        family, level, phrases(chain, value, rng), parameters, kinds, body, interpret(chain),
        lambda: [interpret(other) for other in near_misses(chain)], rng,
    )  # fmt: skip


def _from_source(family: str, rng: Random, level: int) -> Problem:
    source = SOURCES[family]
    while True:
        chain = ((source.op, rng.choice(source.op.constants)), *draw_chain(rng, FAMILY_OPS, "list", level))
        if is_sound(source.kinds, chain):
            return _of_chain(family, level, source.parameters, source.kinds, chain, rng)


def _steps(family: str, kind: str, parameter: str, rng: Random, level: int) -> Problem:
    while True:
        chain = draw_chain(rng, FAMILY_OPS, kind, level + 1)
        if is_sound((kind,), chain):
            return _of_chain(family, level, (parameter,), (kind,), chain, rng)


def _words(rng: Random, level: int) -> Problem:
    while True:
        chain = ((SPLIT, None), *draw_chain(rng, FAMILY_OPS, "words", level), (JOIN, None))
        if is_sound(("sentence",), chain):
            return _of_chain("words", level, ("s",), ("sentence",), chain, rng)


def _branch(rng: Random, level: int) -> Problem:
    """One chain above a bound, another below; both kinds of input occur."""
    while True:
        bound = rng.randint(5, 40)
        ops = {"int": tuple(op for op in FAMILY_OPS["int"] if op.gives == "int")}
        high, low = draw_chain(rng, ops, "int", (level + 2) // 2), draw_chain(rng, ops, "int", (level + 1) // 2)
        solve = _choose(bound, interpret(high), interpret(low))
        if high != low and is_sound(("int",), high) and is_sound(("int",), low) and is_lively(("int",), solve):
            break
    said = [" and then ".join(phrases(chain, "n", rng)) for chain in (high, low)]
    body = [f"if n > {bound}:", *_assign(high), "else:", *_assign(low), "return n"]

    def variants() -> list[Solve]:
        ends = [*near_misses(high)], [*near_misses(low)]
        shifted = [_choose(bound + step, interpret(high), interpret(low)) for step in (-1, 1)]
        swapped = [_choose(bound, interpret(low), interpret(high))]
        return [*shifted, *swapped, *(_choose(bound, interpret(c), interpret(low)) for c in ends[0]),
                *(_choose(bound, interpret(high), interpret(c)) for c in ends[1])]  # fmt: skip

    steps = [f"if n is greater than {bound}, {said[0]}", f"otherwise, {said[1]}"]
    return _problem("branch", level, steps, ("n",), ("int",), body, solve, variants, rng)


def _assign(chain: Chain) -> list[str]:
    return [f"    n = {op.code.format(e='n', k=constant)}" for op, constant in chain]


def _choose(bound: int, high: Solve, low: Solve) -> Solve:
    return lambda n: high(n) if n > bound else low(n)


def _recurrence(rng: Random, level: int) -> Problem:
    """a(0), a(1) given; a(i) = p*a(i-1) + q*a(i-2) + c, modulo m: each level adds a part."""
    a, b = rng.randint(0, 9), rng.randint(1, 9)
    p, q = rng.randint(2, 4), rng.randint(1, 3) if level >= 2 else 0
    c, m = rng.randint(1, 9) if level >= 3 else 0, rng.randint(50, 200) if level >= 4 else 0
    d = rng.randint(1, 3) if level >= 5 else 0
    terms = [f"{p} * a"] + [f"{q} * b"] * bool(q) + [f"{c}"] * bool(c) + [f"{d} * i"] * bool(d)
    rule = " + ".join(terms) if not m else f"({' + '.join(terms)}) % {m}"
    says = rule.replace("* a", "* a(i-1)").replace("* b", "* a(i-2)").replace("%", "modulo")
    body = [f"b, a = {a}, {b}", "for i in range(2, n + 1):", f"    b, a = a, {rule}", f"return a if n > 0 else {a}"]
    steps = [f"start with a(0) = {a} and a(1) = {b}", f"from i = 2 on, a(i) = {says}", "return a(n)"]
    solve = partial(_recur, a, b, p, q, c, d, m)
    near = [(a, b, p + 1, q, c, d, m), (b, a, p, q, c, d, m), (a, b, p, q, c + 1, d, m), (a, b, q, p, c, d, m)]

    def variants() -> list[Solve]:
        return [*(partial(_recur, *other) for other in near), lambda n: solve(n - 1), lambda n: solve(n + 1)]

    return _problem("recurrence", level, steps, ("n",), ("small",), body, solve, variants, rng)


def _recur(a: int, b: int, p: int, q: int, c: int, d: int, m: int, n: int) -> int:
    values = [a, b]
    for i in range(2, n + 1):
        value = p * values[-1] + q * values[-2] + c + d * i
        values.append(value % m if m else value)
    return values[n]


FAMILIES: dict[str, tuple[Callable[[Random, int], Problem], range]] = {
    **{name: (partial(_from_source, name), LEVELS) for name in SOURCES},
    "number_steps": (partial(_steps, "number_steps", "int", "n"), LEVELS),
    "list_steps": (partial(_steps, "list_steps", "list", "xs"), LEVELS),
    "text_steps": (partial(_steps, "text_steps", "text", "s"), LEVELS),
    "words": (_words, LEVELS),
    "branch": (_branch, LEVELS),
    "recurrence": (_recurrence, LEVELS),
    "tally": (tables.tally, LEVELS),
    "records": (tables.records, LEVELS),
    "nested": (walks.nested, LEVELS),
    "machine": (walks.machine, LEVELS),
    "ledger": (walks.ledger, LEVELS),
    "stdin_list": (walks.stdin_list, LEVELS),
    "stdin_table": (tables.stdin_table, LEVELS),
}
