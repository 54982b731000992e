"""Which programs ship with the package to try a grader on, and what verdict must each get?

The programs are data: `sandbox/corpus/{hostile,friendly}/*.toml`, a file for each section. An entry:

    [[program]]
    name = "exit0_top"
    what = "leaves at once, with exit code 0"
    must = {stdio = "WA", call = "RE", assert = "RE"}
    source = '''
    import sys
    sys.exit(0)
    '''

`must` has an outcome for each kind of case, or for `every` kind whose tests are out of the program's reach (several
that will do: "TLE|WTLE"); the case of a kind is the one below, in which 4 is the right answer, unless `cases` gives
others (form: `sandbox.forms`), for which `must` is the outcome of the whole, or a list of the outcome of each. `gaps`
names the backends that cannot stop the program, or the integrity under which it cannot be stopped, each with the
reason; `harms` the backends under which it is not run at all, because it would hurt the machine. `needs` is a package
that the program imports. Long texts are written once: `source_times`, `stdin_times` and `stdout_times` repeat them.

A hostile program that looks for something prints the right answer if it finds it: its verdict is WA where the sandbox holds.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sandbox.errors import BadInput
from sandbox.forms import FormFault, read_case, read_limits, read_rule
from sandbox.limits import MEBIBYTE, Limits
from sandbox.spec import (
    AssertCase,
    CallCase,
    Case,
    FileCase,
    Framework,
    GradeRequest,
    InteractiveCase,
    Program,
    ProgramCase,
    ProgramChecker,
    Protocol,
    StdioCase,
    SuiteCase,
)
from sandbox.verdict import Outcome

FOLDER = Path(__file__).parent / "corpus"
# What decides in the cases below whose judge is a program; the interactor takes nothing after the answer.
INTERACTOR = """
import sys
print(open(sys.argv[1]).read(), end="", flush=True)
line = sys.stdin.readline()
right = open(sys.argv[2]).read()
sys.exit(42 if line == right and not sys.stdin.read().strip() else 43)
"""
VALIDATOR = "import sys\nsys.exit(42 if sys.stdin.read().split() == open(sys.argv[2]).read().split() else 43)\n"
TESTLIB = "import sys\nsys.exit(0 if open(sys.argv[2], 'rb').read().split() == open(sys.argv[3], 'rb').read().split() else 1)\n"
STANDARD_CASES: dict[str, Case] = {
    "stdio": StdioCase(stdin="2\n", stdout="4\n"),
    "files": FileCase(inputs={"in.txt": "2\n"}, outputs={"out.txt": "4\n"}),
    "interactive": InteractiveCase(
        input="2\n", answer="4\n", interactor=ProgramChecker(program=Program(source=INTERACTOR))
    ),
    "kattis": StdioCase(stdin="2\n", stdout="4\n", checker=ProgramChecker(program=Program(source=VALIDATOR))),
    "testlib": StdioCase(
        stdin="2\n",
        stdout="4\n",
        checker=ProgramChecker(program=Program(source=TESTLIB), protocol=Protocol.TESTLIB),
    ),
    "call": CallCase(function="f", args=(2,), expected=4),
    "method": CallCase(function="Solution.f", args=(2,), expected=4),
    "assert": AssertCase(code="assert f(2) == 4", names=("f",)),
    "referee": AssertCase(code="for n in (2,):\n    assert f(n) == 2 * n", names=("f",)),  # not for the judge alone
    "unittest": SuiteCase(
        code="import unittest\nfrom solution import f\n"
        "class TestF(unittest.TestCase):\n    def test_f(self): self.assertEqual(f(2), 4)\n"
    ),
    "program": ProgramCase(after="assert f(2) == 4"),
    "pytest": SuiteCase(code="import solution\ndef test_f(): assert solution.f(2) == 4\n", framework=Framework.PYTEST),
}
SEPARATE_KINDS = tuple(kind for kind in STANDARD_CASES if kind != "program")  # what `every` stands for
# Hostile programs get little, so that those which take all they can get are soon done.
TIGHT = Limits(
    cpu_seconds=0.4,
    wall_seconds=1.5,
    memory_bytes=128 * MEBIBYTE,
    output_bytes=MEBIBYTE,
    file_bytes=8 * MEBIBYTE,
    files=256,
    processes=16,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Specimen:
    """One program, the cases it is tried on, and the outcomes that are right, e.g. must=("TLE|WTLE",)."""

    name: str  # unique, e.g. "exit0_top.call"
    corpus: str  # hostile or friendly
    section: str  # the stem of its file, e.g. "A_early_exit"
    what: str
    request: GradeRequest
    must: tuple[str, ...]  # the outcome of the whole, or of each case; "TLE|WTLE" is either
    each: bool = False  # `must` is of each case
    gaps: dict[str, str] = field(default_factory=dict)  # backend, integrity or layer -> why it cannot stop this
    harms: tuple[str, ...] = ()
    needs: str = ""


def read_corpora() -> list[Specimen]:
    """All that ships, in the order of the files."""
    paths = sorted(FOLDER.glob("*/*.toml"), key=lambda path: (path.parent.name != "hostile", path.name))
    return [specimen for path in paths for specimen in read_file(path)]


def read_file(path: Path) -> Iterator[Specimen]:
    """The programs of one file. Raises BadInput."""
    for entry in tomllib.loads(path.read_text(encoding="utf-8"))["program"]:
        where = f"{path}: {entry.get('name')!r}"
        for unknown in entry.keys() - _FIELDS:
            raise BadInput(f"{where}: {unknown!r} is no field: use {', '.join(sorted(_FIELDS))}")
        try:
            yield from _specimens(path, entry)
        except (FormFault, KeyError, ValueError) as fault:
            raise BadInput(f"{where}: {fault}") from None


_FIELDS = {
    "name", "what", "must", "source", "cases", "limits", "checker", "language", "gaps", "harms", "needs",
    "source_times", "stdin_times", "stdout_times",
}  # fmt: skip


def _specimens(path: Path, entry: dict[str, Any]) -> Iterator[Specimen]:
    corpus, must = path.parent.name, entry["must"]
    given = tuple(map(read_case, entry.get("cases", ())))
    kinds = must if isinstance(must, dict) else {"": must}
    if "every" in kinds:
        kinds = {**dict.fromkeys(SEPARATE_KINDS, kinds["every"]), **kinds}
        del kinds["every"]
    if "assert" in kinds:
        kinds = {**kinds, "referee": kinds["assert"]}
    for kind, outcomes in kinds.items():
        for outcome in "|".join(outcomes).split("|") if isinstance(outcomes, list) else outcomes.split("|"):
            Outcome(outcome)
        cases = given or (STANDARD_CASES[kind],)
        limits = TIGHT if corpus == "hostile" else Limits()
        yield Specimen(
            name=f"{entry['name']}.{kind}" if kind else entry["name"],
            corpus=corpus,
            section=path.stem,
            what=entry["what"],
            request=GradeRequest(
                program=Program(
                    source=entry["source"].removeprefix("\n") * entry.get("source_times", 1),
                    language=entry.get("language", "python"),
                ),
                cases=tuple(
                    _lengthen(case, entry.get("stdin_times", 1), entry.get("stdout_times", 1)) for case in cases
                ),
                limits=replace(limits, **_changes(entry.get("limits", {}))),
                checker=read_rule(entry["checker"]) if "checker" in entry else None,
            ),
            must=tuple(outcomes) if isinstance(outcomes, list) else (outcomes,),
            each=isinstance(outcomes, list),
            gaps=entry.get("gaps", {}),
            harms=tuple(entry.get("harms", ())),
            needs=entry.get("needs", "pytest" if kind == "pytest" else ""),
        )


def _lengthen(case: Case, stdin_times: int, stdout_times: int) -> Case:
    if not isinstance(case, StdioCase):
        return case
    return replace(case, stdin=case.stdin * stdin_times, stdout=case.stdout * stdout_times)


def _changes(record: dict[str, Any]) -> dict[str, Any]:
    limits = read_limits(record)
    return {name: getattr(limits, name) for name in record}
