"""Which files lie beside a program when it starts, and which are brought back when it has ended?

They travel over the run's own descriptors, never through a folder of the host: in with the program, out as descriptors
that the zygote opens in the jail when every process of the run is dead. A name that leaves the work folder is
refused before anything runs; what a program made of a name (a link, a pipe, a folder) is a fault of that file, and
nothing follows or waits for it. Part of the zygote: standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import json
import os
import stat
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_NAME_BYTES, MAX_FILES = 255, 200  # of one part of a name; of the files that one run may bring back
MAX_DEPTH = 16  # of the folders in which a pattern looks for them
_HEAD = struct.Struct("<I")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkFile:
    """A file of the work folder, e.g. WorkFile(name="data/in.txt", data=b"1\\n")."""

    name: str
    data: bytes
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A file that a run left, or why there is none of that name."""

    name: str
    data: bytes | None = None
    fault: str = ""


def name_fault(name: str) -> str:
    """Why a file of the work folder cannot be called that; "" if it can."""
    try:
        parts = name.encode("utf-8").split(b"/")
    except UnicodeEncodeError:
        return f"file name {name!r}: a lone surrogate"
    if any(byte < 32 or byte == 127 for part in parts for byte in part):
        return f"file name {name!r}: a control character"
    if name.startswith("/"):
        return f"file name {name!r}: absolute; give a name inside the work folder"
    if any(part in (b"", b".", b"..") for part in parts):
        return f"file name {name!r}: an empty, '.' or '..' part"
    if any(len(part) > MAX_NAME_BYTES for part in parts) or len(parts) > 16:
        return f"file name {name[:40]!r}...: parts have at most {MAX_NAME_BYTES} bytes, and there are at most 16"
    return ""


def clash(names: Iterable[str]) -> str:
    """Why files of these names cannot lie in one folder; "" if they can."""
    known = set(names)
    for name in known:
        for place, letter in enumerate(name):
            if letter == "/" and name[:place] in known:
                return f"file name {name!r}: {name[:place]!r} is a file, too, and no folder"
    return ""


def pack(source: bytes, files: Sequence[WorkFile]) -> bytes:
    """What the fork reads first: the source, and the files to place."""
    if not files:
        return _HEAD.pack(0) + source
    names = [[file.name, len(file.data), file.executable] for file in files]
    header = json.dumps(names).encode()
    return b"".join((_HEAD.pack(len(header)), header, *(file.data for file in files), source))


def unpack(payload: bytes) -> tuple[bytes, int]:
    """Inverse of `pack`, in the work folder: writes the files there; the source, and how many files there were."""
    (size,) = _HEAD.unpack_from(payload)
    start = _HEAD.size + size
    names = json.loads(payload[_HEAD.size : start]) if size else ()
    for name, length, executable in names:
        folder = os.path.dirname(name)
        if folder:
            os.makedirs(folder, exist_ok=True)
        # never changed afterwards: not every run may do that
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o755 if executable else 0o644)
        with open(descriptor, "wb") as stream:
            stream.write(payload[start : start + length])
        start += length
    return payload[start:], len(names)


def open_results(folder: str, patterns: Sequence[str]) -> tuple[list[tuple[str, str]], list[int]]:
    """For each name its fault ("" if it is open), and the descriptors of those that are open, in that order.

    A pattern with `*` stands for the files that match, in the folder and in those below (Java's packages).
    """
    found: list[tuple[str, str]] = []
    descriptors: list[int] = []
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for pattern in patterns:
            names = _matching(folder, pattern) if "*" in pattern else [pattern]
            for name in names:
                if len(descriptors) == MAX_FILES:
                    found.append((name, f"more than {MAX_FILES} files"))
                    break
                try:
                    descriptors.append(_open_regular(root, name))
                    found.append((name, ""))
                except OSError as error:
                    found.append((name, _fault(error)))
    finally:
        os.close(root)
    return found, descriptors


def _matching(folder: str, pattern: str) -> list[str]:
    """The names, below `folder`, of the files that match; folders deeper than MAX_DEPTH are not looked into."""
    found: list[str] = []
    folders = [""]
    for inner in folders:  # which grows meanwhile
        with contextlib.suppress(OSError), os.scandir(f"{folder}/{inner}") as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    if fnmatch.fnmatch(entry.name, pattern):
                        found.append(inner + entry.name)
                elif inner.count("/") < MAX_DEPTH:
                    folders.append(f"{inner}{entry.name}/")
    return sorted(found)


def read_result(descriptor: int, limit: int) -> bytes | None:
    """What is in an open file, None if that is no regular one or holds more than `limit` bytes."""
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode) or state.st_size > limit:
        return None
    chunks = []
    while limit > 0 and (chunk := os.read(descriptor, min(limit, 1 << 20))):
        chunks.append(chunk)
        limit -= len(chunk)
    return b"".join(chunks)


def _open_regular(root: int, name: str) -> int:
    *folders, last = name.split("/")
    here = os.dup(root)
    try:
        for part in folders:
            deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = deeper
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(last, flags, dir_fd=here)
    finally:
        os.close(here)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file")


def _fault(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "there is no such file"
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "a link or a file where a folder should be: links are not followed"
    return error.strerror or str(error)
