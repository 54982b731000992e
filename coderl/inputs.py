"""Which inputs can two programs be compared on when nobody has the answers? The visible ones, and small changes of them.

Only calls and programs that read stdin have inputs that can be told apart from their answers; of other cases nothing is made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sandbox.spec import CallCase, Case, StdioCase

_NUMBER = re.compile(r"(?<![\w.])-?\d{1,9}(?![\w.])")


def case_without_answer(case: Case) -> Case | None:
    """The case with nothing left of the expected value; None for a kind whose input is code."""
    if isinstance(case, CallCase):
        return replace(case, expected=None, alternatives=())
    if isinstance(case, StdioCase):
        return replace(case, stdout="", alternatives=(), checker=None)
    return None


def changed_cases(cases: Sequence[Case], count: int, *, seed: int) -> tuple[Case, ...]:
    """`count` different cases without answers, each a change of one of `cases`; fewer where no more are found."""
    generator = np.random.default_rng(seed)
    bases = [bare for case in cases if (bare := case_without_answer(case)) is not None]
    found: dict[str, Case] = {repr(base): base for base in bases}
    for _ in range(8 * count):
        if not bases or len(found) >= len(bases) + count:
            break
        base = bases[int(generator.integers(len(bases)))]
        if isinstance(base, CallCase):
            changed: Case = replace(base, args=tuple(_changed(value, generator) for value in base.args))
        else:
            assert isinstance(base, StdioCase)
            changed = replace(base, stdin=_NUMBER.sub(lambda m: str(_changed(int(m[0]), generator)), base.stdin))
        found.setdefault(repr(changed), changed)
    return tuple(found.values())[len({repr(base) for base in bases}) :]


def _changed(value: Any, generator: np.random.Generator) -> Any:
    """A value of the same type and shape near `value`."""
    if isinstance(value, bool):
        return bool(generator.integers(2))
    if isinstance(value, int):
        spread = min(abs(value), 10**6) // 2 + 3
        step = int(generator.integers(-spread, spread + 1))
        return max(value + step, 0) if value >= 0 else value + step  # what is never negative may not be meant to be
    if isinstance(value, float):
        return value * float(generator.uniform(0.5, 1.5))
    if isinstance(value, str):
        return "".join(np.array(list(value))[generator.integers(len(value), size=len(value))]) if value else value
    if isinstance(value, list | tuple):
        items = [_changed(item, generator) for item in value]
        if len(items) > 1 and generator.integers(2):
            items.pop(int(generator.integers(len(items))))
        return type(value)(items)
    if isinstance(value, dict):
        return {key: _changed(item, generator) for key, item in value.items()}
    return value
