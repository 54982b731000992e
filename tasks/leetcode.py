"""LeetCodeDataset: `Solution` classes by date, with many tests (Xia et al. 2025, arXiv:2504.14655, newfacade/LeetCodeDataset).

`leetcode` takes the hub, `leetcode:PATH` its rows as .jsonl or .parquet (v0.1 with `meta` and v0.3 without). The published
asserts become calls: the first two are visible, the others hidden. Where an assert is no plain call (linked lists and trees
need the prompt's helpers on both sides) the whole `check` runs in the program's process, and its verdict is cooperative.
`level` is 1 to 3: Easy, Medium, Hard.
"""

from __future__ import annotations

import ast
from pathlib import Path

from sandbox.codec import CodecError, encode
from sandbox.spec import CallCase, Case, ProgramCase
from tasks.hub import fetch, local
from tasks.in_out import rule_of
from tasks.python_text import parse
from tasks.reading import split_of, tasks_of
from tasks.rows import Row
from tasks.source import Options, Source
from tasks.task import Split, Style, Task, is_day

HUB = "newfacade/LeetCodeDataset"
LEVELS = {"Easy": 1, "Medium": 2, "Hard": 3}
SHOWN = 2


def task_of(row: Row) -> Task:
    meta = Row(row.where, {**row.get("meta", dict, {}), **row.record})
    entry_point, prelude = row.text("entry_point"), row.text("prompt", "")
    function = entry_point.replace("Solution().", "Solution.")
    starter = meta.text("starter_code" if "starter_code" in meta.record else "lang_code", "")
    calls = _calls(row, function)
    whole = ProgramCase(after=f"{row.text('test')}\n\ncheck({entry_point})\n", before=prelude)
    visible: tuple[Case, ...] = calls[:SHOWN] if calls else ()
    hidden: tuple[Case, ...] = (calls[SHOWN:] or calls) if calls else (whole,)
    difficulty, day = meta.text("difficulty", ""), meta.text("estimated_date", "")[:10]
    return Task(
        id=f"leetcode/{row.text('task_id')}",
        prompt=meta.text("query"),
        style=Style.INSTRUCTION,
        split=split_of(row, Split.TEST if meta.text("split", "train") == "test" else Split.TRAIN),
        visible=visible,
        hidden=hidden,
        entry_point=function.removeprefix("Solution."),
        signature=next((line for line in starter.splitlines() if line.strip().startswith("def ")), "").strip(),
        reference=f"{prelude}\n{row.text('completion')}",
        checker=rule_of(calls) if calls else None,
        level=LEVELS.get(difficulty, 0),
        tags=("leetcode", *meta.texts("tags", ())),
        date=day if is_day(day) else "",
    )


def _calls(row: Row, function: str) -> tuple[CallCase, ...]:
    """The asserts of `check` as calls; none if one of them is anything but `assert candidate(..) == value`."""
    try:
        body = parse(row.text("test")).body
    except SyntaxError as error:
        raise row.fault("test", f"is not Python ({error.msg})", "define check(candidate)") from None
    check = next((node for node in body if isinstance(node, ast.FunctionDef) and node.name == "check"), None)
    if check is None:
        raise row.fault("test", "does not define check", "define check(candidate)")
    cases = []
    for node in check.body:
        match node:
            case ast.Assert(
                test=ast.Compare(
                    left=ast.Call(func=ast.Name(id="candidate"), args=args, keywords=words),
                    ops=[ast.Eq() | ast.Is()],
                    comparators=[right],
                )
            ):
                pass
            case _:
                return ()
        try:
            case = CallCase(
                function=function,
                args=tuple(map(ast.literal_eval, args)),
                kwargs={str(word.arg): ast.literal_eval(word.value) for word in words},
                expected=ast.literal_eval(right),
            )
            encode([list(case.args), case.kwargs, case.expected])
        except (ValueError, TypeError, CodecError, RecursionError, MemoryError):
            return ()
        cases.append(case)
    return tuple(cases)


def _load(argument: str, options: Options) -> list[Task]:
    rows = local(Path(argument)) if argument else fetch("leetcode", HUB)
    return tasks_of(argument or HUB, rows, task_of, options)


SOURCE = Source(name="leetcode", summary="LeetCode `Solution` classes by date", load=_load, argument="PATH")
