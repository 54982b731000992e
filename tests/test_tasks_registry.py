"""Specs: what they name, and what a wrong one is told."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import pytest

from tasks import registry
from tasks.errors import TaskError
from tasks.source import Source
from tasks.task import Split, Style, Task

DOCS = Path(__file__).parent.parent / "docs" / "tasks.md"


def task(name: str, level: int = 1, split: Split = Split.TRAIN, tags: tuple[str, ...] = ()) -> Task:
    return Task(
        id=name, prompt=name, style=Style.INSTRUCTION, split=split, visible=(), hidden=(), level=level, tags=tags
    )


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source of five tasks called `toys`."""
    found = [task("a"), task("b", 2), task("c", 3), task("d", 1, Split.TEST, ("odd",)), task("e", 2, Split.TEST)]
    source = Source(name="toys", summary="five toys", load=lambda argument, options: list(found))
    monkeypatch.setitem(registry.SOURCES, "toys", source)


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", "abcde"),
        ("?split=train", "abc"),
        ("?split=test,train&level=1", "ad"),
        ("?level=2-3", "bce"),
        ("?level=2-3&limit=2", "bc"),
        ("?tags=odd,even", "d"),
        ("?ids=e,a", "ea"),
    ],
)
def test_filters_combine_and_keep_the_order(toys: None, query: str, ids: str) -> None:
    assert "".join(found.id for found in registry.load(f"toys{query}")) == ids


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("humanevall", "humanevall: no source is called 'humanevall'; did you mean \"humaneval\"?"),
        ("toys?splt=train", "toys?splt=train: source 'toys' has no option 'splt'; did you mean \"split\"?"),
        ("toys?split=tain", 'toys?split=tain: field "split": no split is called \'tain\'; did you mean "train"?'),
        ("toys?level=3-1", "toys?level=3-1: field \"level\": is '3-1'; write the lower level first, e.g. level=1-3"),
        ("toys?limit=0", "toys?limit=0: field \"limit\": is '0'; give a whole number of at least 1"),
        ("toys?ids=z", "toys?ids=z: field \"ids\": no task is called 'z'; valid: a, b, c, d, e"),
        ("toys?level=1&level=2", 'toys?level=1&level=2: field "level": is given twice; give it once'),
        ("toys:x", "toys:x: source 'toys' takes nothing after the colon; write 'toys'"),
        ("toys?level=9", "toys?level=9: no task is left; loosen the filters, or look at the splits with describe()"),
        ("mbpp:/nowhere", "/nowhere: there is no such file; check the path"),
        ("generated?count=many", "generated: field \"count\": is 'many'; give a whole number of at least 1"),
        (
            "generated?family=compos",
            'generated: field "family": no family is called \'compos\'; did you mean "compose"?',
        ),
    ],
)
def test_a_wrong_spec_is_answered_in_one_line_with_a_remedy(toys: None, spec: str, message: str) -> None:
    with pytest.raises(TaskError) as caught:
        registry.load(spec)
    assert str(caught.value) == message


def test_describe_names_every_source_and_option(toys: None) -> None:
    lines = registry.describe().splitlines()
    assert {line.split()[0].split("[")[0] for line in lines} == {*registry.SOURCES, "every"}
    assert "seed=" in registry.describe()
    assert "five toys" in registry.describe()


def test_the_source_in_the_docs_loads_through_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    block = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.S)
    assert block is not None
    code = compile(block[1], "docs/tasks.md", "exec", dont_inherit=True)
    namespace: dict[str, Any] = {}
    exec(code, namespace)

    class Entry:
        name = "powers"

        def load(self) -> Source:
            source = namespace["SOURCE"]
            assert isinstance(source, Source)
            return source

    monkeypatch.setattr(registry, "entry_points", lambda group: [Entry()] if group == "coderl.tasks" else [])
    (found,) = registry.load("powers?power=3")
    assert [case.expected for case in found.cases if hasattr(case, "expected")][:4] == [0, 1, 8, 27]
    with pytest.raises(TaskError, match='did you mean "powers"'):
        registry.load("power")


def test_an_error_survives_a_trip_to_another_process() -> None:
    error = TaskError("a.jsonl:3", "is bad", field="id", remedy="fix it")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.field) == ('a.jsonl:3: field "id": is bad; fix it', "id")
