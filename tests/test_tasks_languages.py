"""HumanEval-X and MultiPL-E: every language's tests pass right programs and fail wrong ones."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import Grader, languages
from sandbox.spec import AssertCase, ProgramCase
from tasks import jsonl
from tasks.errors import TaskError
from tasks.go_text import imported, with_main
from tasks.registry import load
from tasks.task import Task

DATA = Path(os.environ.get("CODERL_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
X, MULTIPL_E = DATA / "humaneval-x", DATA / "multipl-e"
needs_data = pytest.mark.skipif(not X.exists() or not MULTIPL_E.exists(), reason=f"no benchmark data in {DATA}")


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=2) as opened:
        yield opened


def needs(language: str) -> None:
    try:
        languages.toolchain(language)
    except languages.LanguageUnavailable as error:
        pytest.skip(str(error))


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def outcomes(grader: Grader, task: Task, *programs: str) -> list[str]:
    return [str(verdict.outcome) for verdict in grader.grade([task.request(text) for text in programs])]


GO = {
    "task_id": "Go/0", "prompt": 'import (\n    "fmt"\n)\n\n// Text of n.\nfunc Text(n int) string {\n',
    "import": 'import (\n    "fmt"\n)\n', "docstring": "// Text of n.\n", "declaration": "\nfunc Text(n int) string {\n",
    "canonical_solution": '    return strings.TrimSpace(fmt.Sprintf("%d", n))\n}\n\n',
    "test": "func TestText(t *testing.T) {\n    assert := assert.New(t)\n    assert.Equal(\"7\", Text(7))\n"
    "    assert.Equal(strings.Repeat(\"1\", 2), Text(11))\n}\n",
    "test_setup": 'package main\n\nimport (\n    "testing"\n    "strings"\n    "github.com/stretchr/testify/assert"\n)\n',
    "example_test": 'func TestText(t *testing.T) {\n    assert := assert.New(t)\n    assert.Equal("7", Text(7))\n}\n',
}  # fmt: skip
CPP = {
    "task_id": "CPP/0", "prompt": "#include<vector>\nusing namespace std;\nint twice(int n){\n",
    "canonical_solution": "    return 2 * n;\n}\n", "declaration": "#include<vector>\nusing namespace std;\n"
    "int twice(int n){\n",
    "test": "#undef NDEBUG\n#include<assert.h>\nint main(){\n    assert (twice(2)==4);\n    assert (twice(0)==0);\n}\n",
    "example_test": "#undef NDEBUG\n#include<assert.h>\nint main(){\n    assert (twice(2)==4);\n}\n",
}  # fmt: skip
RUST = {
    "task_id": "Rust/0", "prompt": "\n/*\n Twice n.\n*/\n",
    "declaration": "\nuse std::cmp::max;\nuse rand::Rng;\nuse regex::Regex;\n"
    "use md5;\n\nfn twice(n: i32) -> i32 {\n", "canonical_solution": "    max(0, 2 * n)\n}\n", "example_test": "None",
    "test": "\n#[cfg(test)]\nmod tests {\n    use super::*;\n\n    #[test]\n"
    "    fn test_twice() {\n        assert_eq!(twice(2), 4);\n    }\n}\n",
}  # fmt: skip
PYTHON = {
    "task_id": "Python/0", "prompt": 'def twice(n):\n    """Twice n."""\n', "canonical_solution": "    return 2 * n\n",
    "test": "def check(twice):\n    assert twice(2) == 4\n\ncheck(twice)", "text": "Twice n.", "declaration": "def twice(n):\n",
    "example_test": "def check(twice):\n    assert twice(0) == 0\ncheck(twice)\n",
}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "signature", "wrong"),
    [
        (PYTHON, "def twice(n):", "    return 3\n"),
        (CPP, "int twice(int n){", "    return 4;\n}\n"),
        (GO, "func Text(n int) string {", '    return fmt.Sprint("7")\n}\n'),
        (RUST, "fn twice(n: i32) -> i32 {", "    n\n}\n"),
    ],
)
def test_humaneval_x_references_pass_and_wrong_bodies_fail(
    tmp_path: Path, grader: Grader, row: dict[str, Any], signature: str, wrong: str
) -> None:
    (task,) = load(f"humaneval-x:{lines(tmp_path / 'x.jsonl', row)}")
    needs(task.language)
    assert task.signature == signature and task.entry_point in ("twice", "Text")
    assert len(task.visible) == (0 if task.language == "rust" else 1)
    assert isinstance(task.hidden[0], AssertCase if task.language == "python" else ProgramCase)
    assert outcomes(grader, task, task.reference) == ["AC"]
    (verdict,) = grader.grade([task.request(task.prompt + wrong)])
    assert verdict.status == "FAIL" and verdict.outcome in ("WA", "RE")


def multipl_e(language: str, prompt: str, tests: str, *stop: str) -> dict[str, Any]:
    return {
        "name": "HumanEval_0_twice", "language": language, "prompt": prompt, "doctests": "transform", "tests": tests,
        "original": "HumanEval_0_twice.py", "prompt_terminology": "reworded", "stop_tokens": list(stop),
    }  # fmt: skip


TRANSLATED = [
    (
        multipl_e(
            "java",
            "import java.util.*;\nimport org.javatuples.*;\nclass Problem {\n    // Twice n, and n.\n"
            "    public static Pair<Long, Long> twice(long n) {\n",
            "    }\n    public static void main(String[] args) {\n"
            "    assert(twice((2l)).equals((Pair.with(4l, 2l))));\n    }\n\n}\n",
            "\n    }\n",
        ),
        "        return Pair.with(2 * n, n);\n",
        "        return Pair.with(n, n);\n",
    ),
    (
        multipl_e(
            "go_test.go",
            'package twice_test\n\nimport (\n    "testing"\n    "fmt"\n)\n\n// Twice n.\nfunc twice(n int) int {\n',
            "func TestTwice(t *testing.T) {\n  candidate := twice\n\ttype test struct {\n\t\tactual   interface{}\n"
            "\t\texpected interface{}\n\t}\n   tests := []test{\n     { actual: candidate(2), expected: 4 },\n   }\n\n"
            '\tfor i, tc := range tests {\n\t\tt.Run(fmt.Sprintf("test num % d", i), func(t *testing.T) {\n'
            '\t\t\tif fmt.Sprintf("%v", tc.actual) != fmt.Sprintf("%v", tc.expected) {\n'
            "\t\t\t\tt.Errorf(\"expected '%s', got '%s'\", tc.expected, tc.actual)\n\t\t\t}\n\t\t})\n\t}\n}\n",
            "\nfunc",
        ),
        "\treturn 2 * n\n}\n",
        "\treturn n\n}\n",
    ),
    (
        multipl_e(
            "sh",
            "#!/bin/bash\n# $1 is an integer\ntwice() {\n",
            '}\n\ncandidate() {\n    twice "$@"\n}\n\nset -e\nrun_test() {\n    [[ $(candidate "2") = "4" ]]\n}\n\nrun_test',
            "\n}",
        ),
        "    echo $(($1 * 2))\n",
        '    echo "$1"\n',
    ),
    (
        multipl_e(
            "js",
            "//Twice n.\nfunction twice(n){\n",
            "const assert = require('node:assert');\n\n\nfunction test() {\n  let candidate = twice;\n"
            "  assert.deepEqual(candidate(2),4);\n}\n\ntest();",
        ),
        "  return 2 * n;\n}\n",
        "  return n;\n}\n",
    ),
    (
        multipl_e(
            "cpp",
            "#include<assert.h>\n#include<bits/stdc++.h>\n// Twice n.\nlong twice(long n) {\n",
            "}\nint main() {\n    auto candidate = twice;\n    assert(candidate((2)) == (4));\n}\n",
            "\n}",
        ),
        "    return 2 * n;\n",
        "    return n;\n",
    ),
    (
        multipl_e(
            "rs",
            "/// Twice n.\nfn twice(n: isize) -> isize {\n",
            "}\n\nfn main() {\n    let candidate = twice;\n    assert_eq!(candidate(2), 4);\n}\n",
            "\n}",
        ),
        "    2 * n\n",
        "    n\n",
    ),
]


@pytest.mark.parametrize(("row", "right", "wrong"), TRANSLATED, ids=[row["language"] for row, _, _ in TRANSLATED])
def test_multipl_e_tests_pass_a_right_program_and_fail_a_wrong_one(
    tmp_path: Path, grader: Grader, row: dict[str, Any], right: str, wrong: str
) -> None:
    (task,) = load(f"multipl-e:{lines(tmp_path / 'm.jsonl', row)}")
    needs(task.language)
    assert task.stop == tuple(row["stop_tokens"]) and task.entry_point == "twice" and not task.visible
    accepted, refused = grader.grade([task.request(task.prompt + body) for body in (right, wrong)])
    assert accepted.outcome == "AC", accepted.detail
    assert refused.status == "FAIL" and refused.outcome in ("WA", "RE")
    jsonl.write(tmp_path / "ours.jsonl", [task])
    assert jsonl.read(tmp_path / "ours.jsonl") == [task]


def test_an_unknown_language_and_test_code_of_another_kind_are_named(tmp_path: Path) -> None:
    for source, row, fault in (
        ("humaneval-x", {**PYTHON, "task_id": "Pyhton/0"}, "is 'Pyhton/0'; did you mean \"Python\""),
        ("humaneval-x", {**PYTHON, "test": "def :"}, 'field "test": is no Python test'),
        ("humaneval-x", {**GO, "test": "nothing"}, 'field "test": is no Go test'),
        ("multipl-e", multipl_e("cobol", "", ""), "field \"language\": is 'cobol'"),
        ("multipl-e", multipl_e("go_test.go", "func f() {", ""), 'field "prompt": does not begin with a package'),
    ):
        with pytest.raises(TaskError, match=rf"r.jsonl:1: .*{fault}"):
            load(f"{source}:{lines(tmp_path / 'r.jsonl', row)}")
    with pytest.raises(TaskError, match="field \"language\": is 'pyhton'"):
        load("humaneval-x:x?language=pyhton")


def test_go_imports_are_found_and_a_file_without_tests_is_refused() -> None:
    assert imported('import "a/b"\nimport (\n\t"c"\n)\n') == ["a/b", "c"]
    with pytest.raises(ValueError, match="no func Test"):
        with_main("func Helper() {}")


@needs_data
def test_the_published_files_load_whole() -> None:
    tasks = load(f"humaneval-x:{X}")
    assert len(tasks) == 6 * 164 and len({task.id for task in tasks}) == 6 * 164
    assert len(load(f"humaneval-x:{X}?language=go,c%2B%2B")) == 2 * 164
    assert all(task.signature and task.entry_point for task in tasks)
    counts = {}
    for path in sorted(MULTIPL_E.glob("*.jsonl")):
        translated = load(f"multipl-e:{path}")
        counts[path.stem.removeprefix("humaneval-")] = len(translated)
        assert all(task.entry_point for task in translated)
    assert counts == {"cpp": 161, "go": 154, "java": 158, "js": 161, "rs": 156, "sh": 158}


# JavaScript: an example that calls a function that is not there; two references that fail their own asserts, which the
# published runner does not see since console.assert only prints; one needs js-md5. Go: a reference that depends on the order
# of a map. Rust: tests that are commented out, so that nothing shows their end; the others need crates.
KNOWN = {
    "javascript": {f"HumanEval-X/JavaScript/{n}" for n in (32, 112, 155, 162)},
    "go": {"HumanEval-X/Go/95"},
    "rust": {f"HumanEval-X/Rust/{n}" for n in (32, 38, 50, 53, 91, 162)},
}


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("language", ["python", "cpp", "java", "javascript", "go", "rust"])
def test_every_reference_of_humaneval_x_passes(grader: Grader, language: str) -> None:
    needs(language)
    tasks = load(f"humaneval-x:{X}?language={language}")
    verdicts = grader.grade([task.request(task.reference) for task in tasks])
    failed = {task.id: verdict.detail for task, verdict in zip(tasks, verdicts, strict=True) if verdict.outcome != "AC"}
    assert failed.keys() <= KNOWN.get(language, set()), failed
