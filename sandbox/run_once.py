"""What does one program print, and how does it end? For a person at a terminal: nothing is compared."""

from __future__ import annotations

from sandbox.backend import open_backend
from sandbox.build import CompileFailed
from sandbox.execute import Executor
from sandbox.intake import source_fault
from sandbox.judge import bare
from sandbox.limits import Limits
from sandbox.spec import Program
from sandbox.verdict import CaseResult, Outcome


def run_once(program: Program, stdin: bytes, limits: Limits, backend: str) -> tuple[CaseResult, bytes, bytes]:
    """The result, all of stdout, the end of stderr. AC means: ended well within its limits.

    The source may hold bytes that are no UTF-8, as surrogates. Raises KeyError for an unknown language, and
    LanguageUnavailable.
    """
    encoded, fault = source_fault(program.source)
    if fault and "surrogate" not in fault:
        return bare(Outcome.CE, fault), b"", b""
    source = encoded or program.source.encode("utf-8", "surrogateescape")
    opened = open_backend(backend)
    try:
        executor = Executor(opened)
        try:
            result, seen = executor.script(executor.prepare(program, source), stdin, limits)
        except CompileFailed as error:
            return bare(Outcome.CE, str(error)), b"", b""
        finally:
            executor.close()
    finally:
        opened.close()
    return result, seen.stdout, seen.stderr_tail
