"""How does the judge talk to a zygote?

The judge's half of a slot: exec a zygote (never a fork of the caller), hand it jobs with their descriptors over a
unix socket, read one report per run. The program text goes over the run's control socket, so the zygote never holds
it. Nothing here isolates: the zygote does, as its configuration says.
"""

from __future__ import annotations

import array
import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from sandbox.backend import Job, RunExit, SandboxUnavailable
from sandbox.limits import Limits
from sandbox.verdict import Isolation
from sandbox.wire import sealed, sealed_binary
from sandbox.workfiles import MAX_FILES, Fetched, WorkFile, pack, read_result

# kind, number, cpu s, wall s, memory, output, file bytes, files, processes, stack, reserves
JOB = struct.Struct("<cIdd6q?")
# run, cpu ms, wall ms, memory, exit code (-1: none), signal (0: none), flags; then JSON of what few runs have
DESCRIPTOR = struct.Struct("i")
RIGHTS = socket.CMSG_SPACE(MAX_FILES * DESCRIPTOR.size)  # bytes for the descriptors that come with a report
REPORT = struct.Struct("<I2dq2h7?")
REPORTED = ("oom", "cpu_exceeded", "wall_exceeded", "pids_exceeded", "forbidden", "files_exceeded", "lost")
START_SECONDS = 20.0  # how long a zygote may take to come up
REMOVAL_DESCRIPTORS = 4  # to remove a folder again
POPEN_DESCRIPTORS = 8  # three pipes, and one by which the child tells that exec failed
GRACE_SECONDS = 5.0  # after the supervisor's back-stop, before the zygote itself is given up
# The package of the zygote has no __init__: what the judge's may import does not belong in there.
BOOT = """
import sys, types
package = sys.modules["sandbox"] = types.ModuleType("sandbox")
package.__path__ = [sys.argv[1]]
from sandbox.zygote import main
main(int(sys.argv[2]))
"""
FLAGS = ("-S", "-s", "-P", "-B", "-X", "utf8")  # of the interpreter that becomes a zygote
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "MALLOC_ARENA_MAX": "2",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "LD_BIND_NOW": "1",  # or every fork binds the same functions again; the zygote takes it from what programs see
}
PACKAGE = os.path.dirname(os.path.abspath(__file__))
Configure = Callable[[], tuple[dict[str, Any], list[int]]]  # the zygote's configuration, the descriptors it inherits


class ZygoteRun:
    """See `sandbox.backend.Run`."""

    __slots__ = ("_ended", "_number", "_slot", "control", "deadline", "exit_fd", "limits", "stderr", "stdin", "stdout")

    def __init__(
        self, slot: ZygoteSlot, number: int, limits: Limits, control: socket.socket, fds: tuple[int, int, int]
    ):
        self._slot, self._number, self.limits, self.control = slot, number, limits, control
        self.stdin, self.stdout, self.stderr = fds
        self.exit_fd = slot.fileno()
        self.deadline = time.monotonic() + limits.wall_seconds
        self._ended: RunExit | None = None

    def close_stdin(self) -> None:
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1

    def kill(self) -> None:
        if self._ended is None:
            self._slot.send_kill(self._number)

    def finish(self) -> RunExit:
        if self._ended is None:
            backstop = self.deadline + self.limits.wall_seconds + GRACE_SECONDS
            self._ended = self._slot.wait_report(self._number, backstop)
            self.control.close()
            for name in ("stdin", "stdout", "stderr"):
                if getattr(self, name) >= 0:
                    os.close(getattr(self, name))
                    setattr(self, name, -1)
        return self._ended


class ZygoteSlot:
    """See `sandbox.backend.Slot`. `configure` gives the zygote's configuration and the descriptors it inherits."""

    def __init__(
        self,
        backend: str,
        configure: Configure,
        on_close: Callable[[ZygoteSlot], None],
    ):
        self._configure, self._on_close, self._backend = configure, on_close, backend
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._number = 0
        self._live: ZygoteRun | None = None
        self._binary: tuple[WorkFile, int] | None = None  # the last one that was started from memory
        self._lock = threading.Lock()
        self.isolation = Isolation(backend=backend)
        self._spawn()

    def fileno(self) -> int:
        assert self._socket is not None
        return self._socket.fileno()

    def start(self, job: Job) -> ZygoteRun:
        if self._live is not None:
            raise RuntimeError("the slot already runs a job: finish it first")
        for attempt in (1, 2):
            if self._socket is None:
                self._spawn()
            try:
                return self._start(job)
            except (BrokenPipeError, ConnectionError):
                self._reap()
                if attempt == 2:
                    raise SandboxUnavailable("the zygote died twice in a row: run `sandbox doctor`") from None
        raise AssertionError("unreachable")

    def _start(self, job: Job) -> ZygoteRun:
        assert self._socket is not None
        self._number += 1
        limits = job.limits
        binary = self._in_memory(job.binary)
        if job.binary and binary < 0:
            job = replace(job, files=(job.binary, *job.files))
        near, far = socket.socketpair()
        pipes: list[int] = []
        try:
            pipes += os.pipe() if job.stdin is None else (sealed(job.stdin),)
            for _ in range(2):
                pipes += os.pipe()
        except OSError:  # no descriptors left: those that were got go back
            near.close()
            far.close()
            for fd in pipes:
                os.close(fd)
            raise
        stdin, *in_write, out_read, stdout, err_read, stderr = pipes
        ours = (*in_write, out_read, err_read)
        for fd in (stdin, stdout, stderr) if in_write else (stdout, stderr):
            os.fchmod(fd, 0o666)  # a program of another uid may open /dev/stdin, too
        head = JOB.pack(
            b"J", self._number, limits.cpu_seconds, limits.wall_seconds, limits.memory_bytes, limits.output_bytes,
            limits.file_bytes, limits.files, limits.processes, limits.stack_bytes, job.reserves_memory,
        )  # fmt: skip
        driver = "exec sealed" if binary >= 0 else job.driver
        message = head + "\0".join((driver, *job.fetch)).encode()
        payload = pack(job.source, job.files)
        rights = array.array("i", (stdin, stdout, stderr, far.fileno(), *([binary] if binary >= 0 else [])))
        run = ZygoteRun(self, self._number, limits, near, (in_write[0] if in_write else -1, out_read, err_read))
        try:
            self._socket.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except OSError as error:
            for fd in ours:
                os.close(fd)
            near.close()
            raise ConnectionError from error
        finally:
            far.close()
            for fd in (stdin, stdout, stderr):
                os.close(fd)
        self._live = run
        for fd in ours:
            os.set_blocking(fd, False)
        data = struct.pack("<Q", len(payload)) + payload
        with suppress(OSError):  # died or hangs before it took its source: the report will say
            if (sent := near.send(data, socket.MSG_DONTWAIT)) < len(data):
                near.settimeout(limits.wall_seconds)
                near.sendall(memoryview(data)[sent:])
                near.settimeout(None)
        return run

    def _in_memory(self, binary: WorkFile | None) -> int:
        """A descriptor that executes `binary`; -1 where that cannot be.

        The slot keeps it for the next run where programs run as another user. Their own one could close it to the next run,
        or leave a message in its times and attributes.
        """
        if binary is None:
            return -1
        kept = os.geteuid() == 0 and self._backend != "plain"
        if not kept or self._binary is None or self._binary[0] is not binary:
            self._drop_binary()
            try:
                self._binary = binary, sealed_binary(binary.data)
            except OSError:
                return -1
        return self._binary[1]

    def _drop_binary(self) -> None:
        if self._binary is not None:
            os.close(self._binary[1])
            self._binary = None

    def send_kill(self, number: int) -> None:
        channel = self._socket
        with suppress(OSError):
            if channel is not None:
                channel.send(struct.pack("<cI", b"K", number))

    def wait_report(self, number: int, backstop: float) -> RunExit:
        """The report of run `number`; `lost` if the zygote is dead or silent at `backstop`."""
        detail = "the zygote died"
        while self._socket is not None:
            ready = select.poll()
            ready.register(self._socket, select.POLLIN)
            if not ready.poll(max(0.0, backstop - time.monotonic()) * 1000):
                detail = "the zygote did not answer"
                break
            try:
                data, rights, _, _ = self._socket.recvmsg(1 << 16, RIGHTS)
            except OSError:
                break
            descriptors = [fd for _, _, block in rights for (fd,) in DESCRIPTOR.iter_unpack(block)]
            try:
                if not data:
                    break
                about, ended, names = read_report(data)
                if about == number:
                    if len(descriptors) < sum(not fault for _, fault in names):
                        detail = "no descriptors are left for the files of the run"
                        break
                    limit = self._live.limits.file_bytes if self._live else 0
                    self._live = None
                    return replace(ended, fetched=_read_all(names, descriptors, limit)) if names else ended
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
        self._reap()
        return RunExit(cpu_ms=0.0, wall_ms=0.0, memory_bytes=0, lost=True, detail=detail)

    def kill(self) -> None:
        live = self._live
        if live is not None:
            live.kill()

    def close(self) -> None:
        with self._lock:
            if self._live is not None:
                self._live.kill()
                self._live.finish()
            self._reap()
            self._on_close(self)

    def _launch(self) -> tuple[socket.socket, dict[str, Any], list[int]]:
        """Start a zygote: the judge's end of the channel to it, its configuration, and descriptors, which go over that."""
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        inherited: list[int] = []
        try:
            config, inherited = self._configure()
            config = {**config, "socket": far.fileno(), "judge": os.getpid()}
            want_descriptors(POPEN_DESCRIPTORS)
            self._process = subprocess.Popen(
                [interpreter(), *FLAGS, "-c", BOOT, PACKAGE, str(far.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=ENVIRONMENT,
                cwd="/",
                pass_fds=[far.fileno(), *inherited],
                start_new_session=True,
            )
        except BaseException:
            near.close()
            raise
        finally:
            far.close()
            for fd in inherited:
                os.close(fd)
        return near, config, []

    def _spawn(self) -> None:
        try:
            self._greet()
        except BaseException:
            self._reap()  # what had been started by then
            raise

    def _greet(self) -> None:
        near, config, rights = self._launch()
        self._socket = near
        near.settimeout(START_SECONDS)
        try:
            socket.send_fds(near, [json.dumps(config).encode()], rights)  # programs can read a command line
            hello = near.recv(1 << 16)
        except OSError:
            hello = b""
        finally:
            for fd in rights:
                os.close(fd)
        near.settimeout(None)
        answer = json.loads(hello) if hello else {"error": self._last_words() or "the zygote did not start"}
        if "error" in answer:
            raise SandboxUnavailable(answer["error"])
        self.isolation = Isolation(backend=self._backend, layers=tuple(answer["layers"]))

    def _last_words(self) -> str:
        """The end of what a dying zygote wrote on stderr, on one line."""
        if self._process is None or self._process.stderr is None:
            return ""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        os.set_blocking(self._process.stderr.fileno(), False)
        text = (self._process.stderr.read() or b"").decode(errors="replace").strip()
        return "zygote: " + text.splitlines()[-1] if text else ""

    def _reap(self) -> None:
        """Kill the zygote and with it everything it started; wait until that is true."""
        self._live = None
        self._drop_binary()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.wait(2.0)  # end of file on its socket tells it to kill its run, and go
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


def read_report(data: bytes) -> tuple[int, RunExit, Sequence[tuple[str, str]]]:
    """Which run it is about, how that ended, and the files to bring back: name and fault."""
    number, cpu_ms, wall_ms, memory_bytes, code, signal, *flags = REPORT.unpack_from(data)
    rest = json.loads(data[REPORT.size :]) if len(data) > REPORT.size else {}
    ended = RunExit(
        cpu_ms=cpu_ms,
        wall_ms=wall_ms,
        memory_bytes=memory_bytes,
        exit_code=None if code < 0 else code,
        signal=signal or None,
        detail=rest.get("detail", ""),
        **dict(zip(REPORTED, flags, strict=True)),
    )
    return number, ended, rest.get("fetched", ())


def _read_all(names: Sequence[tuple[str, str]], descriptors: list[int], limit: int) -> tuple[Fetched, ...]:
    """What a run left behind: `descriptors` are the files of the names without a fault, in that order."""
    waiting, found = list(reversed(descriptors)), []
    for name, fault in names:
        data = read_result(waiting.pop(), limit) if not fault and waiting else None
        limit -= len(data or b"")
        found.append(Fetched(name=name, data=data, fault=fault or ("too large" if data is None else "")))
    return tuple(found)


def want_descriptors(count: int) -> None:
    """Raises OSError where there are not so many: Python before 3.11.4 loses pipes if Popen runs out of them half way."""
    got: list[int] = []
    try:
        for _ in range(count):
            got.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for fd in got:
            os.close(fd)


def interpreter() -> str:
    """The real interpreter behind a virtual environment's link: it knows its own standard library."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
