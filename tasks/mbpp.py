"""MBPP: short Python problems from a sentence and three asserts (Austin et al. 2021, arXiv:2108.07732).

`mbpp` and `mbpp:sanitized` come from the hub; `mbpp:PATH` is a local mbpp.jsonl or sanitized-mbpp.json. The
published splits hold: ids 1-10 few-shot (here VALIDATION, tag "fewshot"), 11-510 test, 511-600 validation, 601-974
train. As is usual, the prompt shows the first assert, which is the visible case; the other asserts, and the
challenge ones, are hidden. A test that is
published twice counts once; where all are the same (37), it is the hidden one too.
"""

from __future__ import annotations

import ast
from collections.abc import Collection
from pathlib import Path

from sandbox.spec import AssertCase
from tasks.hub import fetch, local
from tasks.python_text import parse, signature
from tasks.reading import tasks_of
from tasks.rows import Row
from tasks.source import Options, Source
from tasks.task import Split, Style, Task

HUB = "google-research-datasets/mbpp"


def published_split(number: int) -> Split:
    if number <= 10 or 511 <= number <= 600:
        return Split.VALIDATION
    return Split.TEST if number <= 510 else Split.TRAIN


def task_of(row: Row) -> Task:
    number: int = row.get("task_id", int)
    reference = row.text("code").replace("\r\n", "\n")
    published = (*row.texts("test_list"), *row.texts("challenge_test_list", ()))
    tests = tuple(dict.fromkeys(test.strip() for test in published))
    if not tests:
        raise row.fault("test_list", "is empty", "give at least one assert")
    setup = row.text("test_setup_code", "").replace("\r\n", "\n").strip()
    defined, imported = _definitions(row, reference)
    lent = (f"import {name}" for name in imported if any(name in _names(row, test) for test in tests))
    prelude = "\n".join(dict.fromkeys((*row.texts("test_imports", ()), *lent)))
    cases = tuple(_case(row, test, setup, prelude, defined) for test in tests)
    entry_point = next((name for name in _names(row, tests[0]) if isinstance(defined.get(name), ast.FunctionDef)), "")
    target = defined.get(entry_point)
    if not isinstance(target, ast.FunctionDef):
        raise row.fault("test_list", "calls nothing that the code defines", "test a function of `code`")
    text = row.text("text" if "text" in row.record else "prompt")
    return Task(
        id=f"mbpp/{number}",
        prompt=f"{text}\nYour code should satisfy this test:\n{tests[0]}",
        style=Style.INSTRUCTION,
        split=published_split(number),
        visible=cases[:1],
        hidden=cases[1:] or cases,
        entry_point=entry_point,
        signature=signature(target),
        reference=reference,
        tags=("mbpp", "fewshot") if number <= 10 else ("mbpp",),
    )


def _case(row: Row, test: str, setup: str, prelude: str, defined: Collection[str]) -> AssertCase:
    code = f"{setup}\n{test}\n".lstrip("\n")
    return AssertCase(code=code, names=tuple(n for n in _names(row, code) if n in defined), prelude=prelude)


def _names(row: Row, code: str) -> list[str]:
    """The names that `code` reads, in order of appearance, without repeats; a builtin too: some tasks redefine one."""
    try:
        tree = parse(code)
    except SyntaxError as error:
        fault = f"is not Python ({error.msg}): {code[:60]}"
        raise row.fault("test_list", fault, "write each test as one assert") from None
    names = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
    names.sort(key=lambda n: (n.lineno, n.col_offset))
    return list(dict.fromkeys(n.id for n in names))


def _definitions(row: Row, code: str) -> tuple[dict[str, ast.stmt], list[str]]:
    """The functions and classes that the reference defines, and the modules that it imports by their own name.

    Some tests use such a module without importing it (596: `sys`), so the referee needs it too.
    """
    try:
        body = parse(code).body
    except SyntaxError as error:
        raise row.fault("code", f"is not Python ({error.msg})", "give a program that passes the tests") from None
    imports = [alias for node in body if isinstance(node, ast.Import) for alias in node.names]
    defined: dict[str, ast.stmt] = {n.name: n for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    return defined, [alias.name for alias in imports if alias.asname is None]


def _load(argument: str, options: Options) -> list[Task]:
    if argument not in ("", "full", "sanitized"):
        return tasks_of(argument, local(Path(argument)), task_of, options)
    tasks = tasks_of(HUB, fetch("mbpp", HUB, argument or "full"), task_of, options)
    return sorted(tasks, key=lambda task: int(task.id.removeprefix("mbpp/")))


SOURCE = Source(
    name="mbpp", summary="MBPP, 974 short problems (sanitized: 427)", load=_load, argument="full, sanitized or PATH"
)
