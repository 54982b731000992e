"""How is a run shut in? The zygote's half of the `jail` backend.

Once per slot (`build`): namespaces, a minimal read-only root, a user namespace whose root is nobody on the host, no
capability to gain, the big seccomp filter. Once per run (`JailCell`): control groups, a clean work folder, rlimits,
Landlock, another uid, no capabilities, the small filter. The zygote is process 1 of its pid namespace: one
kill(-1) from there reaches every process a run ever made and cannot be outrun by fork (the kernel checks for
signals under the lock that adds a process), and no signal from inside can hurt it.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

from sandbox import seccomp
from sandbox import syscalls as sys
from sandbox.cell import Work, fix_limits, run_limits, tree_usage
from sandbox.cgroup import Meter
from sandbox.jailroot import BOX, enter_root
from sandbox.syscalls import Step

INSIDE_ID = 1000  # uid and gid of programs, as they see it
FOLDERS = (f"{BOX}/work", f"{BOX}/tmp", f"{BOX}/shm")
SPARE_INODES = 1 + len(FOLDERS)
BASE_LAYERS = ("userns", "pidns", "mountns", "netns", "ipcns", "utsns", "seccomp", "rlimits", "no_new_privs", "tmpfs")


def build(config: dict[str, Any], judge: int) -> JailCell:
    """Turn this process into a supervisor and return, in its child, as process 1 of a new jail."""
    rooted = os.geteuid() == 0
    spaces = sys.CLONE_NEWNS | sys.CLONE_NEWNET | sys.CLONE_NEWIPC | sys.CLONE_NEWUTS | sys.CLONE_NEWPID
    user, group = os.geteuid(), os.getegid()
    if not rooted:
        spaces |= sys.CLONE_NEWUSER
    proc = os.open("/proc", os.O_PATH | os.O_CLOEXEC)
    sys.unshare(spaces)
    if not rooted:
        write_maps(proc, "self", [(INSIDE_ID, user)], [(INSIDE_ID, group)])
    ask_read, ask_write = os.pipe()
    answer_read, answer_write = os.pipe()
    child = os.fork()
    if child:
        os.close(ask_write)
        os.close(config["socket"])
        guard(child, judge, proc, ask_read, answer_write, config)
    os.close(ask_read)
    os.close(answer_write)
    if os.getpid() != 1:
        raise OSError("the zygote is not process 1 of a pid namespace")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # only what process 1 catches reaches it from inside
    sys.prctl(sys.PR_SET_PDEATHSIG, signal.SIGKILL)
    # Who is in the group `gid` sees all processes. As root that is the zygote alone; without root it shares its gid.
    enter_root(config["binds"], config["hide"], process_group=config["host_id"] if rooted else INSIDE_ID)
    socket.sethostname("sandbox")
    if rooted:
        sys.unshare(sys.CLONE_NEWUSER)
        os.write(ask_write, b"m")
        if os.read(answer_read, 1) != b"m":
            raise OSError("the user namespace got no uid map")
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        sys.unshare(sys.CLONE_NEWNS)  # a mount namespace that the new root may change
        sys.prctl(sys.PR_SET_PDEATHSIG, signal.SIGKILL)  # lost with the change of uid
    for fd in (ask_write, answer_read, proc):
        os.close(fd)
    sys.prctl(sys.PR_SET_DUMPABLE, 0)
    sys.drop_bounding_set()
    sys.prctl(sys.PR_SET_NO_NEW_PRIVS, 1)
    sys.load_filter(seccomp.base_filter())()
    meter = Meter(config["cgroup"]) if config["cgroup"] else None
    return JailCell(meter, rooted, tuple(config["cgroup_layers"]), config["site"])


def write_maps(proc: int, pid: str, users: list[tuple[int, int]], groups: list[tuple[int, int]]) -> None:
    """Map (inside, outside) ids of a new user namespace."""
    if pid == "self":
        _write(proc, "self/setgroups", "deny")
    _write(proc, f"{pid}/uid_map", "".join(f"{inside} {outside} 1\n" for inside, outside in users))
    _write(proc, f"{pid}/gid_map", "".join(f"{inside} {outside} 1\n" for inside, outside in groups))


def _write(proc: int, path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY, dir_fd=proc)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def guard(child: int, judge: int, proc: int, ask: int, answer: int, config: dict[str, Any]) -> NoReturn:
    """Outside the jail: map its ids when asked, then wait; the judge's death is the jail's death."""
    poller = select.poll()
    pidfd = os.pidfd_open(child)
    for fd in (judge, pidfd, ask):
        poller.register(fd, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poller.poll()}
        if judge in ready:
            os.kill(child, signal.SIGKILL)
        if judge in ready or pidfd in ready:
            os.waitpid(child, 0)
            for parent, name in config["cgroup_parents"]:
                with suppress(OSError):
                    os.rmdir(name, dir_fd=parent)
            os._exit(0)
        if ask in ready:
            poller.unregister(ask)
            if os.read(ask, 1) == b"m":
                base = config["host_id"]
                ids = [(0, base), (INSIDE_ID, base + 1)]
                write_maps(proc, str(child), ids, ids)
                os.write(answer, b"m")


class JailCell:
    """See `sandbox.cell.Cell`."""

    def __init__(self, meter: Meter | None, rooted: bool, cgroup_layers: tuple[str, ...], site: list[str]):
        import sys as interpreter

        self._meter, self._rooted = meter, rooted
        self._last_steps = (
            # from uid 0 to another the kernel drops all capabilities, and resets `dumpable` to what the host says
            sys.set_dumpable(0) if rooted else sys.drop_capabilities(),
            sys.load_filter(seccomp.final_filter()),
        )
        self._landlock = sys.landlock_version()
        self._ruleset = -1
        self._limits: list[tuple[int, tuple[int, int]]] = []
        self._limited: tuple[float, ...] = ()
        self._steps: tuple[Step, ...] = ()  # of `enter`; none where they are to be laid out anew
        self._mounted: tuple[int, int] | None = None
        self._pristine: tuple[Any, ...] = ()
        self.folder = FOLDERS[0]
        self.tick_seconds = 0.1 if meter else 0.02
        extra = [*(["landlock"] if self._landlock else []), *cgroup_layers, *(["uid-drop"] if rooted else [])]
        self.layers: tuple[str, ...] = (*BASE_LAYERS, *extra, *([] if meter else ["address-space-cap"]))
        interpreter.path.extend(site)
        os.environ.update(HOME=FOLDERS[0], TMPDIR=FOLDERS[1])
        os.umask(0o022)
        fix_limits()

    def prepare(self, job: Work) -> None:
        if self._mounted != (job.file_bytes, job.files):
            self._renew(job.file_bytes, job.files)
        if self._meter:
            self._meter.reset(job)
        spare = 8 if self._meter and self._meter.bounds_processes else 0  # let the group refuse: it counts
        spare += 0 if self._rooted else 2  # zygote and guard share the uid
        wanted = (job.cpu_seconds, job.file_bytes, job.processes, job.stack_bytes)
        if wanted != self._limited or not self._meter:
            self._limits = run_limits(job, cap_address_space=self._meter is None, spare_processes=spare)
            self._limited = wanted
            self._steps = ()
        if not self._steps:
            self._steps = self._lay_out()

    def enter(self, job: Work) -> None:
        for step in self._steps:
            step()

    def _lay_out(self) -> tuple[Step, ...]:
        """The steps of `enter`, beforehand: see `syscalls.prepared`."""
        ids = (INSIDE_ID, INSIDE_ID, INSIDE_ID)
        return (
            *(self._meter.joining if self._meter else ()),
            partial(os.chdir, FOLDERS[0]),
            *(partial(resource.setrlimit, what, bounds) for what, bounds in self._limits),
            *((sys.landlock_restrict(self._ruleset),) if self._landlock else ()),
            *((partial(os.setresgid, *ids), partial(os.setresuid, *ids)) if self._rooted else ()),
            *self._last_steps,
        )

    def usage(self, child: int) -> tuple[float, int]:
        cpu = self._meter.cpu_seconds() if self._meter else None
        if self._meter and self._meter.killed():
            return cpu or 0.0, 1 << 62  # the rest of the run waits for the dead, perhaps for ever
        if cpu is not None:
            return cpu, 0
        seconds, resident = tree_usage([int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"])
        return seconds, 0 if self._meter else resident

    def kill_all(self, child: int) -> bool:
        return sys.kill_everyone()

    def counters(self) -> dict[str, Any]:
        result = self._meter.counters() if self._meter else {}
        look = self._look()
        result["files_exceeded"] = 0 in look[:2]
        if look != self._pristine:
            assert self._mounted is not None
            self._renew(*self._mounted)
        return result

    def _look(self) -> tuple[Any, ...]:
        """Changes with anything that a run leaves behind: space, inodes, and the times of the folders."""
        state = os.statvfs(BOX)
        try:
            times = []
            for folder in (BOX, *FOLDERS):  # no comprehension: those are functions, made anew each time
                times.append(os.stat(folder, follow_symlinks=False).st_ctime_ns)
        except OSError:  # without root a program owns them, and may have moved them
            times = []
        return (state.f_bfree, state.f_ffree, *times)

    def _renew(self, file_bytes: int, files: int) -> None:
        """An empty work folder: a new tmpfs in place of the last one."""
        self._steps = ()
        if self._mounted:
            self._mounted = None
            os.chdir("/")
            sys.umount(BOX)
        options = f"size={file_bytes},nr_inodes={files + SPARE_INODES},mode=755"
        sys.mount("tmpfs", BOX, "tmpfs", sys.MS_NOSUID | sys.MS_NODEV, options)
        for folder in FOLDERS:
            os.mkdir(folder, 0o700)
            if self._rooted:
                os.chown(folder, INSIDE_ID, INSIDE_ID)
        if self._landlock:
            if self._ruleset >= 0:
                os.close(self._ruleset)
            rules = {"/": sys.LANDLOCK_READ, "/dev": sys.LANDLOCK_DEVICE | sys.LANDLOCK_READ}
            rules |= dict.fromkeys(FOLDERS, sys.LANDLOCK_OWN)
            self._ruleset = sys.landlock_ruleset(self._landlock, rules)
        self._mounted = (file_bytes, files)
        self._pristine = self._look()
