"""What does a trusted program say about an answer?

Runs it in the referee's jail, never beside the candidate, on an output that may be hostile. What goes wrong with it is the
task's fault (JE): a crash, a time-out, an answer of another form, or that it rejects what the task itself calls right. But one
that accepts what the task calls right, and comes to grief over an output, has got an output that is not right: a candidate
must not be able to choose that nobody can tell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.backend import Job, Slot
from sandbox.codec import CodecError, decode, dumps, encode, frame, loads
from sandbox.judge import Ending, Lost
from sandbox.spec import FunctionChecker
from sandbox.verdict import Outcome
from sandbox.wire import Wire, pump

MAX_KNOWN = 1000  # answers of tasks that are known to be accepted
WRONG = Ending(flags=(Outcome.WA,), detail="the checker rejects the output")
UNREADABLE = Ending(flags=(Outcome.WA,), detail="the checker, which accepts the expected output, fails on this one")


class Validation:
    """Asks checkers, and remembers which expected answers they accept."""

    def __init__(self, slot: Callable[[], Slot]):
        self._slot = slot
        self._known: dict[Any, Ending] = {}

    def function(self, checker: FunctionChecker, given: Any, answer: Any, expected: Any) -> Ending:
        """The ending of a case with this checker. Raises Lost."""
        found = self._call(checker, given, answer, expected)
        if not found.flags or not checker.accepts_answer:
            return found
        key = (checker, dumps(encode([given, expected])))
        if key not in self._known:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[key] = self._call(checker, given, expected, expected)
        right = self._known[key]
        if right.flags:
            return right if Outcome.JE in right.flags else faulty("it rejects the expected answer itself")
        return UNREADABLE if Outcome.JE in found.flags else found

    def _call(self, checker: FunctionChecker, given: Any, answer: Any, expected: Any) -> Ending:
        run = self._slot().start(Job(driver="call", source=checker.source.encode(), limits=checker.limits))
        wire = Wire(run, checker.limits, discard=True)
        wire.send(frame({"call": "check", "args": [encode(given), encode(answer), encode(expected)], "kwargs": []}))
        done = pump([wire], lambda: bool(wire.frames or wire.ended or wire.overflow), run.deadline)
        ended, _ = wire.finish(kill=True)
        if ended.lost:
            raise Lost(ended.detail or "the run of the checker was lost")
        if not wire.frames:
            return faulty("it ended without a result" if done else "it took too long")
        try:
            message = loads(wire.frames.popleft())
            if type(message) is dict and "ok" in message:
                return _opinion(decode(message["ok"]))
        except CodecError as error:
            return faulty(str(error))
        texts = (
            [text for key, text in message.items() if key in ("ce", "bad", "raised")] if type(message) is dict else []
        )
        return faulty(str(texts[0]) if texts else "it sent no result")


def faulty(detail: str) -> Ending:
    return Ending(flags=(Outcome.JE,), detail=f"the checker is faulty: {detail}")


def partial(share: float, detail: str = "") -> Ending:
    """What a share of the points from 0 to 1 means."""
    if share >= 1.0:
        return Ending()
    flags = (Outcome.PA,) if share > 0.0 else (Outcome.WA,)
    return Ending(flags=flags, detail=detail or WRONG.detail, share=share)


def _opinion(value: Any) -> Ending:
    text = ""
    if type(value) is tuple and len(value) == 2 and type(value[1]) is str:
        value, text = value
    if value is True:
        return Ending()
    if value is False:
        return Ending(flags=WRONG.flags, detail=text or WRONG.detail)
    if type(value) in (int, float) and 0 <= value <= 1:
        return partial(float(value), text)
    return faulty("it returned neither True, False nor a number from 0 to 1")
