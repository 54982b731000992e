"""What file system does a jailed program see?

A root of its own, read-only: the system's programs and libraries, the interpreter, a few third-party packages, five
devices. Nothing of any home, of /etc, /tmp or the caller's work is in it. Installed third-party packages are
hidden but for an allow-list, because benchmark packages ship their answers.
"""

from __future__ import annotations

import os
import stat
import sys
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sandbox import syscalls
from sandbox.cell import DEVICES

BOX, SITE = "/box", "/site"
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/etc/ld.so.cache", "/etc/alternatives")
PACKAGES = (
    "numpy", "scipy", "pandas", "sympy", "mpmath", "networkx", "sortedcontainers", "dateutil", "pytz", "six", "tzdata",
    "more_itertools",
)  # fmt: skip
PASSWD = "root:x:0:0::/:/bin/false\nprogram:x:1000:1000::/box/work:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
ETC = {
    "passwd": PASSWD,
    "group": "root:x:0:\nprogram:x:1000:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


def plan(prefix: str, extra: Sequence[str] = ()) -> tuple[list[tuple[str, str]], list[str]]:
    """What the judge asks for: binds (source, place inside) and folders to hide, for an interpreter at `prefix`.

    `extra` are bound as well: the homes of toolchains, which may be environments with packages for Python in them.
    """
    binds = [(path, path) for path in SYSTEM if os.path.exists(path) and not os.path.islink(path)]
    if not prefix.startswith("/usr/"):
        binds.append((prefix, prefix))
    hide = []
    for root in dict.fromkeys(("/usr", "/usr/local", prefix, *extra)):
        for folder in sorted(Path(root).glob("lib*/python3*/*-packages")):
            hide.append(str(folder))
    for base in dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))):
        for name in PACKAGES:
            for source in (f"{base}/{name}", f"{base}/{name}.libs", f"{base}/{name}.py"):
                if base in sys.path and os.path.exists(source):
                    binds.append((source, f"{SITE}/{os.path.basename(source)}"))
    return binds + [(path, path) for path in extra], hide


def enter_root(binds: list[list[str]], hide: list[str], *, process_group: int) -> None:
    """Build the root and pivot into it, read-only, with a /proc in which only `process_group` sees other processes.

    For process 1 of a new pid namespace, in a mount namespace of its own; unprivileged, a new /proc may be mounted
    only while the old one is in sight.
    """
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    sources = [(os.open(source, os.O_PATH | os.O_CLOEXEC), inside) for source, inside in binds]
    devices = [(os.open(f"/dev/{name}", os.O_PATH | os.O_CLOEXEC), name) for name in DEVICES]
    links = {path: os.readlink(path) for path in SYSTEM if os.path.islink(path)}
    new = "/tmp"
    syscalls.mount("tmpfs", new, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "size=1m,mode=755")
    os.chdir(new)
    for folder in (BOX, SITE, "/proc", "/dev", "/etc", "/var", "/.empty"):
        os.mkdir("." + folder, 0o755)
    for fd, inside in sources:
        _attach(f"/proc/self/fd/{fd}", "." + inside, stat.S_ISDIR(os.fstat(fd).st_mode), syscalls.ATTR_NODEV)
        os.close(fd)
    for folder in hide:
        if os.path.isdir("." + folder):
            syscalls.bind("./.empty", "." + folder, syscalls.ATTR_RDONLY)
    for fd, name in devices:
        _attach(f"/proc/self/fd/{fd}", f"./dev/{name}", False, syscalls.ATTR_NOEXEC, read_only=False)
        os.close(fd)
    for path, target in links.items():
        os.symlink(target, "." + path)
    for name, text in ETC.items():
        Path("./etc", name).write_text(text)
    os.symlink("/proc/self/fd", "./dev/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"./dev/{name}")
    os.symlink(f"{BOX}/shm", "./dev/shm")
    for path in ("./tmp", "./var/tmp"):
        with suppress(FileExistsError):  # an interpreter installed below /tmp keeps the place
            os.symlink(f"{BOX}/tmp", path)
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount("proc", "./proc", "proc", flags, f"hidepid=2,subset=pid,gid={process_group}")
    syscalls.pivot_root(".", ".")
    syscalls.umount(".")
    os.chdir("/")
    syscalls.set_mount_attributes("/", syscalls.ATTR_RDONLY)


def _attach(source: str, target: str, folder: bool, attributes: int, *, read_only: bool = True) -> None:
    if folder:
        os.makedirs(target, 0o755, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    syscalls.bind(source, target, attributes | syscalls.ATTR_NOSUID | (syscalls.ATTR_RDONLY if read_only else 0))
