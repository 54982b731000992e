"""What is a chain of operations: how is it drawn, what does it mean, how is it written, and what comes close to it?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from random import Random

from sandbox.spec import Value
from tasks.generated.inputs import Solve
from tasks.generated.ops import Op
from tasks.generated.problem import fingerprint, is_lively

Chain = tuple[tuple[Op, Value], ...]


def draw_chain(rng: Random, ops: Mapping[str, tuple[Op, ...]], kind: str, num_ops: int) -> Chain:
    """`num_ops` well-typed operations, the first of which takes `kind`; not all of them need to make sense."""
    chain: list[tuple[Op, Value]] = []
    for _ in range(num_ops):
        op = rng.choice(ops[kind])
        chain.append((op, rng.choice(op.constants)))
        kind = op.gives
    return tuple(chain)


def interpret(chain: Chain) -> Solve:
    """The meaning of a chain, without its source text. Several arguments reach the first operation as a tuple."""

    def solve(*args: Value) -> Value:
        value = args[0] if len(args) == 1 else args
        for op, constant in chain:
            value = op.apply(value, constant)
        return value

    return solve


def expression(chain: Chain, name: str) -> str:
    """The chain as one Python expression of `name` with no needless brackets.

    >>> from tasks.generated.ops import OPS
    >>> add, double = (next(op for op in OPS["int"] if op.name == name) for name in ("add", "double"))
    >>> expression(((add, 3), (double, None), (add, 4)), "x")
    '(x + 3) * 2 + 4'
    """
    text, binds = name, 0
    for op, constant in chain:
        text = op.code.format(e=f"({text})" if binds > op.needs else text, k=constant)
        binds = op.binds
    return text


def phrases(chain: Chain, name: str, rng: Random) -> list[str]:
    """Each operation in English, in a wording that `rng` chooses; the value is `name` first and "it" from then on."""
    return [
        rng.choice(op.phrases).format(v=name if i == 0 else "it", k=constant) for i, (op, constant) in enumerate(chain)
    ]


def near_misses(chain: Chain) -> Iterator[Chain]:
    """Chains that are wrong by one swap, one missing operation or one step of a constant, and well typed."""
    for i, (op, constant) in enumerate(chain):
        others = [chain[:i] + chain[i + 1 :]]
        if i + 1 < len(chain):
            others.append((*chain[:i], chain[i + 1], chain[i], *chain[i + 2 :]))
        if isinstance(constant, int):
            others += [(*chain[:i], (op, constant + step), *chain[i + 1 :]) for step in (-1, 1)]
        yield from (other for other in others if other and _is_typed(other, chain[0][0].takes))


def is_sound(kinds: tuple[str, ...], chain: Chain) -> bool:
    """No operation twice in a row, no one or two without effect, and results that vary."""
    if any(left[0].name == right[0].name for left, right in pairwise(chain)):
        return False
    solve = interpret(chain)
    if not is_lively(kinds, solve):
        return False
    digest = fingerprint(kinds, solve)
    num = len(chain)
    shorter = (tuple(chain[k] for k in range(num) if k not in (i, j)) for i in range(num) for j in range(i, num))
    typed = (other for other in shorter if _is_typed(other, chain[0][0].takes))
    return all(fingerprint(kinds, interpret(other)) != digest for other in typed)


def _is_typed(chain: Chain, kind: str) -> bool:
    for op, _ in chain:
        if op.takes != kind:
            return False
        kind = op.gives
    return True
