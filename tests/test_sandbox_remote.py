"""Do served graders give the verdicts that a local one gives, whatever becomes of them meanwhile?"""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from served import ROOT, Served

from sandbox import (
    CallCase,
    Checker,
    Grader,
    GradeRequest,
    Group,
    Limits,
    Outcome,
    Program,
    SandboxUnavailable,
    Status,
    StdioCase,
    Verdict,
)
from sandbox.endpoint import Call, Endpoint, Parcel
from sandbox.requests_json import part, task_to_json
from sandbox.spec import Case
from sandbox.verdict import CaseResult, Integrity, Isolation

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

TOKEN = "a token of some length"
CALL = CallCase(function="f", args=(1, (2.5, {3: b"x"})), expected=1)
ECHO = StdioCase(stdin="2", stdout="2")
LONG = Limits(wall_seconds=300.0)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served(("--max-queue", "24"), token=TOKEN) as server:
        yield server


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_TOKEN", TOKEN)


def remote(*endpoints: str, patience_seconds: float = 60.0, **options: Any) -> Grader:
    return Grader("remote", endpoints=endpoints, patience_seconds=patience_seconds, **options)


def request_for(source: str, *cases: Case, **options: Any) -> GradeRequest:
    return GradeRequest(program=Program(source=source), cases=cases, **options)


def echoes(count: int, pad: str = "") -> list[GradeRequest]:
    """Programs that differ and are right in turn: AC, WA."""
    return [request_for(f"print({2 + n % 2}) # {n}{pad}", ECHO) for n in range(count)]


MIXED = [
    request_for("def f(x, y): return x", CALL),
    request_for("def f(x, y): return y", CALL),
    request_for("def f(x, y): raise ValueError('é')", CALL, CALL, groups=(Group(cases=(0,), points=2),)),
    request_for(
        "print(input(), end='')", ECHO, StdioCase(stdin="3", stdout="4"), checker=Checker.EXACT, stop_early=True
    ),
    request_for("while True: pass", ECHO, limits=Limits(cpu_seconds=0.3)),
    request_for("def f(:", CALL),
    request_for("", CALL),
    request_for("x = 1", CALL, CallCase(function="f g")),
    request_for("x = 1"),
    GradeRequest(program=Program(source="x", language="cobol"), cases=(ECHO,)),
]


def timeless(verdict: Verdict) -> Verdict:
    """Without what differs from run to run."""
    cases = tuple(replace(c, cpu_ms=0, wall_ms=0, memory_bytes=0, processes=0) for c in verdict.cases)
    return replace(verdict, cases=cases)


def test_verdicts_are_those_of_a_local_grader(served: Served) -> None:
    with remote(served.endpoint) as there, Grader(workers=1) as here:
        assert list(map(timeless, there.grade(MIXED))) == list(map(timeless, here.grade(MIXED)))
        assert there.isolation == here.isolation
        assert there.workers == 2


def test_a_program_that_fails_says_nothing_of_the_expected_value(served: Served) -> None:
    case = StdioCase(stdin="", stdout="hidden 7351")
    with remote(served.endpoint) as grader:
        assert "7351" not in repr(grader.grade([request_for("print(5)", case)]))


def test_tests_are_sent_once_and_again_where_they_were_forgotten(served: Served) -> None:
    tests = tuple(StdioCase(stdin="x" * 1000, stdout=str(n)) for n in range(100))
    before = served.metric("sandbox_blob_bytes")
    with remote(served.endpoint, workers=1) as grader:
        first = grader.grade([request_for(f"print({n})", *tests, stop_early=True) for n in range(8)])
        stored = served.metric("sandbox_blob_bytes") - before
        assert 100_000 < stored < 130_000  # bytes of 100 tests: once, not 8 times
        assert [v.outcome for v in first] == [Outcome.WA] * 8
        (endpoint,) = grader._pool._endpoints  # type: ignore[union-attr]
        known = set(endpoint._known)
        other = request_for("print()", *(StdioCase(stdin="y" * 1000, stdout=str(n)) for n in range(9)))
        endpoint._known.add(part(task_to_json(other))[0])  # as if the server had forgotten it
        assert grader.grade([other])[0].outcome == Outcome.WA
        assert known and known <= endpoint._known


def test_async_and_streamed_verdicts_come_once_each(served: Served) -> None:
    async def work(grader: Grader) -> list[int]:
        return [index async for index, _ in grader.agrade(echoes(30))]

    with remote(served.endpoint) as grader:
        assert sorted(asyncio.run(work(grader))) == list(range(30))
        assert sorted(index for index, _ in grader.stream(iter(echoes(30)))) == list(range(30))
        assert grader.grade([]) == []


def test_a_program_is_graded_while_the_next_is_still_being_written(served: Served) -> None:
    done: queue.SimpleQueue[tuple[int, Verdict]] = queue.SimpleQueue()
    arrived = []

    def written() -> Iterator[GradeRequest]:
        for request in echoes(3):
            yield request
            arrived.append(done.get(timeout=60))  # raises Empty where a pool reads all of them first

    with remote(served.endpoint) as grader:
        assert grader._pool.submit_all(written(), done, threading.Event()) == 3
    assert [(index, verdict.outcome) for index, verdict in arrived] == [(0, "AC"), (1, "WA"), (2, "AC")]


def test_programs_that_wait_for_a_connection_travel_together(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, written = [], threading.Event()

    def grade(endpoint: Endpoint, parcel: Parcel, call: Call) -> Iterator[tuple[str, Verdict]]:
        assert written.wait(60)
        sizes.append(len(parcel.items))
        for name, *_ in parcel.items:
            yield name, PLAIN

    def requests() -> Iterator[GradeRequest]:
        yield from echoes(200)
        written.set()

    monkeypatch.setattr(Endpoint, "grade", grade)
    with impostor(INFO, send(b"")) as url, remote(url, workers=1) as grader:
        assert sorted(index for index, _ in grader.stream(requests())) == list(range(200))
    # the first parcel is what was there by then, 1 to 64; then half of what waits, at most 64
    assert sum(sizes) == 200 and max(sizes) == 64 and len(sizes) <= 11


def test_coverage_is_asked_for_with_the_requests_that_want_it_alone(served: Served) -> None:
    request = request_for("def f(x, y): return x", CALL)
    with remote(served.endpoint, workers=1) as grader:
        plain, covered = grader.grade([request, replace(request, coverage=True)])
    assert (plain.coverage is None, covered.coverage is None) == (True, False)


def test_what_nobody_wants_any_more_ends_on_the_server(served: Served) -> None:
    sleep = request_for("import time\ntime.sleep(300)", ECHO, limits=LONG)
    with remote(
        served.endpoint, workers=1
    ) as grader:  # one parcel after the other, the first with the echo at its head
        stream = grader.stream([*echoes(1), *[sleep] * 10])
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        deadline = time.monotonic() + 60
        while served.metric("sandbox_waiting"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert grader.grade(echoes(1))[0].outcome == Outcome.AC


def test_a_grader_that_closes_does_not_wait_for_the_servers(served: Served) -> None:
    grader = remote(served.endpoint)
    sleep = request_for("import time\ntime.sleep(300)", ECHO, limits=LONG)
    found: list[Verdict] = []
    thread = threading.Thread(target=lambda: found.extend(grader.grade([sleep] * 4)))
    thread.start()
    while served.metric("sandbox_waiting") < 4:
        time.sleep(0.02)
    grader.close()
    thread.join(60)
    assert [(v.outcome, v.status) for v in found] == [(Outcome.IE, Status.UNSCORABLE)] * 4


def test_an_overloaded_server_makes_it_slower_and_no_worse(served: Served) -> None:
    with ExitStack() as stack:
        graders = [stack.enter_context(remote(served.endpoint, workers=8)) for _ in range(3)]
        found: list[list[Verdict]] = []
        threads = [threading.Thread(target=lambda g=g: found.append(g.grade(echoes(48)))) for g in graders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [[v.outcome for v in verdicts] for verdicts in found] == [["AC", "WA"] * 24] * 3


def test_a_server_killed_mid_batch_costs_no_verdict_and_counts_none_twice(served: Served) -> None:
    slow = [request_for(f"import time\ntime.sleep(0.05)\nprint({2 + n % 2})", ECHO) for n in range(60)]
    with Served(token=TOKEN) as other, remote(served.endpoint, other.endpoint) as grader:
        found: dict[int, list[Outcome]] = {n: [] for n in range(60)}
        for number, (index, verdict) in enumerate(grader.stream(slow)):
            found[index].append(verdict.outcome)
            if number == 5:
                other.process.kill()
    assert found == {n: [Outcome.WA if n % 2 else Outcome.AC] for n in range(60)}


def test_a_server_that_comes_back_is_used_again() -> None:
    with Served(token=TOKEN) as first, remote(first.endpoint) as grader:
        port = first.port
        first.process.kill()
        first.process.wait()
        found: list[Verdict] = []
        thread = threading.Thread(target=lambda: found.extend(grader.grade(echoes(8))))
        thread.start()
        with Served(("--port", str(port)), token=TOKEN):
            thread.join(60)
        assert [v.outcome for v in found] == [Outcome.AC, Outcome.WA] * 4


def test_all_servers_gone_is_nobodys_failure_and_says_which() -> None:
    with Served(token=TOKEN) as only, remote(only.endpoint, patience_seconds=0.5) as grader:
        only.process.kill()
        only.process.wait()
        verdicts = grader.grade(echoes(5))
    assert {v.status for v in verdicts} == {Status.UNSCORABLE}
    assert only.endpoint in verdicts[0].detail
    assert "no endpoint took it for 0.5 s" in verdicts[0].detail


def test_a_grader_that_can_reach_nobody_does_not_open(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(SandboxUnavailable, match=f"no endpoint can grade: {nobody}: Connection refused"):
        remote(nobody)
    monkeypatch.setenv("SANDBOX_TOKEN", "another token of some length")
    with pytest.raises(SandboxUnavailable, match="refuses the token"):
        remote(served.endpoint)
    for wrong in ("localhost:8080", "ftp://x", "http://", "http://user:secret@host", "http://host/?x"):
        with pytest.raises(ValueError, match="endpoint"):
            remote(wrong)
    for options in ({"backend": "remote"}, {"endpoints": ["http://x"]}, {"backend": "jail", "endpoints": ["http://x"]}):
        with pytest.raises(ValueError, match="go together"):
            Grader(**options)  # type: ignore[arg-type]


Say = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def impostor(info: dict[str, Any], say: Say) -> Iterator[str]:
    """A server that answers /v1/info like this and /v1/grade as it likes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(json.dumps(info).encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            say(self)

        def answer(self, body: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


INFO = {"schema": 1, "isolation": {"backend": "jail", "layers": []}, "workers": 1}
PLAIN = Verdict(
    outcome=Outcome.AC, cases=(CaseResult(outcome=Outcome.AC),), integrity=Integrity.SEPARATED,
    isolation=Isolation(backend="plain"),
)  # fmt: skip


def line(verdict: Verdict, name: str = "0") -> bytes:
    return json.dumps({"id": name, "verdict": verdict.to_json()}).encode() + b"\n"


def send(body: bytes, status: int = 200) -> Say:
    return lambda handler: handler.answer(body, status)  # type: ignore[attr-defined]


def test_a_server_weaker_than_what_is_accepted_gets_no_program() -> None:
    weak = {**INFO, "isolation": {"backend": "plain", "layers": []}}
    with impostor(weak, send(line(PLAIN))) as url:
        with pytest.raises(SandboxUnavailable, match="its isolation, plain, is weaker"):
            remote(url, min_isolation="landlock")
        with remote(url) as grader:
            assert grader.grade(echoes(1))[0].isolation.backend == "plain"  # accepted, and stamped


@pytest.mark.parametrize(
    ("say", "reason"),
    [
        (send(line(PLAIN)), "it graded under plain, weaker"),
        (send(b""), "stopped in the middle"),
        (send(b"{}\n"), "no verdict"),
        (send(line(PLAIN, "9")), "no verdict"),
        (send(b"[" * 10_000 + b"\n"), "no verdict"),
        (send(b'{"id": "0", "verdict": {"schema": 2}}\n'), "no verdict"),
        (send(b"oops", 500), "status 500"),
        (send(b"", 302), "status 302"),
        (send(b'{"missing": []}', 424), "forgets"),
        (lambda handler: handler.connection.close(), "127.0.0.1"),
    ],
)
def test_a_server_that_lies_or_breaks_is_no_verdict(say: Say, reason: str) -> None:
    with impostor(INFO, say) as url, remote(url, min_isolation="landlock", patience_seconds=0.2) as grader:
        (verdict,) = grader.grade(echoes(1))
        assert verdict.status is Status.UNSCORABLE
        assert reason in verdict.detail


def test_a_program_that_ends_every_server_is_given_up_alone() -> None:
    def die(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()

    with impostor(INFO, die) as url, remote(url) as grader:
        (verdict,) = grader.grade(echoes(1))
    assert (verdict.outcome, "3 times an endpoint failed on it" in verdict.detail) == (Outcome.IE, True)


def test_a_request_that_the_server_refuses_is_left_alone_and_the_others_are_graded(served: Served) -> None:
    long = request_for("print(2)", ECHO, limits=Limits(wall_seconds=1e6))
    with remote(served.endpoint, workers=1) as grader:
        verdicts = grader.grade([*echoes(6), long])
    assert [v.outcome for v in verdicts] == ["AC", "WA"] * 3 + ["IE"]
    assert "wall_seconds is 1000000.0: give at most 1800.0" in verdicts[-1].detail


def test_the_command_grades_on_a_server(served: Served, tmp_path: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text(json.dumps({"id": "a", "cases": [{"stdin": "2", "stdout": "4"}]}))
    (tmp_path / "samples.jsonl").write_text(json.dumps({"task_id": "a", "solution": "print(int(input()) * 2)"}))
    command = [sys.executable, "-m", "sandbox", "grade", "tasks.jsonl", "samples.jsonl", "--backend", "remote"]
    environment = {"PYTHONPATH": ROOT, "SANDBOX_TOKEN": TOKEN, "NO_COLOR": "1"}

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *more], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    done = run("--endpoint", served.endpoint)
    assert (done.returncode, "1/1 samples accepted" in done.stdout) == (0, True), done.stderr
    done = run("--endpoint", "localhost:8080")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "write http://HOST:PORT" in done.stderr


def test_a_server_set_aside_is_said_once_in_the_log(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "sandbox"), remote(served.endpoint, "http://127.0.0.1:9") as grader:
        assert grader.grade(echoes(2))[0].outcome == Outcome.AC
    assert "http://127.0.0.1:9" in caplog.text
