"""How do a program and trusted test code become one program? For languages in which they cannot be kept apart.

The end of the test code is made to copy one line from stdin to stdout. The judge writes a line that nobody knows
before the run, and takes no other sign that the tests were reached and passed: not an exit code, not a printed word.
"""

from __future__ import annotations

import re
from dataclasses import replace

from sandbox.languages import Harness, get
from sandbox.spec import Program, ProgramCase

_RETURN = re.compile(r"return\s*\w*\s*;\s*$")


def joined(program: Program, case: ProgramCase) -> tuple[Program, tuple[str, ...]]:
    """One program, and the options that its compiler needs. Raises ValueError for test code without an end."""
    harness = get(program.language).harness
    assert harness is not None
    unit = bool(harness.unit_mark) and harness.unit_mark in case.after
    depth = harness.unit_depth if unit else harness.depth
    after = _with_end(case.after, harness, depth)
    source = "\n".join((harness.head + case.before, program.source, after))
    return replace(program, source=source), harness.unit_options if unit else ()


def lines_before(language: str, before: str) -> int:
    """How many lines of the joined program come before the candidate's first."""
    harness = get(language).harness
    assert harness is not None
    return (harness.head + before).count("\n") + 1


def end_fault(language: str, case: ProgramCase) -> str:
    """Why the end of this test code cannot be found; "" if it can."""
    harness = get(language).harness
    depth = harness.depth if harness else 0
    return "" if case.after.count("}") >= depth else f"the test code has no {depth} closing braces at its end"


def _with_end(code: str, harness: Harness, depth: int) -> str:
    if not depth:
        return f"{code.rstrip()}\n{harness.end}\n"
    place = len(code)
    for _ in range(depth):
        place = code.rindex("}", 0, place)
    body = code[:place].rstrip()
    returned = _RETURN.search(body)
    if returned:
        place = returned.start()
    return f"{code[:place]}\n{harness.end}\n{code[place:]}"
