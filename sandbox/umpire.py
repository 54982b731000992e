"""How does a trusted program, a validator or an interactor, decide about a candidate?

It runs in a jail of its own, as any program does: with the input, the answer and, after the fact, the output as files or on
its stdin; its exit code says what it thinks. What it writes for the jury stays here, because that may tell the answer. What
goes wrong with it is the task's fault (JE), but for a validator that crashes over an output and accepts the answer.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

from sandbox.backend import Job, RunExit
from sandbox.build import Runnable
from sandbox.judge import Ending, Seen
from sandbox.spec import ProgramChecker, Protocol
from sandbox.validate import WRONG, faulty, partial
from sandbox.verdict import Outcome
from sandbox.workfiles import WorkFile

INPUT, OUTPUT, ANSWER, FEEDBACK = "judge/input", "judge/output", "judge/answer", "feedback"
SCORE, MESSAGE = f"{FEEDBACK}/score.txt", f"{FEEDBACK}/teammessage.txt"
_RIGHT = {Protocol.KATTIS: 42, Protocol.TESTLIB: 0}
_WRONG = {Protocol.KATTIS: (43,), Protocol.TESTLIB: (1, 2, 4, 8)}
_POINTS = re.compile(rb"^points\s+(\S+)", re.M)
POINTS_CODE = 7
KILLED = "killed by signal"


def umpire_job(
    program: Runnable, checker: ProgramChecker, given: str, answer: str, output: bytes | None, wall_seconds: float = 0.0
) -> Job:
    """The run in which `checker`, made ready as `program`, decides; `output` None for an interactor.

    `wall_seconds` come on top of its own limit: the time that it may have to wait for the candidate.
    """
    files = [WorkFile(name=INPUT, data=given.encode()), WorkFile(name=ANSWER, data=answer.encode())]
    if checker.protocol is Protocol.KATTIS:
        arguments: tuple[str, ...] = (INPUT, ANSWER, f"{FEEDBACK}/")
        files.append(WorkFile(name=f"{FEEDBACK}/judgemessage.txt", data=b""))
    else:
        arguments = (INPUT, OUTPUT, ANSWER)
        files.append(WorkFile(name=OUTPUT, data=output or b""))
    limits = replace(checker.limits, wall_seconds=checker.limits.wall_seconds + wall_seconds)
    job = program.job(limits, arguments=(*arguments, *checker.arguments))
    fetch = (SCORE, MESSAGE) if checker.protocol is Protocol.KATTIS else ()
    return replace(job, files=(*job.files, *files), fetch=fetch)


def says_wrong(checker: ProgramChecker, ended: RunExit) -> bool:
    return ended.exit_code in _WRONG[checker.protocol]


def opinion(checker: ProgramChecker, ended: RunExit, seen: Seen) -> Ending:
    """What the exit of a validator or an interactor means."""
    if fault := _fault(ended, seen):
        return faulty(fault)
    if says_wrong(checker, ended):
        told = _fetched(ended, MESSAGE).decode("utf-8", "replace").strip()
        return Ending(flags=(Outcome.WA,), detail=told or WRONG.detail)
    if ended.exit_code == _RIGHT[checker.protocol]:
        score = _fetched(ended, SCORE)
        return _scored(score, checker.full_score) if score.strip() else Ending()
    if ended.exit_code == POINTS_CODE and checker.protocol is Protocol.TESTLIB:
        found = _POINTS.findall(seen.stderr_tail) or _POINTS.findall(seen.stdout[-4096:])
        return _scored(
            found[-1] if found else b"no points", checker.full_score
        )  # what came before may quote the output
    return faulty(f"exit code {ended.exit_code}")


def came_to_grief(ended: RunExit, seen: Seen) -> bool:
    """Did it end by accident, and not by what it thinks?"""
    return bool(_fault(ended, seen)) or crashed(ended, seen)


def crashed(ended: RunExit, seen: Seen) -> bool:
    """By a signal, or by an exception in Python, and not by a limit."""
    raised = ended.exit_code == 1 and b"Traceback (most recent call last)" in seen.stderr_head + seen.stderr_tail
    return raised or _fault(ended, seen).startswith(KILLED)


def _fault(ended: RunExit, seen: Seen) -> str:
    if seen.overflow:
        return "it printed too much"
    if ended.cpu_exceeded or ended.wall_exceeded or seen.late:
        return "it took too long"
    if ended.oom:
        return "it used too much memory"
    if ended.forbidden:
        return "a forbidden operation"
    return f"{KILLED} {ended.signal}" if ended.signal is not None else ""


def _fetched(ended: RunExit, name: str) -> bytes:
    return next((file.data or b"" for file in ended.fetched if file.name == name), b"")


def _scored(text: bytes, full: float) -> Ending:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not 0 <= score < math.inf:
        return faulty(f"its score is {text[:20]!r}")
    share = min(score / full, 1.0)
    ending = replace(partial(share), share=share)
    return ending if share else replace(ending, flags=(Outcome.PA,))  # accepted, for no points
