"""Codeforces as open-r1 publishes it: 10,000 problems with checkers and limits (Penedo et al. 2025, open-r1/codeforces).

`codeforces` takes the hub's config `verifiable` (`codeforces:default` all problems), `codeforces:PATH` its rows as .jsonl or
.parquet. The statement's examples are visible, the official tests hidden; those that the site cut short are not published, so
the tag "incomplete" marks tasks without all of them. `generated_checker` decides where several answers are right, in a jail.
Problems on files read input.txt and write output.txt. Interactive ones have no published judge and are bad rows.
`level` is the rating. `?language=cpp` asks for another language. There are no reference solutions.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from sandbox import languages
from sandbox.limits import MEBIBYTE
from sandbox.spec import Case, FileCase, FunctionChecker, Rule, StdioCase
from tasks.errors import TaskError, nearest
from tasks.hub import fetch, local
from tasks.in_out import rule_of
from tasks.limits import limits_of
from tasks.reading import split_of, tasks_of
from tasks.rows import Row
from tasks.source import Options, Source
from tasks.task import Split, Style, Task

HUB = "open-r1/codeforces"
MODES = {"stdio": "standard input", "file": "input.txt"}
# The published call: `python checker.py input.txt correct_output.txt solution_output.txt`, which prints a share from 0 to 1.
_CHECK = """
import contextlib, io, sys
CHECKER = {text!r}

def check(stdin, stdout, answer):
    files = {{"input.txt": stdin, "correct_output.txt": answer, "solution_output.txt": stdout}}
    for name, text in files.items():
        with open(name, "w") as file:
            file.write(text)
    sys.argv[:] = ["checker.py", *files]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        exec(compile(CHECKER, "checker.py", "exec"), {{"__name__": "__main__"}})
    return float(said.getvalue())
"""


def task_of(row: Row, *, language: str) -> Task:
    if row.text("interaction_format", ""):
        raise row.fault("interaction_format", "asks for a dialogue whose judge is not published", "leave it out")
    mode = row.text("input_mode", "stdio")
    if mode not in MODES:
        raise row.fault("input_mode", f"is {mode[:20]!r}", nearest(mode, MODES))
    visible, hidden = _cases(row, "examples", mode), _cases(row, "official_tests", mode)
    if not (visible or hidden):
        raise row.fault("official_tests", "holds no test, and nor do the examples", "leave it out")
    complete = row.get("official_tests_complete", bool, False)
    started = row.get("contest_start", int, 0)
    return Task(
        id=f"codeforces/{row.text('id')}" + ("" if language == "python" else f"/{language}"),
        prompt=_prompt(row, mode),
        style=Style.INSTRUCTION,
        split=split_of(row, Split.TRAIN),
        visible=visible,
        hidden=hidden or visible,
        language=language,
        checker=_rule(row, visible + hidden),
        limits=limits_of(
            row,
            seconds=row.get("time_limit", float, 0.0),
            memory_bytes=row.get("memory_limit", float, 0.0) * MEBIBYTE,
        ),
        level=max(row.get("rating", int, 0), 0),
        tags=("codeforces", *(() if complete else ("incomplete",)), *row.texts("tags", ())),
        date=datetime.fromtimestamp(started, UTC).date().isoformat() if started > 0 else "",
    )


def _cases(row: Row, field: str, mode: str) -> tuple[Case, ...]:
    cases: list[Case] = []
    for i, record in enumerate(row.get(field, list, [])):
        if not isinstance(record, dict):
            raise row.fault(f"{field}[{i}]", "is not an object", "write each test as an object")
        test = Row(f"{row.where}: {field}[{i}]", record)
        given, right = test.text("input"), test.text("output")
        if mode == "stdio":
            cases.append(StdioCase(stdin=given, stdout=right))
        else:
            cases.append(FileCase(inputs={"input.txt": given}, outputs={"output.txt": right}))
    return tuple(cases)


def _rule(row: Row, cases: tuple[Case, ...]) -> Rule:
    text = row.text("generated_checker", "")
    return FunctionChecker(source=_CHECK.format(text=text)) if text.strip() else rule_of(cases)


def _prompt(row: Row, mode: str) -> str:
    parts = [row.text("title", ""), row.text("description")]
    for name, title in (("input_format", "Input"), ("output_format", "Output"), ("note", "Note")):
        if text := row.text(name, ""):
            parts.append(f"{title}\n{text}")
    target = "standard output" if mode == "stdio" else "output.txt"
    parts.append(f"Read from {MODES[mode]} and write to {target}.")
    return "\n\n".join(part.strip() for part in parts if part.strip())


def _load(argument: str, options: Options) -> list[Task]:
    asked = options.get("language", "python")
    try:
        language = languages.get(asked).name
    except KeyError:
        raise TaskError(
            "codeforces", f"is {asked!r}", field="language", remedy=nearest(asked, languages.names())
        ) from None
    config = argument or "verifiable"
    rows = fetch("codeforces", HUB, config) if config in ("verifiable", "default") else local(Path(argument))
    return tasks_of(argument or HUB, rows, partial(task_of, language=language), options)


SOURCE = Source(
    name="codeforces",
    summary="Codeforces with checkers, as open-r1 publishes it",
    load=_load,
    options=("language",),
    argument="verifiable, default or PATH",
)
