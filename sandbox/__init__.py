"""Runs and judges untrusted programs.

    from sandbox import GradeRequest, Grader, Program, StdioCase

    with Grader() as grader:
        program = Program(source="print(int(input()) * 2)")
        verdict, = grader.grade([GradeRequest(program=program, cases=(StdioCase(stdin="2", stdout="4"),))])

Importing this costs a few records; the machinery comes with `Grader`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.errors import SandboxError
from sandbox.limits import Limits
from sandbox.spec import (
    AssertCase,
    Award,
    CallCase,
    Checker,
    Comparison,
    FileCase,
    Framework,
    FunctionChecker,
    GradeRequest,
    Group,
    InteractiveCase,
    Program,
    ProgramCase,
    ProgramChecker,
    Protocol,
    StdioCase,
    SuiteCase,
)
from sandbox.text import printable
from sandbox.verdict import CaseResult, Coverage, Integrity, Isolation, Outcome, Status, Verdict

if TYPE_CHECKING:
    from sandbox.backend import SandboxUnavailable
    from sandbox.grader import Grader

__all__ = [
    "AssertCase",
    "Award",
    "CallCase",
    "CaseResult",
    "Checker",
    "Comparison",
    "Coverage",
    "FileCase",
    "Framework",
    "FunctionChecker",
    "GradeRequest",
    "Grader",
    "Group",
    "Integrity",
    "InteractiveCase",
    "Isolation",
    "Limits",
    "Outcome",
    "Program",
    "ProgramCase",
    "ProgramChecker",
    "Protocol",
    "SandboxError",
    "SandboxUnavailable",
    "Status",
    "StdioCase",
    "SuiteCase",
    "Verdict",
    "printable",
]


def __getattr__(name: str) -> Any:
    if name == "Grader":
        from sandbox.grader import Grader

        return Grader
    if name == "SandboxUnavailable":
        from sandbox.backend import SandboxUnavailable

        return SandboxUnavailable
    raise AttributeError(f"module 'sandbox' has no attribute {name!r}")
