"""How is a test run against a candidate in a jail?

A test that only compares calls on plain values is decided here (`sandbox.direct`): the judge asks the player (the
candidate) itself. For any other it stands between the referee (trusted test code, in a jail of its own) and the player,
and passes messages, one at a time: whoever speaks out of turn, or in another form, loses. Every message of the player is
decoded strictly before anyone sees it. Each side's time runs on its own clock. A test that is killed, or too slow, before
the candidate answered anything is the task's fault (JE); afterwards the candidate's: no test copes with every answer.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from sandbox.codec import CodecError, decode, frame, loads
from sandbox.direct import Misfit, Opaque, Plan, Undecided, judge
from sandbox.judge import Ending, player_message
from sandbox.lift import suite_names
from sandbox.limits import Limits
from sandbox.spec import VALIDATION, AssertCase, SuiteCase
from sandbox.verdict import Outcome
from sandbox.wire import Wire, pump

UNASKED = "protocol: an answer that nobody asked for"
MAX_OWN = 10_000  # items of its iterators, and calls of the test's functions, that a candidate gives in one test
TEST_SECONDS = 12.0  # by the clock, for a test that has had an answer; or the limit of the program, if longer
CHATTY = 10_000  # messages in one test from which on both sides share one clock


class Duel:
    """A player that meets one or more tests; `referee` starts the one that it meets them through, when first needed."""

    def __init__(self, player: Wire, referee: Callable[[], Wire], limits: Limits):
        self._player, self._start_referee, self._limits = player, referee, limits
        self._referee: Wire | None = None
        self.player_seconds = self._referee_seconds = 0.0
        self._num_tests = self._num_messages = self._num_own = 0
        self._heard = False  # anything in this test that may be the candidate's doing

    @property
    def wires(self) -> list[Wire]:
        return [self._player] if self._referee is None else [self._player, self._referee]

    def play(self, case: AssertCase | SuiteCase) -> Ending:
        """How a test ends that runs in the referee. Raises Again if it came to its limits by what tests before it took."""
        self._num_messages = self._num_own = 0
        self._num_tests += 1
        test = _test(case)
        if self._referee is None:
            self._referee = self._start_referee()
        try:
            bound = self._names(test["names"])
            self._heard = any(type(tree) is not dict or set(tree) != {"h"} for _, tree in bound["d"])
            self._referee.send(frame({**test, "bound": bound}))
            while True:
                message = self._hear_referee(self._referee)
                if "end" in message:
                    return self._decide(message)
                answer = self._ask(message)
                self._heard = True
                self._num_own += message.get("do") == "next" or "op" in answer
                if self._num_own > MAX_OWN:
                    raise _Over(
                        alive=False, flags=(Outcome.RE,), detail=f"bad result: more than {MAX_OWN} items or calls"
                    )
                self._referee.send(frame(answer))
        except _Over as over:
            return over.ending

    def decide(self, plan: Plan) -> Ending:
        """How a test ends that the judge decides. Raises Undecided if the answers show that it cannot."""
        opaque: defaultdict[tuple[str, Any], Opaque] = defaultdict(Opaque)

        def read(tree: Any) -> Any:
            return decode(tree, lambda tag, payload: opaque[tag, payload])

        def ask(name: str, args: list[Any], kwargs: list[list[Any]]) -> Any:
            if name not in bound:
                raise _Over(flags=(Outcome.RE,), detail=f"the program does not define {name!r}")
            if set(bound[name]) != {"h"}:
                raise Undecided  # it is a value, or a type of Python's own
            answer = self._ask({"op": "call", **bound[name], "args": args, "kwargs": kwargs})
            if "op" in answer:
                raise _Over(alive=False, flags=(Outcome.RE,), detail="protocol: a call of what was never given")
            if "error" in answer:
                text = str(answer["error"]["text"])
                flags = (Outcome.MLE, Outcome.RE) if text.startswith("MemoryError") else (Outcome.RE,)
                raise _Over(flags=flags, detail=text)
            return read(answer["ok"])

        try:
            pairs = self._names(plan.names)["d"]
            bound = {name: tree if type(tree) is dict else {} for name, tree in pairs}
            holds = all(judge(check, ask) for check in plan.checks)
            ending = Ending() if holds else Ending(flags=(Outcome.WA,), detail="an assertion failed")
        except Misfit as misfit:
            ending = Ending(flags=(Outcome.RE,), detail=f"bad result: {misfit} in the test")
        except _Over as over:
            return over.ending
        return Ending(gone=True) if self._player.ended else ending

    def _names(self, names: Sequence[str]) -> dict[str, Any]:
        """What the player has under these names, as the encoded dict of its answer."""
        answer = self._ask({"op": "names", "names": list(names)})
        found = answer.get("ok")
        if type(found) is not dict or set(found) != {"d"} or any(type(name) is not str for name, _ in found["d"]):
            raise _Over(alive=False, flags=(Outcome.RE,), detail="protocol: no list of names")
        if any(name not in names for name, _ in found["d"]):  # `abs` or `all`, which the test would then use
            raise _Over(alive=False, flags=(Outcome.RE,), detail="protocol: a name that nobody asked for")
        return found

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
        in_time = self._wait(player.answered, deadline)
        self.player_seconds += time.monotonic() - began
        player.late = not in_time
        if not in_time or not player.frames or player.overflow or player.broken:
            raise _Over(gone=True)
        data = player.frames.popleft()
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

    def _hear_referee(self, referee: Wire) -> dict[str, Any]:
        """The referee's next message, waited for on its own clock."""
        began = time.monotonic()
        left = VALIDATION.wall_seconds - self._referee_seconds
        if self._heard:
            left = min(left, max(TEST_SECONDS, self._limits.wall_seconds) - self._referee_seconds)
        if self._num_messages > CHATTY:
            left = min(left, self._limits.wall_seconds - self.player_seconds - self._referee_seconds)
        in_time = self._wait(lambda: bool(referee.frames or referee.ended or referee.overflow), began + left)
        self._referee_seconds += time.monotonic() - began
        if in_time and referee.frames and not referee.overflow:
            try:
                message: dict[str, Any] = loads(referee.frames.popleft())
                return message
            except CodecError:
                pass
        if self._num_tests > 1:
            raise Again
        if self._heard:
            flag = Outcome.RE if in_time else Outcome.WTLE
            raise _Over(alive=False, flags=(flag,), detail="bad result: the test came to no end with it")
        raise _Over(alive=False, flags=(Outcome.JE,), detail="the test is faulty: it ended, or took too long")

    def _wait(self, until: Callable[[], bool], deadline: float) -> bool:
        return pump(self.wires, until, deadline)


def _test(case: AssertCase | SuiteCase) -> dict[str, Any]:
    """What the referee is told of a case."""
    if isinstance(case, AssertCase):
        return {"code": case.code, "prelude": case.prelude, "names": list(case.names)}
    names = suite_names(case.code, case.module)
    return {"suite": case.framework.value, "code": case.code, "module": case.module, "names": list(names)}


class Again(Exception):
    """The test is to be run again, as the first of another duel."""


class _Over(Exception):
    """The case is decided."""

    def __init__(self, **ending: Any):
        super().__init__()
        self.ending = Ending(**ending)
