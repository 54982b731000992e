"""Which examples of a docstring can be lifted into call cases?

Doctest (`>>> f(1)` and the value below) and the one-line forms that HumanEval uses: `f(1) == 2`, `f(1) => 2`, `f(1)
-> 2`, `f(1) returns 2`. An example is lifted only where all arguments and the value are plain literals; everything
else is left out, so an empty result is normal. The text is parsed, never run.
"""

from __future__ import annotations

import ast
import re

from sandbox.spec import CallCase, Value
from tasks.python_text import literal, parse

_ARROW = re.compile(r"\s*(?:==>|=>|===|==|=|➞|→|->|➡|(?:should|will|must) (?:return|be)|returns?)\s*:?\s*(.+)")
_TAIL = re.compile(r"\s*(?:#.*|\.|,|;|\(.*)$")


def lift_examples(docstring: str, function: str) -> tuple[CallCase, ...]:
    """The examples of `function`, in order, without repeats.

    >>> [(case.args, case.expected) for case in lift_examples("twice(2) -> 4, or\\n>>> twice(3)\\n6", "twice")]
    [((3,), 6)]
    """
    lines = docstring.splitlines()
    cases: dict[str, CallCase] = {}
    for i, line in enumerate(lines):
        start = re.search(rf"(?<![\w.(]){re.escape(function)}\(", line)
        if start is None:
            continue
        text = line[start.start() :]
        call, rest = _split_call(text)
        doctest = line.lstrip().startswith(">>>") and not rest.strip()
        value = _doctest_value(lines[i + 1 :]) if doctest else _arrow_value(rest)
        args = _arguments(call)
        if value is not None and args is not None:
            cases.setdefault(call, CallCase(function=function, args=args[0], kwargs=args[1], expected=value[0]))
    return tuple(cases.values())


def _split_call(text: str) -> tuple[str, str]:
    """`f(1) == 2` -> (`f(1)`, ` == 2`): the shortest head up to a bracket that parses as a call."""
    for bracket in re.finditer(r"\)", text):
        head = text[: bracket.end()]
        try:
            body = parse(head).body
        except SyntaxError:
            continue
        if len(body) == 1 and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Call):
            return head, text[bracket.end() :]
    return "", text


def _arguments(call: str) -> tuple[tuple[Value, ...], dict[str, Value]] | None:
    if not call:
        return None
    statement = parse(call).body[0]
    assert isinstance(statement, ast.Expr)
    assert isinstance(statement.value, ast.Call)
    node = statement.value
    try:
        args = tuple(ast.literal_eval(arg) for arg in node.args)
        return args, {str(word.arg): ast.literal_eval(word.value) for word in node.keywords if word.arg}
    except ValueError:
        return None


def _arrow_value(rest: str) -> tuple[Value] | None:
    match = _ARROW.match(rest)
    if match is None:
        return None
    return literal(match[1]) or literal(_TAIL.sub("", match[1]))


def _doctest_value(lines: list[str]) -> tuple[Value] | None:
    block: list[str] = []
    for line in lines:
        if not line.strip() or line.lstrip().startswith(">>>"):
            break
        block.append(line.strip())
        value = literal("\n".join(block))
        if value is not None:
            return value
    return None
