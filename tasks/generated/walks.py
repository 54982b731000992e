"""Which problems follow a rule through a tree or through time? Families `nested` (recursion), `machine` (simulation),
`stdin_list` (a program that reads a list) and `ledger` (a small class).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from sandbox.spec import AssertCase, StdioCase, Value
from tasks.generated import chains
from tasks.generated.family_ops import FAMILY_OPS
from tasks.generated.inputs import COMMANDS
from tasks.generated.parts import LARGE_POOL, MANY_HIDDEN, Part, is_sound, problem_of
from tasks.generated.problem import Problem, fingerprint, is_lively
from tasks.task import Style

LEVELS = range(1, 6)
_LEAVES: tuple[tuple[str, str, Callable[[int, int, int], int]], ...] = (
    ("itself", "x", lambda x, depth, k: x),
    ("its square", "x * x", lambda x, depth, k: x * x),
    ("1", "1", lambda x, depth, k: 1),
    ("itself if it is greater than {k}, else 0", "x if x > {k} else 0", lambda x, depth, k: x if x > k else 0),
    ("{k} if it is even, else 1", "{k} if x % 2 == 0 else 1", lambda x, depth, k: k if x % 2 == 0 else 1),
    ("itself plus {k}", "x + {k}", lambda x, depth, k: x + k),
    ("itself times the number of lists around it", "x * depth", lambda x, depth, k: x * depth),
    ("the number of lists around it", "depth", lambda x, depth, k: depth),
)
_JOINS: tuple[tuple[str, str, Callable[[list[int]], int]], ...] = (
    ("the sum of the values of its items", "sum(values)", sum),
    ("the largest of the values of its items (0 if empty)", "max(values, default=0)", lambda v: max(v, default=0)),
    ("the smallest of the values of its items (0 if empty)", "min(values, default=0)", lambda v: min(v, default=0)),
    ("the value of its first item minus those of the others (0 if empty)",
     "values[0] - sum(values[1:]) if values else 0", lambda v: v[0] - sum(v[1:]) if v else 0),
)  # fmt: skip
_WRAPS: tuple[tuple[str, str, Callable[[int, int, int], int]], ...] = (
    ("", "{joined}", lambda joined, size, m: joined),
    (", times {m}", "({joined}) * {m}", lambda joined, size, m: joined * m),
    (", plus {m}", "({joined}) + {m}", lambda joined, size, m: joined + m),
    (", plus the number of its items", "({joined}) + len(x)", lambda joined, size, m: joined + size),
    (", modulo {m}", "({joined}) % {m}", lambda joined, size, m: joined % m),
)


@dataclass(frozen=True, slots=True)
class _Tree:
    leaf: int
    join: int
    wrap: int
    k: int
    m: int

    def __call__(self, x: Value, depth: int = 0) -> Value:
        if isinstance(x, int):
            return _LEAVES[self.leaf][2](x, depth, self.k)
        joined = _JOINS[self.join][2]([self(item, depth + 1) for item in x])
        return _WRAPS[self.wrap][2](joined, len(x), self.m)


def nested(rng: Random, level: int) -> Problem:
    """The value of a nested list, by one rule for numbers and one for lists."""
    while True:
        leaf = 0 if level == 1 else rng.randrange(1, len(_LEAVES))
        wrap = 0 if level == 2 else rng.randrange(1, len(_WRAPS))
        tree = _Tree(leaf, rng.randrange(len(_JOINS)) if level > 2 else rng.randrange(3), wrap, rng.randint(2, 9),
                     rng.randint(2, 5) if wrap != 4 else rng.randint(11, 60))  # fmt: skip
        finish = [_finish(rng)] if level > 3 else []
        finish += [_finish(rng)] if level > 4 else []
        near = [replace(tree, k=tree.k + step) for step in (-1, 1)]
        near += [replace(tree, m=tree.m + step) for step in (-1, 1)]
        near += [replace(tree, leaf=i) for i in range(len(_LEAVES)) if i != leaf]
        near += [replace(tree, join=i) for i in range(len(_JOINS)) if i != tree.join]
        near += [replace(tree, wrap=i) for i in range(len(_WRAPS)) if i != wrap]
        said = f"a number counts as {_LEAVES[leaf][0]}; a list counts as {_JOINS[tree.join][0]}{_WRAPS[wrap][0]}"
        deep = "depth" in _LEAVES[leaf][1]
        lines = (
            f"def value(x{', depth=0' * deep}):",
            "    if isinstance(x, int):",
            f"        return {_LEAVES[leaf][1].format(k=tree.k)}",
            f"    values = [value(item{', depth + 1' * deep}) for item in x]",
            "    return " + _WRAPS[wrap][1].format(joined=_JOINS[tree.join][1], m=tree.m),
            "v = value(v)",
        )
        first = Part(text=said.format(k=tree.k, m=tree.m), code=lines, apply=tree, near=tuple(near), optional=False)
        if is_sound(("nested",), parts := [first, *finish]):
            break
    intro = (
        "Write a Python function `{function}({parameter})`. `{parameter}` is a list whose items are numbers and lists of the "
        "same kind. Return the answer after these steps:"
    )
    return problem_of("nested", level, rng, parts, kind="nested", intro=intro, parameter=rng.choice(("xs", "tree")))


def _finish(rng: Random) -> Part:
    """A step on the number that came out."""
    k = rng.randint(3, 30)
    options: tuple[tuple[str, str, Callable[[int, int], int]], ...] = (
        ("take it modulo {k}", "v = v % {k}", lambda v, k: v % k),
        ("if it is less than {k}, add {k}", "v = v + {k} if v < {k} else v", lambda v, k: v + k if v < k else v),
        ("take its distance from {k}", "v = abs(v - {k})", lambda v, k: abs(v - k)),
        ("if it is odd, multiply it by {k}", "v = v * {k} if v % 2 else v", lambda v, k: v * k if v % 2 else v),
    )
    text, code, step = rng.choice(options)

    def apply(k: int, v: int) -> int:
        return step(v, k)

    near = (partial(apply, k - 1), partial(apply, k + 1))
    return Part(text=text.format(k=k), code=(code.format(k=k),), apply=partial(apply, k), near=near)


_Rule = tuple[str, str, Callable[[int, int, int], tuple[int, int]]]
_EFFECTS: tuple[_Rule, ...] = (
    ("add {k} to x", "x = x + {k}", lambda x, y, k: (x + k, y)),
    ("subtract {k} from x", "x = x - {k}", lambda x, y, k: (x - k, y)),
    ("double x", "x = x * 2", lambda x, y, k: (x * 2, y)),
    ("set x to {k}", "x = {k}", lambda x, y, k: (k, y)),
    ("if x is greater than {k}, subtract {k} from it", "x = x - {k} if x > {k} else x",
     lambda x, y, k: (x - k if x > k else x, y)),
    ("add x to y", "y = y + x", lambda x, y, k: (x, y + x)),
    ("exchange x and y", "x, y = y, x", lambda x, y, k: (y, x)),
    ("add {k} to y", "y = y + {k}", lambda x, y, k: (x, y + k)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Machine:
    start: int
    rules: tuple[tuple[str, int, int], ...]  # letter, effect, constant
    skip_repeats: bool = False
    cap: int = 0

    def __call__(self, commands: str) -> list[int]:
        x, y, last = self.start, 0, ""
        for letter in commands:
            if self.skip_repeats and letter == last:
                continue
            last = letter
            for own, effect, k in self.rules:
                if letter == own:
                    x, y = _EFFECTS[effect][2](x, y, k)
                    break
            if self.cap and x > self.cap:
                x = self.cap
        return [x, y]


def machine(rng: Random, level: int) -> Problem:
    """Two numbers, changed by the letters of a text one after the other."""
    while True:
        letters = rng.sample(COMMANDS, level + 1 if level < 4 else 4)
        effects = rng.sample(range(len(_EFFECTS)), len(letters))
        rules = tuple((c, effect, rng.randint(2, 9)) for c, effect in zip(letters, effects, strict=True))
        rule = _Machine(rng.randint(0, 9), rules, level >= 5, rng.randint(15, 40) if level >= 4 else 0)
        near = [replace(rule, start=rule.start + 1), replace(rule, skip_repeats=not rule.skip_repeats)]
        near += [replace(rule, cap=rule.cap + step) for step in (-1, 1)] + [replace(rule, cap=0)] if rule.cap else []
        for i, (letter, effect, k) in enumerate(rules):
            changed = [(letter, effect, k + step) for step in (-1, 1)]
            changed += [(letter, other, k) for other in range(len(_EFFECTS)) if other != effect]
            near += [replace(rule, rules=(*rules[:i], new, *rules[i + 1 :])) for new in changed]
            near.append(replace(rule, rules=rules[:i] + rules[i + 1 :]))
        if is_lively(("commands",), rule) and all(
            fingerprint(("commands",), replace(rule, rules=rules[:i] + rules[i + 1 :]))
            != fingerprint(("commands",), rule)
            for i in range(len(rules))
        ):
            break
    said = [f"{c!r}: {_EFFECTS[effect][0].format(k=k)}" for c, effect, k in rules]
    text = f"start with x = {rule.start} and y = 0, then follow the letters one after the other: {'; '.join(said)}; "
    text += "other letters do nothing"
    text += "; a letter equal to the one just before it is skipped" if rule.skip_repeats else ""
    text += f"; whenever x is greater than {rule.cap} after a letter, it becomes {rule.cap}" if rule.cap else ""
    code = [f"x, y = {rule.start}, 0", *["last = ''"] * rule.skip_repeats, "for letter in v:"]
    code += ["    if letter == last:", "        continue", "    last = letter"] if rule.skip_repeats else []
    for i, (c, effect, k) in enumerate(rules):
        code += [f"    {'elif' if i else 'if'} letter == {c!r}:", f"        {_EFFECTS[effect][1].format(k=k)}"]
    code += [f"    if x > {rule.cap}:", f"        x = {rule.cap}"] if rule.cap else []
    parts = [Part(text=text, code=(*code, "v = [x, y]"), apply=rule, near=tuple(near), optional=False)]
    intro = "Write a Python function `{function}({parameter})` that simulates a machine and returns the list [x, y]:"
    name = rng.choice(("s", "commands", "text"))
    return problem_of("machine", level, rng, parts, kind="commands", intro=intro, parameter=name)


def stdin_list(rng: Random, level: int) -> Problem:
    """The operations of `list_steps`, as a program."""
    while True:
        chain = chains.draw_chain(rng, FAMILY_OPS, "list", level)
        if chains.is_sound(("list",), chain):
            break
    lines = [op.code.format(e="v", k=constant) for op, constant in chain]
    head = ["input()", "v = list(map(int, input().split()))", *(f"v = {line}" for line in lines)]
    tail = ["print(' '.join(map(str, v)) or 'empty')" if chain[-1][0].gives == "list" else "print(v)"]
    solve = chains.interpret(chain)
    intro = (
        "Write a Python program. The first line of its input is a number n, the second n whole numbers with spaces between "
        "them. Follow these steps on the list of these numbers, then print the result: a number as it is, a list with spaces "
        "between its items, an empty list as the word empty."
    )
    steps = "".join(f"\n{i}. {step}" for i, step in enumerate(chains.phrases(chain, "the list", rng), start=1))
    return Problem(
        family="stdin_list", level=level, prompt=intro + steps, style=Style.INSTRUCTION, function="", signature="",
        reference="".join(f"{line}\n" for line in head + tail), kinds=("list",), solve=solve,
        variants=lambda: [*map(chains.interpret, chains.near_misses(chain)), lambda xs: solve(xs) or [0]], make_case=_list_case,
    )  # fmt: skip


def _list_case(args: tuple[Value, ...], result: Value) -> StdioCase:
    (items,) = args
    text = " ".join(map(str, result)) or "empty" if isinstance(result, list) else str(result)
    return StdioCase(stdin=f"{len(items)}\n{' '.join(map(str, items))}\n", stdout=f"{text}\n")


@dataclass(frozen=True, slots=True)
class _Ledger:
    """A number with methods; results of the calls, in order."""

    start: int
    floor: int = 0  # `take` is refused below this
    refuses: bool = True
    cap: int = 0  # 0: none
    fee: int = 0
    undoes: bool = False

    def __call__(self, calls: list[tuple[str, int]]) -> list[Value]:
        total, before, results = self.start, self.start, []
        for name, n in calls:
            if name == "put":
                before, total = total, min(total + n, self.cap) if self.cap else total + n
                results.append(total)
            elif name == "take":
                done = not self.refuses or total - n - self.fee >= self.floor
                if done:
                    before, total = total, total - n - self.fee
                results.append(done)
            elif name == "undo" and self.undoes:
                total = before
                results.append(total)
            else:
                results.append(total)
        return results


def ledger(rng: Random, level: int) -> Problem:
    """A small class with state; each level adds a rule."""
    floor = rng.choice((0, 0, -rng.randint(1, 20), rng.randint(1, 5)))
    rule = _Ledger(
        start=rng.randint(10, 30), floor=floor if level >= 2 else 0, refuses=level >= 2,
        cap=rng.randint(35, 60) if level >= 3 else 0, fee=rng.randint(1, 5) if level >= 4 else 0, undoes=level >= 5,
    )  # fmt: skip
    near = [replace(rule, start=rule.start + 1), replace(rule, refuses=not rule.refuses)]
    near += [replace(rule, floor=rule.floor + step) for step in (-1, 1)] if rule.refuses else []
    near += [replace(rule, cap=rule.cap + step) for step in (-1, 1)] + [replace(rule, cap=0)] if rule.cap else []
    near += [replace(rule, fee=rule.fee + step) for step in (-1, 1)] if rule.fee else []
    near += [replace(rule, undoes=False)] if rule.undoes else []
    owner = rng.choice(("Account", "Stock", "Purse", "Tank", "Score"))
    put, take, show = rng.choice((("put", "take", "total"), ("add", "remove", "value"), ("fill", "draw", "level")))
    most = f", but never to more than {rule.cap}," if rule.cap else ""
    text = [f"a new object holds {rule.start}", f"`{put}(n)` adds n{most} and returns what it holds then"]
    cost = f" and a fee of {rule.fee}" if rule.fee else ""
    refusal = f"if that leaves at least {rule.floor}, and returns True; else it changes nothing and returns False"
    text.append(f"`{take}(n)` takes away n{cost} " + (refusal if rule.refuses else "and returns True"))
    text.append(f"`{show}()` returns what it holds")
    if rule.undoes:
        text.append(f"`undo()` sets it to what it held before the last `{put}` or `{take}` that was not refused (a second "
                    "`undo` changes nothing), and returns what it holds then")  # fmt: skip
    prompt = f"Write a Python class `{owner}`:" + "".join(f"\n{i}. {line}" for i, line in enumerate(text, start=1))
    calls = {"put": put, "take": take, "show": show, "undo": "undo"}
    return Problem(
        family="ledger", level=level, prompt=prompt, style=Style.INSTRUCTION, function="", signature="",
        reference=_ledger_code(rule, owner, put, take, show), kinds=("calls" if level < 5 else "undo_calls",), solve=rule,
        variants=lambda: list(near), make_case=partial(_ledger_case, owner, calls),
        pool=LARGE_POOL, max_hidden=MANY_HIDDEN,
    )  # fmt: skip


def _ledger_code(rule: _Ledger, owner: str, put: str, take: str, show: str) -> str:
    remember = ["        self.before = self.held"] if rule.undoes else []
    lines = [f"class {owner}:", "    def __init__(self):", f"        self.held = {rule.start}"]
    lines += ["        self.before = self.held"] if rule.undoes else []
    new = f"min(self.held + n, {rule.cap})" if rule.cap else "self.held + n"
    lines += ["", f"    def {put}(self, n):", *remember, f"        self.held = {new}", "        return self.held"]
    left = f"self.held - n - {rule.fee}" if rule.fee else "self.held - n"
    lines += ["", f"    def {take}(self, n):"]
    lines += [f"        if {left} < {rule.floor}:", "            return False"] if rule.refuses else []
    lines += [*remember, f"        self.held = {left}", "        return True"]
    lines += ["", f"    def {show}(self):", "        return self.held"]
    if rule.undoes:
        lines += ["", "    def undo(self):", "        self.held = self.before", "        return self.held"]
    return "".join(f"{line}\n" for line in lines)


def _ledger_case(owner: str, names: dict[str, str], args: tuple[Value, ...], result: Value) -> AssertCase:
    (calls,) = args
    lines = [f"thing = {owner}()"]
    for (name, n), value in zip(calls, result, strict=True):
        argument = str(n) if name in ("put", "take") else ""
        lines.append(f"assert thing.{names[name]}({argument}) == {value!r}")
    return AssertCase(code="".join(f"{line}\n" for line in lines), names=(owner,))
