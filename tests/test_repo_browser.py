"""The browser that other tests drive: it reports what goes wrong on a page, and its keys and clicks are real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

pytest.importorskip("websockets")
from browser import Browser

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as started:
        yield started


def test_keys_and_clicks_arrive_trusted(browser):
    page = browser.page()
    page.open(
        "data:text/html,"
        + quote(
            "<button>go</button><input><script>heard = [];"
            "onkeydown = e => heard.push([e.key, e.shiftKey, e.isTrusted]);"
            "document.querySelector('button').onclick = e => heard.push(['click', false, e.isTrusted]);</script>"
        )
    )
    page.press("a")
    page.press("Shift+ArrowUp")
    page.click("button")
    page.click("input")
    page.type("typed")
    assert page.run("heard") == [["a", False, True], ["ArrowUp", True, True], ["click", False, True]]
    assert page.run("document.querySelector('input').value") == "typed"
    assert page.faults == []


def test_what_goes_wrong_on_a_page_is_recorded(browser):
    page = browser.page()
    page.open(
        "data:text/html,"
        + quote("<script>console.error('said so'); alert('hello'); throw new Error('broken')</script>")
    )
    page.wait(lambda: len(page.faults) >= 2)
    assert page.dialogs == ["hello"]
    assert "said so" in page.faults[0] and "broken" in page.faults[1]


def test_a_phone_has_the_width_that_was_asked_for_and_its_own_theme(browser, tmp_path: Path):
    page = browser.page(width=390, height=844, dark=True)
    page.open("data:text/html," + quote("<meta name=viewport content='width=device-width'><p>text"))
    assert page.run("innerWidth") == 390
    assert page.run("matchMedia('(prefers-color-scheme: dark)').matches") is True
    page.screenshot(tmp_path / "seen.png")
    assert (tmp_path / "seen.png").read_bytes().startswith(b"\x89PNG")
