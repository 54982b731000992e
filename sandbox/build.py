"""What is started when a program runs, and how is it made from its source?

A Python program is its source. Any other is compiled, if its language is, in a jail of its own, once: what compiling
left is kept by the digest of everything that went into it, and shared by the workers of a grader. A compiler that fails
or meets a limit of its own is the program's fault (CE); one that cannot be started is not.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sandbox.backend import Job, RunExit
from sandbox.judge import Seen
from sandbox.languages import Language, Toolchain, get
from sandbox.limits import MEBIBYTE, Limits
from sandbox.prebuilt import Prebuilds, Run
from sandbox.spec import Program
from sandbox.tracing import CLAIM, TRACED
from sandbox.workfiles import WorkFile

COMPILE = Limits(
    cpu_seconds=30.0, wall_seconds=90.0, memory_bytes=2048 * MEBIBYTE, output_bytes=MEBIBYTE,
    file_bytes=512 * MEBIBYTE, files=8192, processes=128, stack_bytes=256 * MEBIBYTE,
)  # fmt: skip
MAX_CACHED_BYTES = 256 * MEBIBYTE
MAX_DETAIL = 300


class CompileFailed(Exception):
    """The program does not compile; the text is one line for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runnable:
    """A program ready to start: `role` and `binds` say on which slot."""

    source: bytes = b""
    files: tuple[WorkFile, ...] = ()
    toolchain: Toolchain | None = None  # None: run by the zygote itself
    entry: str = ""
    traced: bool = False  # note which lines run (a Python program that is no tool)
    repeats: bool = False  # a script that is run several times: its first run hands over what it compiled to

    @property
    def role(self) -> str:
        return "candidate" if self.toolchain is None else f"native {self.toolchain.language.name}"

    @property
    def binds(self) -> tuple[str, ...]:
        return self.toolchain.binds if self.toolchain else ()

    def job(self, limits: Limits, driver: str = "script", arguments: tuple[str, ...] = ()) -> Job:
        """The job that runs it, under `limits` and what its runtime needs on top. `arguments` are those of a script."""
        if self.toolchain is None and arguments:
            told = json.dumps({"argv": arguments, "source": self.source.decode()}).encode()
            return Job(driver="tool", source=told, limits=limits, files=self.files)
        if self.toolchain is None and self.traced:
            driver = TRACED + driver
            return Job(driver=driver, source=self.source, limits=limits, files=self.files, fetch=(CLAIM,))
        if self.toolchain is None:
            return Job(driver=driver, source=self.source, limits=limits, files=self.files)
        language = self.toolchain.language
        argv = self.toolchain.command(
            language.run,
            source=(self.files[0].name,),
            entry=(self.entry,),
            memory_mb=(limits.memory_bytes // MEBIBYTE,),
            stack_mb=(limits.stack_bytes // MEBIBYTE,),
        )
        binary = next((file for file in self.files if argv[0] == f"./{file.name}" and file.executable), None)
        return Job(
            driver="exec",
            source=order((*argv, *arguments), language),
            limits=replace(limits, processes=limits.processes + language.processes),
            binary=binary,
            files=tuple(file for file in self.files if file is not binary),
            reserves_memory=language.reserves_memory,
        )


Find = Callable[[str], Toolchain]  # by the name of a language


class Builds:
    """What compiling made, by content; bounded, and safe to share between threads."""

    def __init__(self, max_bytes: int = MAX_CACHED_BYTES):
        self._max_bytes, self._num_bytes = max_bytes, 0
        self._made: OrderedDict[str, tuple[tuple[WorkFile, ...], str]] = OrderedDict()
        self._busy: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self._prebuilds = Prebuilds()

    def prepare(self, program: Program, source: bytes, run: Run, find: Find, options: tuple[str, ...] = ()) -> Runnable:
        """Make `program`, whose text is `source`, ready to start. Raises CompileFailed, LanguageUnavailable."""
        language = get(program.language)
        extra = tuple(WorkFile(name=name, data=text.encode()) for name, text in program.files.items())
        if language.in_process:
            return Runnable(source=source, files=extra)
        tools = find(language.name)
        name, entry = language.layout(program.source) if language.layout else (language.source, "")
        files = (WorkFile(name=name, data=source), *extra)
        if language.compile:
            made, fault = self._compile(tools, files, options, run)
            if fault:
                raise CompileFailed(fault)
            files = made
        return Runnable(files=files, toolchain=tools, entry=entry)

    def _compile(
        self, tools: Toolchain, files: tuple[WorkFile, ...], options: tuple[str, ...], run: Run
    ) -> tuple[tuple[WorkFile, ...], str]:
        key = _digest(tools, files, options)
        with self._turn(key):
            with self._lock:
                if key in self._made:
                    self._made.move_to_end(key)
                    return self._made[key]
            prebuilt = self._prebuilds.folder(tools, files[0].data, run)
            made = compiled(tools, files, options, run, prebuilt)
            size = sum(len(file.data) for file in made[0]) + len(made[1])
            with self._lock:
                self._made[key] = made
                self._num_bytes += size
                while self._num_bytes > self._max_bytes:
                    _, (old, text) = self._made.popitem(last=False)
                    self._num_bytes -= sum(len(file.data) for file in old) + len(text)
            return made

    @contextmanager
    def _turn(self, key: str) -> Iterator[None]:
        """One thread at a time per key: the others find what it made."""
        while True:
            with self._lock:
                waiting = self._busy.get(key)
                if waiting is None:
                    mine = self._busy[key] = threading.Event()
                    break
            waiting.wait()
        try:
            yield
        finally:
            with self._lock:
                del self._busy[key]
            mine.set()


def compiled(
    tools: Toolchain, files: tuple[WorkFile, ...], options: tuple[str, ...], run: Run, prebuilt: str = ""
) -> tuple[tuple[WorkFile, ...], str]:
    """What compiling `files` (the program's own first) leaves, or one line that says why it failed.

    `prebuilt` is the folder of what was made in advance; "" for none.
    """
    language = tools.language
    suffix = files[0].name[files[0].name.rfind(".") :]
    sources = tuple(file.name for file in files if file.name.endswith(suffix))
    argv = tools.command(language.compile, source=(files[0].name,), sources=sources)
    if prebuilt and language.prebuilt:
        argv = (argv[0], language.prebuilt.option.format(folder=prebuilt), *argv[1:])
    job = Job(
        driver="exec", source=order((*argv, *options), language), limits=COMPILE, files=files, fetch=language.products,
        reserves_memory=language.reserves_memory,
    )  # fmt: skip
    role = f"compile {language.name}{' with prebuilt' if prebuilt else ''}"
    ended, seen = run(role, (*tools.binds, prebuilt) if prebuilt else tools.binds, job)
    if ended.exit_code == 0 and not seen.overflow:
        made = {file.name: file.data for file in ended.fetched if file.data is not None}
        if made:
            extra = tuple(file for file in files[1:] if file.name not in made)
            products = tuple(WorkFile(name=name, data=data, executable=True) for name, data in made.items())
            return products + extra, ""
    return (), _why(ended, seen)


def order(argv: tuple[str, ...], language: Language) -> bytes:
    """The source of an `exec` job."""
    return json.dumps({"argv": argv, "env": dict(language.environment)}).encode()


def _why(ended: RunExit, seen: Seen) -> str:
    if seen.overflow:
        return f"compiling: more than {COMPILE.output_bytes // MEBIBYTE} MiB of messages"
    if ended.cpu_exceeded or ended.wall_exceeded or seen.late:
        return f"compiling: more than {COMPILE.cpu_seconds:g} s"
    if ended.oom:
        return f"compiling: more than {COMPILE.memory_bytes // MEBIBYTE} MiB of memory"
    if ended.files_exceeded:
        return f"compiling: more than {COMPILE.file_bytes // MEBIBYTE} MiB of files"
    if ended.forbidden:
        return "compiling: a forbidden operation"
    lines = [line.strip() for line in (seen.stderr_head + seen.stdout[:4096]).decode("utf-8", "replace").splitlines()]
    told = next(
        (line for line in lines if "error" in line.lower()),
        next((line for line in lines if line and line[0] != "#"), ""),
    )
    return (
        told[:MAX_DETAIL] or f"the compiler ended with code {ended.exit_code}, signal {ended.signal}, and made nothing"
    )


def _digest(tools: Toolchain, files: tuple[WorkFile, ...], options: tuple[str, ...]) -> str:
    parts = [tools.language.name, tools.version, *tools.language.compile, *options]
    digest = hashlib.sha256(json.dumps(parts).encode())
    for file in files:
        digest.update(json.dumps([file.name, len(file.data)]).encode() + file.data)
    return digest.hexdigest()
