"""Problem packages: are they read as the format says, and does each submission get the verdict that its folder demands?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sandbox import Grader, InteractiveCase, Outcome, StdioCase
from sandbox.checkers import text_matches
from sandbox.cli import app
from sandbox.errors import BadInput
from sandbox.jury import judge, relative_limit, submissions, time_limit
from sandbox.kattis import TestGroup, default_validator, grade_group, read_problem
from sandbox.sources import NotAProgram, read_program
from sandbox.spec import Award, Checker, Comparison, ProgramChecker
from sandbox.verdict import CaseResult

DATA = Path(os.environ.get("CODERL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "kattis"
EXAMPLES = DATA / "examples"
SUM = "print(sum(map(int, input().split())))\n"
VALIDATOR = """
import sys
right = open(sys.argv[2]).read().split()
assert sys.argv[4:] == ["strict", "group"], sys.argv
if sys.stdin.read().split() != right: sys.exit(43)
open(sys.argv[3] + "/score.txt", "w").write(open(sys.argv[1]).read().split()[0])
sys.exit(42)
"""


def package(folder: Path, files: dict[str, str], settings: str = "name: sum\n") -> Path:
    """A problem package with these files."""
    for name, text in {"problem.yaml": settings, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def data(*inputs: str, group: str = "secret") -> dict[str, str]:
    files = {f"data/{group}/{i}.in": f"{given}\n" for i, given in enumerate(inputs)}
    return files | {f"data/{group}/{i}.ans": f"{sum(map(int, given.split()))}\n" for i, given in enumerate(inputs)}


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["judge", str(folder), *arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_every_submission_is_held_against_its_folder(tmp_path: Path) -> None:
    files = {
        "submissions/accepted/right.py": SUM,
        "submissions/wrong_answer/wrong.py": "print(7)",
        "submissions/run_time_error/crash.py": "1/0",
        "submissions/time_limit_exceeded/slow.py": "while True: pass",
        "submissions/rejected/any.py": "1/0",
        "submissions/ideas/other.py": "print(1)",
        "submissions/accepted/unknown.xyz": "?",
        "submissions/wrong_answer/told.py": "# @EXPECTED_RESULTS@: RUN-ERROR, WRONG-ANSWER\n1/0",
    }
    folder = package(tmp_path, files | data("1 2", "3 4"))
    code, text = run(folder)
    assert code == 0, text
    assert "6 as demanded, 0 not, 1 with no demand, 1 not run; 2 tests, 1 s each" in text
    (folder / "submissions/accepted/wrong.py").write_text("print(3)")
    code, text = run(
        folder, str(folder / "submissions/accepted/wrong.py"), str(folder / "submissions/accepted/right.py")
    )
    assert code == 1
    assert "must be AC; secret/1: the output differs" in text
    assert "1 as demanded, 1 not" in text


def test_scores_add_up_by_groups_and_validators_get_their_flags(tmp_path: Path) -> None:
    files = {
        "output_validators/check/main.py": VALIDATOR,
        "data/testdata.yaml": "grader_flags: ignore_sample\non_reject: continue\noutput_validator_flags: group\n",
        "data/secret/testdata.yaml": "on_reject: continue\n",
        "data/secret/a/testdata.yaml": "grader_flags: min\nrange: 0 40\n",
        "data/secret/b/testdata.yaml": "grader_flags: sum\nrange: 0 10\non_reject: continue\n",
        **data("1 0", group="sample"), **data("40 1", "20 1", group="secret/a"), **data("10 1", "5 1", group="secret/b"),
        "submissions/accepted/right.py": "# @EXPECTED_SCORE@: 35\n" + SUM,
        "submissions/partially_accepted/some.py": "# @EXPECTED_GRADES@ ACCEPTED WRONG_ANSWER\n# @EXPECTED_SCORE@: 25\n"
        "a, b = map(int, input().split())\nprint(a + b if a != 10 else 0)\n",
    }  # fmt: skip
    settings = "name: sum\ntype: scoring\nvalidation: custom score\nvalidator_flags: strict\n"
    problem = read_problem(package(tmp_path, files, settings))
    groups = problem.request(read_program(tmp_path / "submissions/accepted/right.py"), problem.limits).groups
    # sample: one test of 1 point; a: the smallest of two shares of 40; b: two tests of 10
    assert [(g.cases, g.points, g.award) for g in groups] == [
        ((0,), 1.0, Award.SUM), ((1, 2), 40.0, Award.MIN), ((3, 4), 20.0, Award.SUM),
    ]  # fmt: skip
    with Grader(workers=1) as grader:
        lines = judge(problem, submissions(problem), grader, 2.0)
    # right: min(40, 20) + 10 + 5 = 35; some: min(40, 20) + 0 + 5 = 25
    assert [(line.outcome, line.score, line.right) for line in lines] == [("AC", 35.0, True), ("WA", 25.0, True)], lines


def test_a_group_is_graded_by_its_flags() -> None:
    results = [CaseResult(outcome=outcome) for outcome in (Outcome.AC, Outcome.WA, Outcome.TLE, Outcome.SKIP)]

    def graded(*flags: str, cases: tuple[int, ...] = (0, 1, 2, 3)) -> tuple[str, float]:
        group = TestGroup(name="g", cases=cases, flags=frozenset(flags), accept_score=6.0, reject_score=1.0)
        outcome, score = grade_group(group, results)
        return outcome.value, score

    assert graded() == ("TLE", 8.0)  # 6 + 1 + 1
    assert graded("first_error", "max") == ("WA", 6.0)
    assert graded("accept_if_any_accepted", "avg") == ("AC", 8.0 / 3)
    assert graded("always_accept", "min", cases=(1,)) == ("AC", 1.0)
    assert graded("accept_if_any_accepted", cases=(1, 2)) == ("TLE", 2.0)


def test_flags_of_the_default_validator_become_a_checker() -> None:
    assert default_validator([]) == Comparison(checker=Checker.TOKENS, absolute=0, relative=0, ignore_case=True)
    flags = ["case_sensitive", "float_absolute_tolerance", "1e-3", "space_change_sensitive"]
    assert default_validator(flags) == Comparison(checker=Checker.FLOATS, absolute=1e-3, relative=0, exact_spaces=True)
    for bad in (["float_tolerance"], ["float_tolerance", "x"], ["sorted"]):
        with pytest.raises(BadInput):
            default_validator(bad)


def test_the_limit_of_time_is_a_multiple_of_the_slowest_accepted_run(tmp_path: Path) -> None:
    busy = "import time\nwhile time.process_time() < 0.25: pass\n" + SUM
    files = {"submissions/accepted/a.py": SUM, "submissions/accepted/b.py": busy, "submissions/wrong_answer/c.py": "1"}
    problem = read_problem(package(tmp_path, files | data("1 2"), "limits:\n  time_multiplier: 6\n"))
    with Grader(workers=1) as grader:
        assert time_limit(problem, submissions(problem), grader) in (2.0, 3.0)  # above 6 * 0.25
        with pytest.raises(BadInput, match="no accepted submission"):
            time_limit(problem, submissions(problem)[2:], grader)
    assert [relative_limit(1.0, 2.0), relative_limit(1.01, 2.0), relative_limit(0.3, 2.0, 0.25)] == [2.0, 3.0, 0.75]


def test_a_program_of_several_files_starts_where_it_should(tmp_path: Path) -> None:
    package(
        tmp_path, {"p/util.py": "x = 1", "p/main.py": "import util", "c/a.cc": "int f();", "c/b.cc": "int main(){}"}
    )
    assert read_program(tmp_path / "p").source == "import util"
    found = read_program(tmp_path / "c")
    assert (found.source, found.language, found.files) == ("int main(){}", "cpp", {"a.cpp": "int f();"})
    (tmp_path / "old.py").write_text("#!/usr/bin/env python2\nprint 1")
    for name in ("old.py", "problem.yaml"):
        with pytest.raises(NotAProgram):
            read_program(tmp_path / name)


@pytest.mark.parametrize(
    ("settings", "files", "message"),
    [
        ("type: multi-pass\nproblem_format_version: 2023-07", {}, "multi-pass cannot be judged"),
        ("validation: custom", {}, "no output validator"),
        ("validator_flags: sorted", {}, "validator flag 'sorted'"),
        ("limits:\n  time_limit: soon", {}, "limits.time_limit is 'soon'"),
        ("limits: 5", {}, "limits is a int: write keys and values"),
        ("limits: {memory: .inf}", {}, "limits.memory is 'inf'"),
        ("limits: {time_limit: 0}", {}, "limits.time_limit is '0'"),
        ("limits: {time_resolution: .nan}", {}, "limits.time_resolution is 'nan'"),
        ("validator_flags: float_tolerance -1", {}, "validator_flags is '-1'"),
        ("type: scoring", {"data/secret/testdata.yaml": "accept_score: 1e308"}, "accept_score is '1e308'"),
        ("type: scoring", {"data/secret/testdata.yaml": "range: 0 x"}, "range is 'x'"),
        ("name: [", {}, "no YAML"),
        ("date: 2026-99-99", {}, "no YAML (month"),
        ("number: " + "9" * 5000, {}, "no YAML"),
        ("deep: " + "[" * 5000, {}, "no YAML"),
        ("a: &a [x]\nb: &b [*a, *a]\nvalidator_flags: *b", {}, "an alias"),
        ("name: x", {"data/secret/testdata.yaml": "grading: custom"}, "only the default grader"),
        ("name: x", {"data/secret/test_group.yaml": "max_score: 1"}, "write testdata.yaml"),
        ("name: x", {"submissions/accepted/a.py": "# @EXPECTED_RESULTS@: FINE\n"}, "give some of"),
    ],
)
def test_what_is_not_understood_is_refused_in_one_line(
    tmp_path: Path, settings: str, files: dict[str, str], message: str
) -> None:
    code, text = run(package(tmp_path, data("1 2") | files, settings))
    assert (code, text.count("\n")) == (2, 1), text
    assert message in text and "Traceback" not in text


def test_a_link_of_a_test_stays_inside_the_data(tmp_path: Path) -> None:
    folder = package(tmp_path / "p", data("1 2"))
    (folder / "data/secret/1.in").symlink_to("0.in")
    (folder / "data/secret/1.ans").write_text("../secret/0.ans")  # a checkout without links
    problem = read_problem(folder)
    assert problem.cases[0] == problem.cases[1]
    (tmp_path / "outside.in").write_text("secret")
    (folder / "data/secret/2.in").symlink_to(tmp_path / "outside.in")
    (folder / "data/secret/2.ans").write_text("")
    with pytest.raises(BadInput, match="leaves"):
        read_problem(folder)


VALIDATED = {"output_validators/check.py": "raise SystemExit(42)"}


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("problem.yaml", "/dev/zero"), ("problem.yaml", ""), (".timelimit", "/etc/hostname"), ("data/secret/0.in", ""),
        ("data/secret/0.ans", ""), ("data/secret/testdata.yaml", "/etc/hostname"), ("data/secret/more", "."),
        ("output_validators/check.py", "/etc/passwd"), ("submissions/accepted/right.py", "/etc/passwd"),
    ],
)  # fmt: skip
def test_a_package_cannot_bring_in_a_file_of_the_machine_or_a_pipe(tmp_path: Path, place: str, target: str) -> None:
    folder = package(tmp_path, data("1 2") | {"submissions/accepted/right.py": SUM, **VALIDATED}, "validation: custom")
    (folder / place).unlink(missing_ok=True)
    os.symlink(target, folder / place) if target else os.mkfifo(folder / place)
    code, text = run(folder)
    assert (code, text.count("\n")) == (2, 1), text
    assert "link" in text if target else "no regular file" in text


def test_a_sparse_file_is_not_read_into_memory(tmp_path: Path) -> None:
    folder = package(tmp_path, data("1 2"))
    os.truncate(folder / "data/secret/0.in", 1 << 40)
    with pytest.raises(BadInput, match="at most 256 MiB"):
        read_problem(folder)


@pytest.mark.skipif(not EXAMPLES.exists(), reason=f"{EXAMPLES} is not there: set CODERL_DATA to a folder with the data")
@pytest.mark.parametrize(
    ("name", "least"),
    [
        pytest.param("hello", 7, marks=pytest.mark.slow),
        pytest.param("guess", 12, marks=pytest.mark.slow),
        ("oddecho", 3),
        pytest.param("different", 6, marks=pytest.mark.slow),
        pytest.param("../tests/hello", 6, marks=pytest.mark.slow),
    ],
)
def test_every_submission_of_the_published_examples_gets_what_its_folder_demands(name: str, least: int) -> None:
    problem = read_problem(EXAMPLES / name)
    found = submissions(problem)
    with Grader() as grader:
        lines = judge(problem, found, grader, time_limit(problem, found, grader))
    assert {line.submission.name: line.note for line in lines if line.right is False} == {}
    missing = [line for line in lines if line.right is None and "language" in line.note]
    assert sum(line.right is True for line in lines) >= min(least, len(lines) - len(missing))
    kinds = {type(case) for case in problem.cases}
    assert kinds == {InteractiveCase if name == "guess" else StdioCase}
    if name == "different":
        assert isinstance(problem.cases[0], StdioCase) and isinstance(problem.cases[0].checker, ProgramChecker)


@pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} is not there: set CODERL_DATA to a folder with the data")
def test_the_default_validator_decides_as_the_published_one() -> None:
    folders = sorted((DATA / "tests" / "default_validator_tests").glob("test_*"))
    assert len(folders) > 10
    for folder in folders:
        flags = (folder / "args.txt").read_text().split() if (folder / "args.txt").exists() else []
        user, right = (folder / "user.out").read_bytes(), (folder / "judge.ans").read_bytes()
        code = int((folder / "expected_exit_code.txt").read_text())
        assert text_matches(default_validator(flags), user, right) == (code == 42), folder.name
