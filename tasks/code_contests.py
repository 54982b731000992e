"""CodeContests: stdin problems with public, private and generated tests (Li et al. 2022, arXiv:2203.07814).

`code_contests` takes the hub (13,610 problems; splits train, valid, test), `code_contests:PATH` its rows as .jsonl or
.parquet, or folders of PROBLEM.md, main.py and tests/input_1.txt, output_1.txt. Public tests are visible, private ones
hidden, generated ones too with `?generated=yes` (AlphaCode's training used them; some are wrong). `?language=cpp` asks for
another language; the reference is the first published solution in it. `level` is the Codeforces rating.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sandbox import languages
from sandbox.limits import Limits
from sandbox.spec import StdioCase
from tasks.errors import TaskError, nearest
from tasks.hub import fetch, local
from tasks.in_out import rule_of
from tasks.limits import limits_of
from tasks.reading import split_of, tasks_of
from tasks.rows import Row
from tasks.source import Options, Source
from tasks.task import Split, Style, Task

HUB = "deepmind/code_contests"
LANGUAGES = {
    "cpp": 2,
    "python": 3,
    "java": 4,
}  # of `solutions.language`: 0 unknown, 1 Python 2, 2 C++, 3 Python 3, 4 Java
SITES = ("unknown", "codechef", "codeforces", "hackerearth", "codejam", "atcoder", "aizu")


def task_of(row: Row, *, language: str, generated: bool) -> Task:
    kinds = ("private_tests", "generated_tests") if generated else ("private_tests",)
    visible = _cases(row, "public_tests")
    hidden = tuple(case for kind in kinds for case in _cases(row, kind)) or visible or _cases(row, "generated_tests")
    if not hidden:
        raise row.fault("public_tests", "holds no test, and nor do the others", "leave out problems without tests")
    if row.text("input_file", "") or row.text("output_file", ""):
        raise row.fault("input_file", "is not standard input", "leave out problems on files")
    site = row.get("source", int, 0)
    return Task(
        id=f"code_contests/{row.text('name')}" + ("" if language == "python" else f"/{language}"),
        prompt=f"{row.text('description').strip()}\n\nRead from standard input and write to standard output.",
        style=Style.INSTRUCTION,
        split=split_of(row, Split.TRAIN),
        visible=visible,
        hidden=hidden,
        language=language,
        reference=_solution(row, language),
        checker=rule_of(visible + hidden),
        limits=_limits(row),
        level=max(row.get("cf_rating", int, 0), 0),
        tags=(
            "code_contests",
            SITES[site] if 0 <= site < len(SITES) else "unknown",
            *filter(None, row.texts("cf_tags", ())),
        ),
    )


def _cases(row: Row, field: str) -> tuple[StdioCase, ...]:
    inner = Row(f"{row.where}: {field}", row.get(field, dict, {}))
    inputs, outputs = inner.texts("input", ()), inner.texts("output", ())
    if len(inputs) != len(outputs):
        raise row.fault(field, f"has {len(inputs)} inputs but {len(outputs)} outputs", "give each input its output")
    return tuple(StdioCase(stdin=given, stdout=right) for given, right in zip(inputs, outputs, strict=True))


def _limits(row: Row) -> Limits:
    record = Row(row.where, row.get("time_limit", dict, {}))
    seconds = record.get("seconds", int, 0) + record.get("nanos", int, 0) / 1e9
    return limits_of(row, seconds=seconds, memory_bytes=row.get("memory_limit_bytes", int, 0))


def _solution(row: Row, language: str) -> str:
    inner = Row(f"{row.where}: solutions", row.get("solutions", dict, {}))
    pairs = zip(inner.get("language", list, []), inner.texts("solution", ()), strict=False)
    return next((text for number, text in pairs if number == LANGUAGES[language]), "")


def folders(path: Path) -> Iterator[Row | TaskError]:
    """Rows in the schema of the hub, from folders with PROBLEM.md; numbered tests are private, as nothing marks them."""
    for statement in sorted(path.rglob("PROBLEM.md")):
        folder = statement.parent
        try:
            yield Row(str(folder), _record(folder), "test")
        except (OSError, ValueError) as error:
            yield TaskError(str(folder), f"cannot be read ({error})", remedy="give input_N.txt its output_N.txt")


def _record(folder: Path) -> dict[str, Any]:
    inputs = sorted((folder / "tests").glob("input_*.txt"), key=lambda file: (len(file.name), file.name))
    outputs = [file.with_name(file.name.replace("input_", "output_")).read_text() for file in inputs]
    tests = {"input": [file.read_text() for file in inputs], "output": outputs}
    statement = (folder / "PROBLEM.md").read_text().partition("\n## Testing")[0]
    tags = (folder / "tags.txt").read_text().split("\n") if (folder / "tags.txt").exists() else []
    shown = {key: texts[:1] for key, texts in tests.items()}
    private = {key: texts[1:] for key, texts in tests.items()}
    return {
        "name": folder.name, "description": statement, "public_tests": shown, "private_tests": private, "cf_tags": tags,
        "solutions": {"language": [3], "solution": [(folder / "main.py").read_text()]},
    }  # fmt: skip


def _load(argument: str, options: Options) -> list[Task]:
    asked, generated = options.get("language", "python"), options.get("generated", "no")
    language = languages.get(asked).name if asked in (*LANGUAGES, "c++", "py") else asked
    if language not in LANGUAGES:
        raise TaskError("code_contests", f"is {asked!r}", field="language", remedy=nearest(asked, LANGUAGES))
    if generated not in ("yes", "no"):
        raise TaskError("code_contests", f"is {generated!r}", field="generated", remedy="give yes or no")
    make = partial(task_of, language=language, generated=generated == "yes")
    if not argument:
        return tasks_of(HUB, fetch("code_contests", HUB), make, options)
    path = Path(argument)
    released = path.is_dir() and next(path.rglob("PROBLEM.md"), None) is not None
    return tasks_of(argument, folders(path) if released else local(path), make, options)


SOURCE = Source(
    name="code_contests",
    summary="CodeContests, 13,610 stdin problems",
    load=_load,
    options=("language", "generated"),
    argument="PATH",
)
