"""Which assert programs can the judge decide by itself, without a referee?

Most tests of benchmarks only compare calls on literals with literals: `assert f([1, 2]) == 3`, or HumanEval's `check` around
a row of those. Such a test is read here, never executed: it becomes a `Plan` of questions to the player and of comparisons of
plain values, and its expected values stay in the judge, as for calls. The verdict is the one that the referee would
reach. Whatever is outside this small language, by one node of its syntax, goes to the referee; and so does a
case whose answer would have to be asked more (`Undecided`): an object with a truth value or a length of its own.
"""

from __future__ import annotations

import ast
import functools
import math
import operator
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sandbox.codec import encode
from sandbox.lift import parsed
from sandbox.spec import AssertCase

MAX_BITS = 256  # of an int that constants are folded to
MAX_ITEMS = 10_000  # of a text or list that constants are folded to
MAX_HASHED = 1_000  # values of the candidate put in a set: chosen ones take quadratic time
MAX_PLANS = 1024  # kept, for tasks that are graded again


class Undecided(Exception):
    """The answer is no plain value, and the test asks more of it than whether it is equal: only the referee can say."""


class Misfit(Exception):
    """The answer does not fit the test, which would end in an exception; the text is its type."""


class Ask(Protocol):
    def __call__(self, name: str, args: list[Any], kwargs: list[list[Any]]) -> Any:
        """The decoded answer of the candidate's function `name` to these encoded arguments."""


class Opaque:
    """An object of the candidate: equal to itself only."""

    __slots__ = ()


Expression = Callable[[Ask], Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """A test that the judge can decide: it passes if every check, in order, is true. `names` are those it calls."""

    names: tuple[str, ...]
    checks: tuple[Expression, ...]


@functools.lru_cache(maxsize=MAX_PLANS)
def plan(case: AssertCase) -> Plan | None:
    """How the judge decides `case`; None where a referee must."""
    try:
        return _Reader(case).plan()
    except (_Other, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def judge(expression: Expression, ask: Ask) -> bool:
    """Does this check hold? Raises Undecided, Misfit, and what `ask` raises."""
    return _truth(expression(ask))


class _Other(Exception):
    """Something that is not of this language."""


class _Reader:
    def __init__(self, case: AssertCase):
        self._case = case
        self._called: dict[str, None] = {}
        self._has_math = False
        self._shadowed = set(case.names)

    def plan(self) -> Plan:
        for node in parsed(self._case.prelude).body:
            self._harmless(node)
        checks: list[Expression] = []
        waiting: dict[str, ast.FunctionDef] = {}  # not called so far
        for node in parsed(self._case.code).body:
            match node:
                case ast.FunctionDef(name=name):
                    self._bind(name)
                    waiting[name] = node
                case ast.Assert():
                    checks.append(self._assertion(node, {name: name for name in self._case.names}))
                case ast.Expr(value=ast.Call(func=ast.Name(id=name), args=[ast.Name(id=given)], keywords=[])):
                    if name not in waiting or given not in self._case.names:
                        raise _Other
                    checks += self._checker(waiting.pop(name), given)
                case _:
                    self._harmless(node)
        if waiting or not self._called:
            raise _Other
        return Plan(tuple(self._called), tuple(checks))

    def _checker(self, node: ast.FunctionDef, given: str) -> list[Expression]:
        """The asserts of `def check(candidate)`, called with the candidate's function `given`."""
        match node:
            case ast.FunctionDef(args=ast.arguments(args=[ast.arg(arg=parameter)]), decorator_list=[], returns=None):
                pass
            case _:
                raise _Other
        if ast.unparse(node.args) != parameter or parameter in _FUNCTIONS:
            raise _Other
        checks = []
        for statement in node.body:
            if isinstance(statement, ast.Assert):
                checks.append(self._assertion(statement, {parameter: given}))
            elif not isinstance(statement, ast.Pass):
                self._harmless(statement, local=True)
        return checks

    def _harmless(self, node: ast.stmt, *, local: bool = False) -> None:
        """A statement that binds names which no check uses, and that cannot fail."""
        match node:
            case ast.Expr(value=ast.Constant()):
                return
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if not local:
                _constant(value)
                self._bind(name)
            case ast.Import(names=[ast.alias(name="math", asname=None)]) if not local:
                if not self._has_math:
                    self._bind("math")
                self._has_math = True
            case ast.ImportFrom(module="math" | "typing" as module, level=0, names=aliases) if not local:
                for alias in aliases:
                    if alias.asname or not hasattr(math if module == "math" else typing, alias.name):
                        raise _Other
                    self._bind(alias.name)
            case _:
                raise _Other

    def _bind(self, name: str) -> None:
        if name in self._shadowed:
            raise _Other
        self._shadowed.add(name)

    def _assertion(self, node: ast.Assert, scope: dict[str, str]) -> Expression:
        test = self._expression(node.test, scope)
        match node.msg:
            case None | ast.Constant():
                return test
            case ast.BinOp(
                left=ast.Constant(value=str()),
                op=ast.Add(),
                right=ast.Call(func=ast.Name(id="str"), args=[shown], keywords=[]),
            ) if "str" not in self._shadowed and "str" not in scope:
                message = self._expression(shown, scope)  # asked only where the test fails, and may raise
                return lambda ask: _truth(test(ask)) or not isinstance(_apply(str, [message(ask)]), str)
        raise _Other

    def _expression(self, node: ast.expr, scope: dict[str, str]) -> Expression:
        try:
            value = _constant(node)
        except _Other:
            pass
        else:
            return lambda ask: value
        match node:
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self._expression(operand, scope)
                return lambda ask: not _truth(inner(ask))
            case ast.BoolOp(op=word, values=values):
                parts = [self._expression(value, scope) for value in values]
                return functools.partial(_either if isinstance(word, ast.Or) else _both, parts)
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                first, second = self._expression(left, scope), self._expression(right, scope)
                return lambda ask: _apply(operator.sub, [first(ask), second(ask)])
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                for op, right in zip(ops, comparators, strict=True):
                    if isinstance(op, ast.Is | ast.IsNot) and not _is_single(right):
                        raise _Other
                terms = [self._expression(term, scope) for term in (left, *comparators)]
                return functools.partial(_compare, terms, [_COMPARISONS[type(op)] for op in ops])
            case ast.Call(func=func, args=args, keywords=keywords):
                return self._call(func, args, keywords, scope)
        raise _Other

    def _call(
        self, func: ast.expr, args: list[ast.expr], keywords: list[ast.keyword], scope: dict[str, str]
    ) -> Expression:
        match func:
            case ast.Name(id=name) if name in scope:
                given = scope[name]
                trees = [encode(_constant(arg)) for arg in args]
                given_values = [*args, *(keyword.value for keyword in keywords)]
                ordered = not any(isinstance(part, ast.Set) for value in given_values for part in ast.walk(value))
                if not ordered or not all(keyword.arg for keyword in keywords):  # the order of a set differs by process
                    raise _Other
                named = [[keyword.arg, encode(_constant(keyword.value))] for keyword in keywords]
                self._called[given] = None
                return lambda ask: ask(given, trees, named)
            case ast.Name(id=name) if name in _FUNCTIONS and name not in self._shadowed:
                function = _FUNCTIONS[name]
            case ast.Attribute(value=ast.Name(id="math"), attr="isclose") if self._has_math:
                function = math.isclose
            case _:
                raise _Other
        parts = [self._expression(arg, scope) for arg in args]
        options = {
            keyword.arg: _constant(keyword.value) for keyword in keywords if keyword.arg in ("rel_tol", "abs_tol")
        }
        if len(options) != len(keywords) or (options and function is not math.isclose):
            raise _Other
        return lambda ask: _apply(function, [part(ask) for part in parts], options)


def _truth(value: Any) -> bool:
    if type(value) is Opaque:
        raise Undecided
    return bool(value)


def _both(parts: Sequence[Expression], ask: Ask) -> Any:
    value = None
    for part in parts:
        value = part(ask)
        if not _truth(value):
            break
    return value


def _either(parts: Sequence[Expression], ask: Ask) -> Any:
    value = None
    for part in parts:
        value = part(ask)
        if _truth(value):
            break
    return value


def _compare(terms: Sequence[Expression], operators: Sequence[Callable[[Any, Any], Any]], ask: Ask) -> bool:
    left = terms[0](ask)
    for term, compare in zip(terms[1:], operators, strict=True):
        right = term(ask)
        if type(right) is Opaque and compare in (_contained, _not_contained):
            raise Undecided
        try:
            if not compare(left, right):
                return False
        except Exception as error:
            raise Misfit(type(error).__name__) from None
        left = right
    return True


def _apply(function: Callable[..., Any], args: list[Any], options: dict[str, Any] | None = None) -> Any:
    if any(type(arg) is Opaque for arg in args):
        raise Undecided
    if function is set and args and isinstance(args[0], list | tuple) and len(args[0]) > MAX_HASHED:
        raise Undecided
    try:
        return function(*args, **(options or {}))
    except Exception as error:
        raise Misfit(type(error).__name__) from None


def _contained(left: Any, right: Any) -> bool:
    return left in right


def _not_contained(left: Any, right: Any) -> bool:
    return left not in right


def _is_single(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool))


def _constant(node: ast.expr) -> Any:
    """The plain value that `node` always has. Raises _Other."""
    match node:
        case ast.Constant(value=value) if value is not ...:
            return value
        case ast.Tuple(elts=elts):
            return tuple(map(_constant, elts))
        case ast.List(elts=elts):
            return list(map(_constant, elts))
        case ast.Set(elts=elts):
            return _folded(set, list(map(_constant, elts)))
        case ast.Dict(keys=keys, values=values):
            pairs = [(_constant(key), _constant(value)) for key, value in zip(keys, values, strict=True) if key]
            if len(pairs) != len(keys):
                raise _Other
            return _folded(dict, pairs)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _SIGNS:
            value = _constant(operand)
            if type(value) in (bool, int, float, complex):
                return _SIGNS[type(op)](value)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            first, second = _constant(left), _constant(right)
            if _is_small(first, second, op):
                return _folded(_ARITHMETIC[type(op)], first, second)
    raise _Other


def _folded(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except (TypeError, ValueError, ArithmeticError):
        raise _Other from None


def _is_small(first: Any, second: Any, op: ast.operator) -> bool:
    """Is the result of this a number or text of bounded size?"""
    if type(first) in (int, float) and type(second) in (int, float):
        if isinstance(op, ast.Pow):
            return type(first) is float or (type(second) is int and 0 <= second * first.bit_length() <= MAX_BITS)
        return all(type(x) is float or x.bit_length() <= MAX_BITS for x in (first, second))
    if isinstance(op, ast.Add):
        return (
            type(first) is type(second) and type(first) in (str, list, tuple) and len(first) + len(second) <= MAX_ITEMS
        )
    if isinstance(op, ast.Mult) and type(first) in (str, list, tuple) and type(second) is int:
        return len(first) * second <= MAX_ITEMS
    return False


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs, "len": len, "list": list, "round": round, "set": set, "sorted": sorted, "tuple": tuple,
}  # fmt: skip
_SIGNS: dict[type, Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
_COMPARISONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.In: _contained, ast.NotIn: _not_contained, ast.Is: operator.is_, ast.IsNot: operator.is_not,
}  # fmt: skip
