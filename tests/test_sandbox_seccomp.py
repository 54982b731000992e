"""Does the filter answer every call as its tables say? Checked by an independent interpreter of BPF."""

from __future__ import annotations

import errno
import struct

import pytest

from sandbox import seccomp

ALLOW, KILL = 0x7FFF0000, 0x80000000
ARCHES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


def error(number: int) -> int:
    return 0x00050000 | number


def answer(code: bytes, arch: int, number: int, *arguments: int) -> int:
    """What the kernel would say: seccomp_data is (int nr, u32 arch, u64 ip, u64 args[6])."""
    data = struct.pack("<iIQ6Q", number, arch, 0, *(*arguments, *[0] * 6)[:6])
    lines, at, register = list(struct.iter_unpack("<HBBI", code)), 0, 0
    while True:
        operation, yes, no, constant = lines[at]
        at += 1
        if operation == 0x20:
            (register,) = struct.unpack_from("<I", data, constant)
        elif operation == 0x54:
            register &= constant
        elif operation == 0x06:
            return constant
        else:
            hit = {0x15: register == constant, 0x35: register >= constant, 0x45: bool(register & constant)}[operation]
            at += yes if hit else no


@pytest.fixture(params=sorted(ARCHES))
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    monkeypatch.setattr(seccomp.platform, "machine", lambda: request.param)
    return ARCHES[request.param]


def test_every_table_is_answered(machine: tuple[int, int]) -> None:
    column, arch = machine
    code = seccomp.base_filter()
    tables = ((seccomp.KILL, KILL), (seccomp.ABSENT, error(errno.ENOSYS)), (seccomp.DENIED, error(errno.EPERM)))
    for table, wanted in tables:
        for name, numbers in table.items():
            if numbers[column] is not None:
                assert answer(code, arch, numbers[column]) == wanted, name


def test_everything_else_is_allowed(machine: tuple[int, int]) -> None:
    column, arch = machine
    code = seccomp.base_filter()
    listed = {n[column] for table in (seccomp.KILL, seccomp.ABSENT, seccomp.DENIED) for n in table.values()}
    listed |= {
        seccomp.SOCKET[column],
        seccomp.SOCKETPAIR[column],
        seccomp.PERSONALITY[column],
        seccomp.OF_SELF_SECOND["ioprio_set"][0][column],
    }
    for number in set(range(seccomp.FIRST_UNKNOWN)) - listed:
        assert answer(code, arch, number) == ALLOW, number


def test_calls_of_another_abi_and_of_the_future(machine: tuple[int, int]) -> None:
    _, arch = machine
    code = seccomp.base_filter()
    assert answer(code, 0x40000003, 20) == KILL  # AUDIT_ARCH_I386
    assert answer(code, arch, 0x40000000 + 1) == KILL  # x32
    assert answer(code, arch, seccomp.FIRST_UNKNOWN) == answer(code, arch, 9999) == error(errno.ENOSYS)


@pytest.mark.parametrize("flag", [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000])
def test_clone_may_make_threads_and_processes_but_no_namespace(machine: tuple[int, int], flag: int) -> None:
    column, arch = machine
    code = seccomp.base_filter()
    assert answer(code, arch, seccomp.CLONE[column], 0x3D0F00) == ALLOW  # what pthread_create asks for
    assert answer(code, arch, seccomp.CLONE[column], 17) == ALLOW  # fork
    assert answer(code, arch, seccomp.CLONE[column], flag | 17) == KILL


def test_arguments_decide_about_sockets_terminals_and_personality(machine: tuple[int, int]) -> None:
    column, arch = machine
    code = seccomp.base_filter()
    assert answer(code, arch, seccomp.SOCKET[column], 1) == ALLOW
    for family in (0, 2, 10, 16, 17, 40):
        assert answer(code, arch, seccomp.SOCKET[column], family) == error(errno.EACCES)
        assert answer(code, arch, seccomp.SOCKETPAIR[column], family, 1) == error(errno.EACCES)
    assert answer(code, arch, seccomp.SOCKETPAIR[column], 1, 2) == ALLOW
    assert answer(code, arch, seccomp.PIPE2[column], 0, 0x80800) == ALLOW  # O_CLOEXEC, O_NONBLOCK
    assert answer(code, arch, seccomp.PIPE2[column], 0, 0x80) == error(errno.EPERM)  # O_NOTIFICATION_PIPE
    assert answer(code, arch, seccomp.IOCTL[column], 0, 0x5401) == ALLOW  # TCGETS, isatty
    for request in (0x5412, 0x541C):
        assert answer(code, arch, seccomp.IOCTL[column], 0, request) == error(errno.EPERM)
    assert answer(code, arch, seccomp.PERSONALITY[column], 0xFFFFFFFF) == ALLOW
    assert answer(code, arch, seccomp.PERSONALITY[column], 0x0040000) == error(errno.EPERM)


def test_where_sockets_are_shared_only_connected_pairs_are_left(machine: tuple[int, int]) -> None:
    column, arch = machine
    code = seccomp.base_filter(shared=True)
    for name, numbers in seccomp.SHARED.items():
        if numbers[column] is not None:
            assert answer(code, arch, numbers[column], 1) == error(errno.EACCES), name
    for kind, wanted in (
        (1, ALLOW),
        (0x80801, ALLOW),
        (5, ALLOW),
        (2, error(errno.EACCES)),
        (0x802, error(errno.EACCES)),
    ):
        assert answer(code, arch, seccomp.SOCKETPAIR[column], 1, kind) == wanted
    assert answer(code, arch, seccomp.SOCKETPAIR[column], 30, 1) == error(errno.EACCES)


def test_limits_and_priorities_are_changed_for_oneself_alone(machine: tuple[int, int]) -> None:
    column, arch = machine
    code = seccomp.base_filter()
    for name, numbers in seccomp.OF_SELF.items():
        assert answer(code, arch, numbers[column], 0) == ALLOW, name
        assert answer(code, arch, numbers[column], 1) == error(errno.EPERM), name
    for name, (numbers, process) in seccomp.OF_SELF_SECOND.items():
        assert answer(code, arch, numbers[column], process, 0) == ALLOW, name
        assert answer(code, arch, numbers[column], process, 1) == error(errno.EPERM), name
        assert answer(code, arch, numbers[column], process + 2, 0) == error(errno.EPERM), name  # all of a user


def test_the_last_filter_takes_mount_away(machine: tuple[int, int]) -> None:
    column, arch = machine
    code = seccomp.final_filter()
    for numbers in seccomp.ZYGOTE_ONLY.values():
        assert answer(code, arch, numbers[column]) == KILL
    assert answer(code, arch, 1) == ALLOW
    assert len(code) // 8 < 10  # loaded once per run


def test_an_owner_changes_nothing_of_what_it_cannot_open(machine: tuple[int, int]) -> None:
    column, arch = machine
    free, owner = seccomp.final_filter(), seccomp.final_filter(owner=True)
    for name, numbers in seccomp.OF_OWNERS.items():
        if numbers[column] is not None:
            assert answer(free, arch, numbers[column]) == ALLOW, name
            assert answer(owner, arch, numbers[column]) == error(errno.EPERM), name
    for request in seccomp.SET_FLAGS:
        assert answer(owner, arch, seccomp.IOCTL[column], 3, request) == error(errno.EPERM)
    assert answer(owner, arch, seccomp.IOCTL[column], 3, 0x5401) == ALLOW  # TCGETS
    assert answer(owner, arch, 1) == ALLOW


def test_an_unknown_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp.platform, "machine", lambda: "riscv64")
    with pytest.raises(OSError, match="riscv64"):
        seccomp.base_filter()
