"""When are two programs the same? Equal syntax trees after comments, layout, docstrings and local names are set aside.

Names that a program binds itself (parameters, variables) are numbered in the order in which they appear; those it
only reads (built-ins, modules) and attributes keep theirs. Text that does not parse, or is too long to be looked at, is its
own key. Never raises and never runs anything.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import io
import tokenize
import warnings

MAX_CHARACTERS = 100_000


@functools.lru_cache(maxsize=4096)
def program_key(source: str) -> str:
    """A short hash that programs share when they differ in layout and names of their own only.

    >>> program_key("def f(x):\\n    return x + 1") == program_key("def f(n):  # add one\\n    return (n + 1)")
    True
    >>> program_key("def f(x):\\n    return x + 1") == program_key("def f(x):\\n    return x + 2")
    False
    """
    try:
        if len(source) > MAX_CHARACTERS:
            raise ValueError("too long")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a program's literals look like is not our concern
            tree = ast.parse(source)
        text = ast.dump(_Renamed(tree).visit(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        text = "text " + source.strip()
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:32]


def tokens(source: str) -> list[str]:
    """The tokens of a program without comments and layout; pieces split at white space where it cannot be tokenised."""
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENCODING, tokenize.ENDMARKER}
    try:
        found = tokenize.generate_tokens(io.StringIO(source).readline)
        return [token.string.strip() or token.string[:1] for token in found if token.type not in layout]
    except (tokenize.TokenError, SyntaxError, ValueError):
        return source.split()


def edit_distance(first: list[str], second: list[str], limit: int = 64) -> int:
    """How many tokens must be inserted, deleted or replaced; `limit` where it is that many or more (Levenshtein 1966)."""
    if abs(len(first) - len(second)) >= limit:
        return limit
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
        if min(row) >= limit:
            return limit
    return row[-1]


class _Renamed(ast.NodeTransformer):
    """Numbers the names that the tree binds, and drops docstrings."""

    def __init__(self, tree: ast.AST) -> None:
        bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
        bound |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
        self._bound, self._numbers = bound, dict[str, str]()

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(id=self._renamed(node.id), ctx=node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(arg=self._renamed(node.arg))

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        name = node.arg if node.arg is None else self._renamed(node.arg)
        return ast.keyword(arg=name, value=self.visit(node.value))

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return ast.Pass() if is_text else self.generic_visit(node)

    def _renamed(self, name: str) -> str:
        if name not in self._bound:
            return name
        return self._numbers.setdefault(name, f"_{len(self._numbers)}")
