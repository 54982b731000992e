"""What does the judge ask of a place that runs untrusted programs?

The contract between the judging half (which never touches a candidate) and the running half (which never sees an
expected value). A `Backend` opens `Slot`s; a slot starts one `Run` at a time; a run ends with a `RunExit` read from
kernel counters. Promised: when `exit_fd` is readable, every process of the run is dead. Not promised: that the bytes
a program writes mean anything.
"""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass
from typing import Protocol

from sandbox.errors import SandboxError
from sandbox.languages import Toolchain
from sandbox.limits import Limits
from sandbox.verdict import Isolation
from sandbox.workfiles import Fetched, WorkFile


class SandboxUnavailable(SandboxError):
    """No safe place to run a program here: one line that names the cause and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run: `driver` names an entry of `sandbox.drivers`, `source` is handed to it after the isolation is complete.

    `files` are placed in the work folder before; `fetch` names those to bring back after (`*.class` stands for what matches).

    >>> Job(driver="script", source=b"print(1)", limits=Limits()).driver
    'script'
    """

    driver: str  # one of `sandbox.drivers`; "traced " before it: sandbox.tracing
    source: bytes
    limits: Limits
    stdin: bytes | None = None  # a regular file, as programs expect that ask for its size; None: a pipe
    binary: WorkFile | None = None  # of an "exec": started from memory, where the system lets it, else one of the files
    files: tuple[WorkFile, ...] = ()
    fetch: tuple[str, ...] = ()
    reserves_memory: bool = False  # its runtime maps far more than it uses: no bound on the address space


@dataclass(frozen=True, slots=True, kw_only=True)
class RunExit:
    """How a run ended, as the kernel saw it; several of the flags can be true at once."""

    cpu_ms: float  # user and system time of the whole tree
    wall_ms: float
    memory_bytes: int  # peak
    processes: int = 0  # peak seen (0: not measured)
    exit_code: int | None = None  # of the first process; None if a signal ended it
    signal: int | None = None
    oom: bool = False  # the memory limit killed a process
    cpu_exceeded: bool = False
    wall_exceeded: bool = False  # the supervisor's back-stop fired, after the judge's own deadline
    pids_exceeded: bool = False  # a fork or a thread was refused
    forbidden: bool = False  # killed by seccomp (SIGSYS)
    files_exceeded: bool = False  # work folder full (bytes or inodes), or SIGXFSZ
    fetched: tuple[Fetched, ...] = ()
    lost: bool = False  # the infrastructure failed: says nothing about the program
    detail: str = ""  # one line for a person when `lost`


class Run(Protocol):
    """A running job. The judge owns the descriptors; one it closes itself it sets to -1."""

    control: socket.socket  # SOCK_STREAM, blocking: the judge's end of the channel to the driver
    stdin: int  # write end, nonblocking; -1 if it is a file
    stdout: int  # read end, nonblocking
    stderr: int  # read end, nonblocking
    exit_fd: int  # readable when the run has ended and every descendant is dead; do not read or close it
    deadline: float  # time.monotonic() at which the wall limit is reached

    def close_stdin(self) -> None:
        """Close the write end of stdin (the program sees end of file)."""

    def kill(self) -> None:
        """SIGKILL the whole tree, without waiting; harmless when repeated or too late."""

    def finish(self) -> RunExit:
        """Wait until everything is dead, close what is open, return the usage. Kills at the supervisor's back-stop."""


class Slot(Protocol):
    """A place for one run at a time, used by one thread at a time."""

    isolation: Isolation

    def start(self, job: Job) -> Run:
        """Start a run; rebuilds the slot if its zygote died. Raises SandboxUnavailable if that fails."""

    def kill(self) -> None:
        """SIGKILL what runs now, from any thread, without waiting; harmless if nothing does."""

    def close(self) -> None:
        """Kill what runs and give everything back; harmless when repeated."""


class Backend(Protocol):
    """A way to isolate; holds what its slots share."""

    name: str
    isolation: Isolation

    def open_slot(self, binds: tuple[str, ...] = (), preload: tuple[str, ...] = ()) -> Slot:
        """Open one more slot, in which these paths of the host can be read, too, and these modules are already imported.

        Raises SandboxUnavailable.
        """

    def toolchain(self, language: str) -> Toolchain:
        """What programs in that language are made and run with there. Raises LanguageUnavailable, KeyError."""

    def close(self) -> None:
        """Close every slot."""


STRENGTH = ("plain", "landlock", "docker", "jail")  # weakest first


def open_backend(name: str = "auto", minimum: str = "") -> Backend:
    """Open the backend called `name`: one of STRENGTH, or "auto" for the strongest that works, but never plain.

    Raises SandboxUnavailable rather than give less isolation than `name`, or than `minimum`, asks for.
    """
    for given in (name, minimum):
        if given not in (*STRENGTH, "auto", ""):
            raise ValueError(f"backend {given!r}: give one of auto, {', '.join(reversed(STRENGTH))}")
    names = [name] if name != "auto" else [other for other in reversed(STRENGTH) if other != "plain"]
    allowed = [other for other in names if not minimum or STRENGTH.index(other) >= STRENGTH.index(minimum)]
    if not allowed:
        raise SandboxUnavailable(f"backend {name} is weaker than {minimum}, the least that is accepted")
    faults = []
    for other in allowed:
        try:
            backend = _open(other)
        except SandboxUnavailable as error:
            faults.append(str(error))
            continue
        if faults:
            logging.getLogger("sandbox").warning("backend %s, because: %s", other, "; ".join(faults))
        return backend
    raise SandboxUnavailable("; ".join(faults))


def _open(name: str) -> Backend:
    if name == "jail":
        from sandbox.jail import JailBackend

        return JailBackend()
    if name == "docker":
        from sandbox.container import ContainerBackend

        return ContainerBackend()
    if name == "landlock":
        from sandbox.landlock import LandlockBackend

        return LandlockBackend()
    from sandbox.plain import PlainBackend

    return PlainBackend()
