"""Problem packages as tasks: samples visible, secrets hidden, validators, dialogues and points."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Grader
from sandbox.spec import InteractiveCase, ProgramChecker
from tasks import jsonl
from tasks.errors import TaskError
from tasks.registry import load

DATA = (
    Path(os.environ.get("CODERL_DATA", Path(__file__).parent.parent.parent / "shared" / "data")) / "kattis" / "examples"
)
needs_data = pytest.mark.skipif(not DATA.exists(), reason=f"no problem packages in {DATA}")


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=2) as opened:
        yield opened


def package(folder: Path, *, points: bool = False) -> Path:
    for place in ("problem_statement", "data/sample", "data/secret/g1", "data/secret/g2", "submissions/accepted"):
        (folder / place).mkdir(parents=True)
    (folder / "problem.yaml").write_text("name: Sum\nlimits: {time_limit: 1}\n" + ("type: scoring\n" if points else ""))
    (folder / "problem_statement" / "problem.en.tex").write_text("\\problemname{Sum}\nAdd two numbers.\n")
    for place, given, right in (("sample/1", "1 2", "3"), ("secret/g1/1", "3 4", "7"), ("secret/g2/1", "-1 1", "0")):
        (folder / "data" / f"{place}.in").write_text(f"{given}\n")
        (folder / "data" / f"{place}.ans").write_text(f"{right}\n")
    if points:
        (folder / "data" / "testdata.yaml").write_text("on_reject: continue\ngrader_flags: sum ignore_sample\n")
        (folder / "data" / "sample" / "testdata.yaml").write_text("accept_score: 0\nrange: 0 0\n")
        for group, score in (("g1", 30), ("g2", 70)):
            (folder / "data" / "secret" / group / "testdata.yaml").write_text(
                f"accept_score: {score}\ngrader_flags: min\n"
            )
    (folder / "submissions" / "accepted" / "sum.py").write_text("print(sum(map(int, input().split())))\n")
    return folder


def test_samples_are_visible_secrets_hidden_and_the_reference_passes(tmp_path: Path, grader: Grader) -> None:
    (task,) = load(f"kattis:{package(tmp_path / 'sum')}")
    assert (task.id, len(task.visible), len(task.hidden), task.groups) == ("kattis/sum", 1, 2, ())
    assert task.prompt.startswith("\\problemname{Sum}") and task.limits.cpu_seconds == 1.0
    wrong = "a, b = map(int, input().split())\nprint(a + abs(b))\n"
    right, small = grader.grade([task.request(text) for text in (task.reference, "print(3)")])
    assert right.outcome == "AC" and [case.outcome for case in small.cases][:2] == ["AC", "WA"]
    assert grader.grade([task.request(wrong)])[0].outcome == "AC"  # -1 1 does not tell
    (cpp,) = load(f"kattis:{tmp_path / 'sum'}?language=cpp")
    assert (cpp.id, cpp.reference) == ("kattis/sum/cpp", "")


def test_groups_give_points_and_survive_the_file_format(tmp_path: Path, grader: Grader) -> None:
    (task,) = load(f"kattis:{package(tmp_path / 'sum', points=True)}")
    assert [(group.cases, group.points) for group in task.groups] == [((1,), 30.0), ((2,), 70.0)]
    whole, part = grader.grade([task.request(text) for text in (task.reference, "print(0)")])
    assert (whole.points, whole.max_points, part.points, part.outcome) == (100.0, 100.0, 70.0, "PA")
    assert task.request("x", cases=task.visible).groups == ()
    jsonl.write(tmp_path / "ours.jsonl", [task])
    assert jsonl.read(tmp_path / "ours.jsonl") == [task]


def test_a_package_that_cannot_be_read_is_a_bad_row(tmp_path: Path) -> None:
    package(tmp_path / "good")
    (package(tmp_path / "multi") / "problem.yaml").write_text("validation: custom multipass\n")
    (package(tmp_path / "mute") / "problem_statement" / "problem.en.tex").unlink()
    with pytest.warns(
        UserWarning, match=r'2 rows left out, first: .*multi: field "problem.yaml": cannot be read .*multipass'
    ):
        assert [task.id for task in load(f"kattis:{tmp_path}")] == ["kattis/good"]
    with pytest.raises(TaskError, match="has no English statement"):
        load(f"kattis:{tmp_path / 'mute'}")
    with pytest.raises(TaskError, match=r"holds no problem\.yaml"):
        load(f"kattis:{tmp_path / 'good' / 'data'}")


@needs_data
def test_the_published_examples_load_and_their_submissions_pass(grader: Grader) -> None:
    tasks = {task.id: task for task in load(f"kattis:{DATA}")}
    assert sorted(tasks) == ["kattis/different", "kattis/guess", "kattis/hello", "kattis/oddecho"]
    assert all(isinstance(case, InteractiveCase) for case in tasks["kattis/guess"].cases)
    assert "interactive" in tasks["kattis/guess"].tags and "scoring" in tasks["kattis/oddecho"].tags
    assert isinstance(tasks["kattis/different"].hidden[0].checker, ProgramChecker)
    for task in tasks.values():
        if task.reference:
            (verdict,) = grader.grade([task.request(task.reference)])
            assert verdict.outcome == "AC", (task.id, verdict.detail)
    assert [name for name, task in tasks.items() if not task.reference] == ["kattis/guess"]
