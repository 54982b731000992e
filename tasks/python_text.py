"""How is other people's Python parsed, without running it and without its warnings reaching the user?

Published benchmarks hold strings such as '\\w', about which newer Pythons warn when they parse them.
"""

from __future__ import annotations

import ast
import warnings


def parse(text: str) -> ast.Module:
    """The syntax tree of `text`. Raises SyntaxError with a message that fits on one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except (ValueError, RecursionError, MemoryError) as error:  # null bytes, or nested beyond the parser's depth
            raise SyntaxError(str(error)) from None


def signature(function: ast.FunctionDef) -> str:
    """The first line of a function, on one line and without comments.

    >>> signature(parse("def f(a: int,\\n  b=2) -> str: # why\\n  pass").body[0])
    'def f(a: int, b=2) -> str:'
    """
    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    return f"def {function.name}({ast.unparse(function.args)}){returns}:"


def literal(text: str) -> tuple[object] | None:
    """The plain value that `text` writes, as a 1-tuple so that None is not an absent one; None where it writes none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return (ast.literal_eval(text.strip()),)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return None
