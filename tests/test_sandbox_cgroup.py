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
