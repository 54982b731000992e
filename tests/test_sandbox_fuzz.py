"""Does anything a program or a file can contain break the parts that read it? More with `--hypothesis-profile=slow`."""

from __future__ import annotations

import json
import math
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandbox.checkers import text_matches, values_match
from sandbox.codec import HEADER, CodecError, decode, dumps, encode, loads
from sandbox.errors import BadInput
from sandbox.judge import check_reference, player_message
from sandbox.limits import Limits
from sandbox.samples import read_samples, read_tasks
from sandbox.spec import Checker, Comparison
from sandbox.text import printable
from sandbox.wire import Wire

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(1 << 200), 1 << 200), st.floats(allow_nan=False), TEXT,
    st.binary(), st.complex_numbers(allow_nan=False),
)  # fmt: skip
KEYS = st.recursive(SCALARS, lambda keys: st.lists(keys, max_size=3).map(tuple), max_leaves=4)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(KEYS, inner, max_size=5),
        st.sets(KEYS, max_size=5), st.frozensets(KEYS, max_size=5),
    ),
    max_leaves=20,
)  # fmt: skip
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(st.sampled_from(["t", "d", "s", "f", "b", "i", "x", "c", "h", "r", "g"]), st.text()),
            inner,
            max_size=2,
        ),
    ),
    max_leaves=20,
)
# Bytes that look like output: numbers, odd white space, odd letters.
OUTPUT = st.one_of(
    st.binary(max_size=200),
    st.lists(
        st.sampled_from(
            [b"1", b"1.0", b"-0", b"+1", b"1e5", b"1e999", b"nan", b"inf", b"-inf", b"x", b"X", b"0x1", b"1_0", b"\xff",
             b" ", b"  ", b"\t", b"\n", b"\r\n", b"\x0b", b"\x00", b"\xc2\xa0"]
        ),
        max_size=12,
    ).map(b"".join),
)  # fmt: skip
RULES = st.one_of(
    st.sampled_from(list(Checker)),
    st.builds(
        Comparison,
        checker=st.sampled_from(list(Checker)),
        absolute=st.floats(0, 10),
        relative=st.floats(0, 10),
        ignore_case=st.booleans(),
        exact_spaces=st.booleans(),
    ),
)
STRICT = (Checker.EXACT, Checker.LINES, Checker.TOKENS, Checker.EQUAL, Checker.UNORDERED)


def has_nan(value: Any) -> bool:
    return "nan" in repr(value)


@given(st.one_of(st.binary(), JSON.map(lambda tree: json.dumps(tree).encode())))
@example(b"[" * 100_000)
@example(b'{"d":[[' * 30_000)
@example(b'{"i":"0x' + b"f" * 1_000_000 + b'"}')
@example(b"9" * 1_000_000)
@example(b'"\\ud800"')
@example(b'{"s":[[1]]}')
@example(b'{"c":[1.0,{"c":[1.0,2.0]}]}')
def test_any_bytes_are_a_value_or_a_codec_error(data: bytes) -> None:
    with suppress(CodecError):
        value = decode(loads(data))
        assert values_match(Checker.EXACT, decode(loads(dumps(encode(value)))), value) or has_nan(value)


@given(st.one_of(JSON, st.dictionaries(st.sampled_from(["ok", "args", "error", "bad", "raised", "load", "ce", "op", "r",
                                                       "kwargs"]), JSON)))  # fmt: skip
def test_any_message_of_a_player_is_understood_or_a_codec_error(message: Any) -> None:
    with suppress(CodecError):
        assert player_message(message) in message
    with suppress(CodecError):
        decode(message, check_reference)


@given(RULES, OUTPUT, OUTPUT)
def test_any_two_outputs_compare(rule: Checker | Comparison, left: bytes, right: bytes) -> None:
    assert text_matches(rule, left, right) in (True, False)


@given(OUTPUT, OUTPUT)
def test_the_strict_rules_for_text_are_symmetric_and_reflexive(left: bytes, right: bytes) -> None:
    for rule in STRICT:
        assert text_matches(rule, left, left)
        assert text_matches(rule, left, right) == text_matches(rule, right, left)


@given(OUTPUT, OUTPUT)
def test_a_stricter_rule_for_text_implies_a_laxer_one(left: bytes, right: bytes) -> None:
    exact, lines, tokens, floats, unordered = (
        text_matches(rule, left, right)
        for rule in (Checker.EXACT, Checker.LINES, Checker.TOKENS, Checker.FLOATS, Checker.UNORDERED)
    )
    assert not exact or lines
    assert not lines or (tokens and unordered)
    assert not tokens or floats or b"nan" in left.lower()
    assert tokens == (left.split() == right.split())


@given(OUTPUT)
def test_white_space_at_the_end_of_a_line_is_nothing(text: bytes) -> None:
    lines = [line.rstrip() + b" \t\r" for line in text.split(b"\n")]
    assert text_matches(Checker.LINES, b"\n".join(lines) + b"\n\n", text)
    assert text_matches(Checker.TOKENS, b"\n\n".join(lines).replace(b" ", b"\t "), text)


@given(RULES, VALUES, VALUES)
def test_any_two_values_compare(rule: Checker | Comparison, left: Any, right: Any) -> None:
    assert values_match(rule, left, right) in (True, False)


@given(VALUES, VALUES)
def test_the_strict_rules_for_values_are_symmetric_and_reflexive(left: Any, right: Any) -> None:
    for rule in STRICT:
        assert values_match(rule, left, left)
        assert values_match(rule, left, right) == values_match(rule, right, left)
    assert not values_match(Checker.EXACT, left, right) or values_match(Checker.EQUAL, left, right)
    assert not values_match(Checker.EQUAL, left, right) or values_match(Checker.UNORDERED, left, right)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(-1, 1))
def test_a_float_within_the_tolerance_is_accepted_printed_or_returned(value: float, error: float) -> None:
    near = value + 0.9e-6 * error * max(1.0, abs(value))
    if math.isinf(near):
        return
    assert values_match(Checker.FLOATS, near, value)
    assert text_matches(Checker.FLOATS, repr(near).encode(), repr(value).encode())


SLOW_TEXTS: dict[str, Callable[[int], bytes]] = {
    "digits": lambda n: b"9" * n, "blanks": lambda n: b" " * n + b"x", "line ends": lambda n: b"\n" * n + b"x",
    "carriage returns": lambda n: b"\r" * n + b"x", "exponents": lambda n: b"1e" * n, "points": lambda n: b"." * n,
    "numbers": lambda n: b"1.5 " * (n // 4), "lines": lambda n: b"a\n" * (n // 2), "nan": lambda n: b"nan " * (n // 4),
}  # fmt: skip


@pytest.mark.parametrize("name", SLOW_TEXTS)
@pytest.mark.parametrize("rule", Checker)
def test_text_is_compared_in_linear_time(rule: Checker, name: str) -> None:
    """Quadratic time would take four times as long for twice the text, and minutes for these."""
    text = SLOW_TEXTS[name](1_000_000)
    began = time.process_time()
    text_matches(rule, text, text + b" 1")
    text_matches(Comparison(checker=rule, ignore_case=True, exact_spaces=True), text, text[:-1])
    assert time.process_time() - began < 5.0


@pytest.mark.parametrize("rule", [Checker.EXACT, Checker.EQUAL, Checker.FLOATS, Checker.UNORDERED])
def test_values_are_compared_in_bounded_time(rule: Checker) -> None:
    deep: Any = 1
    for _ in range(99):
        deep = [deep]
    collide = [i * (2**61 - 1) for i in range(1400)]
    wide = {(i, str(i)): [i, {i}] for i in range(30_000)}
    began = time.process_time()
    for value in (deep, collide, wide, [[0] * 1000] * 500):
        values_match(rule, decode(encode(value)), value)
        values_match(rule, value, [value])
    assert time.process_time() - began < 10.0


@given(st.text())
def test_what_is_shown_to_a_person_holds_no_control_character(text: str) -> None:
    shown = printable(text)
    assert all(c.isprintable() or c in "\n\t" for c in shown)


@contextmanager
def wire(limits: Limits = Limits()) -> Iterator[tuple[Wire, socket.socket]]:
    """A wire, and the program's end of its control socket."""
    near, far = socket.socketpair()
    killed: list[bool] = []
    run: Any = SimpleNamespace(
        control=near, stdin=-1, stdout=-1, stderr=-1, exit_fd=-1, deadline=0.0,
        close_stdin=lambda: None, kill=lambda: killed.append(True),
    )  # fmt: skip
    with near, far:
        yield Wire(run, limits), far


@given(st.lists(JSON, max_size=2), st.lists(st.integers(1, 9), max_size=30))
def test_frames_are_cut_alike_however_they_arrive(trees: list[Any], sizes: list[int]) -> None:
    data = b"".join(HEADER.pack(len(text)) + text for text in (json.dumps(tree).encode() for tree in trees))
    with wire() as (reader, far):
        rest = data
        for size in sizes:
            far.send(rest[:size])
            rest = rest[size:]
            reader.handle(reader.run.control.fileno(), 1)
        far.send(rest)
        reader.handle(reader.run.control.fileno(), 1)
        assert [json.dumps(json.loads(text)) for text in reader.frames] == [json.dumps(tree) for tree in trees]
        assert not reader.broken
        assert not reader.overflow


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=10))
@example([b"\xff\xff\xff\xff"])
@example([b"\0" * 40] * 10)
def test_any_bytes_on_the_control_socket_are_frames_or_the_end_of_the_run(chunks: list[bytes]) -> None:
    with wire(Limits(output_bytes=1000)) as (reader, far):
        for chunk in chunks:
            far.send(chunk)
            reader.handle(reader.run.control.fileno(), 1)
        assert len(reader.frames) <= 3
        assert sum(map(len, reader.frames)) <= sum(map(len, chunks))
        assert reader.broken == (len(reader.frames) > 2)
        far.close()
        reader.handle(reader.run.control.fileno(), 1)
        assert reader.control_closed or reader.overflow or reader.broken


TASK = {"id": "a", "cases": [{"stdin": "1", "stdout": "2"}], "limits": {"cpu_seconds": 1}, "checker": "tokens"}
FIELDS = st.sampled_from(
    ["id", "task_id", "cases", "limits", "checker", "groups", "stdin", "stdout", "function", "args", "kwargs", "expected",
     "code", "names", "prelude", "kind", "alternatives", "prompt", "entry_point", "test", "completion", "solution"]
)  # fmt: skip
ROWS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), FIELDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(FIELDS, inner, max_size=4)),
    max_leaves=15,
)


@given(st.one_of(st.binary(), st.lists(ROWS, max_size=3).map(lambda rows: "\n".join(map(json.dumps, rows)).encode())))
@example(b"[" * 100_000)
@example(b'{"id":' + b"9" * 5000 + b"}")
@example(json.dumps(TASK).encode() + b"\n\xff")
@example(b"\xef\xbb\xbf" + json.dumps(TASK).encode())
def test_any_file_is_tasks_and_samples_or_one_line_that_says_why_not(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, good = Path(folder, "file.jsonl"), Path(folder, "good.jsonl")
        path.write_bytes(data)
        good.write_text(json.dumps(TASK))
        for read in (lambda: read_tasks(path), lambda: read_samples(path, read_tasks(good))):
            fault = ""
            try:
                assert read()
            except BadInput as error:
                fault = str(error)
            assert not fault or (fault.startswith(str(path)) and "\n" not in fault)
