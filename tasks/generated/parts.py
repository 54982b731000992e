"""What is a problem made of parts: steps that are said, written in code, meant, and each got wrong in its own ways?

A chain (`tasks.generated.chains`) composes one-line operations on one value; a part may be several lines of code, on
dictionaries, trees or the state of a machine. The code of a part works on the variable `v`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from sandbox.spec import Value
from tasks.generated.inputs import Solve
from tasks.generated.problem import MakeCase, Problem, fingerprint, is_lively
from tasks.task import Style

LARGE_POOL, MANY_HIDDEN = 60, 12
Step = Callable[[Value], Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One step; `near` are wrong versions of `apply`, and leaving it out is one more where it is `optional`."""

    text: str
    code: tuple[str, ...]
    apply: Step
    near: tuple[Step, ...] = ()
    optional: bool = True


def solve_of(steps: Sequence[Step]) -> Solve:
    def solve(value: Value) -> Value:
        for step in steps:
            value = step(value)
        return value

    return solve


def near_misses(parts: Sequence[Part]) -> Iterator[Solve]:
    """The parts with one of them wrong or left out, and with two neighbours exchanged."""
    steps = [part.apply for part in parts]
    for i, part in enumerate(parts):
        yield from (solve_of([*steps[:i], wrong, *steps[i + 1 :]]) for wrong in part.near)
        if part.optional:
            yield solve_of([*steps[:i], *steps[i + 1 :]])


def is_sound(kinds: tuple[str, ...], parts: Sequence[Part]) -> bool:
    """Do results vary, and does every optional part matter?"""
    steps = [part.apply for part in parts]
    solve = solve_of(steps)
    if not is_lively(kinds, solve):
        return False
    digest = fingerprint(kinds, solve)
    without = (solve_of([*steps[:i], *steps[i + 1 :]]) for i, part in enumerate(parts) if part.optional)
    return all(fingerprint(kinds, other) != digest for other in without)


def problem_of(
    family: str, level: int, rng: Random, parts: Sequence[Part], *, kind: str, intro: str, parameter: str,
    function: str = "", reference: str = "", make_case: MakeCase | None = None,
) -> Problem:  # fmt: skip
    """`intro` and the numbered steps. The reference is the parts' code in a function of one parameter, unless it is given."""
    function = function or rng.choice(("solve", "compute", "answer", "result"))
    signature = f"def {function}({parameter}):"
    body = [f"v = {parameter}", *(line for part in parts for line in part.code), "return v"]
    steps = "".join(f"\n{i}. {part.text}" for i, part in enumerate(parts, start=1))
    return Problem(
        family=family,
        level=level,
        prompt=intro.format(function=function, parameter=parameter) + steps,
        style=Style.INSTRUCTION,
        function="" if make_case else function,
        signature="" if make_case else signature,
        reference=reference or "".join(f"{line}\n" for line in (signature, *(f"    {line}" for line in body))),
        kinds=(kind,),
        solve=solve_of([part.apply for part in parts]),
        variants=partial(_listed, parts),
        pool=LARGE_POOL,
        max_hidden=MANY_HIDDEN,
        make_case=make_case,
    )


def _listed(parts: Sequence[Part]) -> list[Solve]:
    return list(near_misses(parts))
