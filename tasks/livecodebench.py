"""LiveCodeBench: contest problems by date, so that a model cannot have seen them (Jain et al. 2024, arXiv:2403.07974).

`livecodebench` takes the hub's code_generation_lite, `livecodebench:PATH` its .jsonl files. Public tests are visible, private
ones hidden; the packed private tests are read without running their pickle (`tasks.unpickle`). `?release=v5` takes the
files of that release (of the hub, all by default: v6), `?since=2024-08-01&until=2025-01-31` the window of contest dates that
papers quote, both ends included. `level` is 1 to 3: easy, medium, hard. There are no reference solutions.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from sandbox.spec import Case, StdioCase
from tasks.errors import TaskError, nearest
from tasks.hub import fetch, local
from tasks.in_out import call_case, rule_of
from tasks.limits import limits_of
from tasks.reading import tasks_of
from tasks.rows import Row
from tasks.source import Options, Source
from tasks.task import Split, Style, Task, is_day
from tasks.unpickle import packed_string

HUB = "livecodebench/code_generation_lite"
RELEASES = ("v1", "v2", "v3", "v4", "v5", "v6")  # each adds a file: test.jsonl, test2.jsonl, ..
LEVELS = {"easy": 1, "medium": 2, "hard": 3}
SECONDS = 6.0  # of each test, in the published runner


def task_of(row: Row, *, since: str, until: str) -> Task | None:
    day = row.text("contest_date")[:10]
    if not is_day(day):
        raise row.fault("contest_date", f"is {day!r}", "begin it with the day, as 2024-08-01")
    if not (since or day) <= day <= (until or day):
        return None
    starter, difficulty = row.text("starter_code", ""), row.text("difficulty", "")
    name = row.parsed("metadata", dict).get("func_name") if row.text("metadata", "") else None
    visible = _cases(row, "public_test_cases", name)
    hidden = _cases(row, "private_test_cases", name) or visible
    if not hidden:
        raise row.fault("private_test_cases", "holds no test, and nor do the public ones", "leave it out")
    wish = f"Complete this:\n{starter}" if starter.strip() else "Read from standard input and write to standard output."
    return Task(
        id=f"livecodebench/{row.text('question_id')}",
        prompt=f"{row.text('question_content').strip()}\n\n{wish}",
        style=Style.INSTRUCTION,
        split=Split.TEST,
        visible=visible,
        hidden=hidden,
        entry_point=str(name or ""),
        signature=next((line for line in starter.splitlines() if line.strip().startswith("def ")), "").strip(),
        checker=rule_of(visible + hidden),
        limits=limits_of(row, seconds=SECONDS, memory_bytes=None),
        level=LEVELS.get(difficulty, 0),
        tags=("livecodebench", row.text("platform", "unknown"), *filter(None, (difficulty,))),
        date=day,
    )


def _cases(row: Row, field: str, name: Any) -> tuple[Case, ...]:
    """A test has "input", "output" and "testtype": stdin, or functional with one JSON value a line."""
    cases: list[Case] = []
    for i, record in enumerate(_tests(row, field)):
        where = f"{field}[{i}]"
        if not isinstance(record, dict):
            raise row.fault(where, "is not an object", "write each test as an object")
        test = Row(f"{row.where}: {where}", record)
        given, right = test.text("input"), test.text("output")
        if test.text("testtype", "stdin") != "functional":
            cases.append(StdioCase(stdin=given, stdout=right))
        elif not isinstance(name, str):
            raise row.fault("metadata", "has no func_name, but there are functional tests", "name the function")
        else:
            arguments = [test.value("input", line) for line in given.split("\n") if line.strip()]
            value = test.value("output", right)
            cases.append(call_case(test, "input", f"Solution.{name}", arguments, value))
    return tuple(cases)


def _tests(row: Row, field: str) -> list[Any]:
    text = row.text(field)
    if not text.lstrip().startswith("["):
        try:
            text = packed_string(text)
        except ValueError as error:
            raise row.fault(
                field, f"does not decode: {error}", "give JSON, or base64 of zlib of a pickled string"
            ) from None
    found: list[Any] = Row(row.where, {field: text}).parsed(field, list)
    return found


def _load(argument: str, options: Options) -> list[Task]:
    for name in ("since", "until"):
        if not is_day(day := options.get(name, "")):
            raise TaskError("livecodebench", f"is {day!r}", field=name, remedy="write the day as 2024-08-01")
    release = options.get("release", RELEASES[-1])
    if release.removeprefix("release_") not in RELEASES:
        raise TaskError("livecodebench", f"is {release!r}", field="release", remedy=nearest(release, RELEASES))
    make = partial(task_of, since=options.get("since", ""), until=options.get("until", ""))
    if argument and "release" in options:
        raise TaskError("livecodebench", "is of the hub", field="release", remedy="give the files of that release")
    if argument:
        return tasks_of(argument, local(Path(argument)), make, options)
    count = RELEASES.index(release.removeprefix("release_")) + 1
    files = {f"test{n}": f"test{'' if n == 1 else n}.jsonl" for n in range(1, count + 1)}
    return tasks_of(HUB, fetch("livecodebench", HUB, files=files), make, options)


SOURCE = Source(
    name="livecodebench",
    summary="LiveCodeBench, contest problems by date",
    load=_load,
    options=("release", "since", "until"),
    argument="PATH",
)
