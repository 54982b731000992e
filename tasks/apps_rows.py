"""How does a row in the format of APPS become a task? Shared by APPS and TACO.

The fields: question, input_output, solutions, starter_code. No test is marked as public: the first is visible, the others are
hidden (a single one is both). The reference is the first published solution.
"""

from __future__ import annotations

from sandbox.limits import Limits
from tasks.in_out import cases_of, rule_of
from tasks.reading import split_of
from tasks.rows import Row
from tasks.task import Split, Style, Task


def task_of_row(
    row: Row, *, task_id: str, default_split: Split, level: int, tags: tuple[str, ...], limits: Limits | None = None
) -> Task:
    """Raises TaskError for a row that holds no test, or is of another shape."""
    starter = row.text("starter_code", "").strip("\n")
    tests = row.parsed("input_output", dict) if row.text("input_output", "") else {}
    solutions = row.parsed("solutions", list) if row.text("solutions", "") else []
    reference = str(solutions[0]) if solutions else ""
    cases = cases_of(row, "input_output", tests, program=starter or reference)
    if not cases:
        raise row.fault("input_output", "holds no test", "leave out problems without tests")
    wish = f"\n\nComplete this:\n{starter}" if starter else "\n\nRead from standard input and write to standard output."
    return Task(
        id=task_id,
        prompt=row.text("question").strip() + wish,
        style=Style.INSTRUCTION,
        split=split_of(row, default_split),
        visible=cases[:1],
        hidden=cases[1:] or cases,
        entry_point=str(tests.get("fn_name") or ""),
        signature=next((line for line in starter.splitlines() if line.strip().startswith("def ")), "").strip(),
        reference=reference,
        checker=rule_of(cases),
        limits=limits or Limits(),
        level=level,
        tags=tags,
    )
