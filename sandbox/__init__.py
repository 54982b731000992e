"""A grader for untrusted programs: `Grader`, the records it takes and the verdicts it gives. No third-party packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.errors import SandboxError
from sandbox.limits import Limits
from sandbox.spec import AssertCase, CallCase, Checker, GradeRequest, Program, StdioCase
from sandbox.verdict import CaseResult, Integrity, Isolation, Outcome, Status, Verdict

if TYPE_CHECKING:
    from sandbox.grader import Grader

__all__ = [
    "AssertCase",
    "CallCase",
    "CaseResult",
    "Checker",
    "GradeRequest",
    "Grader",
    "Integrity",
    "Isolation",
    "Limits",
    "Outcome",
    "Program",
    "SandboxError",
    "Status",
    "StdioCase",
    "Verdict",
]


def __getattr__(name: str) -> Any:
    if name == "Grader":  # imported when first used: data types alone need none of it
        from sandbox.grader import Grader

        return Grader
    raise AttributeError(f"module 'sandbox' has no attribute {name!r}")
