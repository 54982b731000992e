"""How does a generated problem become a task, and in which split is it?

A problem is a pure function of its family and its parameters, so is the task made from it: equal ids mean equal
tasks.

Split by meaning. `fingerprint` hashes the results of the problem's function on fixed probe inputs; the split is a
function of that hash. Two problems that compute the same thing (add 2 then 3, add 3 then 2; any two wordings) are
therefore always in the same split, whatever was sampled: train, validation and test are disjoint by construction.
The probes depend on the kinds of the parameters only. Tests: 2 visible, 6 to 8 hidden (up to 12 where rules interact),
chosen so that the problem's near misses (`variants`), and constant programs, fail one of the hidden ones wherever an
input of the pool allows it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from random import Random

from sandbox.spec import CallCase, Case, Value
from tasks.generated.inputs import UNDEFINED, Solve, draw_inputs, evaluate, probes
from tasks.task import Split, Style, Task

NUM_VISIBLE, NUM_HIDDEN, MAX_HIDDEN = 2, 6, 8
POOL = 28  # inputs to choose from
STOP = ("\n#", "\ndef ")
TRAIN_SHARE, VALIDATION_SHARE = 0.8, 0.1  # the rest is test


MakeCase = Callable[[tuple[Value, ...], Value], Case]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One point of a family: what is asked, how it is solved, and ways to get it nearly right."""

    family: str
    level: int
    prompt: str
    style: Style
    function: str
    signature: str
    reference: str
    kinds: tuple[str, ...]  # kind of each parameter, a key of `inputs.KINDS`
    solve: Solve
    variants: Callable[[], list[Solve]]
    pool: int = POOL  # inputs to choose cases from
    max_hidden: int = MAX_HIDDEN
    make_case: MakeCase | None = None  # from arguments and result; None: a call of `function`

    def case(self, args: tuple[Value, ...], result: Value) -> Case:
        if self.make_case is not None:
            return self.make_case(args, result)
        return CallCase(function=self.function, args=args, expected=result)


def fingerprint(kinds: tuple[str, ...], solve: Solve) -> str:
    """64 hex digits that are equal for functions with equal results on the probes of `kinds`."""
    return sha256(repr((kinds, [evaluate(solve, args) for args in probes(kinds)])).encode()).hexdigest()


def is_lively(kinds: tuple[str, ...], solve: Solve) -> bool:
    """Is it defined on three quarters of the probes, and no result that of more than three quarters of those?"""
    results = [repr(evaluate(solve, args)) for args in probes(kinds)]
    defined = [result for result in results if result != repr(UNDEFINED)]
    return len(defined) * 4 >= len(results) * 3 and max(map(defined.count, defined)) * 4 <= len(defined) * 3


def split_of(digest: str) -> Split:
    share = int(digest[:12], 16) / 16**12
    if share < TRAIN_SHARE:
        return Split.TRAIN
    return Split.VALIDATION if share < TRAIN_SHARE + VALIDATION_SHARE else Split.TEST


def make_task(problem: Problem, digest: str) -> Task:
    """The task of `problem`, whose fingerprint is `digest`; a pure function of `problem`."""
    visible, hidden = _choose(problem, Random(digest))
    name = sha256(f"{problem.family}\n{problem.prompt}".encode()).hexdigest()[:12]
    cases = [tuple(problem.case(args, expected) for args, expected in chosen) for chosen in (visible, hidden)]
    return Task(
        id=f"generated/{problem.family}-{name}",
        prompt=problem.prompt,
        style=problem.style,
        split=split_of(digest),
        visible=cases[0],
        hidden=cases[1],
        entry_point=problem.function,
        signature=problem.signature,
        reference=problem.reference,
        level=problem.level,
        tags=("generated", problem.family),
        stop=STOP if problem.style is Style.COMPLETION else (),
    )


_Pair = tuple[tuple[Value, ...], Value]


def _choose(problem: Problem, rng: Random) -> tuple[list[_Pair], list[_Pair]]:
    """Visible and hidden (args, result) pairs: greedily the input that the most surviving variants get wrong."""
    pool: dict[str, _Pair] = {}
    for _ in range(6 * problem.pool):
        args = draw_inputs(problem.kinds, rng)
        result = evaluate(problem.solve, args)
        if result is not UNDEFINED:
            pool.setdefault(repr(args), (args, result))
        if len(pool) == problem.pool:
            break
    rest = list(pool.values())
    assert len(rest) >= NUM_VISIBLE + NUM_HIDDEN, f"{problem.family}: too few inputs for {problem.prompt!r}"
    wrong = [{i for i, (a, want) in enumerate(rest) if evaluate(v, a) != want} for v in problem.variants()]
    constants = dict.fromkeys(repr(result) for _, result in rest)
    wrong += [{i for i, (_, want) in enumerate(rest) if repr(want) != constant} for constant in constants]
    alive = [inputs for inputs in wrong if inputs]
    order: list[int] = []
    while alive and len(order) < problem.max_hidden:
        best = max(range(len(rest)), key=lambda i: sum(i in inputs for inputs in alive))
        order.append(best)
        alive = [inputs for inputs in alive if best not in inputs]
    others = _fresh_first(rest, [i for i in range(len(rest)) if i not in order])
    num_more = max(0, NUM_HIDDEN - len(order))
    hidden = order + others[:num_more]
    return [rest[i] for i in others[num_more : num_more + NUM_VISIBLE]], [rest[i] for i in hidden]


def _fresh_first(pairs: list[_Pair], indices: list[int]) -> list[int]:
    """`indices` with the first of each result before the repeats, so that constant programs fail."""
    seen: set[str] = set()
    fresh: list[int] = []
    repeats: list[int] = []
    for i in indices:
        result = repr(pairs[i][1])
        (repeats if result in seen else fresh).append(i)
        seen.add(result)
    return fresh + repeats
