"""MultiPL-E: HumanEval and MBPP translated to many languages (Cassano et al. 2023, arXiv:2208.08227).

`multipl-e:humaneval-cpp` and `multipl-e:mbpp-rs` take a config of the hub, `multipl-e:PATH` its rows. Tests are hidden and
run in the program's process (cooperative); nothing is visible, and there are no reference solutions. The published text changes
in two languages: Go becomes a package main with the imports of its tests, and Java loses the import of javatuples, for which
its tests bring a `Pair`, and its asserts, off by default, become throws.
"""

from __future__ import annotations

import re
from pathlib import Path

from sandbox.spec import ProgramCase
from tasks.errors import TaskError
from tasks.go_text import IMPORTS, imports, with_main
from tasks.heads import head_of, name_in
from tasks.hub import fetch, local
from tasks.reading import known_language, tasks_of
from tasks.rows import Row
from tasks.source import Options, Source
from tasks.task import Split, Style, Task

HUB = "nuprl/MultiPL-E"
_GO_HEAD = re.compile(r"\Apackage \w+\s+import \([^)]*\)\n")
_TUPLES = "import org.javatuples.*;\n"
_ASSERT = re.compile(r"^(\s*)assert\((.*)\);$", re.M)
_PAIR = """    record Pair<A, B>(A a, B b) {
        static <A, B> Pair<A, B> with(A a, B b) { return new Pair<>(a, b); }
        A getValue0() { return a; }
        B getValue1() { return b; }
    }
"""
_MAIN = "    public static void main"


def task_of(row: Row) -> Task:
    language = known_language(row, "language", row.text("language").removesuffix("_test.go"))
    prompt, tests = row.text("prompt"), row.text("tests")
    if language == "go":
        if not _GO_HEAD.match(prompt):
            raise row.fault("prompt", "does not begin with a package and its imports", "give it as published")
        prompt = _GO_HEAD.sub("package main\n\n" + imports(IMPORTS, without=[]), prompt, count=1)
        try:
            tests = with_main(tests)
        except ValueError as error:
            raise row.fault("tests", f"are no Go test ({error})", "give them as published") from None
    if language == "java":
        tests = _ASSERT.sub(r"\1if (!(\2)) throw new AssertionError();", tests)
        if "Pair" in prompt + tests:
            tests = tests.replace(_MAIN, _PAIR + _MAIN, 1)
        prompt = prompt.replace(_TUPLES, "")
    head = head_of(prompt)
    return Task(
        id=f"MultiPL-E/{row.text('name')}/{language}",
        prompt=prompt,
        style=Style.COMPLETION,
        split=Split.TEST,
        visible=(),
        hidden=(ProgramCase(after=tests),),
        entry_point=name_in(head),
        signature=head,
        language=language,
        tags=("multipl-e", language),
        stop=row.texts("stop_tokens", ()),
    )


def _load(argument: str, options: Options) -> list[Task]:
    if not argument:
        raise TaskError("multipl-e", "names no data", remedy="write multipl-e:humaneval-cpp, or multipl-e:PATH")
    path = Path(argument)
    rows = local(path) if path.exists() or path.suffix else fetch("multipl-e", HUB, argument)
    return tasks_of(argument, rows, task_of, options)


SOURCE = Source(
    name="multipl-e", summary="HumanEval and MBPP in many languages", load=_load, argument="humaneval-cpp or PATH"
)
