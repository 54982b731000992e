"""What every test gets: no network, no display, reproducible examples, and skips that say what is missing.

A test that needs an engine, a browser or a GPU carries the marker of that name; it is skipped here, in one place, with
the reason. Nothing else is shared.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess

import pytest
from hypothesis import settings

# Set before any test imports these libraries: they read them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MPLBACKEND"] = "Agg"
os.environ["OMP_NUM_THREADS"] = "1"  # sums split over threads are not promised to round alike in two processes

settings.register_profile("repository", derandomize=True, deadline=None, database=None, print_blob=True)
settings.register_profile("slow", settings.get_profile("repository"), derandomize=False, max_examples=10_000)
settings.load_profile("repository")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = {"docker": _docker_fault, "browser": _browser_fault, "gpu": _gpu_fault}
    for item in items:
        for marker, fault in missing.items():
            if item.get_closest_marker(marker) and (reason := fault()):
                item.add_marker(pytest.mark.skip(reason=reason))


@functools.cache
def _docker_fault() -> str:
    if shutil.which("docker") is None:
        return "no docker client is installed"
    try:
        found = subprocess.run(["docker", "version"], capture_output=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return "the Docker Engine did not answer in 20 s"
    return "" if found.returncode == 0 else "no Docker Engine answers (.ci/run starts one)"


@functools.cache
def _browser_fault() -> str:
    return "" if any(map(shutil.which, BROWSERS)) else f"none of {', '.join(BROWSERS)} is installed"


@functools.cache
def _gpu_fault() -> str:
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    return "" if torch.cuda.is_available() else "no CUDA device"
