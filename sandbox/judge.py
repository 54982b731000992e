"""What does a run that has ended mean?

Pure: kernel counters and bytes in, `CaseResult` out. The order in which faults are displayed is that of
`verdict.Outcome`. Nothing here trusts what a program says about itself, except to its own harm.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from sandbox.backend import RunExit
from sandbox.codec import CodecError, decode
from sandbox.limits import Limits
from sandbox.text import printable
from sandbox.verdict import CaseResult, Outcome, worst

HEAD_CHARACTERS = 2000
MAX_DETAIL = 300
NEAR = 0.8  # of a limit: a result beyond this share of it is run again, alone
HARD = {Outcome.SV, Outcome.MLE, Outcome.OLE, Outcome.TLE, Outcome.WTLE}  # these fail a case whatever it answered


class Lost(Exception):
    """The infrastructure failed; says nothing about the program."""


class Dropped(Exception):
    """Nobody wants the verdict any more; says nothing about the program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the judge itself noticed about one run, besides the kernel's counters."""

    stdout: bytes = b""
    stderr_tail: bytes = b""
    stderr_head: bytes = b""
    overflow: bool = False  # more output than allowed; killed for it
    late: bool = False  # killed at the wall limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How one case ended. `alive`: the process can take another; `gone`: it ended, or was ended, without an answer."""

    flags: tuple[Outcome, ...] = ()
    detail: str = ""
    alive: bool = True
    gone: bool = False
    share: float | None = None  # of the points, where a checker gave one

    def __post_init__(self) -> None:
        if self.gone:
            object.__setattr__(self, "alive", False)


FINE = Ending()  # nothing is wrong, so far


def limit_flags(ended: RunExit, seen: Seen, limits: Limits) -> set[Outcome]:
    """The limits and rules that a run broke; a crash is not one of them."""
    flags = {
        Outcome.SV: ended.forbidden,
        Outcome.MLE: ended.oom or _out_of_memory(ended, seen),
        Outcome.OLE: seen.overflow,
        Outcome.FLE: ended.files_exceeded,
        Outcome.PLE: ended.pids_exceeded,
        Outcome.TLE: ended.cpu_exceeded or ended.cpu_ms > 1000 * limits.cpu_seconds,
        Outcome.WTLE: seen.late or ended.wall_exceeded,
    }
    found = {flag for flag, true in flags.items() if true}
    if Outcome.TLE in found:
        found.discard(Outcome.WTLE)  # busy programs reach both; the cpu limit is the one that judges
    return found


def script_flags(ended: RunExit, seen: Seen, limits: Limits) -> set[Outcome]:
    """All that went wrong in a stdio run, besides its answer. A refused fork or file counts only with a crash."""
    flags = limit_flags(ended, seen, limits)
    crashed = ended.exit_code != 0
    if crashed and not flags & HARD:
        flags.add(Outcome.RE)
    return flags if crashed else flags & HARD


def crash_detail(ended: RunExit, seen: Seen) -> str:
    last = _last_line(seen.stderr_tail)
    if ended.signal is not None:
        return f"killed by signal {ended.signal}"
    return f"exit code {ended.exit_code}" + (f": {last}" if last else "")


def result(
    flags: set[Outcome],
    ended: RunExit,
    *,
    detail: str = "",
    output: bytes | str = b"",
    truncated: bool = False,
    cpu_ms: float | None = None,
    wall_ms: float | None = None,
    share: float | None = None,
) -> CaseResult:
    """A case result; no flags is AC. cpu_ms and wall_ms replace those of the run where several cases shared it."""
    outcome = worst(flags) if flags else Outcome.AC
    kept = output.encode("utf-8", "backslashreplace") if isinstance(output, str) else output
    return CaseResult(
        outcome=outcome,
        flags=tuple(flag for flag in Outcome if flag in flags) if len(flags) > 1 else (outcome,),
        detail=one_line(detail),
        cpu_ms=round(ended.cpu_ms if cpu_ms is None else cpu_ms, 3),
        wall_ms=round(ended.wall_ms if wall_ms is None else wall_ms, 3),
        memory_bytes=ended.memory_bytes,
        processes=ended.processes,
        exit_code=ended.exit_code,
        signal=ended.signal,
        output_head=printable(kept[: 4 * HEAD_CHARACTERS].decode("utf-8", "backslashreplace"))[:HEAD_CHARACTERS],
        output_digest=hashlib.sha256(kept).hexdigest() if kept else "",
        output_truncated=truncated,
        share=share,
    )


def bare(outcome: Outcome, detail: str = "") -> CaseResult:
    """The result of a case that did not run."""
    return CaseResult(outcome=outcome, flags=(outcome,), detail=one_line(detail))


def one_line(text: str) -> str:
    return printable(" ".join(text[: 10 * MAX_DETAIL].split()))[:MAX_DETAIL] if text else ""


def explain(flags: set[Outcome], limits: Limits) -> str:
    """One line for the flag that is displayed."""
    texts = {
        Outcome.SV: "a forbidden system call",
        Outcome.MLE: f"more than {limits.memory_bytes} bytes of memory",
        Outcome.OLE: f"more than {limits.output_bytes} bytes of output",
        Outcome.FLE: "the work folder is full, or a file too large",
        Outcome.PLE: f"more than {limits.processes} processes",
        Outcome.TLE: f"more than {limits.cpu_seconds:g} s of cpu time",
        Outcome.WTLE: f"more than {limits.wall_seconds:g} s by the clock",
    }
    return texts.get(worst(flags), "") if flags else ""


def is_near(ended: RunExit, limits: Limits) -> bool:
    """Is this so close to a time limit that a busy machine may have decided it?"""
    cpu, wall = ended.cpu_ms / 1000 / limits.cpu_seconds, ended.wall_ms / 1000 / limits.wall_seconds
    return cpu >= NEAR or wall >= NEAR


def player_message(message: Any) -> str:
    """Which kind of message a player sent: ok, error, bad, raised, ce or op. Raises CodecError on anything else."""
    if type(message) is not dict:
        raise CodecError("a message must be an object")
    for kind, allowed in _PLAYER_KEYS.items():
        if kind in message and set(message) <= allowed:
            _check_player_message(kind, message)
            return kind
    raise CodecError("a message of no known kind")


def check_reference(tag: str, payload: Any) -> Any:
    """Accept the form of a reference; an object that stands for it."""
    if tag in ("h", "r") and type(payload) is int and 0 <= payload < 1 << 31:
        return _REFERENCE
    if tag == "g" and type(payload) is str and payload.isidentifier():
        return _REFERENCE
    raise CodecError(f"unknown tag {tag[:20]!r}")


_REFERENCE = object()
_PLAYER_KEYS = {
    "ok": {"ok", "args"}, "error": {"error"}, "bad": {"bad"}, "raised": {"raised", "load"}, "ce": {"ce"},
    "op": {"op", "r", "args", "kwargs"},
}  # fmt: skip


def _check_player_message(kind: str, message: dict[str, Any]) -> None:
    if kind == "ok":
        decode(message["ok"], check_reference)
        _check_pairs(message.get("args", []), (int, str))
    elif kind == "op":
        if message["op"] != "call" or type(message.get("r")) is not int or "args" not in message:
            raise CodecError("a request must be a call")
        _check_list(message["args"])
        _check_pairs(message.get("kwargs"), (str,))
    elif kind == "error":
        error = message["error"]
        if type(error) is not dict or set(error) != {"type", "args", "text"} or type(error["type"]) is not str:
            raise CodecError("an error must have type, args and text")
        _check_list(error["args"], references=False)
    elif type(message[kind]) is not str:
        raise CodecError(f"{kind} must be a string")


def _check_list(trees: Any, *, references: bool = True) -> None:
    if type(trees) is not list:
        raise CodecError("arguments must be an array")
    for tree in trees:
        decode(tree, check_reference if references else None)


def _check_pairs(pairs: Any, keys: tuple[type, ...]) -> None:
    if type(pairs) is not list:
        raise CodecError("named arguments must be an array")
    for pair in pairs:
        if type(pair) is not list or len(pair) != 2 or type(pair[0]) not in keys:
            raise CodecError("a named argument must be a pair")
        decode(pair[1], check_reference)


def _out_of_memory(ended: RunExit, seen: Seen) -> bool:
    """Did an uncaught MemoryError end it? Where memory is bounded by address space, nothing is killed."""
    return ended.exit_code not in (0, None) and _last_line(seen.stderr_tail).startswith("MemoryError")


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "backslashreplace").strip().splitlines()
    return lines[-1][:MAX_DETAIL] if lines else ""
