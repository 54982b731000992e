"""Is the repository fit to be cloned: nothing large, nothing of one machine, nothing unfinished, every pin in place?"""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
MAX_BYTES = 1_000_000
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# Written in pieces, so that this file passes its own test.
MACHINE_PATHS = re.compile("|".join([
    "/wo" + r"rk/(main|shared|\.library)", "/tm" + r"p/v\b", "/ro" + r"ot/\.", "/op" + "t/(pypi|wheels)",
    "/Use" + r"rs/\w", "/ho" + r"me/(?!user|runner|nobody|sandbox)\w+/",
]))  # fmt: skip
UNFINISHED = re.compile(r"\b(TO" + "DO|FIX" + "ME|XX" + r"X)\b(?!-)")


CACHE = re.compile(r"(^|/)(__pycache__|\.(?!ci/)[^/]*)(/|$)")


def repository_files() -> list[Path]:
    """What git tracks or would track; without git (a source archive), everything but caches."""
    git = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(git, cwd=ROOT, capture_output=True, check=True, timeout=60).stdout.decode().split("\0")
        paths = [ROOT / name for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [p for p in ROOT.rglob("[!.]*") if not CACHE.search(p.relative_to(ROOT).as_posix())]
    return sorted(p for p in paths if p.is_file())


FILES = repository_files()


def text_lines() -> list[tuple[str, str]]:
    lines = []
    for path in FILES:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        lines += [(f"{path.relative_to(ROOT)}:{number}", line) for number, line in enumerate(text.splitlines(), 1)]
    return lines


def test_no_file_is_larger_than_a_megabyte():
    assert [f"{p.relative_to(ROOT)}: {p.stat().st_size} bytes" for p in FILES if p.stat().st_size > MAX_BYTES] == []


def test_no_line_names_a_path_of_the_machine_it_was_written_on():
    assert [f"{place}: {line.strip()}" for place, line in text_lines() if MACHINE_PATHS.search(line)] == []


def test_nothing_is_left_to_do_in_a_comment():
    assert [f"{place}: {line.strip()}" for place, line in text_lines() if UNFINISHED.search(line)] == []


def test_no_document_holds_a_placeholder_for_output_to_come():
    lines = [(place, line) for place, line in text_lines() if place.split(":")[0].endswith(".md")]
    assert [place for place, line in lines if re.fullmatch(r"[A-Z]+(_[A-Z]+)+", line.strip())] == []


def test_links_stay_inside_the_repository():
    links = [p for p in FILES if p.is_symlink()]
    assert [str(p.relative_to(ROOT)) for p in links if not p.resolve().is_relative_to(ROOT)] == []


def test_the_tests_lie_flat():
    assert [p.name for p in (ROOT / "tests").iterdir() if p.is_dir() and any(p.glob("*.py"))] == []


def test_the_ci_script_can_be_executed():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_relative_links_in_documents_lead_somewhere():
    broken = []
    for path in FILES:
        if path.suffix != ".md":
            continue
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
            name = target.split("#")[0]
            if name and "://" not in target and not target.startswith("mailto:") and not (path.parent / name).exists():
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert broken == []


PINS = {
    canonicalize_name(name): version
    for name, version in re.findall(r"^([\w.-]+)==([\w.]+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
}
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
PINNED_EXTRAS = ("train", "docker", "serve", "label", "dev")
REQUIREMENTS = PYPROJECT["project"]["dependencies"] + [r for extra in PINNED_EXTRAS for r in EXTRAS[extra]]


@pytest.mark.parametrize("requirement", sorted({*REQUIREMENTS} - {"pip>=23"}))
def test_every_dependency_is_pinned_to_a_version_in_its_range(requirement):
    wanted = Requirement(requirement)
    assert wanted.specifier.contains(PINS[canonicalize_name(wanted.name)])


def test_constraints_hold_exact_public_versions_and_nothing_else():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(PINS)  # no range, no local suffix such as +cpu, no name twice


def test_one_version_everywhere():
    version = PYPROJECT["project"]["version"]
    released = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert released[0] == version
    for package in ("coderl", "sandbox", "tasks"):
        said = re.findall(
            r'^__version__ = "(.+)"', (ROOT / package / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE
        )
        assert said in ([], [version])
