"""Does the end of a run become the right outcome, and text from a program harmless text?"""

from __future__ import annotations

import pytest

from sandbox.backend import RunExit
from sandbox.codec import CodecError
from sandbox.intake import MAX_SOURCE_BYTES, source_fault
from sandbox.judge import HEAD_CHARACTERS, Seen, is_near, one_line, player_message, result, script_flags
from sandbox.limits import Limits
from sandbox.text import printable
from sandbox.verdict import Outcome

LIMITS = Limits(cpu_seconds=1.0, wall_seconds=2.0)


def ended(**changes: object) -> RunExit:
    usual: dict[str, object] = {"cpu_ms": 10.0, "wall_ms": 20.0, "memory_bytes": 1, "exit_code": 0}
    return RunExit(**{**usual, **changes})  # type: ignore[arg-type]


RUNS = [
    (ended(), Seen(), set()),
    (ended(exit_code=3), Seen(), {Outcome.RE}),
    (ended(exit_code=None, signal=11), Seen(), {Outcome.RE}),
    (ended(exit_code=None, signal=9, oom=True), Seen(), {Outcome.MLE}),
    (ended(exit_code=None, signal=9, cpu_exceeded=True, cpu_ms=1001.0), Seen(), {Outcome.TLE}),
    (ended(cpu_ms=1001.0), Seen(), {Outcome.TLE}),  # ended by itself, too late
    (ended(exit_code=None, signal=9), Seen(late=True), {Outcome.WTLE}),
    (ended(exit_code=None, signal=9, cpu_ms=1500.0), Seen(late=True), {Outcome.TLE}),  # busy, not asleep
    (ended(exit_code=None, signal=9), Seen(overflow=True), {Outcome.OLE}),
    (ended(exit_code=None, signal=31, forbidden=True), Seen(), {Outcome.SV}),
    (ended(forbidden=True), Seen(), {Outcome.SV}),  # in a child
    (ended(exit_code=1, pids_exceeded=True), Seen(), {Outcome.PLE, Outcome.RE}),
    (ended(exit_code=0, pids_exceeded=True), Seen(), set()),  # coped with the refusal
    (ended(exit_code=1, files_exceeded=True), Seen(), {Outcome.FLE, Outcome.RE}),
    (ended(exit_code=1), Seen(stderr_tail=b"Traceback\nMemoryError\n"), {Outcome.MLE}),
    (ended(exit_code=0), Seen(stderr_tail=b"MemoryError\n"), set()),
    (ended(exit_code=None, signal=9, oom=True), Seen(overflow=True), {Outcome.MLE, Outcome.OLE}),
]


@pytest.mark.parametrize(("run", "seen", "flags"), RUNS)
def test_a_run_is_classified_by_what_the_kernel_and_the_judge_saw(
    run: RunExit, seen: Seen, flags: set[Outcome]
) -> None:
    assert script_flags(run, seen, LIMITS) == flags


def test_of_several_flags_the_first_in_the_fixed_order_is_displayed_and_all_are_kept() -> None:
    found = result({Outcome.WTLE, Outcome.OLE, Outcome.MLE}, ended())
    assert (found.outcome, found.flags) == (Outcome.MLE, (Outcome.MLE, Outcome.OLE, Outcome.WTLE))


def test_near_is_the_last_fifth_of_either_time_limit() -> None:
    assert [is_near(ended(cpu_ms=cpu, wall_ms=wall), LIMITS) for cpu, wall in ((799, 0), (800, 0), (0, 1599), (0, 1600))] == [
        False, True, False, True,
    ]  # fmt: skip


def test_control_and_direction_characters_are_escaped_and_lines_kept() -> None:
    assert printable("a\x1b[2J\0\u202e\ufeff\n\té") == "a\\x1b[2J\\x00\\u202e\\ufeff\n\té"
    assert one_line("a\n b\t\x00c") == "a b \\x00c"
    assert len(result(set(), ended(), output=b"\0" * 10_000).output_head) == HEAD_CHARACTERS


def test_sources_that_cannot_be_programs_are_named() -> None:
    sources = ("", " \n", "a\0", "\ud800", "#" * (MAX_SOURCE_BYTES + 1))
    assert [source_fault(source)[1].split()[0] for source in sources] == ["no", "no", "a", "a", "1048577"]
    assert source_fault("é") == ("é".encode(), "")


@pytest.mark.parametrize(
    "message",
    [
        None, [], {}, {"end": "passed", "detail": ""}, {"ok": 1, "end": "passed"}, {"ok": {"z": 1}}, {"ok": {"h": -1}},
        {"ok": {"h": True}}, {"ok": None, "args": [[0]]}, {"error": "x"}, {"error": {"type": 1, "args": [], "text": ""}},
        {"error": {"type": "E", "args": [{"h": 0}], "text": ""}}, {"op": "names"}, {"op": "call", "r": 0, "args": []},
        {"bad": 1}, {"re": 1}, {"ok": {"g": "a b"}},
    ],
)  # fmt: skip
def test_a_message_of_another_form_is_refused(message: object) -> None:
    with pytest.raises(CodecError):
        player_message(message)


def test_messages_of_the_right_form_are_told_apart() -> None:
    messages: list[dict[str, object]] = [
        {"ok": {"h": 3}, "args": [[0, [1]], ["k", {"s": []}]]}, {"error": {"type": "E", "args": [1], "text": "E: 1"}},
        {"bad": "x"}, {"ce": "x"}, {"raised": "x", "load": True}, {"op": "call", "r": 0, "args": [{"h": 1}], "kwargs": []},
    ]  # fmt: skip
    assert [player_message(message) for message in messages] == ["ok", "error", "bad", "ce", "raised", "op"]
