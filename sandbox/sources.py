"""How does a file, or a folder of them, become a program? By the names that people give to source files.

The language is told by the suffix of most files; the file that starts is `main`, or the one that defines it. Files of other
kinds lie beside it. Text only: what is no UTF-8 cannot be a program here.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from pathlib import Path

from sandbox import languages
from sandbox.errors import BadInput
from sandbox.spec import Program

MAX_BYTES = 256 << 20  # of one file
_STARTS = {
    "c": re.compile(r"\bmain\s*\("),
    "cpp": re.compile(r"\bmain\s*\("),
    "java": re.compile(r"\bstatic\s+(?:final\s+)?void\s+main\s*\("),
    "go": re.compile(r"^func\s+main\s*\(", re.M),
    "rust": re.compile(r"^[ \t]*(?:pub\s+)?fn\s+main\s*\(", re.M),
}
_PYTHON_2 = re.compile(r"\A#!.*python2")


class NotAProgram(BadInput):
    """Nothing here knows how to run these files."""


def read_program(path: Path, within: Path | None = None) -> Program:
    """The program in a file or a folder. Raises NotAProgram, or BadInput for what cannot be read.

    No link in the folder may lead out of `within` (by default: out of the folder itself).
    """
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    if not files:
        raise BadInput(f"{path}: no such file, and no folder with files: check the path")
    spoken = Counter(name for file in files if (name := languages.of_file(file.name)))
    if not spoken:
        suffixes = ", ".join(sorted({file.suffix or file.name for file in files}))
        raise NotAProgram(f"{path}: no language here has files like {suffixes}: add one as in docs/sandbox.md")
    language = languages.get(spoken.most_common(1)[0][0])
    inside = within or (path if path.is_dir() else None)
    texts = {
        file.relative_to(path).as_posix() if path.is_dir() else file.name: read_text(file, inside) for file in files
    }
    own = [name for name in texts if languages.of_file(name) == language.name]
    first = _first(own, texts, language.name)
    source = texts.pop(first)
    if _PYTHON_2.match(source):
        raise NotAProgram(f"{path}: a program for Python 2, which no language here runs")
    suffix = os.path.splitext(language.source)[1]
    renamed = {f"{os.path.splitext(name)[0]}{suffix}" if name in own else name: text for name, text in texts.items()}
    return Program(source=source, language=language.name, files=renamed)


def read_text(path: Path, within: Path | None = None) -> str:
    """The text of a file, which must be a regular one; a link to it may not lead out of the folder `within`."""
    if within is not None and not path.resolve().is_relative_to(within.resolve()):
        raise BadInput(f"{path}: a link that leaves {within}: put the file there")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would be waited for
        with open(descriptor, "rb") as file:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode) or state.st_size > MAX_BYTES:
                raise BadInput(f"{path}: no regular file of at most {MAX_BYTES >> 20} MiB: put one there")
            return file.read(MAX_BYTES).decode()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}): check the path") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: no UTF-8 at byte {error.start}: convert it") from None


def _first(names: list[str], texts: dict[str, str], language: str) -> str:
    """The file that starts."""
    called_main = [name for name in names if os.path.splitext(name)[0] in ("main", "Main", "__main__")]
    starts = _STARTS.get(language)
    defining = [name for name in names if starts and starts.search(texts[name])]
    return (called_main or defining or names)[0]
