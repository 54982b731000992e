"""BigCodeBench: 1,140 functions that use libraries, with unittest suites (Zhuo et al. 2024, arXiv:2406.15877).

`bigcodebench` takes the hub, `bigcodebench:PATH` its rows as .jsonl or .parquet; `?variant=instruct` takes the short prompts
in English instead of the docstrings to complete. The suite is hidden; nothing is visible. A suite that patches (`patch`,
`mock`) must share a process with the program, and its verdict is cooperative; others run apart. Jails show no installed
packages: `?libs=standard` takes only tasks that need none; other tasks are tagged "lib:NAME" for each outside library.
"""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path

from sandbox.spec import Case, ProgramCase, SuiteCase
from tasks.errors import TaskError, nearest
from tasks.hub import fetch, local
from tasks.python_text import literal
from tasks.reading import tasks_of
from tasks.rows import Row
from tasks.source import Options, Source
from tasks.task import Split, Style, Task

HUB, VERSION = "bigcode/bigcodebench", "v0.1.4"
VARIANTS, LIBRARIES = ("complete", "instruct"), ("any", "standard")
_SHARES = re.compile(r"\b(?:patch|mock|Mock|MagicMock)\b")
_RUN = """
def _run_suite():
    import unittest
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(TestCases)
    result = unittest.TextTestRunner(verbosity=0).run(suite)
    assert result.wasSuccessful() and result.testsRun, result

_run_suite()
"""


def task_of(row: Row, *, variant: str, standard: bool) -> Task | None:
    outside = tuple(name for name in _libraries(row) if name.partition(".")[0] not in sys.stdlib_module_names)
    if (standard and outside) or row.split not in ("", VERSION):
        return None
    head, prompt = row.text("code_prompt"), row.text("complete_prompt")
    signature = next((line for line in head.splitlines() if line.startswith("def ")), "")
    return Task(
        id=row.text("task_id"),
        prompt=prompt if variant == "complete" else row.text("instruct_prompt"),
        style=Style.COMPLETION if variant == "complete" else Style.INSTRUCTION,
        split=Split.TEST,
        visible=(),
        hidden=(_case(row.text("test"), row.text("entry_point")),),
        entry_point=row.text("entry_point"),
        signature=signature,
        reference=(prompt if variant == "complete" else head) + row.text("canonical_solution"),
        tags=("bigcodebench", *(f"lib:{name}" for name in outside)),
    )


def _case(test: str, entry_point: str) -> Case:
    if _SHARES.search(test):
        return ProgramCase(after=f"{test}\n{_RUN}")
    return SuiteCase(code=f"from solution import {entry_point}\n{test}\n")


def _libraries(row: Row) -> tuple[str, ...]:
    """Published as the text of a Python list."""
    found = literal(row.text("libs", "[]"))
    if found is None or not isinstance(found[0], list | tuple):
        raise row.fault("libs", f"is {row.text('libs')[:40]!r}", "write the text of a list of names")
    return tuple(map(str, found[0]))


def _load(argument: str, options: Options) -> list[Task]:
    variant, libs = options.get("variant", "complete"), options.get("libs", "any")
    for name, value, valid in (("variant", variant, VARIANTS), ("libs", libs, LIBRARIES)):
        if value not in valid:
            raise TaskError("bigcodebench", f"is {value!r}", field=name, remedy=nearest(value, valid))
    rows = local(Path(argument)) if argument else fetch("bigcodebench", HUB)
    return tasks_of(argument or HUB, rows, partial(task_of, variant=variant, standard=libs == "standard"), options)


SOURCE = Source(
    name="bigcodebench",
    summary="BigCodeBench, 1,140 functions that use libraries",
    load=_load,
    options=("variant", "libs"),
    argument="PATH",
)
