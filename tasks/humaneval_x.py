"""HumanEval-X: HumanEval by hand in C++, Java, JavaScript, Go and Rust (Zheng et al. 2023, arXiv:2303.17568).

`humaneval-x` takes the hub, `humaneval-x:PATH` a released file or a folder of them; `?language=go,rust` some languages.
`example_test` is visible, `test` hidden; outside Python both run in the program's process, so a verdict is cooperative. Go's
tests get a stand-in for testify's assert; Rust's declaration loses the crates that a plain rustc does not have.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from sandbox import languages, lift
from sandbox.spec import AssertCase, Case, ProgramCase
from tasks.errors import TaskError, nearest
from tasks.go_text import IMPORTS, imported, imports, with_main
from tasks.heads import head_of, name_in
from tasks.hub import fetch, local
from tasks.reading import tasks_of
from tasks.rows import Row
from tasks.source import Options, Source, words
from tasks.task import Split, Style, Task

HUB = "THUDM/humaneval-x"
LANGUAGES = {"Python": "python", "CPP": "cpp", "Java": "java", "JavaScript": "javascript", "Go": "go", "Rust": "rust"}
FOLDERS = {"python": "python", "cpp": "cpp", "java": "java", "javascript": "js", "go": "go", "rust": "rust"}
_REPLACED = ("testing", "github.com/stretchr/testify/assert")
# The published runner imports those of these packages that a program uses; here each is there, and used.
_PACKAGES = {
    "math": "Abs", "strings": "ToUpper", "strconv": "Itoa", "time": "Now", "bytes": "Equal", "regexp": "MustCompile",
    "sort": "Ints", "math/rand": "Int", "crypto/md5": "New", "fmt": "Sprint",
}  # fmt: skip
_USES = "".join(f"var _ = {package.rpartition('/')[2]}.{name}\n" for package, name in _PACKAGES.items())
_CRATES = re.compile(r"^use (?:rand|regex|md5)\b.*;\n", re.M)
_TESTIFY = """
type testify struct{ t *testing.T }

var assert testify

func (testify) New(t *testing.T) testify { return testify{t} }

func (a testify) Equal(expected, actual interface{}, message ...interface{}) {
	if !reflect.DeepEqual(expected, actual) {
		a.t.Errorf("expected %v, got %v", expected, actual)
	}
}
"""


def task_of(row: Row, *, wanted: tuple[str, ...]) -> Task | None:
    prefix = row.text("task_id").partition("/")[0]
    if prefix not in LANGUAGES:
        raise row.fault("task_id", f"is {row.text('task_id')!r}", nearest(prefix, LANGUAGES))
    language = LANGUAGES[prefix]
    if wanted and language not in wanted:
        return None
    prompt, declaration = row.text("prompt"), row.text("declaration", "")
    if language == "rust":
        prompt += _CRATES.sub("", declaration)
    reference = prompt + row.text("canonical_solution")
    head = head_of(declaration or prompt)
    return Task(
        id=f"HumanEval-X/{row.text('task_id')}",
        prompt=prompt,
        style=Style.COMPLETION,
        split=Split.TEST,
        visible=_examples(row, language, reference),
        hidden=(_case(row, "test", language, reference),),
        entry_point=name_in(head),
        signature=head,
        language=language,
        reference=reference,
        tags=("humaneval-x", language),
    )


def _examples(row: Row, language: str, reference: str) -> tuple[Case, ...]:
    """None where there is none, and where it is no program (Python/119): the hidden test is there all the same."""
    if row.text("example_test", "") in ("", "None"):
        return ()
    try:
        return (_case(row, "example_test", language, reference),)
    except TaskError:
        return ()


def _case(row: Row, field: str, language: str, reference: str) -> Case:
    test = row.text(field)
    if language == "go":
        needed = (name for name in imported(row.text("test_setup", "")) if name not in _REPLACED)
        names = (*IMPORTS, "reflect", *needed, *_PACKAGES)
        before = "package main\n\n" + imports(names, without=imported(reference))
        try:
            return ProgramCase(after=with_main(_TESTIFY + _USES + test), before=before)
        except ValueError as error:
            raise row.fault(field, f"is no Go test ({error})", "give it as published") from None
    if language != "python":
        return ProgramCase(after=test)
    name = name_in(head_of(row.text("declaration", row.text("prompt"))))
    try:
        helpers = lift.humaneval(row.text("prompt"), name, test).prelude
    except (SyntaxError, ValueError) as error:
        raise row.fault(field, f"is no Python test ({error})", "give it as published") from None
    return AssertCase(code=test, names=(name,), prelude=helpers)


def _load(argument: str, options: Options) -> list[Task]:
    wanted = []
    for name in words(options.get("language", "")):
        try:
            wanted.append(languages.get(name).name)
        except KeyError:
            raise TaskError("humaneval-x", f"is {name!r}", field="language", remedy=nearest(name, FOLDERS)) from None
    files = {
        name: f"data/{folder}/data/humaneval.jsonl" for name, folder in FOLDERS.items() if name in wanted or not wanted
    }
    if not files:
        raise TaskError("humaneval-x", "is none of it", field="language", remedy=f"give some of {', '.join(FOLDERS)}")
    rows = local(Path(argument)) if argument else fetch("humaneval-x", HUB, files=files)
    return tasks_of(argument or HUB, rows, partial(task_of, wanted=tuple(wanted)), options)


SOURCE = Source(
    name="humaneval-x",
    summary="HumanEval by hand in six languages",
    load=_load,
    options=("language",),
    argument="PATH",
)
