"""What does one program print, and how does it end? For a person at a terminal: nothing is compared."""

from __future__ import annotations

from sandbox.backend import open_backend
from sandbox.execute import Executor
from sandbox.intake import source_fault
from sandbox.judge import bare
from sandbox.limits import Limits
from sandbox.verdict import CaseResult, Outcome


def run_once(source: bytes, stdin: bytes, limits: Limits, backend: str) -> tuple[CaseResult, bytes, bytes]:
    """The result, all of stdout, the end of stderr. AC means: ended well within its limits."""
    encoded, fault = source_fault(source.decode("utf-8", "surrogateescape"))
    if fault and "surrogate" not in fault:
        return bare(Outcome.CE, fault), b"", b""
    opened = open_backend(backend)
    try:
        executor = Executor(opened)
        try:
            result, seen = executor.script(encoded or source, stdin, limits)
        finally:
            executor.close()
    finally:
        opened.close()
    return result, seen.stdout, seen.stderr_tail
