"""How are the inputs and outputs of APPS and its kin read: {"inputs": [..], "outputs": [..], "fn_name": ..}?

Without `fn_name` each input is the stdin of a program and each output its stdout (lists are lines). With it each input holds
the arguments of a call, and the output its value; APPS wraps most of these in a list of one, which is taken off where all
outputs have it. Sources: hendrycks/apps (eval/testing_util.py), BAAI/TACO, PRIME-RL/Eurus-2-RL-Data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sandbox.codec import CodecError, encode
from sandbox.spec import CallCase, Case, Checker, StdioCase
from tasks.rows import Row

_DECIMAL = re.compile(r"(?<![\w.])[+-]?\d*\.\d+(?:[eE][+-]?\d+)?(?![\w.])")
_SOLUTION = re.compile(r"^class\s+Solution\b", re.M)


def cases_of(row: Row, field: str, record: Mapping[str, Any], *, program: str = "") -> tuple[Case, ...]:
    """The cases in `record`, the parsed `field` of `row`; none if it has none. `program`: starter code or a solution.

    A function is a method of Solution where `program` defines that class. Raises TaskError.
    """
    inner = Row(f"{row.where}: {field}", record)
    inputs, outputs = inner.get("inputs", list, []), inner.get("outputs", list, [])
    if len(inputs) != len(outputs):
        raise row.fault(field, f"has {len(inputs)} inputs but {len(outputs)} outputs", "give each input its output")
    name = inner.text("fn_name", "")
    if not name:
        return tuple(
            StdioCase(stdin=_text(inner, f"inputs[{i}]", given), stdout=_text(inner, f"outputs[{i}]", right))
            for i, (given, right) in enumerate(zip(inputs, outputs, strict=True))
        )
    function = f"Solution.{name}" if _SOLUTION.search(program) else name
    wrapped = all(isinstance(right, list) and len(right) == 1 for right in outputs)
    cases = []
    for i, (given, right) in enumerate(zip(inputs, outputs, strict=True)):
        if not isinstance(given, list):
            raise inner.fault(f"inputs[{i}]", f"is {str(given)[:40]!r}", "write the arguments as an array")
        cases.append(call_case(inner, f"inputs[{i}]", function, given, right[0] if wrapped else right))
    return tuple(cases)


def rule_of(cases: Iterable[Case]) -> Checker:
    """FLOATS where an expected answer holds a number with a point, else TOKENS: whole numbers are compared exactly."""
    for case in cases:
        if isinstance(case, StdioCase) and _DECIMAL.search(case.stdout):
            return Checker.FLOATS
        if isinstance(case, CallCase) and _has_float(case.expected):
            return Checker.FLOATS
    return Checker.TOKENS


def _has_float(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_float, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_float, value))
    return isinstance(value, float)


def call_case(row: Row, field: str, function: str, arguments: list[Any], value: Any) -> CallCase:
    """A call whose values the sandbox can carry. Raises TaskError."""
    try:
        encode([arguments, value])
    except (CodecError, RecursionError) as error:
        raise row.fault(field, f"cannot be a test ({error})", "use plain values") from None
    return CallCase(function=function, args=tuple(arguments), expected=value)


def _text(row: Row, field: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value) + "\n"
    raise row.fault(field, f"is {str(value)[:40]!r}", "write it as a string, or an array of lines")
