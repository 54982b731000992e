"""Which system calls may a candidate make?

A deny list compiled to BPF, for x86-64 and AArch64, in three answers: KILL (SIGSYS, verdict SV) for tools of escape and
spying that no honest program calls; ABSENT (ENOSYS) for calls that programs probe for and do without; DENIED (EPERM).
Calls newer than this list are ABSENT, calls of another ABI (i386, x32) KILL. `base_filter` is loaded once in the
zygote; `final_filter` in each run takes away what only the zygote needs. A second layer: a candidate has no capability
that would let most of these succeed anyway.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Mapping

# name: number on x86-64, number on AArch64 (None: no such call there)
KILL: dict[str, tuple[int, int | None]] = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "pivot_root": (155, 41), "chroot": (161, 51), "setns": (308, 268), "unshare": (272, 97),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "swapon": (167, 224),
    "swapoff": (168, 225), "reboot": (169, 142), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "iopl": (172, None), "ioperm": (173, None), "add_key": (248, 217),
    "request_key": (249, 218), "keyctl": (250, 219), "sethostname": (170, 161), "setdomainname": (171, 162),
    "syslog": (103, 116), "fanotify_init": (300, 262), "lookup_dcookie": (212, 18), "vhangup": (153, 58),
    "modify_ldt": (154, None), "uselib": (134, None), "process_madvise": (440, 440), "process_mrelease": (448, 448),
}  # fmt: skip
ABSENT: dict[str, tuple[int, int | None]] = {
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "clone3": (435, 435),  # its flags are behind a pointer: the C library falls back to clone, which is looked at
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "io_setup": (206, 0), "io_submit": (209, 2),
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190), "semctl": (66, 191),
    "semop": (65, 193), "semtimedop": (220, 192), "msgget": (68, 186), "msgctl": (71, 187), "msgsnd": (69, 189),
    "msgrcv": (70, 188), "mq_open": (240, 180), "mq_unlink": (241, 181),  # would outlive the run in its namespace
}  # fmt: skip
DENIED: dict[str, tuple[int, int | None]] = {
    "mbind": (237, 235), "set_mempolicy": (238, 237), "migrate_pages": (256, 238), "move_pages": (279, 239),
    "set_mempolicy_home_node": (450, 450), "adjtimex": (159, 171), "clock_adjtime": (305, 266), "nfsservctl": (180, 42),
    "sysfs": (139, None), "ustat": (136, None), "sync": (162, 81), "syncfs": (306, 267),  # of all that the machine writes
}  # fmt: skip
ZYGOTE_ONLY: dict[str, tuple[int, int | None]] = {"mount": (165, 40), "umount2": (166, 39)}
FIRST_UNKNOWN = 457  # statmount; calls from here on are not in the list above
# Where no namespace stands between a candidate and the sockets of others.
SHARED: dict[str, tuple[int, int | None]] = {
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200),
    "inotify_init": (253, None), "inotify_init1": (294, 26),  # Landlock lets it watch folders that cannot be listed
}  # fmt: skip
# What an owner may do to a file that it cannot open: Landlock does not look at it, where a candidate has its judge's uid.
OF_OWNERS: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
}  # fmt: skip
SET_FLAGS = (0x40086602, 0x401C5820)  # FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR: the same, of what it can open
CLONE, IOCTL, SOCKET, PERSONALITY = (56, 220), (16, 29), (41, 198), (135, 92)
SOCKETPAIR, PIPE2 = (53, 199), (293, 59)
NOTIFICATION_PIPE = 0x80  # O_EXCL: the kernel writes into it
SOCK_DGRAM, SOCKET_TYPES = 2, 0xF
# Whose limits or priority: of the caller alone (0). Where a program shares its uid with the zygote, it could starve that.
OF_SELF = {
    "prlimit64": (302, 261), "sched_setparam": (142, 118), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122),
}  # fmt: skip
OF_SELF_SECOND = {"setpriority": ((141, 140), 0), "ioprio_set": ((251, 30), 1)}  # and what "process" is in the first
NAMESPACE_FLAGS = 0x7E020000  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}
TERMINAL_REQUESTS = (0x5412, 0x541C, 0x5423)  # TIOCSTI, TIOCLINUX, TIOCSETD
AF_UNIX = 1

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of the tables, AUDIT_ARCH
_RET_ALLOW, _RET_KILL, _RET_ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN, _AND = 0x20, 0x15, 0x35, 0x45, 0x06, 0x54
_NUMBER, _ARCH, _ARGUMENT_0, _ARGUMENT_1 = 0, 4, 16, 24  # offsets in seccomp_data; low halves of the arguments


def base_filter(*, shared: bool = False) -> bytes:
    """What holds for the zygote and for every run; `shared`: with no namespaces. Raises OSError on another architecture."""
    column, arch = _machine()
    code = [
        _op(_LOAD, _ARCH),
        _op(_EQUAL, arch, yes=1),
        _op(_RETURN, _RET_KILL),
        _op(_LOAD, _NUMBER),
        _op(_AT_LEAST, 0x40000000, no=1),  # x32
        _op(_RETURN, _RET_KILL),
        _op(_AT_LEAST, FIRST_UNKNOWN, no=1),
        _op(_RETURN, _RET_ERRNO | errno.ENOSYS),
    ]
    answers = ((KILL, _RET_KILL), (ABSENT, _RET_ERRNO | errno.ENOSYS), (DENIED, _RET_ERRNO | errno.EPERM))
    for table, answer in answers:
        code += _refuse(table, column, answer)
    code += _on(CLONE[column], _ARGUMENT_0, [_op(_ANY_BIT, NAMESPACE_FLAGS, no=1), _op(_RETURN, _RET_KILL)])
    requests = [
        line
        for request in TERMINAL_REQUESTS
        for line in (_op(_EQUAL, request, no=1), _op(_RETURN, _RET_ERRNO | errno.EPERM))
    ]
    code += _on(IOCTL[column], _ARGUMENT_1, requests)
    only_unix = [_op(_EQUAL, AF_UNIX, yes=1), _op(_RETURN, _RET_ERRNO | errno.EACCES)]  # others load modules, too
    pairs = list(only_unix)
    if shared:
        code += _refuse(SHARED, column, _RET_ERRNO | errno.EACCES)
        # a datagram socket sends to any path, even one that was born connected
        datagram = [_op(_AND, SOCKET_TYPES), _op(_EQUAL, SOCK_DGRAM, no=1), _op(_RETURN, _RET_ERRNO | errno.EACCES)]
        pairs += [_op(_LOAD, _ARGUMENT_1), *datagram]
    code += _on(SOCKET[column], _ARGUMENT_0, only_unix)
    code += _on(SOCKETPAIR[column], _ARGUMENT_0, pairs)
    code += _on(
        PIPE2[column], _ARGUMENT_1, [_op(_ANY_BIT, NOTIFICATION_PIPE, no=1), _op(_RETURN, _RET_ERRNO | errno.EPERM)]
    )
    only_self = [_op(_EQUAL, 0, yes=1), _op(_RETURN, _RET_ERRNO | errno.EPERM)]
    for pair in OF_SELF.values():
        code += _on(pair[column], _ARGUMENT_0, only_self)
    for pair, process in OF_SELF_SECOND.values():
        which = [_op(_EQUAL, process, yes=1), _op(_RETURN, _RET_ERRNO | errno.EPERM)]
        code += _on(pair[column], _ARGUMENT_0, [*which, _op(_LOAD, _ARGUMENT_1), *only_self])
    # personality: asking is free (0xffffffff), changing anything is not
    asking = [_op(_EQUAL, 0xFFFFFFFF, yes=1), _op(_RETURN, _RET_ERRNO | errno.EPERM)]
    code += _on(PERSONALITY[column], _ARGUMENT_0, asking)
    return b"".join([*code, _op(_RETURN, _RET_ALLOW)])


def final_filter(*, owner: bool = False) -> bytes:
    """What a run loses on top, just before the program starts: short, because it is loaded once per run.

    `owner`: the host's files that it reaches by name may be its own.
    """
    column, _ = _machine()
    code = [_op(_LOAD, _NUMBER), *_refuse(ZYGOTE_ONLY, column, _RET_KILL)]
    if owner:
        denied = _RET_ERRNO | errno.EPERM
        code += _refuse(OF_OWNERS, column, denied)
        requests = [line for request in SET_FLAGS for line in (_op(_EQUAL, request, no=1), _op(_RETURN, denied))]
        code += _on(IOCTL[column], _ARGUMENT_1, requests)
    return b"".join([*code, _op(_RETURN, _RET_ALLOW)])


def _machine() -> tuple[int, int]:
    machine = platform.machine()
    if machine not in _MACHINES:
        raise OSError(f"{machine}: the seccomp filter knows x86_64 and aarch64 only")
    return _MACHINES[machine]


def _refuse(table: Mapping[str, tuple[int | None, int | None]], column: int, answer: int) -> list[bytes]:
    numbers = sorted(number for pair in table.values() if (number := pair[column]) is not None)
    return [line for number in numbers for line in (_op(_EQUAL, number, no=1), _op(_RETURN, answer))]


def _on(number: int, argument: int, body: list[bytes]) -> list[bytes]:
    """If the call is `number`, load `argument` and run `body`; what falls out of `body` is allowed."""
    inner = [_op(_LOAD, argument), *body, _op(_RETURN, _RET_ALLOW)]
    return [_op(_EQUAL, number, no=len(inner)), *inner]


def _op(code: int, constant: int, *, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("HBBI", code, yes, no, constant)
