"""Where is what every compile step of a language would work out anew, already made?

A header compiled in advance for C++, the compiler's own classes for Java. Made once for a compiler, in a jail as any compile
step is, from text of ours; kept in a cache folder, by the digest of all that went into it, and bound read-only into the jails
that compile. Whatever goes wrong with it costs time and nothing else: the compiler then does without. Sources: GCC manual, 3.22
"Using Precompiled Headers"; JEP 350 "Dynamic CDS Archives".
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sandbox.backend import Job, RunExit
from sandbox.judge import Seen
from sandbox.languages import Toolchain
from sandbox.limits import MEBIBYTE, Limits
from sandbox.workfiles import WorkFile

BOUNDS = Limits(
    cpu_seconds=60.0, wall_seconds=180.0, memory_bytes=2048 * MEBIBYTE, output_bytes=MEBIBYTE,
    file_bytes=512 * MEBIBYTE, files=512, processes=16, stack_bytes=256 * MEBIBYTE,
)  # fmt: skip

Run = Callable[[str, tuple[str, ...], Job], tuple[RunExit, Seen]]  # role, binds, job


class Prebuilds:
    """What one judge has made in advance. `run` is that of `sandbox.build`."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}
        self._lock = threading.Lock()

    def folder(self, tools: Toolchain, source: bytes, run: Run) -> str:
        """The folder that holds what helps to compile `source`; "" for none."""
        wanted = tools.language.prebuilt
        if wanted is None or wanted.mark.encode() not in source:
            return ""
        parts = [tools.version, dict(tools.tools), wanted.compile, wanted.text]
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
        with self._lock:  # the others wait: they would make the same
            if key not in self._found:
                try:
                    self._found[key] = _reachable(_made(tools, cache() / key, run))
                except OSError as error:
                    logging.getLogger("sandbox").info("%s: nothing made in advance: %s", tools.language.name, error)
                    self._found[key] = ""
            return self._found[key]


def cache() -> Path:
    """The user's cache folder; root's home is closed to the users that its programs run as, so root takes the system's."""
    own = "/var/cache" if os.geteuid() == 0 else Path.home() / ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or own) / "coderl-sandbox"


def _reachable(folder: str) -> str:
    """`folder`. Raises OSError if root keeps it where the users that its programs run as, without a jail's binds, cannot go."""
    if os.geteuid() == 0:
        for place in (Path(folder), *Path(folder).parents):
            if not place.stat().st_mode & 0o001:
                raise OSError(f"{place} is closed to other users")
    return folder


def _made(tools: Toolchain, folder: Path, run: Run) -> str:
    wanted = tools.language.prebuilt
    assert wanted is not None
    place = folder / wanted.name
    if _is_ours(place):
        return str(folder)
    argv = tools.command(wanted.compile)
    source = json.dumps({"argv": argv, "env": dict(tools.language.environment)}).encode()
    files = (WorkFile(name=wanted.source, data=wanted.text.encode()),)
    job = Job(
        driver="exec", source=source, limits=BOUNDS, files=files, fetch=(wanted.product,),
        reserves_memory=tools.language.reserves_memory,
    )  # fmt: skip
    ended, seen = run(f"prebuild {tools.language.name}", tools.binds, job)
    data = next((file.data for file in ended.fetched if file.data), None)
    if ended.exit_code != 0 or data is None:
        raise OSError(seen.stderr_head.decode("utf-8", "replace")[:200] or "the compiler failed")
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    descriptor, name = tempfile.mkstemp(dir=place.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
        os.chmod(name, 0o644)
        os.replace(name, place)  # another judge may do the same
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    return str(folder)


def _is_ours(place: Path) -> bool:
    """Is there a file that nobody else could have written?"""
    try:
        states = [os.lstat(place), os.lstat(place.parent), os.lstat(place.parent.parent)]
    except OSError:
        return False
    return all(state.st_uid == os.geteuid() and not state.st_mode & 0o022 for state in states)
