"""Tasks leave as JSONL, parquet and datasets folders, and come back bit for bit; criteria choose among them."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.limits import Limits
from sandbox.spec import AssertCase, CallCase, Checker, Comparison, StdioCase
from tasks import arrow, jsonl, registry
from tasks.criteria import Criteria
from tasks.errors import TaskError
from tasks.export import export
from tasks.registry import load, load_all
from tasks.rows import Row
from tasks.task import Split, Style, Task

DATA = Path(os.environ.get("CODERL_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
ODD = Task(
    id="demo/odd\u2028", prompt="say \x00 'ü' \r\n", style=Style.COMPLETION, split=Split.VALIDATION,
    visible=(StdioCase(stdin="1\r\n", stdout="\ud800"), AssertCase(code="assert f()\n", names=("f",))),
    hidden=(CallCase(function="f", args=(1, 1.0, True, (1,), {(1, 2): {3}}, 2**80), expected=-0.0),),
    entry_point="f", language="cpp", checker=Comparison(checker=Checker.FLOATS, absolute=1e-9), level=3,
    limits=Limits(cpu_seconds=0.1), tags=("a", "b"), stop=("\n#",), date="2024-05-31",
)  # fmt: skip
PLAIN = Task(id="demo/plain", prompt="p", style=Style.INSTRUCTION, split=Split.TRAIN, visible=(), hidden=())


@pytest.mark.parametrize("name", ["t.jsonl", "t.parquet", "folder"])
def test_every_field_of_odd_tasks_survives_every_form(tmp_path: Path, name: str) -> None:
    spec = export(tmp_path / name, [ODD, PLAIN])
    found = load(spec)
    assert found == [ODD, PLAIN]
    assert repr(found) == repr([ODD, PLAIN])  # types and signs of zero, which == does not see
    assert sorted(os.listdir(tmp_path)) == [name]


SOURCES: dict[str, tuple[str, Path | None]] = {
    "easy": ("easy", None),
    "generated": ("generated?count=60&level=1-3", None),
    "all families": ("generated?family=all&level=1-5&count=150", None),
    "humaneval": (f"humaneval:{DATA}/humaneval/data/HumanEval.jsonl.gz", DATA / "humaneval"),
    "mbpp": (f"mbpp:{DATA}/mbpp/mbpp.jsonl", DATA / "mbpp"),
    "apps": (f"apps:{DATA}/apps_sample", DATA / "apps_sample"),
    "code_contests": (f"code_contests:{DATA}/code_contests_sample", DATA / "code_contests_sample"),
    "mbpp:sanitized": (f"mbpp:{DATA}/mbpp/sanitized-mbpp.json", DATA / "mbpp"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_tasks_of_every_source_round_trip_through_jsonl_and_datasets_bit_for_bit(tmp_path: Path, name: str) -> None:
    spec, needed = SOURCES[name]
    if needed is not None and not needed.exists():
        pytest.skip(f"no benchmark data in {DATA}")
    tasks = load(spec)
    once = load(export(tmp_path / "a.jsonl", tasks))
    twice = load(export(tmp_path / "folder", once))
    assert repr(twice) == repr(tasks)
    export(tmp_path / "b.jsonl", twice)
    assert (tmp_path / "b.jsonl").read_bytes() == (tmp_path / "a.jsonl").read_bytes()


def test_a_datasets_user_finds_typed_columns(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    export(tmp_path / "folder", [ODD, PLAIN])
    rows = datasets.load_from_disk(str(tmp_path / "folder"))
    assert rows["id"][:] == [ODD.id, PLAIN.id]
    assert rows["tags"][:] == [["a", "b"], []]
    assert rows.features["level"].dtype == "int64"
    export(tmp_path / "t.parquet", [PLAIN])
    from_parquet = datasets.Dataset.from_parquet(str(tmp_path / "t.parquet"), cache_dir=str(tmp_path / "cache"))
    assert from_parquet[0]["prompt"] == "p"


def test_text_that_arrow_cannot_hold_is_refused_by_name_not_changed(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"field \"prompt\": holds half of a surrogate pair.*export to .jsonl"):
        export(tmp_path / "t.parquet", [replace(PLAIN, prompt="\ud800")])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("there.jsonl", "is there already; name another, or delete it"),
        ("no/t.jsonl", "there is no folder"),
        ("t.csv", "has the ending .csv; end the name in .jsonl or .parquet"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "there.jsonl").write_text("old")
    with pytest.raises(TaskError, match=message):
        export(tmp_path / name, [PLAIN])
    assert (tmp_path / "there.jsonl").read_text() == "old"


@pytest.mark.parametrize("name", ["x.jsonl", "x.parquet", "x"])
def test_a_disk_that_takes_no_more_is_one_line_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    tasks = load("easy")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # the kernel refuses as it does on a full disk
    try:
        with pytest.raises(TaskError, match=rf"{name}: cannot be written \(File too large\); free some space"):
            export(tmp_path / name, tasks)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_other_columns_or_of_none_is_a_fault_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"none.parquet: there is no such file"):
        load(f"dataset:{tmp_path}/none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(TaskError, match=r"bad.parquet: cannot be read .*; give a parquet file"):
        load(f"dataset:{tmp_path}/bad.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TaskError, match=r"empty: cannot be read .*; give a folder that `coderl tasks export` wrote"):
        load(f"dataset:{tmp_path}/empty")
    with pytest.raises(TaskError, match=r"dataset: 't.csv' is no folder and no .parquet file; write dataset:PATH"):
        load("dataset:t.csv")
    with pytest.raises(TaskError, match=r'x\[3\]: field "hidden": is not JSON'):
        arrow.from_row(Row("x[3]", {**arrow.to_record(PLAIN), "hidden": "["}))
    with pytest.raises(TaskError, match=r'x\[3\]: field "extra": is no field of a task'):
        arrow.from_row(Row("x[3]", {**arrow.to_record(PLAIN), "extra": "1"}))


def test_loading_several_specs_refuses_a_task_that_is_in_two(tmp_path: Path) -> None:
    jsonl.write(tmp_path / "a.jsonl", [PLAIN])
    jsonl.write(tmp_path / "b.jsonl", [ODD, PLAIN])
    with pytest.raises(TaskError, match=r"b.jsonl: 'demo/plain' is a task of jsonl:.*a.jsonl already"):
        load_all([f"jsonl:{tmp_path}/a.jsonl", f"jsonl:{tmp_path}/b.jsonl"])
    assert load_all([f"jsonl:{tmp_path}/b.jsonl"] * 2) == [ODD, PLAIN]
    assert "dataset" in registry.describe()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Criteria(), ""),
        (lambda: Criteria(levels=range(2, 4)), ""),
        (lambda: Criteria(levels=range(2, 3)), "level"),
        (lambda: Criteria(languages=("python", "rust")), "language"),
        (lambda: Criteria(max_prompt_chars=len(ODD.prompt) - 1), "length of the prompt"),
        (lambda: Criteria(min_prompt_chars=len(ODD.prompt), max_prompt_chars=len(ODD.prompt)), ""),
        (lambda: Criteria(since="2024-05-31", until="2024-05-31"), ""),
        (lambda: Criteria(since="2024-06-01"), "date"),
        (lambda: Criteria(until="2024-05-30"), "date"),
    ],
)
def test_criteria_say_why_a_task_is_left_out(make: Callable[[], Criteria], reason: str) -> None:
    assert make().reason(ODD) == reason


def test_a_task_without_a_date_is_in_no_range_of_dates_and_a_bad_bound_is_refused() -> None:
    assert Criteria(since="2000-01-01").reason(PLAIN) == "no date"
    assert Criteria(max_reference_chars=0).reason(replace(PLAIN, reference="x")) == "length of the reference"
    with pytest.raises(TaskError, match="--since: is 'May'; write the day as 2024-05-31"):
        Criteria(since="May")
