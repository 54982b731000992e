"""How do bytes flow between the judge and a running program without anybody waiting for ever?

A `Wire` holds one run: it feeds stdin where that is a pipe, keeps stdout up to the cap and both ends of stderr, and cuts the
control socket into frames. `pump` moves bytes on any number of wires until a condition holds or a deadline passes. A program
that does not read, does not write, floods, or dies in the middle of anything never blocks the judge.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from sandbox.backend import Run, RunExit
from sandbox.codec import HEADER
from sandbox.judge import Seen
from sandbox.limits import Limits

CHUNK = 1 << 16
STDERR_KEPT = 1 << 13  # bytes of its end
STDERR_HEAD = 1 << 12  # bytes of its beginning: where compilers say what is wrong
DOZE_SECONDS = 0.01  # about three times as long as a short run takes
BACKLOG = 1 << 20  # bytes for a program that does not read: then its partner, too, has to wait
FRAME_SLACK = 1 << 12  # a frame is allowed this many bytes more than output: tags of an empty answer

SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
MFD_EXEC = 0x10  # since Linux 6.3


def sealed(data: bytes) -> int:
    """A file with this in it that nobody can change, open to be read."""
    return _sealed(os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), data, 0o444)


def sealed_binary(data: bytes) -> int:
    """The same, open to be executed. Raises OSError where the system forbids to execute what is in memory."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        whole = os.memfd_create("program", flags | MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        whole = os.memfd_create("program", flags)
    return _sealed(whole, data, 0o555)


def _sealed(whole: int, data: bytes, mode: int) -> int:
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(whole, rest) :]
        os.fchmod(whole, mode)
        fcntl.fcntl(whole, fcntl.F_ADD_SEALS, SEALS)
        return os.open(f"/proc/self/fd/{whole}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(whole)


class Wire:
    """One run and what goes in and out of it. With `discard` output is read and dropped, and never too much.

    With `stdin` None the program's input stays open, for what a partner prints (`join`).
    """

    def __init__(self, run: Run, limits: Limits, stdin: bytes | None = b"", *, discard: bool = False):
        self.run, self.limits, self._discard = run, limits, discard
        self._fed, stdin = stdin is None, stdin or b""
        self._partner: Wire | None = None
        self._stdin = memoryview(stdin)
        self._stdout: list[bytes] = []
        self._stderr_tail = self._stderr_head = b""
        self._num_output = 0
        self._inbox = bytearray()
        self._outbox = memoryview(b"")
        self.frames: deque[bytes] = deque()
        self._asked = False
        self.ended = self.overflow = self.late = self.broken = self.control_closed = False
        self._watched: list[tuple[int, int]] = []
        self._poller = select.poll()
        run.control.setblocking(False)
        if not self._fed:
            self._write_stdin()

    def send(self, data: bytes) -> None:
        self._asked = True
        self._outbox = memoryview(bytes(self._outbox) + data) if self._outbox else memoryview(data)
        self._write_control()

    def join(self, partner: Wire) -> None:
        """From now on what this one prints is what `partner` reads; that it has closed its output, others tell."""
        self._partner = partner

    def feed(self, data: bytes) -> None:
        if self.run.stdin >= 0:
            self._stdin = memoryview(bytes(self._stdin) + data)
            self._write_stdin()

    def end_input(self) -> None:
        """No more will come: end of file, when all is written."""
        self._fed = False
        if self.run.stdin >= 0:
            self._write_stdin()

    def unasked(self) -> bool:
        """Is there a frame already, before the next question? Before the first one a driver may say: no program."""
        if self._asked and not (self.frames or self.control_closed or self.ended):
            self._read_control()
        return self._asked and bool(self.frames)

    def answered(self) -> bool:
        """Is there an answer, or will there be none any more?"""
        return bool(self.frames or self.ended or self.overflow or self.broken)

    def doze(self) -> None:
        """Until it has ended, for a moment: who waits for nothing but the end wakes once, not for each pipe that closes."""
        if self.ended or self._stdin or self._outbox:
            return
        poller = select.poll()
        poller.register(self.run.exit_fd, select.POLLIN)
        if poller.poll(max(0.0, min(DOZE_SECONDS, self.run.deadline - time.monotonic())) * 1000):
            self._drain()

    def interest(self) -> list[tuple[int, int]]:
        run = self.run
        found = [(run.exit_fd, select.POLLIN)]
        if not self.control_closed:
            found.append((run.control.fileno(), select.POLLIN | (select.POLLOUT if self._outbox else 0)))
        if run.stdin >= 0 and self._stdin:
            found.append((run.stdin, select.POLLOUT))
        if run.stdout >= 0 and (self._partner is None or len(self._partner._stdin) < BACKLOG):
            found.append((run.stdout, select.POLLIN))
        if run.stderr >= 0:
            found.append((run.stderr, select.POLLIN))
        return found

    def poller(self) -> select.poll:
        """Waits for what is of interest; made anew only where that has changed."""
        found = self.interest()
        if found != self._watched:
            self._watched, self._poller = found, select.poll()
            for fd, events in found:
                self._poller.register(fd, events)
        return self._poller

    def handle(self, fd: int, event: int) -> None:
        run = self.run
        if fd == run.exit_fd:
            self._drain()
        elif fd == run.stdin:
            self._write_stdin()
        elif fd == run.stdout:
            self._read_stdout()
        elif fd == run.stderr:
            self._read_stderr()
        elif not self.control_closed and fd == run.control.fileno():
            if event & select.POLLOUT:
                self._write_control()
            if event & ~select.POLLOUT:
                self._read_control()

    def finish(self, *, kill: bool = False) -> tuple[RunExit, Seen]:
        """End the run, by force if asked, and say what was seen of it."""
        if kill and not self.ended:
            self.run.kill()
        if not self.ended:
            pump([self], lambda: self.ended, time.monotonic() + 5.0)
        exited = self.run.finish()
        return exited, self.seen()

    def seen(self) -> Seen:
        return Seen(
            stdout=b"".join(self._stdout),
            stderr_tail=self._stderr_tail,
            stderr_head=self._stderr_head,
            overflow=self.overflow,
            late=self.late,
        )

    def _drain(self) -> None:
        """All writers are dead: take what they left in the pipes."""
        self.ended = True
        while self.run.stdout >= 0 and self._read_stdout():
            pass
        while self.run.stderr >= 0 and self._read_stderr():
            pass
        while not self.control_closed and self._read_control():
            pass
        self._stdin = memoryview(b"")
        self.run.close_stdin()

    def _read(self, name: str) -> bytes | None:
        """What a pipe holds now; None if that is nothing. Closes it at its end."""
        fd = getattr(self.run, name)
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            os.close(fd)
            setattr(self.run, name, -1)
            return None
        if not self._discard:
            self._num_output += len(data)
            if self._num_output > self.limits.output_bytes:
                self._too_much()
        return data

    def _too_much(self) -> None:
        if not self.overflow:
            self.overflow = True
            self.run.kill()

    def _read_stdout(self) -> bool:
        data = self._read("stdout")
        if data is None:
            return False
        if not self.overflow and not self._discard:
            self._stdout.append(data)
        if self._partner is not None:
            self._partner.feed(data)
        return True

    def _read_stderr(self) -> bool:
        data = self._read("stderr")
        if data is None:
            return False
        if len(self._stderr_head) < STDERR_HEAD:
            self._stderr_head += data[: STDERR_HEAD - len(self._stderr_head)]
        self._stderr_tail = (self._stderr_tail + data)[-STDERR_KEPT:]
        return True

    def _read_control(self) -> bool:
        try:
            data = self.run.control.recv(1 << 18)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.control_closed = True
            return False
        if self.overflow or self.broken:
            return True
        if self._is_answer(data):
            self.frames.append(data[HEADER.size :])
            return True
        self._inbox += data
        while len(self._inbox) >= HEADER.size:
            (size,) = HEADER.unpack_from(self._inbox)
            if size > self.limits.output_bytes + FRAME_SLACK:
                self._inbox.clear()
                self._too_much()
                break
            end = HEADER.size + size
            if len(self._inbox) < end:
                break
            self.frames.append(bytes(self._inbox[HEADER.size : end]))
            del self._inbox[:end]
            if len(self.frames) > 2:  # nobody is asked twice before answering
                self.broken = True
                self.run.kill()
                break
        return True

    def _is_answer(self, data: bytes) -> bool:
        """Is this one whole frame, with nothing before or after it, as nearly all are?"""
        if self._inbox or self.frames or len(data) < HEADER.size:
            return False
        (size,) = HEADER.unpack_from(data)
        return bool(size == len(data) - HEADER.size and size <= self.limits.output_bytes + FRAME_SLACK)

    def _write_stdin(self) -> None:
        run = self.run
        try:
            while self._stdin:
                self._stdin = self._stdin[os.write(run.stdin, self._stdin[: 16 * CHUNK]) :]
        except BlockingIOError:
            return
        except OSError:  # nobody reads it any more, which is the program's right
            self._fed, self._stdin = False, memoryview(b"")
        if not self._fed:
            run.close_stdin()

    def _write_control(self) -> None:
        try:
            while self._outbox:
                self._outbox = self._outbox[self.run.control.send(self._outbox) :]
        except BlockingIOError:
            return
        except OSError:
            self._outbox = memoryview(b"")


def pump(wires: Sequence[Wire], until: Callable[[], bool], deadline: float) -> bool:
    """Move bytes until `until()` holds; False if `deadline` (of time.monotonic) came first."""
    while not until():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        running = [wire for wire in wires if not wire.ended]
        if not running:
            return until()
        milliseconds = min(left, 3600.0) * 1000 + 1
        with suppress(InterruptedError):
            if len(running) == 1:
                (wire,) = running
                for fd, event in wire.poller().poll(milliseconds):
                    wire.handle(fd, event)
            else:
                for wire, fd, event in _ready(running, milliseconds):
                    wire.handle(fd, event)
    return True


def _ready(wires: Sequence[Wire], milliseconds: float) -> list[tuple[Wire, int, int]]:
    """Which descriptors of which wires can be handled, and how; waits until there is one."""
    poller, owners = select.poll(), {}
    for wire in wires:
        for fd, events in wire.interest():
            poller.register(fd, events)
            owners[fd] = wire
    return [(owners[fd], fd, event) for fd, event in poller.poll(milliseconds)]
