"""How does pytest get into a jail that shows no installed packages?

As one archive of its modules, handed over only where a suite asks for it and unpacked nowhere: `zipimport` reads it.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import zipfile
from pathlib import Path

from sandbox.backend import SandboxUnavailable

PACKAGES = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging")
OPTIONAL = ("py", "pygments")  # what some versions of it import
LEXERS = {"__init__.py", "_mapping.py", "python.py", "diff.py"}  # of hundreds in pygments
UNCHECKED = (1).to_bytes(4, "little")  # the flag of a compiled form that is not compared with its source


@functools.cache
def pytest_archive() -> bytes:
    """The modules of pytest as installed here, with their compiled form. Raises SandboxUnavailable."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in (*PACKAGES, *OPTIONAL):
            spec = importlib.util.find_spec(name)
            if spec is None or spec.origin is None:
                if name in OPTIONAL:
                    continue
                raise SandboxUnavailable(f"a pytest suite needs {name}, which is not installed: `pip install pytest`")
            origin = Path(spec.origin)
            for path in sorted(origin.parent.rglob("*.py")) if spec.submodule_search_locations else [origin]:
                _add(archive, path, origin.parent.parent if spec.submodule_search_locations else origin.parent)
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, path: Path, root: Path) -> None:
    """A source and its compiled form, bound to the source's text and not to a time, which time zones would change."""
    if path.parent.name == "lexers" and path.name not in LEXERS:
        return
    inside, source = path.relative_to(root).as_posix(), path.read_bytes()
    archive.writestr(inside, source)
    compiled = Path(importlib.util.cache_from_source(str(path)))
    if compiled.exists():
        data = compiled.read_bytes()
        archive.writestr(f"{inside}c", data[:4] + UNCHECKED + importlib.util.source_hash(source) + data[16:])
