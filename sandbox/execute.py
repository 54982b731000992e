"""How are the cases of one program run on the slots of one worker?

`Executor` owns up to two slots: one for the candidate, one for the referee of assert cases, opened when first needed.
Call and assert cases of one program share a process (a batch): where a limit ends a batch, the case it hit is run again
at the head of a new one, so that every case has the whole limit to itself. Crashes are final at once.
"""

from __future__ import annotations

import re
import secrets
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from sandbox import direct
from sandbox.backend import Backend, Job, Run, RunExit, Slot
from sandbox.batch import Batch, Trial, call_ending, script_result, script_trial, widened, with_wall
from sandbox.build import Builds, CompileFailed, Runnable
from sandbox.checkers import text_matches, values_match
from sandbox.codec import CodecError, encode, frame, loads
from sandbox.dialogue import converse
from sandbox.duel import UNASKED, Again, Duel
from sandbox.guest import MAX_CODE
from sandbox.judge import (
    FINE,
    Dropped,
    Ending,
    Lost,
    Seen,
    crash_detail,
    explain,
    result,
    script_flags,
)
from sandbox.library import pytest_archive
from sandbox.limits import Limits
from sandbox.spec import (
    VALIDATION,
    AssertCase,
    CallCase,
    FileCase,
    Framework,
    FunctionChecker,
    InteractiveCase,
    Program,
    ProgramChecker,
    Rule,
    StdioCase,
    SuiteCase,
)
from sandbox.tracing import CLAIM
from sandbox.umpire import came_to_grief, opinion, umpire_job
from sandbox.validate import UNREADABLE, Validation, faulty
from sandbox.verdict import CaseResult, Isolation, Outcome
from sandbox.wire import Wire, pump
from sandbox.workfiles import Fetched, WorkFile

MAX_CLAIM = 1 << 18  # bytes of what one traced run says of its lines that are read: about 40,000 lines
GOODBYE_SECONDS = 1.0  # how long a driver may take to leave when it is told to
NOTHING = RunExit(cpu_ms=0.0, wall_ms=0.0, memory_bytes=0)
_ASSERTION = re.compile(rb"[Aa]ssert(ion|_eq|_ne|!)?|panicked at")  # what the runtimes of several languages print


class Executor:
    """Runs cases, one batch at a time; `slack` widens the cpu limit of the run, not that of the verdict."""

    def __init__(self, backend: Backend, builds: Builds | None = None, preload: tuple[str, ...] = ()):
        self._backend, self._builds, self._preload = backend, builds or Builds(), preload
        self._slots: dict[str, Slot] = {}
        self._code = b"", b""  # the last script that was run several times, and what it was compiled to
        self._validation = Validation(lambda: self._slot("referee"))
        self._lock = threading.Lock()  # of `_wanted`, so that no kill meets the run of another request
        self._wanted: threading.Event | None = None
        self.claims: list[bytes] = []  # what traced programs said of their lines; who asks for it empties it

    @property
    def isolation(self) -> Isolation:
        return self._slot("candidate").isolation

    def begin(self, dropped: threading.Event | None) -> None:
        """From now on work for the request that `dropped`, once set, takes back; None: for none."""
        with self._lock:
            self._wanted = dropped

    def drop(self, dropped: threading.Event) -> None:
        """End what runs for the request of `dropped`, which is set; from any thread, without waiting."""
        with self._lock:
            if self._wanted is dropped:
                for slot in list(self._slots.values()):
                    slot.kill()

    def check(self) -> None:
        """Raises Dropped where nobody wants the present request any more."""
        if self._wanted is not None and self._wanted.is_set():
            raise Dropped

    def prepare(self, program: Program, source: bytes, options: tuple[str, ...] = ()) -> Runnable:
        """Make a program, whose text is `source`, ready to start. Raises CompileFailed, LanguageUnavailable, Lost."""
        return self._builds.prepare(program, source, self._compile, self._backend.toolchain, options)

    def stdio(self, program: Runnable, case: StdioCase, limits: Limits, checker: Rule, slack: float = 1.0) -> Trial:
        ended, seen, outcome = self._script(program, case.stdin.encode(), limits, slack)
        if not outcome.flags:
            outcome = self._compare(checker, case.stdin, seen.stdout, (case.stdout, *case.alternatives))
        return script_trial(ended, seen, outcome, limits)

    def files(self, program: Runnable, case: FileCase, limits: Limits, checker: Rule, slack: float = 1.0) -> Trial:
        given = tuple(WorkFile(name=name, data=text.encode()) for name, text in case.inputs.items())
        ended, seen, outcome = self._script(program, case.stdin.encode(), limits, slack, tuple(case.outputs), given)
        left = {file.name: file for file in ended.fetched}
        text = case.stdin or next(iter(case.inputs.values()), "")
        for name, right in case.outputs.items():
            if outcome.flags:
                break
            data = left[name].data if name in left else None
            if data is None:
                outcome = Ending(flags=(Outcome.WA,), detail=f"{name}: {left[name].fault if name in left else 'none'}")
            elif len(data) > limits.output_bytes:
                outcome = Ending(flags=(Outcome.OLE,), detail=explain({Outcome.OLE}, limits))
            else:
                outcome = self._compare(checker, text, data, (right,))
        first = left.get(next(iter(case.outputs)))
        shown = replace(seen, stdout=(first.data if first else None) or b"")
        return script_trial(ended, shown, outcome, limits)

    def interactive(self, program: Runnable, case: InteractiveCase, limits: Limits, slack: float = 1.0) -> Trial:
        made = self._umpire(case.interactor)
        if isinstance(made, Ending):
            return Trial(result=result(set(made.flags), NOTHING, detail=made.detail))
        wider = widened(limits, slack)
        job = umpire_job(made, case.interactor, case.input, case.answer, None, wider.wall_seconds)
        interactor = Wire(self._start(f"umpire {made.role}", made.binds, job), job.limits, None)
        try:
            candidate = Wire(self._start(program.role, program.binds, program.job(wider)), wider, None)
        except BaseException:
            interactor.finish(kill=True)
            raise
        try:
            ended, seen, outcome = converse(
                candidate, interactor, case.interactor, limits, lambda wire: self._finish(wire, kill=True)
            )
        finally:
            interactor.finish(kill=True)
            candidate.finish(kill=True)
        self.check()  # an interactor that was killed says nothing about the task
        message = _told(candidate)
        _told(interactor)
        if "ce" in message:
            outcome = Ending(flags=(Outcome.CE,), detail=str(message["ce"]))
        return script_trial(ended, seen, outcome, limits)

    def harness(self, program: Runnable, limits: Limits, slack: float = 1.0) -> Trial:
        """Run a program with its tests in it: accepted if it ends well, and hands back a line that only its end reads."""
        nonce = secrets.token_hex(16)
        ended, seen, outcome = self._script(program, nonce.encode() + b"\n", limits, slack)
        if not outcome.flags and nonce.encode() not in seen.stdout.split(b"\n"):
            outcome = Ending(flags=(Outcome.RE,), detail="the program ended before its tests did")
        elif set(outcome.flags) == {Outcome.RE} and _ASSERTION.search(seen.stderr_tail):
            outcome = Ending(flags=(Outcome.WA,), detail="an assertion failed")
        return script_trial(ended, replace(seen, stdout=b""), outcome, limits)

    def script(
        self, program: Runnable, stdin: bytes, limits: Limits, fetch: tuple[str, ...] = ()
    ) -> tuple[CaseResult, Seen, tuple[Fetched, ...]]:
        """Run a program and compare nothing: AC if it ended well; and the files of these names that it left."""
        ended, seen, outcome = self._script(program, stdin, limits, 1.0, fetch)
        return script_result(ended, seen, outcome), seen, ended.fetched

    def calls(
        self,
        program: Runnable,
        cases: Sequence[CallCase],
        limits: Limits,
        checker: Rule,
        slack: float = 1.0,
        *,
        stop_early: bool = False,
    ) -> list[Trial]:
        """The results of the first few cases, at least one."""
        wire = self._open(program, program.job(widened(limits, slack), "call"))
        batch = Batch(limits, slack)
        for case in cases:
            began = time.monotonic()
            if wire.unasked():
                batch.add(Ending(alive=False, flags=(Outcome.RE,), detail=UNASKED), None, 0.0)
                break
            trees = encode(list(case.args))
            named = [[name, encode(value)] for name, value in case.kwargs.items()]
            wire.send(frame({"call": case.function, "args": trees, "kwargs": named}))
            wire.late = not pump([wire], wire.answered, wire.run.deadline)
            ending, output = call_ending(wire)
            if ending.alive and not ending.flags:
                ending = self._compare_values(checker, output, case)
            batch.add(ending, output, time.monotonic() - began)
            if not ending.alive or (stop_early and ending.flags):
                break
        self._goodbye([wire], batch)
        ended, seen = self._finish(wire, kill=True)
        return batch.trials(ended, seen, unsolicited=bool(wire.frames))

    def asserts(
        self,
        program: Runnable,
        cases: Sequence[AssertCase | SuiteCase],
        limits: Limits,
        slack: float = 1.0,
        *,
        stop_early: bool = False,
        proxied: bool = False,
    ) -> list[Trial]:
        """The results of the first few cases, at least one. They are of one kind. With `proxied` all go to the referee."""
        pytest = any(isinstance(case, SuiteCase) and case.framework is Framework.PYTEST for case in cases)
        longer = with_wall(widened(limits, slack), limits.wall_seconds + VALIDATION.wall_seconds)
        patient = with_wall(VALIDATION, longer.wall_seconds)

        def start_referee() -> Wire:
            job = Job(driver="referee", source=pytest_archive() if pytest else b"", limits=patient)
            return Wire(self._start("referee", (), job), patient, discard=True)

        player = self._open(program, program.job(longer, "player"))
        duel = Duel(player, start_referee, limits)
        batch = Batch(limits, slack)
        try:
            for case in cases:
                began = duel.player_seconds
                plan = direct.plan(case) if isinstance(case, AssertCase) and not proxied else None
                try:
                    ending = duel.decide(plan) if plan else duel.play(case)
                except (direct.Undecided, Again):
                    break  # it begins a batch of its own
                batch.add(ending, None, duel.player_seconds - began, proxied=plan is None)
                if not ending.alive or (stop_early and ending.flags):
                    break
            self._goodbye(duel.wires, batch)
            ended, seen = self._finish(player, kill=True)
            ended = replace(
                ended, wall_ms=min(ended.wall_ms, 1000 * duel.player_seconds)
            )  # the test's time is not its own
        finally:
            for wire in duel.wires:
                self._finish(wire, kill=True)
        if not batch.size:
            return self.asserts(program, cases[:1], limits, slack, stop_early=stop_early, proxied=True)
        return batch.trials(ended, seen, unsolicited=bool(player.frames))

    def _compare(self, rule: Rule, given: str, output: bytes, right: Sequence[str]) -> Ending:
        if isinstance(rule, FunctionChecker):
            return self._validation.function(rule, given, output.decode("utf-8", "replace"), right[0])
        if isinstance(rule, ProgramChecker):
            return self._validate(rule, given, output, right[0])
        if any(text_matches(rule, output, text.encode()) for text in right):
            return FINE
        return Ending(flags=(Outcome.WA,), detail="the output differs" if output else "no output")

    def _validate(self, checker: ProgramChecker, given: str, output: bytes, right: str) -> Ending:
        made = self._umpire(checker)
        if isinstance(made, Ending):
            return made
        ended, seen = self._opinion(made, checker, given, right, output)
        if came_to_grief(ended, seen):
            found = opinion(checker, *self._opinion(made, checker, given, right, right.encode()))
            if not found.flags:
                return UNREADABLE
        return opinion(checker, ended, seen)

    def _opinion(
        self, made: Runnable, checker: ProgramChecker, given: str, right: str, output: bytes
    ) -> tuple[RunExit, Seen]:
        job = replace(umpire_job(made, checker, given, right, output), stdin=output)
        wire = Wire(self._start(f"umpire {made.role}", made.binds, job), job.limits, discard=True)
        ended, seen, _ = self._wait(wire)
        self.check()
        return ended, seen

    def _umpire(self, checker: ProgramChecker) -> Runnable | Ending:
        """A program that decides, ready to start; or why it never will."""
        try:
            return self.prepare(checker.program, checker.program.source.encode())
        except CompileFailed as error:
            return faulty(str(error))

    def _compare_values(self, rule: Rule, value: Any, case: CallCase) -> Ending:
        if isinstance(rule, FunctionChecker):
            return self._validation.function(rule, case.args, value, case.expected)
        assert not isinstance(rule, ProgramChecker)  # the intake refuses it: a program sees text
        if values_match(rule, value, case.expected) or any(
            values_match(rule, value, right) for right in case.alternatives
        ):
            return FINE
        return Ending(flags=(Outcome.WA,), detail="the value differs")

    def renew(self) -> None:
        """Give up the slots; the next run opens fresh ones."""
        self.close()

    def close(self) -> None:
        slots, self._slots = self._slots, {}
        for slot in slots.values():
            slot.close()

    def _script(
        self,
        program: Runnable,
        stdin: bytes,
        limits: Limits,
        slack: float,
        fetch: tuple[str, ...] = (),
        files: tuple[WorkFile, ...] = (),
    ) -> tuple[RunExit, Seen, Ending]:
        job = program.job(widened(limits, slack))
        driver, source = self._without_compiling(program, job)
        job = replace(
            job, driver=driver, source=source, stdin=stdin, fetch=(*job.fetch, *fetch), files=(*job.files, *files)
        )
        ended, seen, message = self._wait(self._open(program, job))
        if job.driver == "first" and "code" in message:  # sent before the first line of the program ran
            self._code = program.source, bytes.fromhex(message["code"])
        if "ce" in message:
            return ended, seen, Ending(flags=(Outcome.CE,), detail=str(message["ce"]))
        flags = script_flags(ended, seen, limits)
        detail = explain(flags, limits) or (crash_detail(ended, seen) if flags else "")
        return ended, seen, Ending(flags=tuple(flags), detail=detail)

    def _without_compiling(self, program: Runnable, job: Job) -> tuple[str, bytes]:
        """Driver and source of `job`, with what an earlier run of that script was compiled to, or to hand that over."""
        if not program.repeats or job.driver != "script" or job.limits.output_bytes < 2 * MAX_CODE:
            return job.driver, job.source
        source, code = self._code
        if source != program.source:
            return "first", job.source
        return "again", len(code).to_bytes(4, "little") + code + source

    def _compile(self, role: str, binds: tuple[str, ...], job: Job) -> tuple[RunExit, Seen]:
        ended, seen, _ = self._wait(Wire(self._start(role, binds, job), job.limits))
        self.check()  # a compiler that was killed says nothing about the program
        return ended, seen

    def _wait(self, wire: Wire) -> tuple[RunExit, Seen, dict[str, Any]]:
        """The end of a program that nobody talks to, and what its driver said of it."""
        wire.doze()
        wire.late = not pump([wire], lambda: wire.ended, wire.run.deadline)
        ended, seen = self._finish(wire, kill=wire.late)
        return ended, seen, _told(wire)

    def _slot(self, role: str, binds: tuple[str, ...] = ()) -> Slot:
        if role not in self._slots:
            self._slots[role] = self._backend.open_slot(binds, self._preload if role == "candidate" else ())
        return self._slots[role]

    def _open(self, program: Runnable, job: Job, stdin: bytes = b"") -> Wire:
        return Wire(self._start(program.role, program.binds, job), job.limits, stdin)

    def _start(self, role: str, binds: tuple[str, ...], job: Job) -> Run:
        self.check()
        run = self._slot(role, binds).start(job)
        if (
            self._wanted is not None and self._wanted.is_set()
        ):  # set while it started, so that `drop` may have missed it
            run.kill()
        return run

    def _finish(self, wire: Wire, *, kill: bool) -> tuple[RunExit, Seen]:
        ended, seen = wire.finish(kill=kill)
        if ended.lost:
            raise Lost(ended.detail or "the run was lost")
        self.claims += [file.data[:MAX_CLAIM] for file in ended.fetched if file.name == CLAIM and file.data]
        return ended, seen

    def _goodbye(self, wires: list[Wire], batch: Batch) -> None:
        """Tell drivers that there is no more to do, so that what they still send, unasked, is seen."""
        if not batch.alive:
            return
        for wire in wires:
            with suppress(OSError):
                wire.run.control.shutdown(socket.SHUT_WR)
        wires[0].doze()
        pump(wires, lambda: all(wire.ended for wire in wires), time.monotonic() + GOODBYE_SECONDS)


def _told(wire: Wire) -> dict[str, Any]:
    """What the driver of a program that nobody talks to said of it. Raises Lost if it could not be started."""
    message = _message(wire)
    if "exec" in message:
        raise Lost(f"cannot start {message['exec']}")
    return message


def _message(wire: Wire) -> dict[str, Any]:
    try:
        message = loads(wire.frames[0]) if wire.frames else None
    except CodecError:
        message = None
    return message if type(message) is dict else {}
