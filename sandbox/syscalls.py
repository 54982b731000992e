"""The system calls that Python's standard library lacks, with errors as OSError. Linux on x86-64 and AArch64."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import signal
import struct
from collections.abc import Callable
from typing import Any

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC = 1, 2, 4, 8  # of mount_setattr
MNT_DETACH, AT_FDCWD, AT_RECURSIVE = 2, -100, 0x8000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
SECCOMP_MODE_FILTER = 2

# Landlock: rights by the version of the interface that brought them, see linux/landlock.h
LANDLOCK_EXECUTE, LANDLOCK_WRITE_FILE, LANDLOCK_READ_FILE, LANDLOCK_READ_DIR = 1, 2, 4, 8
LANDLOCK_MAKE_CHAR, LANDLOCK_MAKE_BLOCK = 1 << 6, 1 << 11
LANDLOCK_TRUNCATE = 1 << 14
# what runs get: to read a folder, to use a device, to do as they like in a folder of their own
LANDLOCK_READ = LANDLOCK_EXECUTE | LANDLOCK_READ_FILE | LANDLOCK_READ_DIR
LANDLOCK_DEVICE = LANDLOCK_READ_FILE | LANDLOCK_WRITE_FILE | LANDLOCK_TRUNCATE
LANDLOCK_OWN = ((1 << 16) - 1) & ~(LANDLOCK_MAKE_CHAR | LANDLOCK_MAKE_BLOCK)
_LANDLOCK_FILES = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # number of rights known to that version
_LANDLOCK_TCP, _LANDLOCK_SCOPES = 3, 3  # bind and connect; abstract sockets and signals

_NUMBERS = {
    "x86_64": {"pivot_root": 155, "capset": 126, "prctl": 157},
    "aarch64": {"pivot_root": 41, "capset": 91, "prctl": 167},
}
_COMMON = {
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}
_LIBC = ctypes.CDLL(None, use_errno=True)
_KILL_ALL = functools.partial(_LIBC.kill, ctypes.c_int(-1), ctypes.c_int(signal.SIGKILL))
_SYSCALL = _LIBC.syscall
_SYSCALL.restype = ctypes.c_long


def unshare(flags: int) -> None:
    _checked(_LIBC.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    encoded = [None if text is None else text.encode() for text in (source, target, kind, data)]
    result = _LIBC.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    _checked(result, f"mount {kind or source} on {target}")


def bind(source: str, target: str, attributes: int) -> None:
    """Bind `source`, with what is mounted below it, and put `attributes` on all of it."""
    mount(source, target, None, MS_BIND | MS_REC)
    set_mount_attributes(target, attributes, AT_RECURSIVE)


def set_mount_attributes(target: str, attributes: int, flags: int = 0) -> None:
    packed = struct.pack("QQQQ", attributes, 0, 0, 0)
    _call("mount_setattr", ctypes.c_int(AT_FDCWD), target.encode(), ctypes.c_uint(flags), packed, ctypes.c_size_t(32))


def umount(target: str) -> None:
    _checked(_LIBC.umount2(target.encode(), MNT_DETACH), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    _call("pivot_root", new.encode(), old.encode())


def prctl(option: int, *arguments: int) -> None:
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    _checked(_LIBC.prctl(ctypes.c_int(option), *padded), f"prctl {option}")


def kill_everyone() -> bool:
    """For process 1 of a pid namespace: SIGKILL all others; False if there are none, not even dead ones to be waited for."""
    return int(_KILL_ALL()) == 0


def drop_bounding_set() -> None:
    """No exec can ever give a capability back."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break  # past the last one this kernel knows
    prctl(PR_CAP_AMBIENT, 4)  # PR_CAP_AMBIENT_CLEAR_ALL


def landlock_version() -> int:
    """The version of Landlock's interface; 0 if there is none."""
    try:
        return _call("landlock_create_ruleset", None, ctypes.c_size_t(0), ctypes.c_uint(1))
    except OSError:
        return 0


def landlock_ruleset(version: int, rules: dict[str, int], *, files: bool = True) -> int:
    """A ruleset (a descriptor): only `rules` (path: rights) on files, no TCP, no signal or abstract socket out of it."""
    known = (1 << _LANDLOCK_FILES[min(version, 5)]) - 1
    handled = (known if files else 0, _LANDLOCK_TCP if version >= 4 else 0, _LANDLOCK_SCOPES if version >= 6 else 0)
    attribute = struct.pack("QQQ", *handled)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = _call("landlock_create_ruleset", attribute, ctypes.c_size_t(len(attribute)), ctypes.c_uint(0))
    for path, rights in rules.items():
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rule = struct.pack("=Qi", rights & known, handle)
            _call("landlock_add_rule", ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint(0))
        finally:
            os.close(handle)
    return ruleset


Step = Callable[[], Any]  # raises OSError where it fails


def prepared(name: str, *arguments: object, keep: tuple[object, ...] = ()) -> Step:
    """A system call with its arguments laid out beforehand: in a fresh fork every page of Python touched is a fault."""
    call = functools.partial(_STEP, ctypes.c_long(_number(name)), *arguments)
    call.keep = keep  # type: ignore[attr-defined]
    return call


def drop_capabilities() -> Step:
    """Give up every capability of the calling thread."""
    return prepared("capset", struct.pack("Ii", 0x20080522, 0), bytes(24))


def landlock_restrict(ruleset: int) -> Step:
    return prepared("landlock_restrict_self", ctypes.c_int(ruleset), ctypes.c_uint(0))


def set_dumpable(value: int) -> Step:
    return prepared("prctl", *map(ctypes.c_ulong, (PR_SET_DUMPABLE, value, 0, 0, 0)))


def load_filter(bpf: bytes) -> Step:
    """Put the calling thread under a seccomp filter for good."""
    code = ctypes.create_string_buffer(bpf, len(bpf))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(bpf) // 8, ctypes.addressof(code)))
    arguments = (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(header), 0, 0)
    return prepared("prctl", *map(ctypes.c_ulong, arguments), keep=(code, header))


def _raise(result: int, function: object, arguments: tuple[Any, ...]) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"system call {arguments[0].value}: {os.strerror(number)}")
    return result


_STEP = _LIBC["syscall"]  # another object than the attribute of that name
_STEP.restype, _STEP.errcheck = ctypes.c_long, _raise  # type: ignore[assignment]


def _number(name: str) -> int:
    number = _COMMON.get(name) or _NUMBERS.get(platform.machine(), {}).get(name)
    if number is None:
        raise OSError(f"{platform.machine()}: the jail knows x86_64 and aarch64 only")
    return number


def _call(name: str, *arguments: object) -> int:
    return _checked(int(_SYSCALL(ctypes.c_long(_number(name)), *arguments)), name)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
