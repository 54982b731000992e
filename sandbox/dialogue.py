"""How do a candidate and an interactor talk, each in its own jail?

The judge stands between two pairs of real pipes and carries bytes from one to the other as they come. Either side may die,
hang, flood or stop reading: what waits is bounded, and so is all that is said.

Who ends first matters, as in the Kattis format. A candidate that ends badly or meets a limit first has failed by that. An
interactor that says wrong first has decided, and the candidate is ended; one that had closed its output before is given a
moment to come to an end of its own, which counts. After the interactor said right the candidate must still end well. An
interactor that crashes has been told something that is not right, unless nothing was said so far, which is the task's fault.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from sandbox.backend import RunExit
from sandbox.judge import Ending, Seen, crash_detail, explain, script_flags
from sandbox.limits import Limits
from sandbox.spec import ProgramChecker
from sandbox.umpire import crashed, opinion, says_wrong
from sandbox.validate import faulty
from sandbox.verdict import Outcome
from sandbox.wire import Wire, pump

GRACE_SECONDS = 1.0  # for a candidate that has closed its output to come to its own end
HANG_UP_SECONDS = 0.1
Finish = Callable[[Wire], tuple[RunExit, Seen]]  # ends a run, by force if it still runs; raises Lost


def converse(
    candidate: Wire, interactor: Wire, checker: ProgramChecker, limits: Limits, finish: Finish
) -> tuple[RunExit, Seen, Ending]:
    """Carry the dialogue to its end: how the candidate ended, what it said, and what that comes to."""
    candidate.late = not _carry(candidate, interactor)
    interactor_first = _over(interactor) and not _over(candidate)
    if interactor_first and not interactor.overflow:
        told = finish(interactor)
        ending = _opinion(candidate, checker, *told)
        if says_wrong(checker, told[0]) and candidate.run.stdout < 0:
            pump([candidate], lambda: candidate.ended, time.monotonic() + GRACE_SECONDS)
        elif not ending.flags or ending.share is not None:
            candidate.end_input()
            candidate.late = not pump([candidate], lambda: _over(candidate), candidate.run.deadline)
        if not _over(candidate) and not candidate.late:  # it had no part in this
            return _stopped(*finish(candidate), ending)
    elif interactor_first:
        return _stopped(*finish(candidate), faulty("it printed too much"))
    ended, seen = finish(candidate)
    if flags := script_flags(ended, seen, limits):
        return ended, seen, Ending(flags=tuple(flags), detail=explain(flags, limits) or crash_detail(ended, seen))
    interactor.end_input()
    interactor.late = not pump([interactor], lambda: _over(interactor), interactor.run.deadline)
    return ended, seen, _opinion(candidate, checker, *finish(interactor))


def _opinion(candidate: Wire, checker: ProgramChecker, ended: RunExit, seen: Seen) -> Ending:
    """What the interactor thinks. One that crashes over words, or over their end, has not been told what is right."""
    heard = candidate.ended or candidate.run.stdout < 0 or bool(candidate.seen().stdout)
    if heard and crashed(ended, seen):
        return Ending(flags=(Outcome.WA,), detail="the interactor fails on what the program said")
    return opinion(checker, ended, seen)


def _over(wire: Wire) -> bool:
    return wire.ended or wire.overflow


def _carry(candidate: Wire, interactor: Wire) -> bool:
    """Until one of them is over; False if the candidate's time was.

    Who closes its output mostly ends at once. The other one is told a moment later, so that it cannot seem to have ended first.
    """
    candidate.join(interactor)
    interactor.join(candidate)
    both = [candidate, interactor]
    silent: list[Wire] = []
    while True:

        def changed() -> bool:
            return any(_over(wire) or (wire.run.stdout < 0 and wire not in silent) for wire in both)

        if not pump(both, changed, candidate.run.deadline):
            return False
        pump(both, lambda: any(map(_over, both)), min(candidate.run.deadline, time.monotonic() + HANG_UP_SECONDS))
        if any(map(_over, both)):
            return True
        for wire, other in (both, both[::-1]):
            if wire.run.stdout < 0 and wire not in silent:
                silent.append(wire)
                other.end_input()


def _stopped(ended: RunExit, seen: Seen, ending: Ending) -> tuple[RunExit, Seen, Ending]:
    """The judge ended the candidate: how is a matter of timing."""
    return replace(ended, exit_code=None, signal=None), seen, ending
