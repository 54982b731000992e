"""Does any body at all get past the checks of a server, other than as a request or as one line that refuses it?"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from sandbox.codec import CodecError, dumps, loads
from sandbox.forms import FormFault
from sandbox.grading import whole
from sandbox.intake import request_fault
from sandbox.languages import toolchain
from sandbox.requests_json import read_request, request_to_json
from sandbox.server.batches import Item
from sandbox.server.blobs import BlobStore
from sandbox.server.codeforces import codeforces_request
from sandbox.server.fusion import read_run_code, run_code_request
from sandbox.server.guard import Refusal
from sandbox.server.piston import execute_request, read_execute, version_matches
from sandbox.server.requests import read_batch
from sandbox.verdict import Isolation, Outcome, Verdict

ANY = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(["python", "../x", "\ud800", "=", ""])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)  # fmt: skip


def often(*right: Any) -> st.SearchStrategy[Any]:
    """One of `right`, or anything."""
    return st.one_of(st.sampled_from(right), st.sampled_from(right), ANY)


def record(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """With all fields or with some: what reads the later ones is only reached where the needed ones are there."""
    return st.one_of(st.fixed_dictionaries(fields), st.fixed_dictionaries({}, optional=fields))


CASES = st.one_of(
    record(stdin=often("1"), stdout=often("1"), checker=often("tokens", {"kind": "floats", "absolute": 1.0})),
    record(function=often("f", "A.f"), args=often([1], [{"t": [1]}]), expected=often(1, {"x": "nan"})),
    record(code=often("assert f()"), names=often(["f"])),
    record(after=often("x")), record(suite=often("import solution"), framework=often("pytest")), ANY,
)  # fmt: skip
LIMITS = record(
    cpu_seconds=often(1, 0.5, -1, 1e308), memory_bytes=often(1 << 20, 1.5, 1 << 70), processes=often(1, True)
)
TASK = record(
    cases=st.one_of(st.lists(CASES, max_size=3), ANY), limits=st.one_of(LIMITS, ANY), checker=often("exact", "unordered"),
    groups=often([{"cases": [0], "points": 1}], [{"cases": [9], "points": -1}]), stop_early=often(True),
)  # fmt: skip
PROGRAM = record(
    source=often("print(1)", ""), language=often("python", "cpp", "x"), files=often({"a": "b"}, {"..": ""})
)
ITEM = record(id=often("a", "b", ""), program=st.one_of(PROGRAM, often("0" * 64)), task=st.one_of(TASK, ANY))
BATCH = st.one_of(
    record(schema=often(1), requests=st.one_of(st.lists(ITEM, max_size=3), ANY), blobs=often({"0" * 64: "{}"}, {})), ANY
)
FILE = record(
    name=often("main.py", "grader_config", "checker.py"), encoding=often("utf8", "hex", "base64"),
    content=often("print(1)", "TIME_LIMIT=nan", "TIME_LIMIT=-1", "TIME_LIMIT=1e300"),
)  # fmt: skip
RUN_CODE = st.one_of(
    record(code=often("print(1)"), language=often("python", "nodejs"), stdin=often("x"), run_timeout=often(1, 0.1, 1e400),
           memory_limit_MB=often(-1, 64), files=often({"a": "Zg=="}, {"a": None}), fetch_files=often(["a"], ["*"])), ANY
)  # fmt: skip
EXECUTE = st.one_of(
    record(language=often("python", "cf_python3", "c++17"), version=often("*", "3.x", "99"), stdin=often("x"),
           files=st.one_of(st.lists(FILE, max_size=3), ANY), run_timeout=often(1000, 1e400),
           run_memory_limit=often(-1, 1 << 20)),
    ANY,
)  # fmt: skip


def refusal_is_one_line(refusal: Refusal) -> None:
    assert 400 <= refusal.status < 500
    assert refusal.line
    assert "\n" not in refusal.line
    json.loads(bytes(refusal.response().body))


@given(BATCH)
def test_a_batch_is_read_or_refused(tree: Any) -> None:
    try:
        items, _ = read_batch(tree, BlobStore(1 << 20))
    except Refusal as refusal:
        refusal_is_one_line(refusal)
        return
    assert items
    for item in items:
        assert isinstance(item, Item)
        request_fault(item.request)  # never raises
        written = loads(dumps(request_to_json(item.request)))
        assert request_to_json(read_request(written)) == request_to_json(item.request)


@given(st.one_of(BATCH, record(schema=often(1), program=PROGRAM, task=TASK)))
@example({"schema": 1, "program": {"source": None}, "task": {"cases": [{"stdin": "", "stdout": ""}]}})
def test_a_request_is_read_or_refused(tree: Any) -> None:
    try:
        request = read_request(tree)
    except FormFault:
        return
    assert isinstance(request.program.source, str)
    verdict = whole(request, Outcome.IE, "none", Isolation(backend="none"))
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


@given(RUN_CODE)
@example({"code": "print(1)", "language": "python", "files": {"a": "="}})
def test_run_code_is_read_or_refused(tree: Any) -> None:
    try:
        request = run_code_request(read_run_code(tree))
    except Refusal as refusal:
        refusal_is_one_line(refusal)
        return
    assert request.limits.wall_seconds > 0


@given(EXECUTE)
def test_execute_is_read_or_refused(tree: Any) -> None:
    try:
        asked = read_execute(tree)
        if codeforces_request(asked) is None:
            execute_request(asked, toolchain)
    except Refusal as refusal:
        refusal_is_one_line(refusal)


@given(st.binary(max_size=200))
def test_bytes_are_json_or_refused(data: bytes) -> None:
    try:
        tree = loads(data)
    except CodecError:
        return
    assert dumps(tree)


@given(st.text(max_size=20))
def test_a_version_matches_or_not(selector: str) -> None:
    assert version_matches(selector, "3.11.2") in (True, False)
