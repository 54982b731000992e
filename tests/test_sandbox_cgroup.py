"""Are control groups found, made, worked and read on machines with version 2, version 1, both, and none? On made-up trees."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox import cgroup
from sandbox.limits import Limits


def machine(folder: Path, mounts: list[str], groups: str) -> Path:
    """A process whose mounts and groups are these; `{top}` is the folder of the control groups."""
    process = folder / "proc"
    process.mkdir()
    lines = [f"{kind} {folder / where} {kind} {options} 0 0" for kind, where, options in map(str.split, mounts)]
    (process / "mounts").write_text("\n".join(["proc /proc proc rw 0 0", *lines]) + "\n")
    (process / "cgroup").write_text(groups)
    return process


def test_version_2_takes_the_nearest_group_that_hands_memory_and_processes_down(tmp_path: Path) -> None:
    process = machine(tmp_path, ["cgroup2 fs rw"], "0::/user.slice/session.scope\n")
    session = tmp_path / "fs/user.slice/session.scope"
    session.mkdir(parents=True)
    (session / "cgroup.subtree_control").write_text("\n")
    (session.parent / "cgroup.subtree_control").write_text("cpu memory pids\n")
    assert cgroup.parents(process) == {"unified": session.parent}
    (session.parent / "cgroup.subtree_control").write_text("cpu memory\n")
    (session.parent.parent / "cgroup.subtree_control").write_text("cpu\n")
    assert cgroup.parents(process) == {}  # nobody hands down processes


def test_version_1_gives_each_controller_its_own_folder(tmp_path: Path) -> None:
    process = machine(
        tmp_path,
        ["cgroup memory rw,memory", "cgroup pids rw,pids", "cgroup cpu rw,cpu,cpuacct"],
        "3:memory:/job\n2:pids:/\n1:cpu,cpuacct:/\n",
    )
    for name in ("memory/job", "pids", "cpu"):
        (tmp_path / name).mkdir(parents=True)
    assert cgroup.parents(process) == {
        "memory": tmp_path / "memory/job",
        "pids": tmp_path / "pids",
        "cpuacct": tmp_path / "cpu",
    }


def test_where_version_1_has_the_memory_version_2_is_left_alone(tmp_path: Path) -> None:
    process = machine(tmp_path, ["cgroup memory rw,memory", "cgroup2 unified rw"], "1:memory:/\n0::/\n")
    for name in ("memory", "unified"):
        (tmp_path / name).mkdir()
    (tmp_path / "unified/cgroup.subtree_control").write_text("memory pids\n")
    assert cgroup.parents(process) == {"memory": tmp_path / "memory"}


@pytest.mark.parametrize("groups", ["", "0::/\n"])
def test_without_control_groups_there_is_no_group(tmp_path: Path, groups: str, monkeypatch: pytest.MonkeyPatch) -> None:
    process = machine(tmp_path, [], groups)
    assert cgroup.parents(process) == {}
    monkeypatch.setattr(cgroup, "parents", lambda: {})
    assert cgroup.make("x") is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_none(tmp_path: Path) -> None:
    process = machine(tmp_path, ["cgroup memory rw,memory"], "1:memory:/\n")
    (tmp_path / "memory").mkdir(mode=0o555)
    assert cgroup.parents(process) == {}


def test_a_group_without_memory_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "parents", lambda: {"pids": tmp_path})
    assert cgroup.make("x") is None
    assert list(tmp_path.iterdir()) == []


def test_groups_of_dead_judges_alone_are_swept(tmp_path: Path) -> None:
    for name in (f"coderl-{os.getpid()}-0", "coderl-4194303-0", "coderl-other", "mine"):
        (tmp_path / name).mkdir()
    cgroup.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"coderl-{os.getpid()}-0", "coderl-other", "mine"}


def test_a_meter_of_version_2_sets_joins_and_counts(tmp_path: Path) -> None:
    files = {
        "cgroup.procs": "", "memory.max": "max", "memory.peak": "4096", "memory.events": "low 0\noom 1\noom_kill 2\n",
        "pids.max": "max", "pids.events": "max 7\n", "cpu.stat": "usage_usec 1500000\nuser_usec 1\n",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    group = cgroup.Group({"unified": tmp_path})
    assert group.layers == ("cgroup-v2-memory", "cgroup-v2-pids")
    fds = group.open()
    meter = cgroup.Meter(fds)
    assert meter.bounds_processes
    meter.reset(Limits(memory_bytes=64 << 20, processes=5))
    assert (tmp_path / "memory.max").read_text() == str(64 << 20)
    assert (tmp_path / "pids.max").read_text().startswith("5")
    meter.join()
    assert (tmp_path / "cgroup.procs").read_text() == "0"  # the writer
    assert (meter.killed(), meter.cpu_seconds()) == (False, 0.0)
    (tmp_path / "memory.events").write_text("low 0\noom 2\noom_kill 3\n")
    (tmp_path / "pids.events").write_text("max 8\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 1750000\n")
    counters = meter.counters()
    assert (counters["oom"], counters["pids_exceeded"], counters["cpu_ms"]) == (True, True, 250.0)  # 1.75 s - 1.5 s
    for fd in fds.values():
        os.close(fd)


class KernelBefore612:
    """Reads and writes of the files of a group, by the name of the file: `memory.peak` cannot be written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, current: int, peak: int):
        self.numbers = {"memory.current": current, "memory.peak": peak, "memory.events": 0}
        self.reclaimed: list[int] = []
        self.fds = {
            f"unified/{name}": -number for number, name in enumerate((*self.numbers, "memory.max", "memory.reclaim"), 2)
        }
        self.names = {fd: name.removeprefix("unified/") for name, fd in self.fds.items()}
        monkeypatch.setattr(os, "pread", lambda fd, size, offset: b"%d\n" % self.numbers[self.names[fd]])
        monkeypatch.setattr(os, "pwrite", self.write)

    def write(self, fd: int, data: bytes, offset: int) -> int:
        name = self.names[fd]
        if name in self.numbers:
            raise OSError(9, "Bad file descriptor")
        if name == "memory.reclaim":
            self.reclaimed.append(int(data))
            self.numbers["memory.current"] = 1000
        return len(data)


def test_where_no_new_peak_can_be_begun_a_run_is_charged_what_was_seen_of_it_and_never_an_earlier_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = KernelBefore612(monkeypatch, current=1000, peak=50_000)
    meter = cgroup.Meter(kernel.fds)
    meter.reset(Limits())
    kernel.numbers |= {"memory.current": 31_000}
    assert not meter.killed()  # a tick: 31,000 in use
    kernel.numbers |= {"memory.current": 2_000}
    assert meter.counters()["memory_at_least"] == 30_000
    kernel.numbers |= {"memory.peak": 71_000}  # above all earlier runs: this one's
    assert meter.counters()["memory_at_least"] == 70_000
    meter.reset(Limits())
    assert meter.counters()["memory_at_least"] == 0
    assert kernel.reclaimed == []  # an old peak is nothing that could be reclaimed


def test_what_earlier_runs_left_is_reclaimed_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = KernelBefore612(monkeypatch, current=5 << 20, peak=9 << 20)
    meter = cgroup.Meter(kernel.fds)
    meter.reset(Limits())
    assert kernel.reclaimed == [5 << 20]
    kernel.numbers |= {"memory.peak": 10_001_000}
    assert meter.counters()["memory_at_least"] == 10_000_000  # from 1,000, where it starts after that


def test_the_way_to_a_divided_group_of_version_2_is_named_where_it_is_ones_own(tmp_path: Path) -> None:
    process = machine(tmp_path, ["cgroup2 fs rw"], "0::/scope\n")
    scope = tmp_path / "fs/scope"
    scope.mkdir(parents=True)
    (scope / "cgroup.controllers").write_text("cpu memory\n")
    (scope / "cgroup.subtree_control").write_text("\n")
    assert cgroup.hand_down(process) == ""  # no pids to hand down
    (scope / "cgroup.controllers").write_text("cpu memory pids\n")
    assert cgroup.hand_down(process) == f"echo +memory +pids > {scope}/cgroup.subtree_control"  # the top group
    (scope / "cgroup.type").write_text("domain\n")
    (scope / "cgroup.procs").write_text("17\n")
    (scope / "all").mkdir()  # in a real one its files come with it
    assert os.system(f"{cgroup.hand_down(process)} 2>/dev/null") == 0
    assert (scope / "all/cgroup.procs").read_text() == "17\n"
    assert (scope / "cgroup.subtree_control").read_text() == "+memory +pids\n"
