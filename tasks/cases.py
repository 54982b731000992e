"""How are the cases, limits and checker of a row read, with faults that name the row and the field?

The grammar is that of `sandbox.forms`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sandbox.forms import FormFault, read_case, read_group, read_limits, read_rule
from sandbox.limits import Limits
from sandbox.spec import Case, Group, Rule
from tasks.rows import Row

T = TypeVar("T")


def cases_from_row(row: Row, field: str, function: str) -> tuple[Case, ...]:
    """The cases of one field; `function` is not empty in the short form, where all cases call it."""
    cases = []
    for i, record in enumerate(row.get(field, list)):
        name = f"{field}[{i}]"
        if not isinstance(record, dict):
            raise row.fault(name, "is not an object", "write each case as an object")
        whole = {**record, "kind": "call", "function": function} if function else record
        cases.append(_read(Row(f"{row.where}: {name}", record), read_case, whole))
    return tuple(cases)


def limits_from_row(row: Row) -> Limits:
    return _read(row, read_limits, row.get("limits", dict, {}))


def groups_from_row(row: Row) -> tuple[Group, ...]:
    """The groups that earn points; each place must be that of a case."""
    count = len(row.get("visible", list)) + len(row.get("hidden", list))
    groups = []
    for i, record in enumerate(row.get("groups", list, [])):
        group = _read(Row(f"{row.where}: groups[{i}]", {}), read_group, record)
        if any(not 0 <= place < count for place in group.cases):
            raise row.fault(f"groups[{i}]", f"names a case beyond the {count} there are", "count from 0, visible first")
        groups.append(group)
    return tuple(groups)


def rule_from_row(row: Row) -> Rule | None:
    value = row.record.get("checker")
    return None if value is None else _read(row, read_rule, value)


def _read(row: Row, read: Callable[[Any], T], record: Any) -> T:
    try:
        return read(record)
    except FormFault as found:
        raise row.fault(found.field, found.fault, found.remedy) from None
