"""What ran, and on what? The record that makes a run's numbers comparable: versions, machine, code, command.

Nothing is imported for it: versions are read from the metadata of installed packages.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

PACKAGES = ("coderl", "torch", "transformers", "accelerate", "peft", "tokenizers", "numpy")


def coderl_version() -> str:
    return installed("coderl") or "unknown"


def installed(package: str) -> str | None:
    """The installed version of `package`, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, object]:
    """A record for versions.json. `commit` is that of the folder coderl is imported from, "" outside a checkout."""
    return {
        "packages": {name: installed(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "num_cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "commit": _commit(),
        "command": command_line(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def command_line(arguments: list[str] | None = None) -> str:
    """The command that started this process, as it can be typed again."""
    program, *rest = sys.argv if arguments is None else arguments
    name = Path(program).name
    if name == "__main__.py":
        name = f"python -m {Path(program).parent.name}"
        return " ".join([name, shlex.join(rest)]).strip()
    return shlex.join([name, *rest])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
