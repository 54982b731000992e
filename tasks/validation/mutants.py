"""Which wrong programs lie next to a right one? One small change each, as people and models make them.

For Python the changes are made in the syntax tree: constants, comparisons, arithmetic, boolean operators, negated conditions,
off-by-one bounds, dropped statements, `return None`, swapped operands and arguments, exchanged builtins. For languages
with C's tokens see `tasks.validation.tokens`. A mutant that compiles to the code of the reference, or of another mutant, is
left out. What is left can still be equivalent (`i * 1`, a bound that no input reaches): no program can tell in general, so a
mutation score below 1 is a reason to look at the survivors, not a proof.

After DeMillo, Lipton & Sayward 1978, "Hints on test data selection"; operators as in Offutt et al. 1996.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from types import CodeType
from typing import Any

from tasks.python_text import parse
from tasks.validation.tokens import SUPPORTED, token_edits


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A whole program that differs from the reference in one place.

    >>> first = mutants("def f(n):\\n    return n + 1\\n", limit=50)[0]
    >>> first.line, first.change
    (2, 'n + 1 -> n - 1')
    """

    operator: str
    line: int  # in the reference
    change: str  # one line for a person
    source: str


def mutants(
    reference: str, *, language: str = "python", limit: int, seed: str = "", after_line: int = 0
) -> tuple[Mutant, ...]:
    """Up to `limit` distinct mutants of `reference`; operators take turns, places are drawn with `seed`.

    Nothing up to `after_line` is changed (the head that a completion cannot change). Empty for a language without operators,
    and for a reference that cannot be parsed.
    """
    if language == "python":
        found = list(_of_python(reference, after_line))
    elif language in SUPPORTED:
        edits = token_edits(reference, after_line)
        found = [Mutant(operator=o, line=n, change=c, source=s) for o, n, c, s in edits]
    else:
        return ()
    return _take_turns(found, limit, Random(f"mutants:{seed}"))


def _take_turns(found: list[Mutant], limit: int, rng: Random) -> tuple[Mutant, ...]:
    if len(found) <= limit:
        return tuple(found)
    by_operator: dict[str, list[Mutant]] = {}
    for mutant in rng.sample(found, len(found)):
        by_operator.setdefault(mutant.operator, []).append(mutant)
    chosen: list[Mutant] = []
    while len(chosen) < limit:
        for queue in by_operator.values():
            if queue and len(chosen) < limit:
                chosen.append(queue.pop())
    return tuple(sorted(chosen, key=lambda mutant: mutant.line))


def _of_python(reference: str, after_line: int) -> Iterator[Mutant]:
    try:
        tree = parse(reference)
        original = _compiled(ast.unparse(tree))
    except (SyntaxError, ValueError, RecursionError):
        return
    seen = {original}
    for parent, field, index, node in _places(tree):
        line = getattr(node, "lineno", 0)
        if line <= after_line:
            continue
        for operator, other in _edits(node):
            _put(parent, field, index, other)
            try:
                source = ast.unparse(ast.fix_missing_locations(tree)) + "\n"
                code = _compiled(source)
            except (SyntaxError, ValueError, RecursionError, TypeError):
                continue  # e.g. a `break` left without its loop
            finally:
                _put(parent, field, index, node)
            if code not in seen:
                seen.add(code)
                yield Mutant(operator=operator, line=line, change=f"{_said(node)} -> {_said(other)}", source=source)


def _said(node: ast.AST) -> str:
    first, *more = ast.unparse(node).splitlines() or [""]
    return first[:60] + (" ..." if more or len(first) > 60 else "")


def _compiled(source: str) -> object:
    """What a program does, without its line numbers. Compiling runs nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _shape(compile(source, "", "exec", dont_inherit=True))


def _shape(code: CodeType) -> object:
    consts = tuple(_shape(c) if isinstance(c, CodeType) else (type(c).__name__, repr(c)) for c in code.co_consts)
    return code.co_code, consts, code.co_names, code.co_varnames


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _places(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Every expression and statement with where it hangs; no docstrings, annotations, imports, raised messages."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        many = isinstance(value, list)
        for index, node in enumerate(value if many else [value]):
            if not isinstance(node, ast.AST) or isinstance(node, ast.Import | ast.ImportFrom | ast.Raise | ast.Assert):
                continue
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue  # a docstring
            if isinstance(node, ast.expr | ast.stmt):
                yield tree, field, index if many else None, node
            yield from _places(node)


_Edit = tuple[str, ast.AST]
_COMPARE: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,), ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Add,), ast.Div: (ast.FloorDiv, ast.Mult),
    ast.FloorDiv: (ast.Div, ast.Mod), ast.Mod: (ast.FloorDiv,), ast.Pow: (ast.Mult,), ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,), ast.BitAnd: (ast.BitOr,), ast.BitOr: (ast.BitAnd,), ast.BitXor: (ast.BitOr,),
}  # fmt: skip
_ORDERED = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
_EXCHANGED = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list", "set": "list", "abs": "int",
              "upper": "lower", "lower": "upper", "strip": "lstrip", "floor": "ceil",
              "ceil": "floor", "startswith": "endswith", "endswith": "startswith"}  # fmt: skip
_SYMMETRIC = ("min", "max", "gcd", "lcm", "isinstance", "zip", "print")  # swapped: equal, or wrong in the first line


def _edits(node: ast.AST) -> Iterator[_Edit]:
    """The one-step changes of a node, none of which changes the node itself."""
    if isinstance(node, ast.Constant):
        yield from (("constant", ast.Constant(value=value)) for value in _other_constants(node.value))
    elif isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            for other in _COMPARE[type(op)]:
                ops = [*node.ops[:i], other(), *node.ops[i + 1 :]]
                yield "comparison", ast.Compare(left=node.left, ops=ops, comparators=node.comparators)
    elif isinstance(node, ast.BinOp):
        for kind in _ARITHMETIC.get(type(node.op), ()):
            yield "arithmetic", ast.BinOp(left=node.left, op=kind(), right=node.right)
        if isinstance(node.op, _ORDERED):
            yield "swapped operands", ast.BinOp(left=node.right, op=node.op, right=node.left)
    elif isinstance(node, ast.BoolOp):
        yield "boolean", ast.BoolOp(op=ast.Or() if isinstance(node.op, ast.And) else ast.And(), values=node.values)
        for i in range(len(node.values)):
            rest = node.values[:i] + node.values[i + 1 :]
            yield "dropped condition", rest[0] if len(rest) == 1 else ast.BoolOp(op=node.op, values=rest)
    elif isinstance(node, ast.UnaryOp):
        if isinstance(node.op, ast.Not | ast.USub):
            yield "dropped sign" if isinstance(node.op, ast.USub) else "boolean", node.operand
    elif isinstance(node, ast.IfExp) and not _is_comparison(node.test):
        yield "negated condition", ast.IfExp(test=_negated(node.test), body=node.body, orelse=node.orelse)
    elif isinstance(node, ast.Call):
        yield from _call_edits(node)
    elif isinstance(node, ast.Subscript):
        yield from _subscript_edits(node)
    elif isinstance(node, ast.stmt):
        yield from _statement_edits(node)


def _other_constants(value: Any) -> tuple[Any, ...]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return (value + 1, value - 1) if value else (1,)
    if isinstance(value, float):
        return (value + 1.0,)
    if isinstance(value, str):
        return ("",) if value else ("?",)
    return (0,) if value is None else ()


def _call_edits(node: ast.Call) -> Iterator[_Edit]:
    def with_args(*args: ast.expr) -> ast.Call:
        return ast.Call(func=node.func, args=list(args), keywords=node.keywords)

    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    if name in _EXCHANGED:
        other = _EXCHANGED[name]
        func: ast.expr = ast.Name(id=other, ctx=ast.Load())
        if isinstance(node.func, ast.Attribute):
            func = ast.Attribute(value=node.func.value, attr=other, ctx=ast.Load())
        yield "exchanged call", ast.Call(func=func, args=node.args, keywords=node.keywords)
    if any(isinstance(arg, ast.Starred) for arg in node.args):
        return
    if len(node.args) >= 2 and name not in _SYMMETRIC:
        yield "swapped arguments", with_args(node.args[1], node.args[0], *node.args[2:])
    if name == "range" and node.args:
        at = 0 if len(node.args) == 1 else 1
        for op in (ast.Add(), ast.Sub()):
            bound = ast.BinOp(left=node.args[at], op=op, right=ast.Constant(value=1))
            yield "off by one", with_args(*node.args[:at], bound, *node.args[at + 1 :])
    if name == "len":
        yield "off by one", ast.BinOp(left=node, op=ast.Sub(), right=ast.Constant(value=1))
    for keyword in node.keywords:
        if keyword.arg in ("reverse", "key", "default"):
            rest = [other for other in node.keywords if other is not keyword]
            yield "dropped keyword", ast.Call(func=node.func, args=node.args, keywords=rest)


def _subscript_edits(node: ast.Subscript) -> Iterator[_Edit]:
    if isinstance(node.slice, ast.Slice):
        lower, upper, step = node.slice.lower, node.slice.upper, node.slice.step
        parts = ((lower, (None, upper, step)), (upper, (lower, None, step)), (step, (lower, upper, None)))
        for bound, (low, high, by) in parts:
            if bound is not None:
                part = ast.Slice(lower=low, upper=high, step=by)
                yield "dropped bound", ast.Subscript(value=node.value, slice=part, ctx=node.ctx)
    elif isinstance(node.slice, ast.Name | ast.BinOp):
        other = ast.BinOp(left=node.slice, op=ast.Add(), right=ast.Constant(value=1))
        yield "off by one", ast.Subscript(value=node.value, slice=other, ctx=node.ctx)


def _statement_edits(node: ast.stmt) -> Iterator[_Edit]:
    if isinstance(node, ast.If | ast.While) and not _is_comparison(node.test):
        kind = type(node)
        yield "negated condition", kind(test=_negated(node.test), body=node.body, orelse=node.orelse)
    if isinstance(node, ast.If) and node.orelse:
        yield "dropped branch", ast.If(test=node.test, body=node.body, orelse=[])
    if isinstance(node, ast.AugAssign):
        for kind_of in _ARITHMETIC.get(type(node.op), ()):
            yield "arithmetic", ast.AugAssign(target=node.target, op=kind_of(), value=node.value)
    if isinstance(node, ast.Break):
        yield "exchanged jump", ast.Continue()
    if isinstance(node, ast.Continue):
        yield "exchanged jump", ast.Break()
    if isinstance(node, ast.Return) and not (
        node.value is None or (isinstance(node.value, ast.Constant) and node.value.value is None)
    ):
        yield "return None", ast.Return(value=ast.Constant(value=None))
    is_store = isinstance(node, ast.Assign) and not all(isinstance(target, ast.Name) for target in node.targets)
    if is_store or isinstance(node, ast.AugAssign | ast.Expr | ast.Break | ast.Continue | ast.For | ast.While | ast.If):
        yield "dropped statement", ast.Pass()


def _is_comparison(test: ast.expr) -> bool:
    """Negated already: by the comparison that is its opposite."""
    return isinstance(test, ast.Compare) and len(test.ops) == 1


def _negated(test: ast.expr) -> ast.expr:
    return test.operand if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) else _not(test)


def _not(test: ast.expr) -> ast.expr:
    return ast.UnaryOp(op=ast.Not(), operand=test)
