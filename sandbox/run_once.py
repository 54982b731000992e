"""What does one program print, what files does it leave, and how does it end? Nothing is compared."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace

from sandbox.backend import SandboxUnavailable, open_backend
from sandbox.build import CompileFailed, Runnable
from sandbox.execute import Executor
from sandbox.intake import source_fault
from sandbox.judge import Dropped, Lost, bare
from sandbox.languages import LanguageUnavailable
from sandbox.limits import Limits
from sandbox.spec import Program
from sandbox.verdict import CaseResult, Outcome
from sandbox.workfiles import Fetched, WorkFile


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A program to run, e.g. RunRequest(program=Program(source="print(input())"), stdin=b"2").

    `files` lie beside it when it runs, besides the program's own; those named in `fetch` come back. The source may hold
    bytes that are no UTF-8, as surrogates.
    """

    program: Program
    stdin: bytes = b""
    limits: Limits = Limits()
    files: tuple[WorkFile, ...] = ()
    fetch: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How it ended: `case.outcome` is AC if it ended well within its limits, IE if nobody knows."""

    case: CaseResult
    stdout: bytes = b""
    stderr: bytes = b""  # the end of it, 8 KiB
    files: tuple[Fetched, ...] = ()
    compile_seconds: float | None = None  # None: nothing to compile, or it was never tried
    compiled: bool = True  # False: `case` is CE because the compiler failed


def run_on(executor: Executor, request: RunRequest, retries: int = 0) -> RunResult:
    """Run it; never raises for what a program does or what breaks beneath it."""
    for attempt in range(retries + 1):
        try:
            return _run(executor, request)
        except Dropped:
            return RunResult(case=bare(Outcome.IE, "dropped while it ran"))
        except LanguageUnavailable as error:
            return RunResult(case=bare(Outcome.IE, str(error)))
        except (Lost, SandboxUnavailable, OSError) as error:
            executor.renew()
            if attempt == retries:
                return RunResult(case=bare(Outcome.IE, f"{type(error).__name__}: {error}"))
        except Exception as error:  # a fault of ours must not end the worker
            return RunResult(case=bare(Outcome.IE, f"the judge failed with {type(error).__name__}: {error}"))
    raise AssertionError("unreachable")


def run_once(request: RunRequest, backend: str) -> RunResult:
    """Run it on a backend of its own. Raises SandboxUnavailable, LanguageUnavailable, and KeyError for an unknown language."""
    opened = open_backend(backend)
    try:
        executor = Executor(opened)
        try:
            return _run(executor, request)
        except Lost as error:
            return RunResult(case=bare(Outcome.IE, f"{type(error).__name__}: {error}"))
        finally:
            executor.close()
    finally:
        opened.close()


def _run(executor: Executor, request: RunRequest) -> RunResult:
    source, fault = source_fault(request.program.source)
    if "surrogate" in fault:
        with suppress(UnicodeEncodeError):  # not what stands for a byte
            source, fault = request.program.source.encode("utf-8", "surrogateescape"), ""
    if fault:
        return RunResult(case=bare(Outcome.CE, fault))
    began = time.monotonic()
    try:
        program = executor.prepare(request.program, source)
    except CompileFailed as error:
        return RunResult(case=bare(Outcome.CE, str(error)), compile_seconds=time.monotonic() - began, compiled=False)
    seconds = time.monotonic() - began if _is_compiled(program) else None
    program = replace(program, files=program.files + request.files)
    result, seen, files = executor.script(program, request.stdin, request.limits, request.fetch)
    return RunResult(case=result, stdout=seen.stdout, stderr=seen.stderr_tail, files=files, compile_seconds=seconds)


def _is_compiled(program: Runnable) -> bool:
    return program.toolchain is not None and bool(program.toolchain.language.compile)
