"""Which problems chain one to three primitive operations in a single expression? The family for models made from
scratch.

    # add 3 to x then double it
    def f(x):
        return (x + 3) * 2

The prompt is everything before the body, the completion is the body. The level is the number of operations. Every
operation of a chain matters: taking one away changes the function.
"""

from __future__ import annotations

from random import Random

from tasks.generated.chains import Chain, draw_chain, expression, interpret, is_sound, near_misses, phrases
from tasks.generated.ops import OPS
from tasks.generated.problem import Problem
from tasks.task import Style

LEVELS = range(1, 4)
PARAMETERS = {"int": "x", "list": "xs", "text": "s"}
JOINERS = (" then ", ", then ", " and then ")


def draw(rng: Random, level: int) -> Problem:
    """A problem with `level` operations; two calls with equal generators give equal problems."""
    while True:
        kind = rng.choices(list(PARAMETERS), weights=(5, 4, 3))[0]
        chain = draw_chain(rng, OPS, kind, level)
        if is_sound((kind,), chain):
            return problem(chain, rng)


def problem(chain: Chain, rng: Random) -> Problem:
    """The problem of `chain`; `rng` chooses the wording and nothing else."""
    kind = chain[0][0].takes
    name = PARAMETERS[kind]
    signature = f"def f({name}):"
    prompt = f"# {rng.choice(JOINERS).join(phrases(chain, name, rng))}\n{signature}\n"
    return Problem(
        family="compose",
        level=len(chain),
        prompt=prompt,
        style=Style.COMPLETION,
        function="f",
        signature=signature,
        reference=f"{prompt}    return {expression(chain, name)}\n",
        kinds=(kind,),
        solve=interpret(chain),
        variants=lambda: [interpret(other) for other in near_misses(chain)],
    )
