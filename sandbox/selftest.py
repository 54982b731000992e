"""Does the sandbox of this machine hold? Runs the shipped corpora under one backend and says where a verdict is wrong.

Each program is graded as any candidate would be; after each, an honest program runs on the same slot, looks for what
may have been left behind, and must be accepted. At the end nothing may be left of all of it: processes, mounts, control
groups, descriptors, temporary files.

Promised: what a backend cannot stop is in the table, by name, as a gap of that backend; nothing is left out silently.
Programs run on as many lanes as the machine has cores, each a grader of its own with one worker; those that may only
wait (WTLE) on a few lanes more.
"""

from __future__ import annotations

import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from sandbox import cgroup
from sandbox.backend import SandboxUnavailable
from sandbox.corpora import Specimen, read_corpora
from sandbox.errors import BadInput, nearest
from sandbox.grader import Grader
from sandbox.languages import LanguageUnavailable
from sandbox.selfchecks import CHECKS, Check
from sandbox.spec import AssertCase, CallCase, GradeRequest, Program, StdioCase
from sandbox.speed import BY_LANGUAGE, TimeFactors
from sandbox.verdict import Isolation, Outcome, Verdict

# An honest program that says what an earlier one left where this one can see it.
CANARY = """
import os, threading
def left():
    here = os.getcwd()
    found = [os.path.join(here, name) for name in os.listdir(here)]
    if here.startswith("/box"):
        for place in ("/tmp", "/dev/shm"): found += [os.path.join(place, name) for name in os.listdir(place)]
        found += [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in (1, os.getpid())]
    with open("canary", "w") as stream: stream.write("x")
    os.remove("canary")
    return found + [t.name for t in threading.enumerate()[1:]] + [n for n in os.environ if n.startswith("LD_")]
def twice(x): return left() or 2 * x
if __name__ == "__main__": print(left() or 2 * int(input()))
"""
_CANARY = GradeRequest(
    program=Program(source=CANARY),
    cases=(
        StdioCase(stdin="2\n", stdout="4\n"),
        CallCase(function="twice", args=(3,), expected=6),
        AssertCase(code="assert twice(4) == 8", names=("twice",)),
    ),
)


CHECK_SECTION = "I_judge"
_CANARY_STDIO = replace(_CANARY, cases=_CANARY.cases[:1])  # a stdio run touches one slot of the two
WAITING_LANES = 4
PATIENCE = 6.0
_Lane = queue.SimpleQueue[tuple[int, Specimen]]


class State(StrEnum):
    OK = "ok"
    WRONG = "WRONG"  # another verdict than the required one, or something was left behind
    GAP = "gap"  # wrong as expected: this backend cannot stop it
    NOT_RUN = "not run"  # the reason is in `note`


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table, e.g. Row(section="A_early_exit", name="os_exit0.call", what="..", must="RE", got="RE",
    state=State.OK)."""

    section: str
    name: str
    what: str
    must: str
    got: str
    state: State
    note: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All rows, in the order of the corpora, and what was left at the end."""

    isolation: Isolation
    rows: tuple[Row, ...]
    left: tuple[str, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        return not self.left and all(row.state is not State.WRONG for row in self.rows)


def chosen(section: str | None = None, only: str | None = None) -> tuple[list[Specimen], list[Check]]:
    """The programs and checks of a section (its letter) and of a name, with or without its kind. Raises BadInput."""
    specimens, checks = read_corpora(), list(CHECKS)
    if section is not None:
        letters = sorted({specimen.section[0] for specimen in specimens})
        if section.upper() not in letters:
            raise BadInput(f"section {section!r}: {nearest(section.upper(), letters)}")
        specimens = [specimen for specimen in specimens if specimen.section[0] == section.upper()]
        checks = [check for check in checks if CHECK_SECTION[0] == section.upper()]
    if only is not None:
        names = [specimen.name for specimen in specimens] + [check.name for check in checks]
        specimens = [specimen for specimen in specimens if only in (specimen.name, specimen.name.split(".")[0])]
        checks = [check for check in checks if check.name == only]
        if not specimens and not checks:
            raise BadInput(f"program {only!r}: {nearest(only, names)}")
    return specimens, checks


def selftest(
    specimens: Sequence[Specimen],
    checks: Sequence[Check] = CHECKS,
    backend: str = "auto",
    lanes: int | None = None,
    on_row: Callable[[Row], None] = lambda row: None,
    times: TimeFactors = BY_LANGUAGE,
) -> Report:
    """Run `specimens`, their limits of time stretched by `times`, then `checks`. Raises SandboxUnavailable if the
    backend cannot work here.
    """
    began = time.monotonic()
    before = _belongings()
    rows: dict[int, Row] = {}
    waiting, busy = _Lane(), _Lane()
    for item in enumerate(specimens):
        (waiting if any("WTLE" in must for must in item[1].must) else busy).put(item)
    graders: list[Grader] = []
    try:
        for _ in range(lanes or os.cpu_count() or 1):
            graders.append(Grader(backend=backend, workers=1, times=times))
        (first,) = graders[0].grade([_CANARY])
        isolation = first.isolation
        for _ in range(WAITING_LANES):
            graders.append(Grader(backend=backend, workers=1, times=times))

        def run_lane(grader: Grader, work: _Lane) -> None:
            with suppress(queue.Empty):
                while True:
                    index, specimen = work.get_nowait()
                    rows[index] = _try(grader, isolation.backend, specimen)
                    on_row(rows[index])

        num_busy = len(graders) - WAITING_LANES
        threads = [
            threading.Thread(target=run_lane, args=(grader, busy if number < num_busy else waiting))
            for number, grader in enumerate(graders)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for index, row in sorted(rows.items()):
            if row.state is State.WRONG and "WTLE" in row.got and "TLE" in row.must:
                rows[index] = _try(graders[0], isolation.backend, _patient(specimens[index]))
    finally:
        for grader in graders:
            grader.close()
    for check in checks:
        rows[len(rows)] = row = _check(check, backend)
        on_row(row)
    return Report(
        isolation=isolation,
        rows=tuple(rows[index] for index in sorted(rows)),
        left=tuple(sorted(_belongings() - before)),
        seconds=time.monotonic() - began,
    )


def _patient(specimen: Specimen) -> Specimen:
    """With more time by the clock: on a machine that is busy otherwise, the clock met a program before the cpu limit did."""
    limits = specimen.request.limits
    slower = replace(limits, wall_seconds=PATIENCE * limits.wall_seconds)
    return replace(specimen, request=replace(specimen.request, limits=slower))


def _try(grader: Grader, backend: str, specimen: Specimen) -> Row:
    began = time.monotonic()
    got, state, note = "-", State.NOT_RUN, _reason_not_to_run(specimen, backend, grader)
    if not note:
        (verdict,) = grader.grade([specimen.request])
        got = " ".join(case.outcome for case in verdict.cases) if specimen.each else verdict.outcome.value
        state, note = _judge(specimen, verdict, backend)
        only_stdio = all(isinstance(case, StdioCase) for case in specimen.request.cases)
        if left := _what_is_left(grader, _CANARY_STDIO if only_stdio else _CANARY):
            state, note = State.WRONG, left
    return Row(
        section=specimen.section,
        name=specimen.name,
        what=specimen.what,
        must=" ".join(specimen.must),
        got=got,
        state=state,
        note=note,
        seconds=time.monotonic() - began,
    )


def _reason_not_to_run(specimen: Specimen, backend: str, grader: Grader) -> str:
    if backend in specimen.harms:
        return f"would harm this machine: {backend} cannot stop it"
    if specimen.needs and find_spec(specimen.needs) is None:
        return f"{specimen.needs} is not installed"
    try:
        grader.toolchain(specimen.request.program.language)
    except LanguageUnavailable as error:
        return str(error)
    return ""


def _judge(specimen: Specimen, verdict: Verdict, backend: str) -> tuple[State, str]:
    """Is this the required verdict? And what there is to say about it."""
    detail = verdict.detail or next((case.detail for case in verdict.cases if case.detail), "another verdict")
    if specimen.needs and "ModuleNotFoundError" in detail:
        return State.NOT_RUN, f"programs cannot import {specimen.needs} here"
    outcomes = [case.outcome for case in verdict.cases] if specimen.each else [verdict.outcome]
    if len(outcomes) == len(specimen.must) and all(map(_allows, specimen.must, outcomes)):
        return State.OK, ""
    for reason in map(specimen.gaps.get, (backend, verdict.integrity, *verdict.isolation.layers)):
        if reason:
            return State.GAP, reason
    return State.WRONG, detail


def _allows(must: str, outcome: Outcome) -> bool:
    return outcome in must.split("|")


def _what_is_left(grader: Grader, canary: GradeRequest) -> str:
    """What the honest program that comes next says; "" if it is accepted at once."""
    (verdict,) = grader.grade([canary])
    if verdict.outcome is Outcome.AC and verdict.attempts == 1:
        return ""
    output = " ".join(f"{case.outcome} {case.detail} {case.output_head}" for case in verdict.cases)
    return f"the next honest program: {verdict.detail} {output} at attempt {verdict.attempts}"


def _check(check: Check, backend: str) -> Row:
    began = time.monotonic()
    try:
        fault = check.run(backend)
    except (SandboxUnavailable, OSError) as error:
        fault = f"{type(error).__name__}: {error}"
    return Row(
        section=CHECK_SECTION,
        name=check.name,
        what=check.what,
        must="holds",
        got="fails" if fault else "holds",
        state=State.WRONG if fault else State.OK,
        note=fault,
        seconds=time.monotonic() - began,
    )


ENGINE_MOUNTS = ("/overlay2/", "/netns/", "/containers/")  # a container engine's: they come and go beside us


def _belongings() -> set[str]:
    """What this process has that a sloppy grader would leave: children, mounts, control groups, descriptors, folders."""
    me = os.getpid()
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    found = {f"mount {line}" for line in mounts if not any(word in line for word in ENGINE_MOUNTS)}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            if int(words[1]) == me:
                found.add(f"process {entry.name}")
    found |= {f"control group {path}" for top in cgroup.parents().values() for path in top.glob(f"*{me}-*")}
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"descriptor {name} {os.readlink(f'/proc/self/fd/{name}')}")
        except OSError:
            continue  # the one that listed them
    found |= {f"folder {path}" for path in Path(tempfile.gettempdir()).glob(f"sandbox-*-{me}-*")}
    return found
