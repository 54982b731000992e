"""How are cases and limits written as JSON, and read back with faults that name the row and the field?"""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from sandbox.limits import Limits
from sandbox.spec import AssertCase, CallCase, Case, StdioCase, Value
from tasks.errors import nearest
from tasks.rows import Row


def case_to_json(case: Case) -> dict[str, Any]:
    if isinstance(case, StdioCase):
        return {"kind": "stdio", "stdin": case.stdin, "stdout": case.stdout}
    if isinstance(case, AssertCase):
        return {"kind": "assert", "code": case.code, "names": list(case.names), "prelude": case.prelude}
    return {
        "kind": "call",
        "function": case.function,
        "args": [_encode(value) for value in case.args],
        "kwargs": {name: _encode(value) for name, value in case.kwargs.items()},
        "expected": _encode(case.expected),
    }


def cases_from_row(row: Row, field: str, function: str) -> tuple[Case, ...]:
    """The cases of one field; `function` is not empty in the short form, where all cases call it."""
    cases = []
    for i, record in enumerate(row.get(field, list)):
        name = f"{field}[{i}]"
        if not isinstance(record, dict):
            raise row.fault(name, "is not an object", "write each case as an object")
        inner = Row(f"{row.where}: {name}", record)
        cases.append(_case(inner, {**record, "kind": "call", "function": function} if function else record))
    return tuple(cases)


def limits_to_json(limits: Limits) -> dict[str, Any]:
    """The fields that differ from the default ones."""
    default = Limits()
    return {name: value for name, value in asdict(limits).items() if value != getattr(default, name)}


def limits_from_row(row: Row) -> Limits:
    record = row.get("limits", dict, {})
    valid = [field.name for field in fields(Limits)]
    for unknown in (name for name in record if name not in valid):
        raise row.fault("limits", f"has no {unknown!r}", nearest(unknown, valid))
    try:
        return Limits(**record)
    except (TypeError, ValueError) as error:
        raise row.fault("limits", str(error), "give finite numbers above 0") from None


_KEYS = {
    "stdio": ("kind", "stdin", "stdout"),
    "call": ("kind", "function", "args", "kwargs", "expected"),
    "assert": ("kind", "code", "names", "prelude"),
}


def _case(row: Row, record: dict[str, Any]) -> Case:
    row = Row(row.where, record)
    kind = row.text("kind")
    if kind not in _KEYS:
        raise row.fault("kind", f"is {kind!r}", nearest(kind, _KEYS))
    for unknown in (key for key in record if key not in _KEYS[kind]):
        raise row.fault(unknown, f"is no field of a {kind} case", nearest(unknown, _KEYS[kind]))
    if kind == "stdio":
        return StdioCase(stdin=row.text("stdin"), stdout=row.text("stdout"))
    if kind == "assert":
        return AssertCase(code=row.text("code"), names=row.texts("names"), prelude=row.text("prelude", ""))
    if "expected" not in record:
        raise row.fault("expected", "is missing", "add the value that the call must return")
    return CallCase(
        function=row.text("function"),
        args=tuple(_decode(row, "args", value) for value in row.get("args", list, [])),
        kwargs={name: _decode(row, "kwargs", value) for name, value in row.get("kwargs", dict, {}).items()},
        expected=_decode(row, "expected", record["expected"]),
    )


def _encode(value: Value) -> Any:
    from sandbox.codec import encode

    return encode(value)


def _decode(row: Row, field: str, value: Any) -> Value:
    from sandbox.codec import decode

    try:
        return decode(value)
    except ValueError as error:
        raise row.fault(field, str(error), "write values in the tagged JSON of docs/tasks.md") from None
