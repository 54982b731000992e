"""On which inputs are generated problems defined, probed and tested?

A kind names a domain; every parameter of a problem has one. Arguments are drawn from a seeded generator only, and a
result that is an exception or too large counts as UNDEFINED: such an input is never used in a test.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from random import Random

from sandbox.spec import Value

Solve = Callable[..., Value]
NUM_PROBES = 20
PROBE_SEED = "coderl-probes-1"  # changing it moves tasks between splits
MAX_INTEGER, MAX_LENGTH = 10**9, 64
UNDEFINED = "<undefined>"
WORDS = tuple(
    "red blue green sun moon tree river stone cat dog bird fish apple plum corn wind rain snow hill lake".split()  # noqa: SIM905
)

NAMES = ("ada", "bob", "cy", "dot")
COMMANDS = "abcdef"
Pairs = list[tuple[str, int]]


def _pairs(rng: Random) -> Pairs:
    return [(rng.choice(NAMES), rng.randint(-9, 20)) for _ in range(rng.randint(5, 10))]


def _text_of_pairs(outer: str, inner: str, rng: Random) -> str:
    spoil: tuple[Callable[[str, int], str], ...] = (
        lambda name, n: f"{name}{inner}{n}x", lambda name, n: name, lambda name, n: f"{name}{inner}",
        lambda name, n: f"{name}{inner}x{abs(n)}", lambda name, n: f"{name}{inner}-x",
    )  # fmt: skip
    entries = [
        rng.choice(spoil)(name, n) if rng.random() < 0.3 else f"{name}{inner}{n}" for name, n in _pairs(rng)
    ]  # fmt: skip
    return outer.join(entries)


def _nested(rng: Random, depth: int = 0) -> list[Value]:
    size = rng.randint(2, 4) if depth == 0 else rng.randint(0, 3)
    return [
        _nested(rng, depth + 1) if depth < 3 and rng.random() < 0.4 else rng.randint(-9, 20) for _ in range(size)
    ]  # fmt: skip


def _calls(names: tuple[str, ...], rng: Random) -> list[tuple[str, int]]:
    return [(rng.choice(names), rng.randint(1, 25)) for _ in range(rng.randint(5, 9))]


KINDS: dict[str, Callable[[Random], Value]] = {
    "int": lambda rng: rng.choice((0, 1, -1, rng.randint(-30, -2), *(rng.randint(2, 60) for _ in range(5)))),
    "natural": lambda rng: rng.randint(1, 9) if rng.random() < 0.25 else rng.randint(10, 120),
    "small": lambda rng: rng.randint(1, 12),
    "list": lambda rng: [rng.randint(-9, 20) for _ in range(rng.randint(4, 8))],
    "text": lambda rng: "".join(rng.choices("abcdeilnorstABS", k=rng.randint(4, 9))),
    "sentence": lambda rng: " ".join(rng.choices(WORDS, k=rng.randint(3, 7))),
    "pairs": _pairs,
    "records": partial(_text_of_pairs, ";", "="),
    "fields": partial(_text_of_pairs, ",", ":"),
    "nested": _nested,
    "commands": lambda rng: "".join(rng.choices(COMMANDS, k=rng.randint(5, 12))),
    "calls": partial(_calls, ("put", "take", "take", "show")),
    "undo_calls": partial(_calls, ("put", "take", "take", "undo")),
}


def draw_inputs(kinds: tuple[str, ...], rng: Random) -> tuple[Value, ...]:
    return tuple(KINDS[kind](rng) for kind in kinds)


@lru_cache(maxsize=64)
def probes(kinds: tuple[str, ...]) -> tuple[tuple[Value, ...], ...]:
    """The fixed inputs that decide which functions count as the same."""
    rng = Random(f"{PROBE_SEED}:{','.join(kinds)}")
    return tuple(draw_inputs(kinds, rng) for _ in range(NUM_PROBES))


def evaluate(solve: Solve, args: tuple[Value, ...]) -> Value:
    """`solve(*args)`, or UNDEFINED where it raises or is too large. `solve` must not change its arguments."""
    try:
        result = solve(*args)
    except (ArithmeticError, LookupError, ValueError, TypeError):
        return UNDEFINED
    if isinstance(result, int):
        return result if abs(result) <= MAX_INTEGER else UNDEFINED
    return result if len(result) <= MAX_LENGTH else UNDEFINED
