"""Which one-step changes can be made to a program in a language with C's tokens, without a parser for it?

Operators, comparisons, boolean operators, whole numbers and truth values, outside of strings and comments. A change that does
not compile (`<` of a template) says nothing about the tests, and is not counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SUPPORTED = ("c", "cpp", "go", "java", "javascript", "rust", "typescript")
_TOKEN = re.compile(
    r"""(?P<skip>//[^\n]*|/\*.*?\*/|^[ \t]*\#[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)"""
    r"|(?P<word>[A-Za-z_]\w*)|(?P<number>\d[\w.]*)"
    r"|(?P<operator><<=?|>>=?|->|=>|::|\+\+|--|&&|\|\||[-+*/%&|^<>=!]=?=?|\S)",
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
_OPERATORS = {
    "<": ("<=", ">="), "<=": ("<", ">"), ">": (">=", "<="), ">=": (">", "<"), "==": ("!=",), "!=": ("==",),
    "===": ("!==",), "!==": ("===",), "+": ("-",), "-": ("+",), "*": ("+",), "/": ("*",), "%": ("/",), "&&": ("||",),
    "||": ("&&",), "+=": ("-=",), "-=": ("+=",), "*=": ("+=",), "++": ("--",), "--": ("++",),
}  # fmt: skip
_WORDS = {"true": "false", "false": "true", "min": "max", "max": "min", "break": "continue", "continue": "break"}


def token_edits(text: str, after_line: int) -> Iterator[tuple[str, int, str, str]]:
    """(operator, line, change, whole program) for every change below `after_line`, in order.

    >>> [change for _, _, change, _ in token_edits("int f(int n) { return n < 3 /* < */; }", 0)]
    ['< -> <=', '< -> >=', '3 -> 4']
    """
    for token in _TOKEN.finditer(text):
        line = text.count("\n", 0, token.start()) + 1
        if line <= after_line:
            continue
        for operator, new in _changes(token):
            source = text[: token.start()] + new + text[token.end() :]
            yield operator, line, f"{token[0]} -> {new}", source


def _changes(token: re.Match[str]) -> Iterator[tuple[str, str]]:
    written = token[0]
    if token.lastgroup == "operator":
        kind = "comparison" if written[0] in "<>=!" else "boolean" if written in ("&&", "||") else "arithmetic"
        yield from ((kind, other) for other in _OPERATORS.get(written, ()))
    elif token.lastgroup == "number" and written.isdecimal():
        yield "constant", str(int(written) + 1)
    elif token.lastgroup == "word" and written in _WORDS:
        yield "constant" if written in ("true", "false") else "exchanged word", _WORDS[written]
