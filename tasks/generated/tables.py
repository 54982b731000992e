"""Which problems group named numbers? Families `tally` (a list of pairs), `records` (text to be parsed first) and
`stdin_table` (a program that reads lines and prints lines).

All three share their steps: change or drop pairs, gather the numbers of each name in a dictionary, work on the values, answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random

from sandbox.spec import StdioCase, Value
from tasks.generated.inputs import NAMES, Pairs, Solve
from tasks.generated.parts import Part, Step, is_sound, problem_of, solve_of
from tasks.generated.problem import Problem

LEVELS = range(1, 6)
_AGGREGATES: dict[str, tuple[str, Callable[[list[int]], int]]] = {
    "the sum of its numbers": ("sum(ns)", sum),
    "the largest of its numbers": ("max(ns)", max),
    "the smallest of its numbers": ("min(ns)", min),
    "how many numbers it has": ("len(ns)", len),
    "the first of its numbers": ("ns[0]", lambda ns: ns[0]),
    "the last of its numbers": ("ns[-1]", lambda ns: ns[-1]),
    "the largest of its numbers minus the smallest": ("max(ns) - min(ns)", lambda ns: max(ns) - min(ns)),
}
_TESTS: dict[str, tuple[str, Callable[[int, int], bool]]] = {
    "greater than {k}": ("{n} > {k}", lambda n, k: n > k),
    "less than {k}": ("{n} < {k}", lambda n, k: n < k),
    "at least {k}": ("{n} >= {k}", lambda n, k: n >= k),
    "not divisible by {k}": ("{n} % {k} != 0", lambda n, k: n % k != 0),
}
_CHANGES: dict[str, tuple[str, Callable[[int, int], int]]] = {
    "add {k} to every value": ("{n} + {k}", lambda n, k: n + k),
    "subtract {k} from every value": ("{n} - {k}", lambda n, k: n - k),
    "multiply every value by {k}": ("{n} * {k}", lambda n, k: n * k),
    "take every value modulo {k}": ("{n} % {k}", lambda n, k: n % k),
}


def table_parts(rng: Random, level: int) -> list[Part]:
    """2 to 6 steps from a list of (name, number) to an answer."""
    middle = [_change_values, _keep_values]
    rng.shuffle(middle)
    before = [part(rng) for part in rng.sample([_drop_pairs, _boost_name], max(0, min(2, level - 3)) or level % 2)]
    after = [part(rng) for part in middle[: min(2, level - len(before))]]
    return [*before, _group(rng), *after, _answer(rng)]


def _drop_pairs(rng: Random) -> Part:
    said, (code, test) = rng.choice(list(_TESTS.items()))
    k = rng.randint(2, 9)

    def keep(k: int, pairs: Pairs, test: Callable[[int, int], bool] = test) -> Pairs:
        return [(name, n) for name, n in pairs if test(n, k)]

    return Part(
        text=f"keep only the pairs whose number is {said.format(k=k)}",
        code=(f"v = [(name, n) for name, n in v if {code.format(n='n', k=k)}]",),
        apply=partial(keep, k),
        near=(partial(keep, k - 1), partial(keep, k + 1), *_others(keep, k, _TESTS, said, "test")),
    )


def _boost_name(rng: Random) -> Part:
    name, k = rng.choice(NAMES), rng.randint(2, 5)

    def boost(name: str, k: int, pairs: Pairs) -> Pairs:
        return [(other, n * k if other == name else n) for other, n in pairs]

    return Part(
        text=f"multiply the number of every pair named {name!r} by {k}",
        code=(f"v = [(name, n * {k} if name == {name!r} else n) for name, n in v]",),
        apply=partial(boost, name, k),
        near=(partial(boost, name, k + 1), *(partial(boost, other, k) for other in NAMES if other != name)),
    )


def _group(rng: Random) -> Part:
    said, (code, take) = rng.choice(list(_AGGREGATES.items()))

    def group(take: Callable[[list[int]], int], pairs: Pairs) -> dict[str, int]:
        groups: dict[str, list[int]] = {}
        for name, n in pairs:
            groups.setdefault(name, []).append(n)
        return {name: take(ns) for name, ns in groups.items()}

    lines = ("groups = {}", "for name, n in v:", "    groups.setdefault(name, []).append(n)",
             f"v = {{name: {code} for name, ns in groups.items()}}")  # fmt: skip
    wrong = [other for word, (_, other) in _AGGREGATES.items() if word != said]
    return Part(
        text=f"group the pairs by name, and give each name one value: {said}", code=lines, apply=partial(group, take),
        near=tuple(partial(group, other) for other in wrong), optional=False,
    )  # fmt: skip


def _change_values(rng: Random) -> Part:
    said, (code, change) = rng.choice(list(_CHANGES.items()))
    k = rng.randint(2, 9)

    def each(k: int, values: dict[str, int], change: Callable[[int, int], int] = change) -> dict[str, int]:
        return {name: change(n, k) for name, n in values.items()}

    return Part(
        text=said.format(k=k),
        code=(f"v = {{name: {code.format(n='n', k=k)} for name, n in v.items()}}",),
        apply=partial(each, k),
        near=(partial(each, k - 1), partial(each, k + 1), *_others(each, k, _CHANGES, said, "change")),
    )


def _keep_values(rng: Random) -> Part:
    said, (code, test) = rng.choice(list(_TESTS.items()))
    k = rng.randint(2, 15)

    def keep(k: int, values: dict[str, int], test: Callable[[int, int], bool] = test) -> dict[str, int]:
        return {name: n for name, n in values.items() if test(n, k)}

    return Part(
        text=f"keep only the names whose value is {said.format(k=k)}",
        code=(f"v = {{name: n for name, n in v.items() if {code.format(n='n', k=k)}}}",),
        apply=partial(keep, k),
        near=(partial(keep, k - 1), partial(keep, k + 1), *_others(keep, k, _TESTS, said, "test")),
    )


def _others(
    make: Callable[..., Value], k: int, table: dict[str, tuple[str, Callable[..., Value]]], said: str, name: str
) -> tuple[Step, ...]:
    return tuple(partial(make, k, **{name: function}) for word, (_, function) in table.items() if word != said)


def _falling(values: dict[str, int]) -> list[str]:
    return sorted(values, key=lambda name: (-values[name], name))


def _rising(values: dict[str, int]) -> list[str]:
    return sorted(values, key=lambda name: (values[name], name))


_ANSWERS: dict[str, tuple[str, Step]] = {
    "the answer is the dictionary of names and values": ("v = dict(v)", dict),
    "the answer is the list of names, largest value first, equal ones in alphabetical order": (
        "v = sorted(v, key=lambda name: (-v[name], name))", _falling),
    "the answer is the list of names, smallest value first, equal ones in alphabetical order": (
        "v = sorted(v, key=lambda name: (v[name], name))", _rising),
    "the answer is the sum of all values": ("v = sum(v.values())", lambda v: sum(v.values())),
    "the answer is how many different values there are": ("v = len(set(v.values()))", lambda v: len(set(v.values()))),
    "the answer is the name with the largest value, the first in alphabetical order of several, or '' if there is none": (
        "v = min(v, key=lambda name: (-v[name], name), default='')", lambda v: next(iter(_falling(v)), "")),
}  # fmt: skip
_WRONG_ORDER: tuple[Step, ...] = (
    sorted,
    list,
    lambda v: sorted(v, key=lambda name: -v[name]),
    lambda v: sorted(v, key=lambda name: v[name]),
    lambda v: sorted(v, key=lambda name: (v[name], name), reverse=True),
)


def _answer(rng: Random) -> Part:
    said, (code, apply) = rng.choice(list(_ANSWERS.items()))
    wrong = [other for word, (_, other) in _ANSWERS.items() if word != said]
    orders = _WRONG_ORDER if "list" in said else (len,) if "different" in said else ()
    return Part(text=said, code=(code,), apply=apply, near=(*wrong, *orders), optional=False)


def tally(rng: Random, level: int) -> Problem:
    intro = (
        "Write a Python function `{function}({parameter})`. `{parameter}` is a list of tuples (name, number); names may "
        "repeat. Return the answer after these steps:"
    )
    while not is_sound(("pairs",), parts := table_parts(rng, level)):
        pass
    return problem_of("tally", level, rng, parts, kind="pairs", intro=intro, parameter="pairs")


def _is_number(n: str) -> bool:
    return n.isdigit() or (n[:1] == "-" and n[1:].isdigit())


_WRONG_NUMBERS: tuple[Callable[[str], bool], ...] = (
    str.isdigit,
    lambda n: n[:1] == "-" and n[1:].isdigit(),
    lambda n: n.isdigit() or n[1:].isdigit(),
    lambda n: n.isdigit() or n[:1] == "-",
    lambda n: n.isdigit() or (n[:1] == "-" and n[2:].isdigit()),
)


def records(rng: Random, level: int) -> Problem:
    """Text such as "a=3;b=x;a=-4": what is no whole number is left out."""
    kind, outer, inner = rng.choice((("records", ";", "="), ("fields", ",", ":")))

    def read(text: str, is_number: Callable[[str], bool] = _is_number) -> Pairs:
        items = [item.split(inner, 1) for item in text.split(outer) if inner in item]
        return [(name, int(n)) for name, n in items if is_number(n)]

    def merged(text: str) -> Pairs:
        return list(dict(read(text)).items())

    parameter = rng.choice(("s", "text", "line"))
    reading = Part(
        text=f"`{parameter}` holds entries separated by {outer!r}, each a name, {inner!r} and a number; leave out entries "
        "without that sign, and those whose number is not a whole number such as 12 or -3",
        code=(
            f"v = [item.split({inner!r}, 1) for item in v.split({outer!r}) if {inner!r} in item]",
            "v = [(name, int(n)) for name, n in v if n.isdigit() or (n[:1] == '-' and n[1:].isdigit())]",
        ),
        apply=read,
        near=(*(partial(read, is_number=wrong) for wrong in _WRONG_NUMBERS), merged),
        optional=False,
    )
    while not is_sound((kind,), parts := [reading, *table_parts(rng, level)]):
        pass
    intro = "Write a Python function `{function}({parameter})` that returns the answer after these steps:"
    return problem_of("records", level, rng, parts, kind=kind, intro=intro, parameter=parameter)


def stdin_table(rng: Random, level: int) -> Problem:
    while not is_sound(("pairs",), parts := table_parts(rng, level)):
        pass
    intro = (
        "Write a Python program. The first line of its input is a number n, each of the next n lines a name and a number, "
        "with a space between. Do this with the pairs, then print the answer: a number or a name as it is, a list with an "
        "item a line, a dictionary with a name, a space and its value a line, names in alphabetical order. Where there is "
        "nothing to print, print a single 0."
    )
    body = [line for part in parts for line in part.code]
    lines = ["v = []", "for _ in range(int(input())):", "    name, n = input().split()", "    v.append((name, int(n)))",
             *body, *_PRINTING[parts[-1].text.split()[4]]]  # fmt: skip
    solve = solve_of([part.apply for part in parts])
    problem = problem_of(
        "stdin_table", level, rng, parts, kind="pairs", intro=intro, parameter="pairs",
        reference="".join(f"{line}\n" for line in lines), make_case=_table_case,
    )  # fmt: skip

    def variants() -> list[Solve]:
        """Wrong at reading and printing, too: the last line lost, the order of a dictionary left as it is."""
        return [*problem.variants(), lambda pairs: solve(pairs[:-1]), lambda pairs: _unsorted(solve(pairs)),
                lambda pairs: solve(pairs) or "nothing"]  # fmt: skip

    return replace(problem, variants=variants)


# By the word after "the answer is": how a program prints it.
_PRINTING = {
    "dictionary": ("print('\\n'.join(f'{name} {v[name]}' for name in sorted(v)) or 0)",),
    "list": ("print('\\n'.join(v) or 0)",),
    "name": ("print(v or 0)",),
    "sum": ("print(v)",),
    "many": ("print(v)",),
}


def _unsorted(result: Value) -> Value:
    return "in another order" if isinstance(result, dict) and list(result) != sorted(result) else result


def _table_case(args: tuple[Value, ...], result: Value) -> StdioCase:
    (pairs,) = args
    stdin = f"{len(pairs)}\n" + "".join(f"{name} {n}\n" for name, n in pairs)
    if isinstance(result, dict):
        result = [f"{name} {result[name]}" for name in sorted(result)]
    if isinstance(result, list):
        result = "\n".join(result)
    return StdioCase(stdin=stdin, stdout=f"{0 if result == '' else result}\n")
