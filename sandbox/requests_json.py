"""How does a request travel as JSON, to a server or into a file that another machine replays?

    {"schema": 1, "program": {"source": .., "language": "python", "files": {name: text}},
     "task": {"cases": [..], "limits": {..}, "checker": .., "groups": [..], "stop_early": false, "coverage": false}}

Cases, limits, checkers and groups are in the grammar of `sandbox.forms`, as in task files; what may be left out has the default
of the records in `sandbox.spec`. The two parts are apart because many programs share a task: each can be sent once and
then be called by its `digest`. Reading is strict (an unknown key, a NaN, a negative limit, an unknown language are faults)
and bounded: `MOST` is what the limits of a request may ask for. What is written is read back equal.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Any

from sandbox.codec import dumps
from sandbox.errors import nearest
from sandbox.forms import (
    FormFault,
    case_to_json,
    group_to_json,
    limits_to_json,
    read_case,
    read_group,
    read_limits,
    read_rule,
    rule_to_json,
)
from sandbox.languages import get
from sandbox.limits import MEBIBYTE, Limits
from sandbox.spec import Case, FunctionChecker, GradeRequest, Group, Program, ProgramChecker, Rule

SCHEMA = 1
MOST = Limits(
    cpu_seconds=600.0, wall_seconds=1800.0, memory_bytes=65536 * MEBIBYTE, output_bytes=256 * MEBIBYTE,
    file_bytes=16384 * MEBIBYTE, files=1_000_000, processes=4096, stack_bytes=16384 * MEBIBYTE,
)  # fmt: skip
MAX_CASES = 100_000
_REQUEST = ("schema", "program", "task")
_PROGRAM = ("source", "language", "files")
_TASK = ("cases", "limits", "checker", "groups", "stop_early", "coverage")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPart:
    """All of a request but its program."""

    cases: tuple[Case, ...]
    limits: Limits = Limits()
    checker: Rule | None = None
    stop_early: bool = False
    groups: tuple[Group, ...] = ()
    coverage: bool = False

    def request(self, program: Program) -> GradeRequest:
        return GradeRequest(program=program, **{field.name: getattr(self, field.name) for field in fields(self)})


def request_to_json(request: GradeRequest) -> dict[str, Any]:
    """Raises CodecError where a case holds something that is no plain value."""
    return {"schema": SCHEMA, "program": program_to_json(request.program), "task": task_to_json(request)}


def program_to_json(program: Program) -> dict[str, Any]:
    record: dict[str, Any] = {"source": program.source, "language": program.language}
    if program.files:
        record["files"] = dict(program.files)
    return record


def task_to_json(request: GradeRequest) -> dict[str, Any]:
    record: dict[str, Any] = {"cases": list(map(case_to_json, request.cases))}
    if limits := limits_to_json(request.limits):
        record["limits"] = limits
    if request.checker is not None:
        record["checker"] = rule_to_json(request.checker)
    if request.groups:
        record["groups"] = list(map(group_to_json, request.groups))
    if request.stop_early:
        record["stop_early"] = True
    if request.coverage:
        record["coverage"] = True
    return record


def digest(data: bytes) -> str:
    """The name of a part whose JSON text is `data`."""
    return hashlib.sha256(data).hexdigest()


def part(record: dict[str, Any]) -> tuple[str, bytes]:
    """A part's name and its JSON text."""
    data = dumps(record)
    return digest(data), data


def read_request(record: Any) -> GradeRequest:
    """The request that `request_to_json` wrote. Raises FormFault."""
    _object("request", record, _REQUEST)
    check_schema(record)
    for name in ("program", "task"):
        if name not in record:
            raise FormFault(name, "is missing", "add it as an object")
    return read_task(record["task"]).request(read_program(record["program"]))


def check_schema(record: dict[str, Any]) -> None:
    """Raises FormFault unless the record is of this schema."""
    if type(record.get("schema")) is not int or record["schema"] != SCHEMA:
        raise FormFault("schema", f"is {record.get('schema')!r}", f"this version reads schema {SCHEMA}")


def read_program(record: Any) -> Program:
    """Raises FormFault, also for a language that is not known here."""
    _object("program", record, _PROGRAM)
    source, language, files = record.get("source"), record.get("language", "python"), record.get("files", {})
    if not isinstance(source, str):
        raise FormFault("program.source", "is no text", "give the text of the program")
    if not isinstance(language, str):
        raise FormFault("program.language", f"is {language!r}", "give the name of a language")
    try:
        get(language)
    except KeyError as error:
        raise FormFault("program", f"cannot run: {error.args[0]}", "change program.language") from None
    if not isinstance(files, dict) or not all(isinstance(text, str) for text in files.values()):
        raise FormFault("program.files", "is no object of texts", 'write {"name": "text"}')
    return Program(source=source, language=language, files=files)


def read_task(record: Any) -> TaskPart:
    """Raises FormFault."""
    _object("task", record, _TASK)
    cases, groups = record.get("cases"), record.get("groups", [])
    flags = {name: record.get(name, False) for name in ("stop_early", "coverage")}
    if not isinstance(cases, list) or len(cases) > MAX_CASES:
        raise FormFault("task.cases", "is no array, or too long", f"give an array of at most {MAX_CASES} cases")
    if not isinstance(groups, list):
        raise FormFault("task.groups", "is no array", "give an array of groups, or leave it out")
    for name, flag in flags.items():
        if type(flag) is not bool:
            raise FormFault(f"task.{name}", f"is {flag!r}", "give true or false")
    checker = record.get("checker")
    task = TaskPart(
        cases=tuple(_inside(f"task.cases[{i}]", read_case, case) for i, case in enumerate(cases)),
        limits=_inside("task", read_limits, record.get("limits", {})),
        checker=None if checker is None else _inside("task", read_rule, checker),
        **flags,
        groups=tuple(_inside(f"task.groups[{i}]", read_group, group) for i, group in enumerate(groups)),
    )
    rules = [task.checker, *(getattr(case, name, None) for case in task.cases for name in ("checker", "interactor"))]
    for limits in (task.limits, *(rule.limits for rule in rules if isinstance(rule, FunctionChecker | ProgramChecker))):
        check_limits(limits)
    return task


def check_limits(limits: Limits) -> None:
    """Raises FormFault where they ask for more than MOST."""
    for field in fields(Limits):
        value, most = getattr(limits, field.name), getattr(MOST, field.name)
        if value > most:
            raise FormFault("task.limits", f"{field.name} is {value}", f"give at most {most}")


def _object(name: str, record: Any, valid: tuple[str, ...]) -> None:
    if not isinstance(record, dict):
        raise FormFault(name, f"is a {type(record).__name__}", "write it as an object")
    for unknown in (key for key in record if key not in valid):
        raise FormFault(name, f"has no {unknown!r}", nearest(unknown, valid))


def _inside(where: str, read: Any, record: Any) -> Any:
    try:
        return read(record)
    except FormFault as fault:
        raise FormFault(f"{where}.{fault.field}".rstrip("."), fault.fault, fault.remedy) from None
