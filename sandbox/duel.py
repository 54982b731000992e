"""How is a test in one jail run against a candidate in another?

The judge stands between the referee (trusted test code) and the player (the candidate) and passes messages, one at a
time: whoever speaks out of turn, or in another form, loses. Every message of the player is decoded strictly before the
referee sees it. Each side's time runs on its own clock, so a slow test is the task's fault (JE), not the candidate's;
unless the candidate has answered so much that no test could cope.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sandbox.codec import CodecError, frame, loads
from sandbox.judge import Ending, player_message
from sandbox.lift import suite_names
from sandbox.limits import Limits
from sandbox.spec import VALIDATION, AssertCase, SuiteCase
from sandbox.verdict import Outcome
from sandbox.wire import Wire, pump

UNASKED = "protocol: an answer that nobody asked for"
HEAVY_BYTES, HEAVY_MESSAGES = 64 * 1024, 10_000  # answers beyond this make a test's failure the candidate's


class Duel:
    """A player and a referee that meet in one or more tests."""

    def __init__(self, player: Wire, referee: Wire, limits: Limits):
        self._player, self._referee, self._limits = player, referee, limits
        self.player_seconds = self._referee_seconds = 0.0
        self._num_bytes = self._num_messages = 0

    def play(self, case: AssertCase | SuiteCase) -> Ending:
        self._num_bytes = self._num_messages = 0
        test = _test(case)
        try:
            answer = self._ask({"op": "names", "names": test["names"]})
            if type(answer.get("ok")) is not dict or set(answer["ok"]) != {"d"}:
                raise _Over(alive=False, flags=(Outcome.RE,), detail="protocol: no list of names")
            self._referee.send(frame({**test, "bound": answer["ok"]}))
            while True:
                message = self._hear_referee()
                if "end" in message:
                    return self._decide(message)
                self._referee.send(frame(self._ask(message)))
        except _Over as over:
            return over.ending

    def _decide(self, message: dict[str, Any]) -> Ending:
        kind, detail = message["end"], message["detail"]
        if self._player.ended:
            return Ending(gone=True)
        if kind == "passed":
            return Ending()
        if kind == "failed":
            return Ending(flags=(Outcome.WA,), detail=detail or "an assertion failed")
        if kind == "broken":
            return Ending(flags=(Outcome.JE,), detail=f"the test is faulty: {detail}", alive=False)
        if kind == "raised" and detail.startswith("MemoryError"):
            return Ending(flags=(Outcome.MLE, Outcome.RE), detail=detail)
        texts = {"undefined": f"the program does not define {detail!r}", "misfit": f"bad result: {detail} in the test"}
        return Ending(flags=(Outcome.RE,), detail=texts.get(kind, detail))

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a message to the player and wait, on its clock, for what it says."""
        player = self._player
        if player.unasked():
            raise _Over(alive=False, flags=(Outcome.RE,), detail=UNASKED)
        player.send(frame(message))
        began = time.monotonic()
        deadline = began + max(0.0, self._limits.wall_seconds - self.player_seconds)
        in_time = self._wait(lambda: bool(player.frames or player.ended or player.overflow or player.broken), deadline)
        self.player_seconds += time.monotonic() - began
        player.late = not in_time
        if not in_time or not player.frames or player.overflow or player.broken:
            raise _Over(gone=True)
        data = player.frames.popleft()
        self._num_bytes += len(data)
        self._num_messages += 1
        try:
            answer: dict[str, Any] = loads(data)
            kind = player_message(answer)
        except CodecError as error:
            raise _Over(alive=False, flags=(Outcome.RE,), detail=f"bad result: {error}") from None
        if kind == "ce":
            raise _Over(alive=False, flags=(Outcome.CE,), detail=answer["ce"])
        if kind in ("bad", "raised"):
            text = answer[kind]
            flags = (Outcome.MLE, Outcome.RE) if text.startswith("MemoryError") else (Outcome.RE,)
            raise _Over(alive=False, flags=flags, detail=f"bad result: {text}" if kind == "bad" else text)
        return answer

    def _hear_referee(self) -> dict[str, Any]:
        """The referee's next message, waited for on its own clock."""
        referee = self._referee
        began = time.monotonic()
        deadline = began + VALIDATION.wall_seconds - self._referee_seconds
        in_time = self._wait(lambda: bool(referee.frames or referee.ended or referee.overflow), deadline)
        self._referee_seconds += time.monotonic() - began
        if in_time and referee.frames and not referee.overflow:
            try:
                message: dict[str, Any] = loads(referee.frames.popleft())
                return message
            except CodecError:
                pass
        if self._num_bytes > HEAVY_BYTES or self._num_messages > HEAVY_MESSAGES:
            raise _Over(alive=False, flags=(Outcome.RE,), detail="bad result: too large for the test")
        raise _Over(alive=False, flags=(Outcome.JE,), detail="the test is faulty: it ended, or took too long")

    def _wait(self, until: Callable[[], bool], deadline: float) -> bool:
        return pump([self._player, self._referee], until, deadline)


def _test(case: AssertCase | SuiteCase) -> dict[str, Any]:
    """What the referee is told of a case."""
    if isinstance(case, AssertCase):
        return {"code": case.code, "prelude": case.prelude, "names": list(case.names)}
    names = suite_names(case.code, case.module)
    return {"suite": case.framework.value, "code": case.code, "module": case.module, "names": list(names)}


class _Over(Exception):
    """The case is decided."""

    def __init__(self, **ending: Any):
        super().__init__()
        self.ending = Ending(**ending)
