"""What can be refused before anything runs?

A program that cannot be one (CE), and a task that cannot be judged (JE). Pure; each fault is one line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sandbox.codec import CodecError, encode
from sandbox.harness import end_fault
from sandbox.languages import Language, get
from sandbox.lift import suite_names
from sandbox.limits import Limits
from sandbox.spec import (
    AssertCase,
    CallCase,
    Case,
    FileCase,
    FunctionChecker,
    GradeRequest,
    Group,
    InteractiveCase,
    Program,
    ProgramCase,
    ProgramChecker,
    Rule,
    StdioCase,
    SuiteCase,
)
from sandbox.workfiles import clash, name_fault

MAX_SOURCE_BYTES = 1 << 20
MAX_POINTS = 1e12  # of a group: sums stay exact enough, and finite


def source_fault(source: str) -> tuple[bytes, str]:
    """The program as bytes, and why it cannot even be compiled ("" if nothing speaks against it)."""
    if not source.strip():
        return b"", "no code found"
    try:
        encoded = source.encode("utf-8")
    except UnicodeEncodeError as error:
        return b"", f"a lone surrogate at character {error.start}"
    if b"\0" in encoded:
        return b"", f"a NUL byte at byte {encoded.index(0)}"
    if len(encoded) > MAX_SOURCE_BYTES:
        return b"", f"{len(encoded)} bytes of source: at most {MAX_SOURCE_BYTES} are taken"
    return encoded, ""


def request_fault(request: GradeRequest) -> str:
    """Why the task itself cannot be judged; "" if it can."""
    try:
        language = get(request.program.language)
    except KeyError as error:
        return str(error.args[0])
    if fault := _files_fault(request.program.files, request.limits.file_bytes):
        return f"the program's {fault}"
    if not request.cases:
        return "no cases: a program cannot pass nothing"
    if fault := _rule_fault(request.checker):
        return fault
    if isinstance(request.checker, ProgramChecker) and any(isinstance(case, CallCase) for case in request.cases):
        return "a checker that is a program sees text: give call cases a function"
    for number, case in enumerate(request.cases):
        try:
            fault = _case_fault(case, request.limits) or _language_fault(case, language)
            if isinstance(case, FileCase):
                fault = fault or clash((*request.program.files, *case.inputs))
        except (CodecError, UnicodeEncodeError, RecursionError) as error:
            fault = str(error)
        if fault:
            return f"case {number}: {fault}"
    faults = (
        f"group {i}: {fault}" for i, group in enumerate(request.groups) if (fault := _group_fault(group, request))
    )
    return next(faults, "")


def _files_fault(files: Mapping[str, str], most_bytes: int) -> str:
    for name, text in files.items():
        if fault := name_fault(name):
            return fault
        if _lone_surrogate(text):
            return f"file {name!r}: a lone surrogate"
    if fault := clash(files):
        return fault
    if sum(len(text.encode()) for text in files.values()) > most_bytes:
        return f"files hold more than limits.file_bytes, {most_bytes}"
    return ""


def _language_fault(case: Case, language: Language) -> str:
    if isinstance(case, ProgramCase):
        if language.harness is None:
            return f"a test program in {language.name}: the language has no harness"
        return end_fault(language.name, case)
    if not language.in_process and isinstance(case, CallCase | AssertCase | SuiteCase):
        return (
            f"a {type(case).__name__} needs a program in python, this is {language.name}: give stdio or program cases"
        )
    return ""


def _lone_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _rule_fault(rule: Rule | None) -> str:
    if isinstance(rule, FunctionChecker):
        fault = source_fault(rule.source)[1]
        return f"the checker is faulty: {fault}" if fault else ""
    if isinstance(rule, ProgramChecker):
        fault = _umpire_fault(rule.program, rule.limits.file_bytes, rule.arguments)
        return f"the checker is faulty: {fault}" if fault else ""
    return ""


def _umpire_fault(program: Program, most_bytes: int, arguments: Sequence[str]) -> str:
    try:
        get(program.language)
    except KeyError as error:
        return str(error.args[0])
    if any(_lone_surrogate(word) or "\0" in word for word in arguments):
        return "an argument with a lone surrogate or a NUL"
    return source_fault(program.source)[1] or _files_fault(program.files, most_bytes)


def _group_fault(group: Group, request: GradeRequest) -> str:
    if not group.cases:
        return "no cases: it could not be earned"
    if any(not 0 <= i < len(request.cases) for i in group.cases):
        return f"cases {group.cases}: give places from 0 to {len(request.cases) - 1}"
    if not 0 <= group.points <= MAX_POINTS:
        return f"{group.points} points: give a number from 0 to {MAX_POINTS:g}"
    return ""


def _case_fault(case: Case, limits: Limits) -> str:
    if isinstance(case, StdioCase):
        for text in (case.stdin, case.stdout, *case.alternatives):
            text.encode()
        return _rule_fault(case.checker)
    elif isinstance(case, FileCase):
        case.stdin.encode()
        if not case.outputs:
            return "a file case without outputs: a program cannot pass nothing"
        files = {**case.outputs, **case.inputs}
        return _files_fault(files, limits.file_bytes) or _rule_fault(case.checker)
    elif isinstance(case, InteractiveCase):
        (case.input + case.answer).encode()
        return _rule_fault(case.interactor)
    elif isinstance(case, CallCase):
        encode([*case.args, case.kwargs, case.expected, *case.alternatives])
        if case.function.isidentifier():
            return ""
        if not all(part.isidentifier() for part in case.function.split(".")):
            return f"function {case.function!r}: write `name` or `Class.name`"
        if case.function.count(".") > 1:
            return f"function {case.function!r} has more than one dot"
    elif isinstance(case, AssertCase):
        (case.code + case.prelude).encode()
        if not case.code.strip():
            return "an assert case without code"
        if not case.names:
            return "an assert case that names nothing of the program"
    elif isinstance(case, ProgramCase):
        (case.before + case.after).encode()
        if not case.after.strip():
            return "a program case without test code"
    elif isinstance(case, SuiteCase):
        case.code.encode()
        try:
            names = suite_names(case.code, case.module)
        except (SyntaxError, ValueError) as error:
            return f"the suite does not compile: {error}"
        if not names:
            return f"the suite takes nothing from the module {case.module!r}: import that"
    else:
        return f"a {type(case).__name__} is no case"
    return ""
