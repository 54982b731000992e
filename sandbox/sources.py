"""How does a file, or a folder of them, become a program? By the names that people give to source files.

The language is told by the suffix of most files; the file that starts is `main`, or the one that defines it. Files of other
kinds lie beside it. Text only: what is no UTF-8 cannot be a program here.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

from sandbox import languages
from sandbox.errors import BadInput
from sandbox.spec import Program

_STARTS = {
    "c": re.compile(r"\bmain\s*\("),
    "cpp": re.compile(r"\bmain\s*\("),
    "java": re.compile(r"\bstatic\s+(?:final\s+)?void\s+main\s*\("),
    "go": re.compile(r"^func\s+main\s*\(", re.M),
    "rust": re.compile(r"^\s*(?:pub\s+)?fn\s+main\s*\(", re.M),
}
_PYTHON_2 = re.compile(r"\A#!.*python2")


class NotAProgram(BadInput):
    """Nothing here knows how to run these files."""


def read_program(path: Path) -> Program:
    """The program in a file or a folder. Raises NotAProgram, or BadInput for what cannot be read."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    if not files:
        raise BadInput(f"{path}: no such file, and no folder with files: check the path")
    spoken = Counter(name for file in files if (name := languages.of_file(file.name)))
    if not spoken:
        suffixes = ", ".join(sorted({file.suffix or file.name for file in files}))
        raise NotAProgram(f"{path}: no language here has files like {suffixes}: add one as in docs/sandbox.md")
    language = languages.get(spoken.most_common(1)[0][0])
    texts = {file.relative_to(path).as_posix() if path.is_dir() else file.name: read_text(file) for file in files}
    own = [name for name in texts if languages.of_file(name) == language.name]
    first = _first(own, texts, language.name)
    source = texts.pop(first)
    if _PYTHON_2.match(source):
        raise NotAProgram(f"{path}: a program for Python 2, which no language here runs")
    suffix = os.path.splitext(language.source)[1]
    renamed = {f"{os.path.splitext(name)[0]}{suffix}" if name in own else name: text for name, text in texts.items()}
    return Program(source=source, language=language.name, files=renamed)


def read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
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
