"""Does a served grader answer only those it may, whole batches or one line, and drop what nobody waits for?"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from served import ROOT, Served

from sandbox.errors import BadInput

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

from sandbox.requests_json import part
from sandbox.server import listener
from sandbox.server.batches import Batch, Queue, Remembered
from sandbox.server.blobs import BlobStore
from sandbox.server.guard import Refusal
from sandbox.server.metrics import Metrics
from sandbox.server.requests import read_batch
from sandbox.server.settings import ServeSettings

TOKEN = "a token of some length"
TASK = {"cases": [{"stdin": "2", "stdout": "4"}]}
DOUBLE = {"source": "print(int(input()) * 2)"}
SLEEP = {"source": "import time\ntime.sleep(300)"}
LONG = {"cases": [{"stdout": ""}], "limits": {"wall_seconds": 300}}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served() as server:
        yield server


@pytest.fixture(scope="module")
def guarded() -> Iterator[Served]:
    with Served(("--max-queue", "8", "--max-body-mib", "1", "--host", "0.0.0.0"), token=TOKEN) as server:
        yield server


def body(*programs: Any, task: Any = TASK, **more: Any) -> dict[str, Any]:
    requests = [{"id": f"r{i}", "program": program, "task": task} for i, program in enumerate(programs)]
    return {"schema": 1, "requests": requests, **more}


def outcomes(lines: list[Any]) -> dict[str, str]:
    return {line["id"]: line["verdict"]["outcome"] for line in lines}


def eventually(served: Served, metric: str, value: float) -> None:
    """Wait until a metric has that value; a test that waits too long fails by its own time-out."""
    deadline = time.monotonic() + 60
    while served.metric(metric) != value:
        assert time.monotonic() < deadline, f"{metric} is {served.metric(metric)}, not {value}"
        time.sleep(0.02)


def test_a_batch_comes_back_as_one_line_for_each_program(served: Served) -> None:
    programs = [DOUBLE, {"source": "print(5)"}, {"source": "("}, {"source": "1 / 0"}]
    status, lines, headers = served.call("/v1/grade", body(*programs))
    assert (status, headers["content-type"]) == (200, "application/x-ndjson")
    assert outcomes(lines) == {"r0": "AC", "r1": "WA", "r2": "CE", "r3": "RE"}
    assert {line["verdict"]["isolation"]["backend"] for line in lines} == {
        served.call("/v1/info")[1]["isolation"]["backend"]
    }


def test_verdicts_stream_in_the_order_in_which_they_are_reached(served: Served) -> None:
    slow = {"source": "import time\ntime.sleep(300)"}
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    connection.request(
        "POST", "/v1/grade", json.dumps(body(slow, DOUBLE, task={**TASK, "limits": {"wall_seconds": 300}})),
        {"Content-Type": "application/json"},
    )  # fmt: skip
    first = json.loads(connection.getresponse().readline())
    assert (first["id"], first["verdict"]["outcome"]) == ("r1", "AC")
    connection.close()
    eventually(served, "sandbox_waiting", 0)


def test_a_client_that_goes_takes_its_programs_with_it(served: Served) -> None:
    cancelled = served.metric("sandbox_cancelled_total")
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    data = json.dumps(body(*[SLEEP] * 20, task=LONG))
    connection.request("POST", "/v1/grade", data, {"Content-Type": "application/json"})
    eventually(served, "sandbox_waiting", 20)
    connection.close()
    eventually(served, "sandbox_waiting", 0)
    assert served.metric("sandbox_cancelled_total") == cancelled + 20
    assert outcomes(served.call("/v1/grade", body(DOUBLE))[1]) == {"r0": "AC"}  # both workers would sleep for 300 s


def test_a_client_that_goes_from_a_drop_in_path_ends_its_program(served: Served) -> None:
    for path, asked in (
        ("/run_code", {"code": SLEEP["source"], "language": "python", "run_timeout": 300}),
        ("/api/v2/execute", {"language": "python", "version": "*", "run_timeout": 300000, "run_cpu_time": 1000,
                             "files": [{"content": SLEEP["source"]}]}),
    ):  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
        connection.request("POST", path, json.dumps(asked), {"Content-Type": "application/json"})
        eventually(served, "sandbox_waiting", 1)
        connection.close()
        eventually(served, "sandbox_waiting", 0)


def test_a_program_and_a_task_are_sent_once_and_then_named_by_their_hash(served: Served) -> None:
    (program, text), (task, tests) = part({"source": "print(4)\n# once"}), part({"cases": [{"stdout": "4"}]})
    asked = {"schema": 1, "requests": [{"id": name, "program": program, "task": task} for name in "ab"]}
    status, said, _ = served.call("/v1/grade", asked)
    assert (status, said["missing"]) == (424, [program, task])
    brought = {**asked, "blobs": {program: text.decode(), task: tests.decode()}}
    assert outcomes(served.call("/v1/grade", brought)[1]) == {"a": "AC", "b": "AC"}
    assert outcomes(served.call("/v1/grade", asked)[1]) == {"a": "AC", "b": "AC"}
    swapped = {"schema": 1, "requests": [{"id": "a", "program": task, "task": program}]}
    assert served.call("/v1/grade", swapped)[0] == 422


def test_the_same_key_and_body_run_once_and_another_body_is_refused(served: Served) -> None:
    asked = body({"source": "import time\nprint(time.time_ns())"})
    once = served.call("/v1/grade", asked, Idempotency_Key="k1")[1]
    ran = served.metric('sandbox_programs_total{outcome="WA"}')
    assert served.call("/v1/grade", asked, Idempotency_Key="k1")[1] == once  # the output's digest holds the time
    assert served.metric('sandbox_programs_total{outcome="WA"}') == ran
    assert served.call("/v1/grade", asked, Idempotency_Key="k2")[1] != once
    status, said, _ = served.call("/v1/grade", body(DOUBLE), Idempotency_Key="k1")
    assert (status, "another body" in said["error"]) == (422, True)


def test_a_batch_taken_up_again_runs_only_what_was_left(served: Served) -> None:
    wait = {"source": "import time\ntime.sleep(300)"}
    asked = json.dumps(body({"source": "print(4)"}, wait, task={**TASK, "limits": {"wall_seconds": 300}})).encode()
    accepted = 'sandbox_programs_total{outcome="AC"}'
    before = served.metric(accepted)
    for attempt in range(2):
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
        headers = {"Content-Type": "application/json", "Idempotency-Key": "taken up"}
        connection.request("POST", "/v1/grade", asked, headers)
        assert json.loads(connection.getresponse().readline())["id"] == "r0", attempt
        eventually(served, "sandbox_waiting", 1)
        connection.close()
        eventually(served, "sandbox_waiting", 0)
    assert served.metric(accepted) == before + 1


def test_two_clients_may_follow_one_batch_and_one_may_go(served: Served) -> None:
    source = "import time\ntime.sleep(1)\nprint(4)"
    asked = json.dumps(body({"source": source}, {"source": source + "#"})).encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": "both"}
    connections = [http.client.HTTPConnection("127.0.0.1", served.port, timeout=60) for _ in range(2)]
    for connection in connections:
        connection.request("POST", "/v1/grade", asked, headers)
    eventually(served, "sandbox_waiting", 2)
    connections[0].close()
    lines = connections[1].getresponse().read().splitlines()
    assert outcomes([json.loads(line) for line in lines]) == {"r0": "AC", "r1": "AC"}
    connections[1].close()


def test_without_the_token_nothing_but_health_is_answered(guarded: Served) -> None:
    for headers in (
        {"Authorization": ""}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {TOKEN} "[:-2]},
        {"Authorization": "Basic !!"}, {"Authorization": f"Digest {TOKEN}"}, {"Authorization": "Bearer é"},
    ):  # fmt: skip
        for path, sent in (("/v1/grade", body(DOUBLE)), ("/metrics", None), ("/v1/info", None), ("/nope", None)):
            status, said, answered = guarded.call(path, sent, **headers)
            assert (status, "token" in said["error"], answered["www-authenticate"]) == (401, True, "Bearer")
    assert guarded.call("/healthz", Authorization="")[0] == 200
    assert guarded.call("/v1/info")[0] == 200


def test_the_token_may_be_the_password_of_a_url(guarded: Served) -> None:
    requests = pytest.importorskip(
        "requests"
    )  # what verl's client uses: http://user:token@host becomes Basic authentication

    url = f"http://any:{TOKEN.replace(' ', '%20')}@127.0.0.1:{guarded.port}/run_code"
    answer = requests.post(url, json={"code": "print(1)", "language": "python"}, timeout=60)
    assert answer.json()["run_result"]["stdout"] == "1\n"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "example.org", "10.0.0.1", "localhost.example.org"])
def test_no_address_that_others_can_reach_goes_without_a_token(host: str) -> None:
    with pytest.raises(BadInput, match="there is no token"):
        ServeSettings(host=host)
    ServeSettings(host=host, token=TOKEN)
    with pytest.raises(BadInput, match="too short"):
        ServeSettings(host=host, token="short")


def test_this_machine_alone_needs_no_token() -> None:
    for host in ("127.0.0.1", "127.8.9.1", "::1", "localhost"):
        ServeSettings(host=host)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--host", "0.0.0.0"), "there is no token"),
        (("--token-file", "/nowhere/token"), "cannot be read"),
        (("--host", "203.0.113.1", "--token-file", "TOKEN"), "cannot listen"),
    ],
)
def test_an_unsafe_or_impossible_server_does_not_start(arguments: tuple[str, ...], line: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    filled = [str(tmp_path / "token") if word == "TOKEN" else word for word in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", "serve", "--port", "0", *filled], env={"PYTHONPATH": ROOT},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert line in done.stderr


def test_more_programs_than_the_queue_holds_are_told_to_come_back(guarded: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", guarded.port, timeout=60)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    connection.request("POST", "/v1/grade", json.dumps(body(*[SLEEP] * 8, task=LONG)), headers)
    eventually(guarded, "sandbox_waiting", 8)
    for path, asked in (("/v1/grade", body(DOUBLE)), ("/run_code", {"code": "print(1)", "language": "python"})):
        status, said, answered = guarded.call(path, asked)
        assert (status, answered["retry-after"]) == (429, "1"), said
    connection.close()
    eventually(guarded, "sandbox_waiting", 0)
    assert outcomes(guarded.call("/v1/grade", body(DOUBLE))[1]) == {"r0": "AC"}
    assert guarded.call("/v1/grade", body(*[DOUBLE] * 9))[0] == 413  # it could never fit


def test_requests_that_wait_are_bounded_by_their_bytes_too() -> None:
    queue = Queue(8, 100, Metrics())
    queue.enter(1, 150)  # alone, any body that is taken at all
    queue.leave(1, 150)
    queue.enter(1, 60)
    with pytest.raises(Refusal, match="at most 8 and 100 bytes"):
        queue.enter(1, 50)
    queue.leave(1, 60)
    queue.enter(1, 50)


def test_what_was_left_of_a_batch_counts_among_what_is_kept() -> None:
    big, small = (Batch([], size, cast(Any, None), Queue(8, 100, Metrics()), Metrics()) for size in (80, 15))
    for batch in (big, small):
        batch._left = {0: cast(Any, None)}
    kept = Remembered(100, Metrics())
    kept.keep("a", b"1", big)
    kept.keep("b", b"2", small)
    assert kept.find("a", b"1") is big
    kept.keep("c", b"3", small)
    assert kept.find("a", b"1") is None or kept.find("b", b"2") is None
    items, named = read_batch(body(DOUBLE), BlobStore(1000))
    assert (len(items), named) == (1, 0)
    store = BlobStore(1000)
    name, text = part(DOUBLE)
    assert read_batch(body(name, blobs={name: text.decode()}), store)[1] == 0  # in the body, which counts as a whole
    assert read_batch(body(name, name), store)[1] == len(text)


def test_a_body_over_the_limit_is_refused_by_its_length_or_when_it_is_reached(guarded: Served) -> None:
    assert guarded.call("/v1/grade", b"x" * (1 << 20) + b"x")[0] == 413
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=60) as raw:
        head = (
            f"POST /v1/grade HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
        )
        raw.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(33):
            raw.sendall(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
        assert raw.recv(12) == b"HTTP/1.1 413"


FAULTS: dict[str, tuple[Any, int, str]] = {
    "not JSON": (b"{", 400, "cannot be read"),
    "no UTF-8": (b"\xff", 400, "cannot be read"),
    "NaN": (b'{"schema": NaN}', 400, "NaN is not JSON"),
    "a key twice": (b'{"schema": 1, "schema": 1}', 400, "a key twice"),
    "a deep nest": (b"[" * 100_000, 400, "cannot be read"),
    "a long number": (b"1" * 5000, 400, "cannot be read"),
    "an array": ([], 422, "the body is no object"),
    "another schema": (body(DOUBLE) | {"schema": 9}, 422, "schema is 9"),
    "no requests": (body(), 422, "requests is no array, or empty"),
    "an unknown key": (body(DOUBLE, blob={}), 422, 'did you mean "blobs"?'),
    "the same id twice": (
        {"schema": 1, "requests": [{"id": "a", "program": DOUBLE, "task": TASK}] * 2},
        422,
        "requests[1]: id 'a' is there already",
    ),
    "no id": ({"schema": 1, "requests": [{"program": DOUBLE, "task": TASK}]}, 422, "requests[0]: id is 'None'"),
    "a negative time": (body(DOUBLE, task={**TASK, "limits": {"cpu_seconds": -1}}), 422, "limits.cpu_seconds is -1"),
    "an infinite time": (
        b'{"schema":1,"requests":[{"id":"a","program":{"source":""},"task":{"cases":[],"limits":{"cpu_seconds":1e999}}}]}',
        422, "limits.cpu_seconds is inf",
    ),
    "an unknown language": (body({"source": "", "language": "cobol"}), 422, "language 'cobol' is not known here"),
    "a case of no kind": (body(DOUBLE, task={"cases": [{}]}), 422, "requests[0]: task.cases[0] has none of"),
    "a key that is no Unicode": (b'{"schema": 1, "requests": [1], "\\ud800": 1}', 422, "is no key of the body"),
    "a hash that is no Unicode": (body("\ud800"), 424, "hashes are not known"),
    "a number beyond all floats": (body(DOUBLE, task={**TASK, "limits": {"files": 10**400}}), 422, "limits.files is 1000"),
    "a score beyond all floats": (
        body(DOUBLE, task={**TASK, "checker": {"kind": "program", "source": "", "full_score": 10**400}}), 422, "too large",
    ),
    "a blob under another name": (body(DOUBLE, blobs={"0" * 64: "{}"}), 422, "has the hash 44136fa3"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_graded_is_refused_in_one_line_before_anything_runs(served: Served, name: str) -> None:
    sent, status, line = FAULTS[name]
    before = served.call("/metrics")[1].split("# HELP sandbox_cases_total")[1].split("# HELP")[0]
    found, said, _ = served.call("/v1/grade", sent)
    assert (found, next(iter(said))) == (status, "error")
    assert line in said["error"]
    assert "\n" not in said["error"]
    assert served.call("/metrics")[1].split("# HELP sandbox_cases_total")[1].split("# HELP")[0] == before


def test_a_fault_of_the_task_or_the_program_is_a_verdict(served: Served) -> None:
    huge = {"source": "#" * 50_000_000}
    assert outcomes(served.call("/v1/grade", body(huge, {"source": "\ud800"}, {"source": "\0"}, {"source": " "}))[1]) == {
        "r0": "CE", "r1": "CE", "r2": "CE", "r3": "CE",
    }  # fmt: skip
    named = {"source": "print()", "files": {"../x": "1"}}
    assert outcomes(served.call("/v1/grade", body(DOUBLE, task={"cases": []}))[1]) == {"r0": "JE"}
    assert outcomes(served.call("/v1/grade", body(named))[1]) == {"r0": "JE"}
    named = {"source": "print()", "files": {"x": "1", "x/y": "1"}}
    assert outcomes(served.call("/v1/grade", body(named))[1]) == {"r0": "JE"}
    for points in (10**400, 1.7e308):  # twice, and their sum is beyond all floats: 2 workers, which must not die of it
        groups = [{"cases": [0], "points": points}] * 2
        asked = body({"source": ""}, {"source": ""}, task={**TASK, "groups": groups})
        assert outcomes(served.call("/v1/grade", asked)[1]) == {"r0": "JE", "r1": "JE"}
    assert outcomes(served.call("/v1/grade", body(DOUBLE))[1]) == {"r0": "AC"}


def test_tricks_with_headers_are_refused(served: Served) -> None:
    data = json.dumps(body(DOUBLE)).encode()
    assert served.call("/v1/grade", data, Host="attacker.example")[0] == 403  # DNS rebinding
    assert served.call("/v1/grade", data, Content_Type="text/plain")[0] == 415  # what a web page may send unasked
    assert served.call("/v1/grade", data, Content_Encoding="gzip")[0] == 415
    assert served.call("/v1/grade", data, Idempotency_Key="")[0] == 400
    assert served.call("/v1/grade", data, Idempotency_Key="x" * 201)[0] == 400
    assert served.call("/v1/grade", method="DELETE")[0] == 405
    for head in (
        "Content-Length: -1", "Content-Length: 1e3", "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 6", "Host: localhost", "X" * 70_000 + ": y", "A: b\0c",
    ):  # fmt: skip
        with socket.create_connection(("127.0.0.1", served.port), timeout=60) as raw:
            raw.sendall(f"POST /v1/grade HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n[1,2]".encode())
            assert raw.recv(10) == b"HTTP/1.1 4", head


def test_connections_on_which_nothing_comes_are_closed_and_leave_descriptors_to_the_grader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1.5)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    monkeypatch.setattr(listener, "max_connections", lambda: 8)
    bound = listener.listen("127.0.0.1", 0)
    server = listener.http_server(app)
    thread = threading.Thread(target=lambda: server.run(sockets=[bound]))
    thread.start()
    try:
        many = [socket.create_connection(bound.getsockname(), timeout=10) for _ in range(8)]
        with socket.create_connection(bound.getsockname(), timeout=10) as one_more:
            assert one_more.recv(1) == b""
        for connection in many:
            connection.close()
        monkeypatch.setattr(listener, "IDLE_SECONDS", 0.5)
        with socket.create_connection(bound.getsockname(), timeout=10) as slow:
            slow.sendall(b"GET / HTTP/1.1\r\nHost: ")
            assert slow.recv(1) == b""
        patient = http.client.HTTPConnection(*bound.getsockname(), timeout=10)
        for _ in range(2):  # the answer takes longer than a connection may be idle
            patient.request("GET", "/")
            assert patient.getresponse().read() == b"ok"
        patient.close()
    finally:
        server.should_exit = True
        thread.join()


def test_programs_find_preloaded_modules_imported() -> None:
    asks = {"source": "import sys\nprint('decimal' in sys.modules)"}
    for arguments, said in (((), "False\n"), (("--preload", "decimal"), "True\n")):
        with Served(arguments) as server:
            _, lines, _ = server.call("/v1/grade", body(asks, task={"cases": [{"stdin": "", "stdout": said}]}))
            assert outcomes(lines) == {"r0": "AC"}


def test_metrics_are_in_the_text_format_of_prometheus(served: Served) -> None:
    served.call("/v1/grade", body(DOUBLE))
    status, text, headers = served.call("/metrics")
    assert (status, headers["content-type"].split(";")[0]) == (200, "text/plain")
    declared = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, _, value = line.partition("{") if "{" in line else line.partition(" ")
            assert name in declared
            float(value.rpartition(" ")[2])
    assert served.metric('sandbox_programs_total{outcome="AC"}') >= 1
