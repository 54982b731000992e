"""Does the wheel hold all that the checkout does, and does what it installs work from any folder?"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("sandbox", "tasks", "coderl", "configs")

pytestmark = pytest.mark.skipif(not (ROOT / "README.md").is_file(), reason="the wheel needs README.md")


def run(*command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"NO_COLOR": "1", **variables}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network: `--no-build-isolation` takes hatchling from the extra `dev`."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    done = run(*pip, "--wheel-dir", str(folder), str(ROOT), cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel in it, to be put on PYTHONPATH: it comes before this checkout, dependencies come from here."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--disable-pip-version-check", "--quiet"]
    done = run(*pip, "--target", str(folder), str(wheel), cwd=folder, PIP_ROOT_USER_ACTION="ignore")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    packed = {name for name in names if ".dist-info/" not in name}
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == expected
    assert {"sandbox/py.typed", "tasks/py.typed", "coderl/py.typed", "configs/quickstart.yaml"} <= packed
    assert any(re.fullmatch(r"tasks/data/.+\.jsonl", name) for name in packed)


def test_a_plain_install_brings_no_torch_and_both_commands(wheel):
    archive = zipfile.ZipFile(wheel)
    (folder,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    metadata = Parser().parsestr(archive.read(f"{folder}/METADATA").decode())
    base = {re.split(r"[<>=;\s]", r)[0].lower() for r in metadata.get_all("Requires-Dist") if "extra ==" not in r}
    assert base == {"numpy", "pydantic", "pyyaml", "rich", "typer"}
    assert metadata["License-Expression"] == "Apache-2.0"
    assert f"{folder}/licenses/LICENSE" in archive.namelist()
    scripts = archive.read(f"{folder}/entry_points.txt").decode()
    assert "coderl = coderl.__main__:main" in scripts
    assert "sandbox = sandbox.__main__:main" in scripts


def test_the_installed_copy_finds_a_shipped_config_and_the_shipped_tasks_by_name(installed, tmp_path):
    code = (
        "import coderl.config, tasks.registry\n"
        "print(coderl.config.__file__)\n"
        "print(coderl.config.load('quickstart').name)\n"
        "print(len(tasks.registry.load('easy')) > 0)\n"
    )
    done = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stderr
    where, name, has_tasks = done.stdout.splitlines()
    assert Path(where).is_relative_to(installed)
    assert (name, has_tasks) == ("quickstart", "True")


def test_the_installed_command_prints_a_shipped_config(installed, tmp_path):
    if not (installed / "coderl" / "cli.py").is_file():
        pytest.skip("coderl.cli is not written yet")
    command = installed / "bin" / "coderl"
    done = run(sys.executable, str(command), "config", "quickstart", cwd=tmp_path, PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stderr
    assert re.search(r"^name: quickstart$", done.stdout, re.MULTILINE)
