"""What does a run, or a process that answered several cases, come to?

Pure: from what the kernel counted and what was seen of a run to case results. Cases of one process share its usage by the
time that each took; where a limit ended the process, the case it hit is left out, to be run again in one of its own.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

from sandbox.backend import RunExit
from sandbox.codec import CodecError, decode, loads
from sandbox.duel import UNASKED
from sandbox.judge import FINE, HARD, NEAR, Ending, Seen, crash_detail, explain, is_near, limit_flags, result
from sandbox.limits import MOST_SECONDS, Limits
from sandbox.verdict import CaseResult, Outcome
from sandbox.wire import Wire

FRESH = (Outcome.MLE, Outcome.OLE, Outcome.FLE, Outcome.PLE, Outcome.TLE, Outcome.WTLE)  # worth a process of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A case result, whether a busy machine may have decided it, and who did."""

    result: CaseResult
    near: bool = False
    proxied: bool = False  # decided by a test in the referee's jail


class Batch:
    """Cases that shared a process: what each came to, and how its usage is split."""

    def __init__(self, limits: Limits, slack: float):
        self._limits, self._slack = limits, slack
        self._cases: list[tuple[Ending, Any, float, bool]] = []
        self.alive = True

    @property
    def size(self) -> int:
        return len(self._cases)

    def add(self, ending: Ending, output: Any, seconds: float, *, proxied: bool = False) -> None:
        self._cases.append((ending, output, seconds, proxied))
        self.alive = ending.alive

    def trials(self, ended: RunExit, seen: Seen, *, unsolicited: bool) -> list[Trial]:
        alone = len(self._cases) == 1
        limits = self._limits if alone else widened(self._limits, self._slack)
        flags = limit_flags(ended, seen, limits)
        if self.alive or not self._cases[-1][0].gone:
            flags &= HARD  # it answered: a fork or a file that was refused is its own affair
            ended = replace(ended, exit_code=None, signal=None)  # the judge ended it: how is a matter of timing
        if not alone and not flags.isdisjoint(FRESH):
            self._cases.pop()
            flags = set()
            unsolicited = False
        total = sum(seconds for _, _, seconds, _ in self._cases) or 1.0
        pressed = is_near(ended, self._limits) and not ended.cpu_exceeded
        trials: list[Trial] = []
        for ending, output, seconds, proxied in self._cases:
            last = len(trials) == len(self._cases) - 1
            own = set(ending.flags) | (flags if last else set())
            detail = (explain(flags, limits) if last else "") or ending.detail
            if last and ending.gone and not own & HARD:
                own.add(Outcome.RE)
                detail = detail or f"no result: {crash_detail(ended, seen)}"
            if last and unsolicited:
                own.add(Outcome.RE)
                detail = UNASKED
            near = pressed
            if not alone:
                near = near and seconds >= NEAR * min(self._limits.cpu_seconds, self._limits.wall_seconds)
            near |= Outcome.WTLE in ending.flags
            share = seconds / total
            trials.append(
                Trial(
                    result=result(
                        own,
                        ended,
                        detail=detail,
                        output=_shown(output),
                        truncated=last and seen.overflow,
                        cpu_ms=ended.cpu_ms * share,
                        wall_ms=1000 * seconds,
                        share=ending.share if own <= {Outcome.PA} else None,
                    ),
                    near=near,
                    proxied=proxied,
                )
            )
        return trials


def call_ending(wire: Wire) -> tuple[Ending, Any]:
    """What one answer, or none, means; and the value that was returned, as the program may see it."""
    if wire.overflow or wire.late or not wire.frames:
        return Ending(gone=True), None
    if wire.broken:
        return Ending(gone=True, flags=(Outcome.RE,), detail="protocol: several answers at once"), None
    try:
        message = loads(wire.frames.popleft())
        if type(message) is not dict or len(message) - ("load" in message) != 1:
            raise CodecError("an answer must have one key")
        if "ok" in message:
            return FINE, decode(message["ok"])
        ((kind, text),) = ((key, value) for key, value in message.items() if key != "load")
        if kind not in ("ce", "bad", "raised") or type(text) is not str:
            raise CodecError("an answer of no known kind")
    except CodecError as error:
        return Ending(alive=False, flags=(Outcome.RE,), detail=f"bad result: {error}"), None
    if kind == "ce":
        return Ending(alive=False, flags=(Outcome.CE,), detail=text), None
    if kind == "bad":
        return Ending(flags=(Outcome.RE,), detail=f"bad result: {text}"), None
    flags = (Outcome.MLE, Outcome.RE) if text.startswith("MemoryError") else (Outcome.RE,)
    return Ending(alive="load" not in message, flags=flags, detail=text), None


def script_result(ended: RunExit, seen: Seen, outcome: Ending) -> CaseResult:
    return result(
        set(outcome.flags),
        ended,
        detail=outcome.detail,
        output=seen.stdout,
        truncated=seen.overflow,
        share=outcome.share,
    )


def script_trial(ended: RunExit, seen: Seen, outcome: Ending, limits: Limits) -> Trial:
    near = is_near(ended, limits) and not ended.cpu_exceeded
    return Trial(result=script_result(ended, seen, outcome), near=near)


def _shown(value: Any) -> str:
    """A returned value for a person; bounded, and safe for numbers of any length."""
    if value is None or type(value) is str:
        return "" if value is None else repr(value)
    try:
        return repr(value)
    except ValueError:  # an int of more digits than Python prints
        return "(a very large number)"


@functools.lru_cache(maxsize=256)
def widened(limits: Limits, slack: float) -> Limits:
    return replace(limits, cpu_seconds=min(limits.cpu_seconds * slack, MOST_SECONDS)) if slack != 1.0 else limits


@functools.lru_cache(maxsize=256)
def with_wall(limits: Limits, seconds: float) -> Limits:
    return replace(limits, wall_seconds=min(seconds, MOST_SECONDS))
