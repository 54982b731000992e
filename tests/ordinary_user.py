"""The sandbox as another user of this machine sees it: a copy that all may read, and a system interpreter to run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "sandbox"
DROP = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")


def system_python() -> str:
    """An interpreter that other users can read; skips the test where there is none."""
    python = next(filter(_is_recent, ("/usr/bin/python3", "/usr/local/bin/python3")), None)
    if python is None or shutil.which("setpriv") is None:
        pytest.skip("no system interpreter 3.11 that an ordinary user can read, or no setpriv")
    return python


@contextmanager
def readable_copy() -> Iterator[Path]:
    """A folder that holds the package `sandbox`, for everybody."""
    with tempfile.TemporaryDirectory(prefix="coderl-copy-", dir="/tmp") as folder:
        shutil.copytree(PACKAGE, Path(folder, "sandbox"), ignore=shutil.ignore_patterns("__pycache__"))
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        yield Path(folder)


def _is_recent(python: str) -> bool:
    check = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    return os.path.exists(python) and subprocess.run(check, check=False).returncode == 0
