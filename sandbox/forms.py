"""How are cases, limits and checkers written as JSON, and read back?

The one grammar of task files, here and in `tasks`. A case is an object, of one of these kinds; "kind" may stand beside:

- stdio: {"stdin": .., "stdout": .., "alternatives": [..], "checker": ..}
- files: {"inputs": {name: text, ..}, "outputs": {name: text, ..}, "stdin": .., "checker": ..}
- interactive: {"interactor": a program checker, "input": .., "answer": ..}
- call: {"function": .., "args": [..], "kwargs": {..}, "expected": .., "alternatives": [..]}
- assert: {"code": .., "names": [..], "prelude": ..}
- program: {"after": test code, "before": ..}, in the language of the program
- suite: {"suite": the text of a test file, "framework": "unittest" or "pytest", "module": what it imports}

Values are in the tagged JSON of `sandbox.codec`. A checker is its name, or {"kind": "floats", "absolute": 1e-4, ..} with the
fields of `sandbox.spec.Comparison`, or {"kind": "function", "source": ..} for a `FunctionChecker`, or {"kind": "program",
"source": .., "language": .., "files": {..}, "protocol": "kattis" or "testlib", ..} for a `ProgramChecker`. A group is
{"cases": [0, 1], "points": 30}, with "award" and "stop_early" where they differ from all and true. What is written is
read back equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from sandbox.codec import CodecError, decode, encode
from sandbox.errors import nearest
from sandbox.limits import Limits
from sandbox.spec import (
    VALIDATION,
    AssertCase,
    Award,
    CallCase,
    Case,
    Checker,
    Comparison,
    FileCase,
    Framework,
    FunctionChecker,
    Group,
    InteractiveCase,
    Program,
    ProgramCase,
    ProgramChecker,
    Protocol,
    Rule,
    StdioCase,
    SuiteCase,
)

VALUES = "write values in the tagged JSON of docs/tasks.md"


class FormFault(ValueError):
    """A record cannot be read: `field` of it ("" for the record itself) has this fault, and this remedy."""

    def __init__(self, field: str, fault: str, remedy: str):
        self.field, self.fault, self.remedy = field, fault, remedy
        super().__init__(f"{field} {fault}: {remedy}".strip())


def case_to_json(case: Case) -> dict[str, Any]:
    if isinstance(case, AssertCase):
        return {"kind": "assert", "code": case.code, "names": list(case.names), "prelude": case.prelude}
    if isinstance(case, SuiteCase):
        return {"kind": "suite", "suite": case.code, "framework": case.framework.value, "module": case.module}
    if isinstance(case, ProgramCase):
        return {"kind": "program", "after": case.after, "before": case.before}
    if isinstance(case, StdioCase):
        record: dict[str, Any] = {"kind": "stdio", "stdin": case.stdin, "stdout": case.stdout}
        if case.alternatives:
            record["alternatives"] = list(case.alternatives)
        if case.checker is not None:
            record["checker"] = rule_to_json(case.checker)
        return record
    if isinstance(case, FileCase):
        record = {"kind": "files", "inputs": case.inputs, "outputs": case.outputs, "stdin": case.stdin}
        if case.checker is not None:
            record["checker"] = rule_to_json(case.checker)
        return record
    if isinstance(case, InteractiveCase):
        interactor = rule_to_json(case.interactor)
        return {"kind": "interactive", "input": case.input, "answer": case.answer, "interactor": interactor}
    record = {
        "kind": "call",
        "function": case.function,
        "args": list(map(encode, case.args)),
        "kwargs": {name: encode(value) for name, value in case.kwargs.items()},
        "expected": encode(case.expected),
    }
    if case.alternatives:
        record["alternatives"] = list(map(encode, case.alternatives))
    return record


def read_case(record: Any) -> Case:
    """The case that `case_to_json` wrote, or a person. Raises FormFault."""
    if not isinstance(record, dict):
        raise FormFault("", "is not an object", "write each case as an object")
    kind = _get(record, "kind", str, "")
    if not kind:
        kind = next((name for name, form in _FORMS.items() if form.mark in record), "")
        if not kind:
            marks = ", ".join(form.mark for form in _FORMS.values())
            raise FormFault("", f"has none of {marks}", "one of them says what kind of case it is")
    if kind not in _FORMS:
        raise FormFault("kind", f"is {kind!r}", nearest(kind, _FORMS))
    form = _FORMS[kind]
    for unknown in (key for key in record if key not in form.fields):
        raise FormFault(unknown, f"is no field of a {kind} case", nearest(unknown, form.fields))
    return form.read(record)


def rule_to_json(rule: Rule) -> Any:
    if isinstance(rule, Checker):
        return rule.value
    if isinstance(rule, FunctionChecker):
        record: dict[str, Any] = {"kind": "function", "source": rule.source}
        if not rule.accepts_answer:
            record["accepts_answer"] = False
        if limits := _changed(rule.limits, VALIDATION):
            record["limits"] = limits
        return record
    if isinstance(rule, ProgramChecker):
        program = rule.program
        record = {"kind": "program", "source": program.source, "language": program.language, "files": program.files}
        record |= {"protocol": rule.protocol.value, "arguments": list(rule.arguments), "full_score": rule.full_score}
        return {**record, "limits": _changed(rule.limits, VALIDATION)}
    return {"kind": rule.checker.value, **_changed(rule, Comparison(checker=rule.checker))}


def read_rule(value: Any) -> Rule:
    """The checker in the field `checker`. Raises FormFault."""
    settings = dict(value) if isinstance(value, dict) else {}
    name = settings.pop("kind", None) if isinstance(value, dict) else value
    if name == "function":
        return _function(settings)
    if name == "program":
        return _program_checker(settings)
    if not isinstance(name, str) or name not in set(Checker):
        known = [*Checker, "function", "program"]
        raise FormFault("checker", f"is {name!r}", nearest(name if isinstance(name, str) else "", known))
    valid = {field.name for field in fields(Comparison)} - {"checker"}
    for unknown in (key for key in settings if key not in valid):
        raise FormFault("checker", f"has no {unknown!r}", nearest(unknown, valid))
    if not settings:
        return Checker(name)
    try:
        return Comparison(checker=Checker(name), **settings)
    except ValueError as error:
        raise FormFault("checker", f"cannot be used ({error})", "change that field") from None


def _function(settings: dict[str, Any]) -> FunctionChecker:
    valid = ("source", "accepts_answer", "limits")
    for unknown in (key for key in settings if key not in valid):
        raise FormFault("checker", f"has no {unknown!r}", nearest(unknown, valid))
    accepts = settings.get("accepts_answer", True)
    if type(accepts) is not bool or not isinstance(settings.get("source"), str):
        raise FormFault(
            "checker", "has no source, or accepts_answer is no truth value", "give Python text and true or false"
        )
    return FunctionChecker(source=settings["source"], accepts_answer=accepts, limits=_validation_limits(settings))


def _program_checker(settings: dict[str, Any]) -> ProgramChecker:
    valid = ("source", "language", "files", "protocol", "arguments", "full_score", "limits")
    for unknown in (key for key in settings if key not in valid):
        raise FormFault("checker", f"has no {unknown!r}", nearest(unknown, valid))
    protocol = _get(settings, "protocol", str, Protocol.KATTIS.value)
    if protocol not in set(Protocol):
        raise FormFault("protocol", f"is {protocol!r}", nearest(protocol, Protocol))
    language = _get(settings, "language", str, "python")
    full = settings.get("full_score", 1.0)
    if isinstance(full, bool) or not isinstance(full, int | float):
        raise FormFault("full_score", f"is {full!r}", "give a number above 0")
    try:
        return ProgramChecker(
            program=Program(
                source=_get(settings, "source", str), language=language, files=_texts_by_name(settings, "files")
            ),
            protocol=Protocol(protocol),
            arguments=_texts(settings, "arguments", ()),
            full_score=float(full),
            limits=_validation_limits(settings),
        )
    except (ValueError, OverflowError) as error:
        raise FormFault("checker", f"cannot be used ({error})", "change that field") from None


def _validation_limits(settings: dict[str, Any]) -> Limits:
    return read_limits(limits_to_json(VALIDATION) | _get(settings, "limits", dict, {}))


def limits_to_json(limits: Limits) -> dict[str, Any]:
    """The fields that differ from the default ones."""
    return _changed(limits, Limits())


def read_limits(record: Any) -> Limits:
    """The limits in the field `limits`. Raises FormFault."""
    if not isinstance(record, dict):
        raise FormFault("limits", f"is a {type(record).__name__}", "write it as an object")
    valid = [field.name for field in fields(Limits)]
    for unknown in (name for name in record if name not in valid):
        raise FormFault("limits", f"has no {unknown!r}", nearest(unknown, valid))
    whole = {field.name for field in fields(Limits) if field.type == "int"}
    for name, value in record.items():
        if type(value) is not int and (type(value) is not float or name in whole):
            raise FormFault(
                "limits", f"{name} is {value!r}", f"give a {'whole ' if name in whole else ''}number above 0"
            )
    try:
        return Limits(**record)
    except (TypeError, ValueError) as error:
        raise FormFault("limits", str(error), "give finite numbers above 0") from None


def group_to_json(group: Group) -> dict[str, Any]:
    record = {"cases": list(group.cases), "points": group.points}
    return {**record, **_changed(group, Group(cases=group.cases, points=group.points))}


def read_group(record: Any) -> Group:
    """A group of cases that earn points. Raises FormFault."""
    if not isinstance(record, dict):
        raise FormFault("", "is not an object", "write each group as an object")
    valid = [field.name for field in fields(Group)]
    for unknown in (key for key in record if key not in valid):
        raise FormFault(unknown, "is no field of a group", nearest(unknown, valid))
    cases, points = _get(record, "cases", list), record.get("points")
    if not all(type(i) is int for i in cases):
        raise FormFault("cases", "holds something other than whole numbers", "give the places of cases, from 0")
    if not isinstance(points, int | float) or isinstance(points, bool):
        raise FormFault("points", f"is {points!r}", "give a number")
    award = _get(record, "award", str, Award.ALL.value)
    if award not in set(Award):
        raise FormFault("award", f"is {award!r}", nearest(award, Award))
    stop = record.get("stop_early", True)
    if type(stop) is not bool:
        raise FormFault("stop_early", f"is {stop!r}", "give true or false")
    return Group(cases=tuple(cases), points=points, award=Award(award), stop_early=stop)


def _stdio(record: dict[str, Any]) -> Case:
    return StdioCase(
        stdin=_get(record, "stdin", str, ""),
        stdout=_get(record, "stdout", str),
        alternatives=_texts(record, "alternatives", ()),
        checker=read_rule(record["checker"]) if record.get("checker") is not None else None,
    )


def _files(record: dict[str, Any]) -> Case:
    return FileCase(
        inputs=_texts_by_name(record, "inputs"),
        outputs=_texts_by_name(record, "outputs"),
        stdin=_get(record, "stdin", str, ""),
        checker=read_rule(record["checker"]) if record.get("checker") is not None else None,
    )


def _interactive(record: dict[str, Any]) -> Case:
    interactor = read_rule({"kind": "program", **_get(record, "interactor", dict)})
    if not isinstance(interactor, ProgramChecker):
        raise FormFault("interactor", "is no program", 'write it as {"source": .., "language": ..}')
    return InteractiveCase(
        input=_get(record, "input", str, ""), interactor=interactor, answer=_get(record, "answer", str, "")
    )


def _call(record: dict[str, Any]) -> Case:
    if "expected" not in record:
        raise FormFault("expected", "is missing", "add the value that the call must return")
    return CallCase(
        function=_get(record, "function", str),
        args=_values("args", _get(record, "args", list, [])),
        kwargs={name: _value("kwargs", tree) for name, tree in _get(record, "kwargs", dict, {}).items()},
        expected=_value("expected", record["expected"]),
        alternatives=_values("alternatives", _get(record, "alternatives", list, [])),
    )


def _assert(record: dict[str, Any]) -> Case:
    names = _texts(record, "names")
    return AssertCase(code=_get(record, "code", str), names=names, prelude=_get(record, "prelude", str, ""))


def _program(record: dict[str, Any]) -> Case:
    return ProgramCase(after=_get(record, "after", str), before=_get(record, "before", str, ""))


def _suite(record: dict[str, Any]) -> Case:
    framework = _get(record, "framework", str, Framework.UNITTEST.value)
    if framework not in set(Framework):
        raise FormFault("framework", f"is {framework!r}", nearest(framework, Framework))
    module = _get(record, "module", str, "solution")
    return SuiteCase(code=_get(record, "suite", str), framework=Framework(framework), module=module)


@dataclass(frozen=True, slots=True)
class _Form:
    mark: str  # the field that only this kind has
    fields: frozenset[str]
    read: Callable[[dict[str, Any]], Case]


_FORMS = {
    "stdio": _Form("stdout", frozenset({"kind", "stdin", "stdout", "alternatives", "checker"}), _stdio),
    "call": _Form("function", frozenset({"kind", "function", "args", "kwargs", "expected", "alternatives"}), _call),
    "assert": _Form("code", frozenset({"kind", "code", "names", "prelude"}), _assert),
    "program": _Form("after", frozenset({"kind", "after", "before"}), _program),
    "suite": _Form("suite", frozenset({"kind", "suite", "framework", "module"}), _suite),
    "files": _Form("outputs", frozenset({"kind", "inputs", "outputs", "stdin", "checker"}), _files),
    "interactive": _Form("interactor", frozenset({"kind", "interactor", "input", "answer"}), _interactive),
}
_NAMES: dict[type, str] = {str: "a string", list: "an array", dict: "an object"}


def _get(record: dict[str, Any], field: str, kind: type, default: Any = None) -> Any:
    if field not in record and default is not None:
        return default
    if field not in record:
        raise FormFault(field, "is missing", f"add it as {_NAMES[kind]}")
    if not isinstance(record[field], kind):
        raise FormFault(field, f"is a {type(record[field]).__name__}", f"write it as {_NAMES[kind]}")
    return record[field]


def _texts(record: dict[str, Any], field: str, default: Iterable[str] | None = None) -> tuple[str, ...]:
    values = _get(record, field, list, None if default is None else list(default))
    if not all(isinstance(value, str) for value in values):
        raise FormFault(field, "holds something other than text", "write it as an array of strings")
    return tuple(values)


def _texts_by_name(record: dict[str, Any], field: str) -> dict[str, str]:
    texts = _get(record, field, dict, {})
    if not all(isinstance(name, str) and isinstance(text, str) for name, text in texts.items()):
        raise FormFault(field, "holds something other than text", "write it as an object of file names and texts")
    return dict(texts)


def _values(field: str, trees: list[Any]) -> tuple[Any, ...]:
    return tuple(_value(field, tree) for tree in trees)


def _value(field: str, tree: Any) -> Any:
    try:
        return decode(tree)
    except CodecError as error:
        raise FormFault(field, f"cannot be read ({error})", VALUES) from None


def _changed(record: Any, default: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(record).items() if value != getattr(default, name)}
