"""What runs inside the sandbox before any program does?

A slim, single-threaded interpreter, started by exec with a clean environment and no secrets in it. It warms what
programs need, freezes, and then forks once per run: the fork isolates itself, reads its own program from the control
socket and hands over to `sandbox.drivers`; the parent supervises (CPU of the whole tree, wall back-stop, kill),
reaps every descendant and reports kernel counters. Never imported by the judge.
"""

from __future__ import annotations

import _sitebuiltins
import atexit
import ctypes
import errno
import gc
import importlib
import json
import os
import random
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from sandbox.cell import Cell, Work
from sandbox.cell import build as build_plain
from sandbox.dense import fill_holes
from sandbox.inner import Driver, become
from sandbox.workfiles import open_results

JOB = struct.Struct("<cIdd6q?")  # as in sandbox.slot
REPORT = struct.Struct("<I2dq2h7?")  # as in sandbox.slot
REPORTED = (
    "oom", "cpu_exceeded", "wall_exceeded", "pids_exceeded", "forbidden", "files_exceeded", "lost",
)  # fmt: skip
PRELOAD = (  # what most programs import; every further module makes every fork slower
    "array", "bisect", "cmath", "collections", "collections.abc", "contextlib", "copy", "dataclasses", "datetime", "enum",
    "functools", "heapq", "io", "itertools", "json", "linecache", "math", "numbers", "operator", "os.path", "queue",
    "random", "re", "string", "textwrap", "threading", "time", "traceback", "types", "typing",
)  # fmt: skip
MAX_DESCRIPTORS = 32
HIGH = 16  # well above the descriptors of a run
TICK_FLOOR_SECONDS = 0.005  # shortest pause between two looks at the tree's usage
CORES = os.cpu_count() or 1
UNWATCHED_MS = 2  # between two looks at a run that no descriptor tells of


def main(descriptor: int) -> NoReturn:
    channel = socket.socket(fileno=descriptor)
    sys.argv[:] = [""]
    data, descriptors, _, _ = socket.recv_fds(channel, 1 << 16, MAX_DESCRIPTORS)
    config = json.loads(data)
    if descriptors:  # in a container: those of its control groups, in their order
        config["cgroup"] = dict(zip(config["cgroup"], descriptors, strict=True))
    if config["judge"]:
        judge = os.pidfd_open(config["judge"])
    else:  # in a container, where the judge is out of sight: its end of the channel tells, and this never does
        judge, _ = os.pipe()
    try:
        os.environ.pop("LD_BIND_NOW", None)  # it was for the zygote
        run_driver, rehearse = load_drivers()
        warm()
        cell = open_cell(config, judge)
        preload(config.get("preload", ()))
        rehearse()
    except Exception as error:
        with suppress(OSError):
            channel.send(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
        os._exit(1)
    sys.modules["sandbox"].__path__ = []  # programs find nothing more of it
    channel.send(json.dumps({"layers": cell.layers}).encode())
    armed = high_pipe()
    gc.collect()
    fill_holes()
    gc.freeze()
    serve(channel, judge, cell, run_driver, armed)


def high_pipe() -> tuple[int, int]:
    """Above all descriptors that a run gets a place for."""
    descriptors = list(os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK))
    while descriptors[-2] < HIGH:
        descriptors += map(os.dup, descriptors[-2:])
    *lower, read, write = descriptors
    for fd in lower:
        os.close(fd)
    return read, write


# os.fork runs Python's hooks for processes with threads in every child (a new lock for everything in `threading`, a seed
# from the system for `random`): 0.4 ms of page faults. The zygote has one thread, and wants every run to be the same.
fork: Callable[[], int] = ctypes.PyDLL(None).fork
USAGE = struct.Struct("5q")  # how struct rusage begins: user and system time, peak of resident kibibytes
_wait4, _status, _usage = (
    ctypes.CDLL(None, use_errno=True).wait4,
    (ctypes.c_int * 1)(),
    ctypes.create_string_buffer(256),
)


def load_drivers() -> tuple[Driver, Callable[[], None]]:
    """With all that they need, at once: inside the jail the package is out of reach. Also: how they are rehearsed."""
    for name in ("player", "referee"):
        importlib.import_module(f"sandbox.{name}")
    run: Driver = importlib.import_module("sandbox.drivers").main
    return run, importlib.import_module("sandbox.rehearsal").rehearse


def warm() -> None:
    """Pay once for what the first use of an interpreter costs."""
    for name in PRELOAD:
        importlib.import_module(name)
    import builtins
    import linecache
    import traceback

    with suppress(OSError), open(os.devnull, "rb") as stream:
        stream.read()
    try:
        exec(compile("def f(a, *b):\n    return [x for x in sorted(b)][a]\nf(1)\n", "<warm>", "exec"), {})
    except IndexError:
        traceback.format_exc()
    linecache.clearcache()
    for name in ("exit", "quit"):  # programs end so, though it was meant for people
        setattr(builtins, name, _sitebuiltins.Quitter(name, ""))
    random.seed(0)
    atexit._clear()


def preload(names: list[str]) -> None:
    """Import what programs of this slot will find already imported: as late as this, to see what they would see."""
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            raise ImportError(f"preload {name!r}: {error}; name modules that programs here can import") from None
        with suppress(OSError):
            if len(os.listdir("/proc/self/task")) > 1:
                raise ImportError(f"preload {name!r}: it starts threads, which no fork would have")


def open_cell(config: dict[str, Any], judge: int) -> Cell:
    if config["mode"] == "plain":
        return build_plain(config)
    if config["mode"] == "landlock":
        from sandbox.landlockcell import build as build_landlock

        return build_landlock(config)
    from sandbox.jailcell import build

    return build(config, judge)


def serve(
    channel: socket.socket,
    judge: int,
    cell: Cell,
    run_driver: Driver,
    armed: tuple[int, int],
) -> NoReturn:
    poller = select.poll()
    poller.register(channel.fileno(), select.POLLIN)
    poller.register(judge, select.POLLIN)
    while True:
        ready = dict(poller.poll())
        if judge in ready:
            os._exit(0)
        data, rights, _, _ = channel.recvmsg(1 << 16, socket.CMSG_SPACE(8 * 4))
        fds: list[int] = []
        for _, _, block in rights:
            fds += memoryview(block).cast("i")
        if not data:
            os._exit(0)
        if data[:1] != b"J":
            continue  # a kill that came too late
        job = parse(data)
        start = time.monotonic()
        try:
            cell.prepare(job)
            child = fork()
            if child < 0:
                raise OSError("cannot fork")
        except OSError as error:
            for fd in fds:
                os.close(fd)
            send_report(channel, {"run": job.number, **lost(f"zygote: {error}")})
            continue
        if child == 0:
            become(job, fds, cell, run_driver, armed[1])
        for fd in fds:
            os.close(fd)
        send_report(channel, supervise(channel, judge, poller, cell, job, child, start, armed[0]))


def send_report(channel: socket.socket, report: dict[str, Any]) -> None:
    descriptors = report.pop("descriptors", [])
    code, number = report.get("exit_code"), report.get("signal")
    data = REPORT.pack(
        report["run"], report["cpu_ms"], report["wall_ms"], report["memory_bytes"], -1 if code is None else code,
        number or 0, *map(report.get, REPORTED),
    )  # fmt: skip
    if "detail" in report or "fetched" in report:
        data += json.dumps({"detail": report.get("detail", ""), "fetched": report.get("fetched", ())}).encode()
    try:
        if descriptors:
            socket.send_fds(channel, [data], descriptors)
        else:
            channel.send(data)
    except OSError:
        if not descriptors:
            os._exit(0)
        # gVisor hands no file to the outside
        send_report(channel, {"run": report["run"], **lost("the files that a run leaves cannot be handed over here")})
    for descriptor in descriptors:
        os.close(descriptor)


class Order:
    """A `Work`. Slots, because the names of other attributes are touched when they are looked up."""

    __slots__ = tuple(Work.__annotations__)


def parse(data: bytes) -> Work:
    _, number, cpu, wall, memory, output, file_bytes, files, processes, stack, reserves = JOB.unpack_from(data)
    driver, *fetch = data[JOB.size :].decode().split("\0")
    job: Any = Order()
    job.number, job.driver, job.fetch, job.cpu_seconds, job.wall_seconds = number, driver, fetch, cpu, wall
    job.memory_bytes, job.output_bytes, job.file_bytes, job.files = memory, output, file_bytes, files
    job.processes, job.stack_bytes, job.reserves_memory = processes, stack, reserves
    result: Work = job
    return result


def lost(detail: str) -> dict[str, Any]:
    return {"cpu_ms": 0.0, "wall_ms": 0.0, "memory_bytes": 0, "lost": True, "detail": detail}


def supervise(
    channel: socket.socket, judge: int, poller: select.poll, cell: Cell, job: Work, child: int, start: float, armed: int
) -> dict[str, Any]:
    """Wait for the run, kill what is left of it, and say what it used."""
    pidfd = watch(child)
    if pidfd >= 0:
        poller.register(pidfd, select.POLLIN)
    reaped_cpu, killed, wall_exceeded, cpu_exceeded, oom, forbidden = 0.0, False, False, False, False, False
    backstop = start + job.wall_seconds + min(job.wall_seconds, 2.0)
    pause = min(cell.tick_seconds, job.cpu_seconds / CORES)
    while True:
        ready = dict(poller.poll(max(1, int(pause * 1000)) if pidfd >= 0 else UNWATCHED_MS))
        data = channel.recv(1 << 16) if channel.fileno() in ready else b"-"
        if judge in ready or not data:
            cell.kill_all(child)
            os._exit(0)
        if data[:1] == b"K" and struct.unpack_from("<cI", data)[1] == job.number:
            killed = True
        if pidfd in ready or (pidfd < 0 and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)):
            break
        more, sigsys = reap(child)
        reaped_cpu += more
        forbidden |= sigsys
        cpu, resident = cell.usage(child)
        cpu_left = job.cpu_seconds - cpu - reaped_cpu
        cpu_exceeded |= cpu_left <= 0
        oom |= resident > job.memory_bytes
        wall_exceeded |= time.monotonic() > backstop
        if killed or cpu_exceeded or oom or wall_exceeded:
            cell.kill_all(child)
        pause = min(cell.tick_seconds, max(TICK_FLOOR_SECONDS, cpu_left / CORES))
    _, status, seconds, peak = collect(child)
    wall = time.monotonic() - start
    if pidfd >= 0:
        poller.unregister(pidfd)
        os.close(pidfd)
    more, sigsys = bury(cell, child)
    cpu = reaped_cpu + more + seconds
    code = os.waitstatus_to_exitcode(status)
    report: dict[str, Any] = {
        "run": job.number,
        "cpu_ms": 1000 * cpu,
        "wall_ms": 1000 * wall,
        "memory_bytes": peak,
        "exit_code": code if code >= 0 else None,
        "signal": -code if code < 0 else None,
        "oom": oom,
        "wall_exceeded": wall_exceeded,
        "forbidden": forbidden or sigsys or code == -signal.SIGSYS,
        "files_exceeded": code == -signal.SIGXFSZ,
    }
    if job.fetch:
        report["fetched"], report["descriptors"] = open_results(cell.folder, job.fetch)
    for key, value in cell.counters().items():
        report[key] = value or report.get(key, False) if isinstance(value, bool) else value
    report["memory_bytes"] = max(report["memory_bytes"], report.pop("memory_at_least", 0))
    report["cpu_ms"] = max(report["cpu_ms"], 1000 * cpu)
    report["cpu_exceeded"] = cpu_exceeded or report["cpu_ms"] >= 1000 * job.cpu_seconds
    try:
        os.read(armed, 1)
    except BlockingIOError:
        if not killed:
            report.update(lost=True, detail="the run could not be isolated, and was not started")
    return report


def watch(child: int) -> int:
    """A descriptor that tells of its end; -1 where the kernel has none (gVisor)."""
    try:
        return os.pidfd_open(child)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        return -1


def collect(process: int) -> tuple[int, int, float, int]:
    """As os.wait4, which imports `resource` anew each time: process, status, CPU seconds, peak of resident bytes."""
    found = _wait4(process, _status, 0, _usage)
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    user, user_micro, system, system_micro, peak = USAGE.unpack_from(_usage)
    return found, _status[0], user + system + (user_micro + system_micro) / 1e6, peak * 1024


def reap(child: int) -> tuple[float, bool]:
    """Collect dead orphans, not the run's first process: their CPU seconds, and whether seccomp killed one."""
    cpu, sigsys = 0.0, False
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return cpu, sigsys
        if found is None or found.si_pid == child:
            return cpu, sigsys
        _, status, seconds, _ = collect(found.si_pid)
        cpu += seconds
        sigsys |= os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSYS


def bury(cell: Cell, child: int) -> tuple[float, bool]:
    """Kill and collect every descendant: their CPU seconds, and whether seccomp killed one."""
    cpu, sigsys = 0.0, False
    while cell.kill_all(child):
        try:
            _, status, seconds, _ = collect(-1)
        except ChildProcessError:
            return cpu, sigsys
        cpu += seconds
        sigsys |= os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSYS
    return cpu, sigsys
