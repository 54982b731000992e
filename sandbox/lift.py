"""How do a benchmark's tests become cases in which the candidate is only a guest?

HumanEval's `check(candidate)` and MBPP's asserts become `AssertCase`s: the test runs in the referee, with the helpers that
the task itself defines, and only the names that it leaves free are looked up in the candidate. Pure text work.
"""

from __future__ import annotations

import ast
import builtins
import sys
import warnings
from collections.abc import Collection, Sequence

from sandbox.spec import AssertCase

_BUILTINS = frozenset(dir(builtins)) | {"__name__", "__file__"}


def humaneval(prompt: str, entry_point: str, test: str) -> AssertCase:
    """The case of a HumanEval row. Raises SyntaxError, or ValueError if `prompt` does not define `entry_point`.

    >>> case = humaneval("import math\\n\\ndef f(x):\\n    pass\\n", "f", "def check(candidate):\\n    assert candidate(1)\\n")
    >>> case.names, case.prelude
    (('f',), 'import math\\n')
    """
    target = next((node for node in _parse(prompt).body if _defines(node, entry_point)), None)
    if target is None:
        raise ValueError(f"the prompt does not define {entry_point!r}")
    parsed(test)
    helpers = "".join(f"{line}\n" for line in prompt.split("\n")[: target.lineno - 1]).rstrip("\n")
    prelude = f"{helpers}\n" if helpers else ""
    return AssertCase(code=f"{test}\n\ncheck({entry_point})\n", names=(entry_point,), prelude=prelude)


def mbpp(
    tests: Sequence[str], setup: str = "", imports: Sequence[str] = (), *, defined: Collection[str] = ()
) -> tuple[AssertCase, ...]:
    """One case per assert of an MBPP row. `defined`: names of the reference, which may hide a builtin (`sum`).

    A standard module that a test uses without importing it (`math.isclose`) is imported for the test, not taken from the
    candidate. Raises SyntaxError.

    >>> (case,) = mbpp(["assert sum(len(f(1)), 2) == math.inf"], defined=["f", "sum"])
    >>> case.names, case.prelude
    (('f', 'sum'), 'import math\\n')
    """
    cases = []
    for test in tests:
        code = "\n".join(part for part in (setup.replace("\r\n", "\n").rstrip(), test.strip()) if part) + "\n"
        prelude = "".join(f"{line}\n" for line in imports)
        free = free_names(prelude + code, defined)
        modules = [name for name in free if name not in defined and name in _modules_used(code)]
        prelude += "".join(f"import {name}\n" for name in modules)
        names = tuple(name for name in free if name not in modules)
        cases.append(AssertCase(code=code, names=names, prelude=prelude))
    return tuple(cases)


def suite_names(code: str, module: str) -> tuple[str, ...]:
    """What a test file takes from the program it imports as `module`, sorted. Raises SyntaxError.

    >>> suite_names("import solution as s\\nfrom solution import f\\nassert f() == s.g()", "solution")
    ('f', 'g')
    """
    tree = parsed(code)
    aliases: set[str] = set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases.update(alias.asname or alias.name for alias in node.names if alias.name == module)
        elif isinstance(node, ast.ImportFrom) and node.module == module and not node.level:
            found.update(alias.name for alias in node.names if alias.name != "*")
            if any(alias.name == "*" for alias in node.names):
                found.update(free_names(code))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            found.add(node.attr)
    return tuple(sorted(found))


def free_names(code: str, defined: Collection[str] = ()) -> tuple[str, ...]:
    """The names that `code` reads and does not bind, sorted; of builtins only those in `defined`."""
    read: set[str] = set()
    bound: set[str] = set()
    for node in ast.walk(parsed(code)):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return tuple(sorted(name for name in read - bound if name not in _BUILTINS or name in defined))


def defined_names(code: str) -> frozenset[str]:
    """The functions and classes that a program defines at its top level. Raises SyntaxError."""
    body = parsed(code.replace("\r\n", "\n")).body
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return frozenset(node.name for node in body if isinstance(node, kinds))


def _modules_used(code: str) -> set[str]:
    """Names of standard modules of which `code` only reads attributes."""
    owners: set[str] = set()
    alone: set[str] = set()
    for node in ast.walk(parsed(code)):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Name):
                (owners if isinstance(node, ast.Attribute) else alone).add(child.id)
    return (owners - alone) & sys.stdlib_module_names


def parsed(code: str) -> ast.Module:
    """`ast.parse`, without the warnings that are the author's affair (an invalid escape in a string)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(code)


def _parse(prompt: str) -> ast.Module:
    """A prompt may end in a signature without a body."""
    try:
        return parsed(prompt)
    except SyntaxError:
        return parsed(f"{prompt.rstrip()}\n    pass\n")


def _defines(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
