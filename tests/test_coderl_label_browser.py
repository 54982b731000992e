"""The labelling page in a real browser: by keyboard alone, two at once, on a phone, and with programs that attack it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("websockets")
pytest.importorskip("fastapi")
pytest.importorskip("sqlalchemy")
from browser import Browser, Page
from label_items import HOSTILE, item, new_store, serving

from coderl.label.store import Kind, LabelStore

pytestmark = pytest.mark.browser
SIGNED_IN = "document.readyState === 'complete' && document.querySelector('#bar') !== null"
ROOT = str(Path(__file__).resolve().parent.parent)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as started:
        yield started


def sign_in(page: Page, url: str, name: str) -> None:
    page.open(url)
    page.wait("document.activeElement?.name === 'name'")
    page.type(name)
    page.press("Enter")
    page.wait(SIGNED_IN)


def at(page: Page) -> str:
    return str(page.run("document.querySelector('[name=assignment]')?.value ?? ''"))


def wait_for_next(page: Page, before: str) -> None:
    page.wait(f"{SIGNED_IN} && document.querySelector('[name=assignment]')?.value !== '{before}'")


def test_labelling_goes_by_keyboard_alone(browser, tmp_path):
    store = new_store(tmp_path, item(1, passed=(4, 0)), item(2), item(3))
    with serving(store) as server:
        page = browser.page()
        sign_in(page, server.url, "eve")
        assert page.text("#task pre") == "Write f(n), number 1."
        assert not page.exists("#diff:not([hidden])") and not page.exists(".results:not([hidden])")
        page.press("d")
        assert page.exists("#diff:not([hidden])") and "return n *" in page.text("#diff")
        page.press("r")
        page.wait("document.querySelectorAll('.results:not([hidden])').length === 2")
        assert {page.text(f"#program-{n} .results p").split(" of")[0] for n in "AB"} == {"AC: 4", "WA: 0"}
        assert "got <b>5</b>" in page.text("#program-A .results")
        first = at(page)
        page.press("b")
        page.press("3")
        page.press("w")
        page.type("it multiplies, a b t x u 1")
        page.press("Enter")
        wait_for_next(page, first)
        second = at(page)
        page.press("t")
        page.press("Enter")
        wait_for_next(page, second)
        assert page.text("#mine") == "2"
        page.press("u")
        wait_for_next(page, at(page))
        assert at(page) == second
        page.press("x")
        page.press("Enter")
        wait_for_next(page, second)
        one, two = store.answers()
        assert (one.kind, one.strength, one.reason, one.results_seen) == (
            Kind.SECOND,
            3,
            "it multiplies, a b t x u 1",
            True,
        )
        assert (two.kind, two.strength, two.results_seen) == (Kind.BOTH_BAD, 0, False)
        assert 0 < one.seconds < 60
        assert page.faults == []


def test_enter_before_a_choice_saves_nothing(browser, tmp_path):
    store = new_store(tmp_path, item(1))
    with serving(store) as server:
        page = browser.page()
        sign_in(page, server.url, "eve")
        page.press("Enter")
        page.run("new Promise(done => setTimeout(done, 200))")
        assert store.answers() == [] and page.exists("#answer")


def test_programs_that_attack_the_page_stay_text(browser, tmp_path):
    store = new_store(tmp_path, item(1, HOSTILE, "x = 1", passed=(0, 4)), item(2, HOSTILE, "x = 2", "x = 3"))
    with serving(store) as server:
        page = browser.page()
        sign_in(page, server.url, "eve")
        for _ in range(2):
            page.press("r")
            page.press("d")
            page.run("new Promise(done => setTimeout(done, 200))")
            assert "<script>window.hacked = 1; alert(1)</script>" in page.text("#programs")
            assert r"\u202e reversed \u2066 \x00 \x1b[31m red \ud800 lone" in page.text("#programs")
            scripts = page.run("[...document.scripts].map(s => s.getAttribute('src'))")
            assert scripts == ["/label.js"] and not page.exists("main img, main svg, main script, main iframe")
            before = at(page)
            page.press("x")
            page.press("Enter")
            wait_for_next(page, before)
        assert page.run("window.hacked") is None and page.dialogs == [] and page.faults == []
        assert {re.sub(r"\?.*", "", url) for url in page.requests if not url.startswith("data:")} == {
            server.url + name for name in ("", "label.css", "label.js", "sign-in", "results", "answer")
        }


def test_the_policy_stops_a_script_even_where_it_got_into_the_page(browser, tmp_path):
    with serving(new_store(tmp_path, item(1))) as server:
        page = browser.page()
        sign_in(page, server.url, "eve")
        attack = "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hacked = 1\">')"
        assert "TrustedHTML" in page.run(
            f"(() => {{ try {{ {attack}; return 'done' }} catch (e) {{ return e.message }} }})()"
        )
        handler = "document.body.setAttribute('onclick', 'window.hacked = 2')"
        assert "TrustedScript" in page.run(
            f"(() => {{ try {{ {handler}; return 'done' }} catch (e) {{ return e.message }} }})()"
        )
        page.run(
            "document.body.append(Object.assign(document.createElement('img'), {src: 'http://127.0.0.1:1/x.png'}))"
        )
        page.wait(lambda: any("Content Security Policy" in fault for fault in page.faults))
        assert page.run("window.hacked") is None


def test_two_annotators_at_once_get_different_items_and_both_are_kept(browser, tmp_path):
    store = new_store(tmp_path, *(item(n) for n in range(4)))
    with serving(store, "eve", "max") as server:
        pages = []
        for line in server.lines:  # the links that were handed out sign in by themselves
            page = browser.page()
            page.open(line.split(": ", 1)[1])
            page.wait(SIGNED_IN)
            assert "token" not in page.run("location.href")
            pages.append(page)
        assert pages[0].text("#task pre") != pages[1].text("#task pre")
        for _ in range(2):
            before = [at(page) for page in pages]
            for page in pages:
                page.press("a")
                page.press("Enter")
            for page, number in zip(pages, before, strict=True):
                page.wait(f"{SIGNED_IN} && document.querySelector('[name=assignment]')?.value !== '{number}'")
        assert all("Nothing is left" in page.text("main") for page in pages)
        assert sorted(store.progress().by_annotator.items()) == [("eve", 2), ("max", 2)]
        assert len({answer.item for answer in store.answers()}) == 4


def test_a_double_click_counts_once(browser, tmp_path):
    store = new_store(tmp_path, item(1), item(2))
    with serving(store) as server:
        page = browser.page()
        sign_in(page, server.url, "eve")
        before = at(page)
        page.press("a")
        page.click("#submit", times=2)
        wait_for_next(page, before)
        assert len(store.answers()) == 1 and page.text("#mine") == "1"


def test_a_ranking_goes_by_keys_and_by_dragging(browser, tmp_path):
    store = new_store(tmp_path, item(1, "x = 1", "x = 2", "x = 3"), item(2, "y = 1", "y = 2", "y = 3"))
    order = "[...document.querySelectorAll('.program')].map(p => p.dataset.name).join('')"
    ranks = "['A', 'B', 'C'].map(n => document.querySelector(`[name=rank_${n}]`).value).join('')"
    with serving(store) as server:
        page = browser.page(height=1100)
        sign_in(page, server.url, "eve")
        assert page.run(order) == "ABC" and page.run(ranks) == "123"
        page.press("ArrowDown")
        page.press("Shift+ArrowDown")
        assert page.run(order) == "BAC" and page.run(ranks) == "213"
        page.press("ArrowDown")
        page.press("=")
        assert page.run(ranks) == "212"
        before = at(page)
        page.press("Enter")
        wait_for_next(page, before)
        drag(page, "#program-C h2", "#program-A h2")
        page.wait(f"{order} === 'CAB'")
        assert page.run(ranks) == "231"
        page.click("#program-B .up")
        assert page.run(order) == "CBA" and page.run(ranks) == "321"
        page.press("Enter")
        page.wait(f"{SIGNED_IN} && document.querySelector('#answer') === null")
        first, second = store.answers()
        assert sorted(first.ranks) == [1, 2, 2] and sorted(second.ranks) == [1, 2, 3]
        assert page.faults == []


def drag(page: Page, source: str, target: str) -> None:
    """With a real mouse: the browser starts the drag itself."""
    page.call("Input.setInterceptDrags", enabled=True)
    (x, y), (to_x, to_y) = page.middle(source), page.middle(target)
    page.mouse("mousePressed", x, y, clickCount=1)
    page.mouse("mouseMoved", x + 10, y + 10)
    data = page.wait(lambda: page.dragged, "the drag to begin")
    for kind in ("dragEnter", "dragOver", "drop"):
        page.call("Input.dispatchDragEvent", type=kind, x=to_x, y=to_y, data=data)
    page.mouse("mouseReleased", to_x, to_y, clickCount=1)


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_nothing_sticks_out_and_a_thumb_can_answer(browser, tmp_path, dark):
    store = new_store(tmp_path, item(1, "x = '" + "long " * 60 + "'", "x = 1"), item(2, "x = 1", "x = 2", "x = 3"))
    with serving(store) as server:
        page = browser.page(width=390, height=844, dark=dark)
        sign_in(page, server.url, "eve")
        for choice in ("input[value=B]", "input[value=both_bad]"):
            assert page.run("document.documentElement.scrollWidth") == 390
            assert page.run("document.querySelector('#submit').getBoundingClientRect().bottom <= innerHeight")
            before = at(page)
            page.click(choice)
            page.click("#submit")
            wait_for_next(page, before)
        assert [answer.kind for answer in store.answers()] == [Kind.SECOND, Kind.BOTH_BAD]


def test_a_page_outlives_a_server_that_was_killed_and_saves_when_it_is_back(browser, tmp_path):
    source = tmp_path / "c.jsonl"
    source.write_text('{"task_id": "t", "prompt": "p", "completions": ["a = 1", "b = 2"]}\n')

    def start(port: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "coderl", "label", str(source), "--port", port],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": ROOT},
        )  # fmt: skip
        said = [process.stdout.readline() for _ in range(2)][1]
        return process, re.search(r"http://\S+", said)[0]

    process, url = start("0")
    try:
        page = browser.page()
        sign_in(page, url, "eve")
        page.press("a")
        page.press("w")
        page.type("kept through it")
        process.send_signal(signal.SIGKILL)
        process.communicate()
        page.press("Enter")
        page.wait("document.querySelector('#status').textContent.includes('not saved yet')")
        process, _ = start(url.rsplit(":", 1)[1].rstrip("/"))
        page.wait(f"{SIGNED_IN} && document.querySelector('#answer') === null")
        assert "Nothing is left" in page.text("main")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    store = LabelStore(f"sqlite:///{tmp_path / 'c.labels.sqlite'}")
    assert [(answer.kind, answer.reason) for answer in store.answers()] == [(Kind.FIRST, "kept through it")]
    store.close()
