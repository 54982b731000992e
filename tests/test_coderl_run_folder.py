"""A run folder: made once, locked, written whole or not at all; every obstacle is one line."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from coderl import versions
from coderl.config import parse
from coderl.errors import ConfigError, RunFolderError
from coderl.run_folder import RunFolder, atomic_write, explained, make_directory

RAW = {"stages": ["grpo"], "policy": {"model": "new:"}, "tasks": {"train": ["easy"]}, "name": "r"}


def config(tmp_path, **changes):
    return parse({**RAW, "output": str(tmp_path), **changes})


def test_create_writes_the_resolved_config_and_the_versions(tmp_path):
    folder = RunFolder.create(config(tmp_path, seed=7))
    assert folder.path == tmp_path / "r"
    assert parse(yaml.safe_load(folder.config_path.read_text())) == config(tmp_path, seed=7)
    assert RunFolder.open(folder.path).config() == config(tmp_path, seed=7)
    record = json.loads(folder.versions_path.read_text())
    assert record["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}")
    assert record["num_cpus"] >= 1
    assert {"torch", "transformers", "coderl"} <= record["packages"].keys()
    assert folder.rollouts_dir.is_dir()
    assert folder.checkpoints_dir.is_dir()


def test_a_folder_that_holds_something_is_refused_with_three_ways_out(tmp_path):
    RunFolder.create(config(tmp_path)).unlock()
    with pytest.raises(RunFolderError, match=r"--resume.*--overwrite.*name=") as caught:
        RunFolder.create(config(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_run_from_before_a_key_was_taken_out_is_still_read(tmp_path):
    folder = RunFolder.create(config(tmp_path))
    raw = yaml.safe_load(folder.config_path.read_text())
    for section in ("sft", "sample", "pairs", "dpo", "rejection", "reward_model", "best_of_n", "eval"):
        raw[section]["method"] = section
    folder.config_path.write_text(yaml.safe_dump(raw))
    assert RunFolder.open(folder.path).config() == config(tmp_path)
    folder.unlock()
    RunFolder.resume(config(tmp_path)).unlock()
    raw["eval"]["methods"] = 1
    folder.config_path.write_text(yaml.safe_dump(raw))
    with pytest.raises(ConfigError, match=r"unknown key 'eval\.methods'"):
        folder.config()


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "r").mkdir()
    assert RunFolder.create(config(tmp_path)).config_path.is_file()


def test_overwrite_empties_a_run_and_nothing_else(tmp_path):
    old = RunFolder.create(config(tmp_path))
    old.unlock()
    old.metrics_path.write_text("old\n")
    (old.checkpoints_dir / "stage000").mkdir()
    new = RunFolder.create(config(tmp_path, seed=1), overwrite=True)
    assert not new.metrics_path.exists()
    assert list(new.checkpoints_dir.iterdir()) == []
    assert new.config().seed == 1
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("mine")
    with pytest.raises(RunFolderError, match="not a run of coderl"):
        RunFolder.create(config(tmp_path, name="home"), overwrite=True)
    assert (tmp_path / "home" / "thesis.tex").read_text() == "mine"


def test_overwrite_does_not_empty_a_run_that_is_going_on(tmp_path):
    going = RunFolder.create(config(tmp_path))
    going.metrics_path.write_text("kept\n")
    with pytest.raises(RunFolderError, match="another process is training in it"):
        RunFolder.create(config(tmp_path), overwrite=True)
    assert going.metrics_path.read_text() == "kept\n"


def test_a_second_process_can_read_but_not_lock(tmp_path):
    first = RunFolder.create(config(tmp_path))
    path = first.path
    assert RunFolder.open(path).config() == first.config()
    code = f"""
import sys, time
from coderl.run_folder import RunFolder
RunFolder.open({str(path)!r}).lock()
"""
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "another process is training in it" in second.stderr


def test_the_lock_goes_with_its_process(tmp_path):
    code = f"""
import os
from coderl.config import parse
from coderl.run_folder import RunFolder
RunFolder.create(parse({ {**RAW, "output": str(tmp_path)}!r}))
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == -9
    RunFolder.open(tmp_path / "r").lock()


def test_opening_what_is_not_a_run_is_one_line(tmp_path):
    with pytest.raises(RunFolderError, match="no such folder; name the folder"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(RunFolderError, match="not a run of coderl"):
        RunFolder.open(tmp_path)


def test_other_processes_of_a_launch_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    folder = RunFolder.create(config(tmp_path))
    folder.lock()
    assert not folder.path.exists()


def test_atomic_write_leaves_the_old_file_when_the_disk_is_full(tmp_path, monkeypatch):
    path = tmp_path / "f"
    atomic_write(path, b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFolderError, match="the disk is full"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_file_in_the_way_of_a_folder_is_one_line(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(RunFolderError, match="output="):
        make_directory(tmp_path / "f" / "g")
    with pytest.raises(RunFolderError, match="already there"):
        RunFolder.create(config(tmp_path, name="f"))


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "permission denied"), (errno.EIO, "I/O")]
)
def test_every_obstacle_is_one_line_that_names_the_file(tmp_path, number, words):
    line = str(explained(OSError(number, os.strerror(number).replace("Input/output", "I/O")), tmp_path / "x"))
    assert words in line
    assert str(tmp_path / "x") in line
    assert "\n" not in line


def test_the_first_obstacle_of_a_copied_tree_is_told_and_not_the_list(tmp_path):
    files = [("a", "b", "[Errno 28] No space left on device: 'a' -> 'b'"), ("c", "d", "[Errno 28] No space left: 'c'")]
    line = str(explained(shutil.Error(files), tmp_path / "x"))
    assert line.startswith(f"{tmp_path / 'x'}: cannot be written: the disk is full")


def test_the_command_line_can_be_typed_again():
    assert (
        versions.command_line(["/usr/bin/coderl", "train", "my config", "seed=1"]) == "coderl train 'my config' seed=1"
    )
    assert versions.command_line(["/x/coderl/__main__.py", "train"]) == "python -m coderl train"


def test_a_run_that_failed_before_its_first_checkpoint_leaves_no_folder_and_a_later_one_keeps_it(tmp_path):
    folder = RunFolder.create(config(tmp_path))
    folder.discard_unless_begun()
    assert not folder.path.exists()
    folder = RunFolder.create(config(tmp_path))
    (folder.checkpoints_dir / "stage000-step0000000").mkdir()
    folder.discard_unless_begun()
    assert folder.config_path.is_file()
    folder.unlock()
