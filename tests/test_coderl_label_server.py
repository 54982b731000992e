"""The labelling page without a browser: who may ask, what a page gives away, what becomes of an answer."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("sqlalchemy")
from label_items import HOSTILE, Client, item, new_store, serving

from coderl.errors import ConfigError
from coderl.label.guard import MAX_BODY_BYTES, Access
from coderl.label.start import LabelServer
from coderl.label.store import Kind, LabelStore
from sandbox.errors import BadInput

ROOT = str(Path(__file__).resolve().parent.parent)


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    return new_store(tmp_path, item(1, passed=(4, 1)), item(2, "a = 1", "b = 2", "c = 3"), item(3, HOSTILE, "x = 1"))


@pytest.fixture
def client(store: LabelStore) -> Iterator[Client]:
    with serving(store) as server:
        made = Client(server.url)
        assert made.sign_in("eve") == 303
        yield made


def test_the_answer_a_means_the_program_that_stood_at_a(client, store):
    client.get()
    shown = client.page.split('id="program-A"')[1].split('id="program-B"')[0]
    times_is_first = "*</span>" in shown  # choice 0 multiplies, choice 1 adds
    assert client.answer("A", strength="3", reason=" it is right ", seconds="12.5") == 303
    [answer] = store.answers()
    assert answer.ranks == ((1, 2) if times_is_first else (2, 1))
    assert (answer.annotator, answer.kind, answer.strength, answer.reason) == ("eve", Kind.FIRST, 3, "it is right")
    assert answer.seconds == 12.5 and not answer.results_seen


def test_the_same_form_sent_twice_counts_once(client, store):
    client.get()
    form = {**client.hidden(), "answer": "A"}
    assert [client.post("/answer", form)[0] for _ in range(3)] == [303, 303, 303]
    assert len(store.answers()) == 1


def test_a_ranking_of_three_with_a_tie_is_kept_by_choice(client, store):
    client.answer("tie")
    client.get()
    order = [
        re.sub(r"<[^>]+>", "", client.page.split(f'id="program-{n}"')[1].split('class="text">')[1]).strip()[0]
        for n in "ABC"
    ]
    assert client.answer("ranking", rank_A="2", rank_B="1", rank_C="2") == 303
    by_name = dict(zip(order, (2, 1, 2), strict=True))
    assert store.answers()[-1].ranks == tuple(by_name[name] for name in "abc")
    assert store.answers()[-1].kind is Kind.RANKING


def test_undo_takes_back_and_shows_what_was_said(client, store):
    client.answer("B", reason="shorter")
    client.get()
    other = client.hidden()["assignment"]
    assert client.post("/undo", {"csrf": client.hidden()["csrf"]})[0] == 303
    client.get()
    assert client.hidden()["assignment"] != other and ">shorter</textarea>" in client.page
    assert store.answers() == []


def test_results_are_not_on_the_page_until_asked_for_and_asking_is_remembered(client, store):
    client.get()
    assert "cases passed" not in client.page and "got" not in client.page
    form = client.hidden()
    status, said = client.post("/results", form)
    assert status == 200
    assert sorted(result["passed"] for result in json.loads(said).values()) == [1, 4]
    client.answer("A")
    assert store.answers()[0].results_seen


def test_hostile_text_is_text_on_the_page(client):
    client.answer("tie")
    client.answer("both_bad")
    client.get()
    assert "&lt;script&gt;window.hacked" in client.page and "<script>window" not in client.page
    assert (
        "<img" not in client.page
        and "<svg" not in client.page
        and "{{ 7 * 7 }}" in client.page.replace("</span>", "").replace('<span class="c1">', "")
    )
    for character in "\u202e\u2066\x00\x1b\ufeff":
        assert character not in client.page
    assert r"\u202e" in client.page and r"\ud800" in client.page


def test_the_policy_lets_nothing_run_but_the_script_of_this_answer(client):
    nonces = set()
    for _ in range(2):
        client.get()
        policy = client.headers["content-security-policy"]
        nonce = re.search(r"script-src 'nonce-([\w-]+)'", policy)[1]
        nonces.add(nonce)
        assert f'nonce="{nonce}"' in client.page
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert "require-trusted-types-for 'script'" in policy
        assert client.headers["cache-control"] == "no-store" and client.headers["x-content-type-options"] == "nosniff"
    assert len(nonces) == 2
    assert not re.search(r"\son\w+=", client.page) and " style=" not in client.page


@pytest.mark.parametrize("path", ["/answer", "/undo", "/results", "/sign-out"])
def test_nothing_changes_without_the_origin_the_token_and_a_session_of_ours(client, store, path):
    client.get()
    form = {**client.hidden(), "answer": "A"}
    assert client.post(path, form, Origin="http://evil.example")[0] == 403
    assert client.post(path, form, Origin="null")[0] == 403
    assert client.post(path, {**form, "csrf": "0" * 64})[0] == 403
    assert client.post(path, {**form, "csrf": "é"})[0] == 403
    assert Client(client.url).post(path, form)[0] == 401
    assert store.answers() == [] and client.get()[0] == 200 and "eve" in client.page


def test_a_host_that_is_not_this_machine_is_refused(client):
    assert client.get(Host="evil.example")[0] == 403
    assert client.get(Host=f"localhost:{client.url.split(':')[2].rstrip('/')}")[0] == 200


def test_nobody_answers_what_is_before_another(client, store):
    client.get()
    form = {**client.hidden(), "answer": "A"}
    other = Client(client.url)
    other.sign_in("max")
    other.get()
    status, said = other.post("/answer", {**form, "csrf": other.hidden()["csrf"]})
    assert status == 404 and "reload" in said
    assert store.answers() == []


@pytest.mark.parametrize(
    "fields",
    [
        {"answer": ""}, {"answer": "C"}, {"answer": "ranking", "rank_A": "1", "rank_B": "2"}, {"strength": "4"},
        {"strength": "x"}, {"seconds": "nan"}, {"seconds": "-1"}, {"seconds": "inf"}, {"submit_key": ""},
        {"submit_key": "k" * 65}, {"assignment": "x"}, {"assignment": "9" * 30}, {"assignment": "²"},
    ],
)  # fmt: skip
def test_a_form_that_holds_no_answer_is_refused_in_one_line(client, store, fields):
    client.get()
    status, said = client.post("/answer", {**client.hidden(), "answer": "A", **fields})
    assert status in (400, 404) and "\n" not in json.loads(said)["error"]
    assert store.answers() == []


def test_a_body_too_long_or_of_another_kind_is_refused(client):
    client.get()
    form = {**client.hidden(), "answer": "A"}
    assert client.post("/answer", {**form, "reason": "x" * MAX_BODY_BYTES})[0] == 413
    assert client.post("/answer", form, Content_Type="text/plain")[0] == 415


def test_a_reason_may_hold_anything(client, store):
    client.answer("A", reason="</textarea><script>x</script>\x00\u202e" + "y" * 5000)
    client.post("/undo", {"csrf": client.hidden()["csrf"]})
    client.get()
    assert "&lt;/textarea&gt;&lt;script&gt;" in client.page and "\\x00" in client.page


def test_where_annotators_are_named_only_their_tokens_open_the_page(store):
    with serving(store, "eve", "max") as server:
        link = server.lines[0]
        name, token = re.search(r"#name=(\w+)&token=(\S+)", link).groups()
        assert name == "eve" and len(token) >= 24
        client = Client(server.url)
        for given in ("", "x", re.search(r"token=(\S+)", server.lines[1])[1]):
            assert client.sign_in("eve", given) == 403
        assert client.sign_in("ann") == 403
        assert client.get()[1].count("rank_") == 0 and "Your token" in client.page
        assert client.sign_in("eve", token) == 303
        assert "HttpOnly" in client.headers["set-cookie"] and "SameSite=strict" in client.headers["set-cookie"]
        client.get()
        assert client.post("/sign-out", {"csrf": client.hidden()["csrf"]})[0] == 303


def test_beyond_this_machine_annotators_must_be_named():
    with pytest.raises(ConfigError, match="--annotator"):
        Access(host="0.0.0.0", port=1, names_suffice=True)
    assert not Access(host="0.0.0.0", port=1, names_suffice=False).local


@pytest.mark.parametrize("name", ["", " ", "<b>", "a\nb", "x" * 65, "../x", "\u202eeve"])
def test_a_name_that_could_mislead_is_refused(store, name):
    with serving(store) as server:
        assert Client(server.url).sign_in(name) == 400


def test_a_server_killed_with_9_goes_on_where_it_was(tmp_path):
    source = tmp_path / "pairs.jsonl"
    lines = [{"task_id": f"t/{n}", "prompt": f"number {n}", "completions": [f"a = {n}", f"b = {n}"]} for n in range(3)]
    source.write_text("\n".join(map(json.dumps, lines)))

    def start() -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "coderl", "label", str(source), "--port", port, "--annotator", "eve"],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": ROOT},
        )  # fmt: skip
        first, second = process.stdout.readline(), process.stdout.readline()
        assert "3 items to compare" in first, first
        return process, second

    port = "0"
    process, said = start()
    try:
        token = said.strip().partition("token=")[2]
        client = Client(said.split(" ")[1].partition("#")[0])
        assert client.sign_in("eve", token) == 303
        assert client.answer("A") == 303
        client.get()
        before = client.hidden()
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    port = client.url.rsplit(":", 1)[1].rstrip("/")
    process, said = start()
    try:
        assert "has a token already" in said
        assert client.post("/answer", {**before, "answer": "B"})[0] == 303  # the page that was open goes on
        assert client.post("/answer", {**before, "answer": "B"})[0] == 303
        assert client.answer("tie") == 303
        assert "Nothing is left" in client.get()[1]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    store = LabelStore(f"sqlite:///{tmp_path / 'pairs.labels.sqlite'}")
    assert [answer.kind.value for answer in store.answers()] == ["A", "B", "tie"]
    store.close()


def test_the_page_needs_neither_torch_nor_matplotlib():
    code = "import sys, coderl.label.sources, coderl.label.start; print({'torch', 'matplotlib'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "set()"


def test_a_port_that_is_taken_is_one_line(store):
    with serving(store) as server, pytest.raises(BadInput, match="choose another port"):
        LabelServer(store, host="127.0.0.1", port=int(server.url.split(":")[2].rstrip("/")))


def test_behind_a_proxy_with_another_name_a_token_still_opens_the_page(store):
    with serving(store, "eve") as server:
        client = Client(server.url)
        assert client.get(Host="labels.example")[0] == 200
        token = server.lines[0].partition("token=")[2]
        form = {"name": "eve", "token": token}
        assert client.post("/sign-in", form, Host="labels.example", Origin="https://labels.example")[0] == 303
        assert client.post("/sign-in", form, Host="labels.example", Origin="https://evil.example")[0] == 403
