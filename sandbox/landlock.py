"""How does a program run shut in where user namespaces are refused, as in most containers?

Landlock, seccomp and rlimits, with an unused uid as root. Weaker than `jail` (docs/sandbox.md says where). Fails closed where
Landlock or seccomp is missing.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sandbox import cgroup
from sandbox.backend import SandboxUnavailable
from sandbox.jail import HOST_ID
from sandbox.jailroot import SITE, plan
from sandbox.landlockcell import wipe
from sandbox.pool import ZygotePool
from sandbox.slot import REMOVAL_DESCRIPTORS, Configure, want_descriptors

PREFIX = "sandbox-landlock-"
_numbers = itertools.count()


class LandlockBackend(ZygotePool):
    """See `sandbox.backend.Backend`."""

    name = "landlock"

    def __init__(self) -> None:
        if not sys.platform.startswith("linux"):
            raise SandboxUnavailable(f"landlock needs Linux, this is {sys.platform}: use docker or remote")
        _sweep()
        super().__init__()

    def _plan(self, binds: tuple[str, ...]) -> tuple[Configure, Callable[[], None]]:
        number = next(_numbers)
        try:
            want_descriptors(REMOVAL_DESCRIPTORS)
            base = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        except OSError as error:
            raise SandboxUnavailable(f"no folder for programs ({error})") from None
        base.chmod(0o711)
        group = cgroup.make(f"landlock-{number}")

        def give_back() -> None:
            if group is not None:
                group.remove()
            _remove(base)

        return lambda: _configure(number, group, base, binds), give_back


def _configure(
    number: int, group: cgroup.Group | None, base: Path, extra: tuple[str, ...]
) -> tuple[dict[str, Any], list[int]]:
    prefix = os.path.realpath(sys.base_prefix)
    if os.geteuid() == 0:
        _check_reachable(prefix)
    binds, hide = plan(prefix, extra)
    for name in ("work", "tmp", "site"):
        (base / name).mkdir(exist_ok=True, mode=0o700 if name != "site" else 0o755)
    (base / "site").chmod(0o755)
    read = [str(base / "site")]
    for source, inside in binds:
        if inside.startswith(SITE + "/"):
            with suppress(FileExistsError):
                (base / "site" / os.path.basename(source)).symlink_to(source)
            read.append(source)
        else:
            read += _without(source, hide)
    fds = group.open() if group else {}
    config = {
        "mode": "landlock",
        "read": list(dict.fromkeys(read)),
        "write": [str(base / "work"), str(base / "tmp")],
        "site": [str(base / "site")],
        "host_id": HOST_ID + 0x20_0000 + 2 * (number % 0x10_0000),
        "cgroup": fds,
        "cgroup_layers": group.layers if group else (),
        "layers": (),
    }
    return config, list(fds.values())


def _without(path: str, hidden: list[str]) -> list[str]:
    """Paths that together open `path` but for the `hidden` ones below it."""
    if path in hidden:
        return []
    if os.path.islink(path) or not any(other.startswith(path.rstrip("/") + "/") for other in hidden):
        return [path]
    return [kept for name in sorted(os.listdir(path)) for kept in _without(os.path.join(path, name), hidden)]


def _check_reachable(prefix: str) -> None:
    """As root, programs have another uid: the interpreter must not lie in a folder that is closed to others."""
    for folder in (*reversed(Path(prefix).parents), Path(prefix)):
        if not folder.stat().st_mode & 0o001:
            raise SandboxUnavailable(
                f"the interpreter lies below {folder}, which programs may not enter: use one in /usr, or do not run as root"
            )


def _sweep() -> None:
    """Folders of judges that are dead."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        pid = folder.name.removeprefix(PREFIX).split("-")[0]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}") and folder.stat().st_uid == os.geteuid():
            _remove(folder)


def _remove(base: Path) -> None:
    for name in ("work", "tmp"):
        with suppress(OSError):
            wipe(str(base / name))
    shutil.rmtree(base, ignore_errors=True)
