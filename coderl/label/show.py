"""How does a hostile program become something to look at? Lines of escaped, highlighted markup; nothing of it ever runs.

Characters that show nothing or turn the direction of text are spelt out first (`printable`), then Pygments splits the text into
tokens and escapes each. Text too long for that is escaped alone, and says so.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from sandbox import printable

MAX_HIGHLIGHTED = 20_000  # characters; Pygments takes about 1 s for a million
MAX_SHOWN = 200_000
MAX_DIFF_LINES = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a program; `changed` where the program beside it has another."""

    number: int
    text: Markup
    changed: bool


def shown_text(text: str) -> str:
    """Text for a person, cut where it is too long; to be escaped by the page."""
    cut = f"{text[:MAX_SHOWN]}\n... ({len(text)} characters)" if len(text) > MAX_SHOWN else text
    return printable(cut.replace("\r\n", "\n"))


def shown_program(program: str, language: str, *, changed: frozenset[int] = frozenset()) -> list[Line]:
    """The lines of a program; `changed` holds numbers of lines, from 1."""
    text = shown_text(program).rstrip("\n")
    marked = (
        _highlighted(text, language) if len(text) <= MAX_HIGHLIGHTED else [escape(line) for line in text.split("\n")]
    )
    return [Line(number=n, text=line, changed=n in changed) for n, line in enumerate(marked, 1)]


def changed_lines(first: str, second: str) -> tuple[frozenset[int], frozenset[int]]:
    """The numbers of the lines of each that the other does not have at that place; () where one of them is too long."""
    one, other = set[int](), set[int]()
    for tag, i, j, k, m in _opcodes(first, second) or ():
        if tag != "equal":
            one.update(range(i + 1, j + 1))
            other.update(range(k + 1, m + 1))
    return frozenset(one), frozenset(other)


def unified(first: str, second: str) -> list[tuple[str, str]]:
    """(sign, line) of a whole unified diff from the first to the second: "-", "+" or " "."""
    codes = _opcodes(first, second)
    if codes is None:
        return [(" ", f"the programs are too long for a diff (more than {MAX_DIFF_LINES} lines)")]
    a, b = _lines(first), _lines(second)
    rows: list[tuple[str, str]] = []
    for tag, i, j, k, m in codes:
        if tag == "equal":
            rows += [(" ", line) for line in a[i:j]]
        else:
            rows += [("-", line) for line in a[i:j]] + [("+", line) for line in b[k:m]]
    return rows


@functools.lru_cache(maxsize=8)  # a page asks twice
def _opcodes(first: str, second: str) -> Sequence[tuple[str, int, int, int, int]] | None:
    """How the lines of the first become those of the second, as difflib tells it; None where one is too long."""
    a, b = _lines(first), _lines(second)
    if max(len(a), len(b)) > MAX_DIFF_LINES:
        return None
    return difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()


def _lines(program: str) -> Sequence[str]:
    return shown_text(program).rstrip("\n").split("\n")


def _highlighted(text: str, language: str) -> list[Markup]:
    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=True)
    except ClassNotFound:
        return [escape(line) for line in text.split("\n")]
    marked: str = highlight(text, lexer, HtmlFormatter(nowrap=True))
    return [Markup(line) for line in marked.removesuffix("\n").split("\n")]
