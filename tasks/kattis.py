"""Kattis problem packages, with their validators, interactors and points (https://www.kattis.com/problem-package-format).

`kattis:PATH` takes a package or a folder of them; `sandbox.kattis` reads the tests. Sample tests are visible, secret ones
hidden; a scoring problem's groups give its verdict points. The prompt is the English statement, with its LaTeX as it is.
`?language=cpp` asks for another language; the reference is the first of submissions/accepted in it. A package that fixes no
time limit, since Kattis measures its own submissions, gets SECONDS.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from sandbox import languages
from sandbox.errors import BadInput
from sandbox.kattis import SAMPLE, Problem, read_problem
from sandbox.limits import Limits
from sandbox.sources import read_program
from sandbox.spec import InteractiveCase, Program
from tasks.errors import TaskError, nearest
from tasks.limits import MAX_SECONDS
from tasks.reading import tasks_of
from tasks.rows import Row
from tasks.source import Options, Source
from tasks.task import Split, Style, Task

SECONDS = 10.0
STATEMENTS = ("problem_statement", "statement")
_STATEMENT = ("problem.en.md", "problem.en.tex", "problem.tex", "problem.md")


def packages(path: Path) -> Iterator[Row | TaskError]:
    if not path.is_dir():
        raise TaskError(str(path), "is no folder", remedy="give a problem package, or a folder of them")
    found = sorted(file.parent for file in path.rglob("problem.yaml"))
    if not found:
        raise TaskError(str(path), "holds no problem.yaml", remedy="give a problem package, or a folder of them")
    yield from (Row(str(folder), {}) for folder in found)


def task_of(row: Row, *, language: str) -> Task:
    folder = Path(row.where)
    try:
        problem = read_problem(folder)
    except BadInput as error:
        raise row.fault("problem.yaml", f"cannot be read ({error})", "see `sandbox judge`") from None
    shown = sum(name.startswith(f"{SAMPLE}/") for name in problem.names)
    interactive = any(isinstance(case, InteractiveCase) for case in problem.cases)
    return Task(
        id=f"kattis/{folder.name}" + ("" if language == "python" else f"/{language}"),
        prompt=_statement(row, folder),
        style=Style.INSTRUCTION,
        split=Split.TEST,
        visible=problem.cases[:shown],
        hidden=problem.cases[shown:] or problem.cases,
        groups=problem.request(Program(source=""), Limits()).groups if shown < len(problem.cases) else (),
        language=language,
        reference=_reference(folder, language),
        limits=_limits(problem),
        tags=("kattis", *(("interactive",) if interactive else ()), *(("scoring",) if problem.scoring else ())),
    )


def _statement(row: Row, folder: Path) -> str:
    places = (folder / place / name for name in _STATEMENT for place in STATEMENTS)
    file = next((place for place in places if place.is_file() and _is_inside(place, folder)), None)
    if file is None:
        raise row.fault("problem_statement", "has no English statement", f"add one of {', '.join(_STATEMENT)}")
    return file.read_text(encoding="utf-8", errors="replace").strip()


def _is_inside(file: Path, folder: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve())


def _limits(problem: Problem) -> Limits:
    seconds = min(problem.time.seconds or SECONDS, MAX_SECONDS)
    return replace(problem.limits, cpu_seconds=seconds, wall_seconds=max(10.0, 3 * seconds))


def _reference(folder: Path, language: str) -> str:
    """One file; a submission of several is no reference, as a policy writes one."""
    for path in sorted((folder / "submissions" / "accepted").glob("*")):
        try:
            program = read_program(path)
        except BadInput:
            continue
        if program.language == language and not program.files:
            return program.source
    return ""


def _load(argument: str, options: Options) -> list[Task]:
    if not argument:
        raise TaskError("kattis", "names no folder", remedy="write kattis:PATH")
    asked = options.get("language", "python")
    try:
        language = languages.get(asked).name
    except KeyError:
        raise TaskError("kattis", f"is {asked!r}", field="language", remedy=nearest(asked, languages.names())) from None
    return tasks_of(argument, packages(Path(argument)), partial(task_of, language=language), options)


SOURCE = Source(name="kattis", summary="Kattis problem packages", load=_load, options=("language",), argument="PATH")
