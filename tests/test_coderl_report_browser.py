"""The report in a real browser: fits a phone, is legible in light and dark, asks for nothing; hostile text stays text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from browser import Browser, Page
from test_coderl_report import HOSTILE, make_run, rollout

from coderl.metrics import Metrics
from coderl.report import write_report
from coderl.store import RolloutStore
from sandbox.verdict import Outcome

pytestmark = pytest.mark.browser

# The lowest contrast (WCAG 2.2, 1.4.3) of text on what is behind it, and where it is found.
CONTRAST = """(() => {
  const context = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgb = (css) => {
    context.clearRect(0, 0, 1, 1); context.fillStyle = css; context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const light = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c; }
    throw new Error("nothing is behind it");
  };
  let worst = [99, ""];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; node = walker.nextNode();) {
    const own = node.parentElement;
    if (!node.textContent.trim() || ["style", "script"].includes(own.tagName.toLowerCase())) continue;
    const style = getComputedStyle(own);
    const [a, b] = [light(rgb(own.closest("svg") ? style.fill : style.color)), light(behind(own))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst[0]) worst = [ratio, own.tagName + " " + node.textContent.slice(0, 60)];
  }
  return worst;
})()"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run with long and hostile names, alarms, and programs and outputs that would like to be markup."""
    folder = make_run(tmp_path_factory.mktemp("run"), steps=30, name="a-run-with-a-name-" + "x" * 80)
    wide = "def f():\n    return '" + "x" * 500 + "'\n"
    bad = rollout(31, 0.0, program=HOSTILE, outcome=Outcome.WA, task_id="easy/" + "y" * 90)
    RolloutStore(folder.rollouts_dir).append("1_grpo", 31, [bad, rollout(31, 1.0, program=wide)])
    with Metrics(folder, trackers=[], run_name="r") as metrics:
        metrics.event("1_grpo", 7, "reward_hacking", HOSTILE + "z" * 200)
    return write_report(folder)


def opened(browser: Browser, report: Path, *, width: int, dark: bool = False) -> Page:
    page = browser.page(width=width, height=844, dark=dark)
    page.open(report.as_uri())
    page.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    return page


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_the_page_is_no_wider_than_the_screen(browser, report, width):
    page = opened(browser, report, width=width)
    assert page.run("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("dark", [False, True])
def test_all_text_can_be_read(browser, report, dark):
    page = opened(browser, report, width=1280, dark=dark)
    ratio, where = page.run(CONTRAST)
    assert ratio >= 4.5, where  # level AA
    assert page.run("getComputedStyle(document.body).backgroundColor") == (
        "rgb(13, 17, 23)" if dark else "rgb(255, 255, 255)"
    )


def test_the_page_asks_for_nothing_and_nothing_goes_wrong(browser, report):
    page = opened(browser, report, width=1280)
    assert page.requests == [report.as_uri()]
    assert page.faults == [] and page.dialogs == []


def test_hostile_text_is_shown_as_text(browser, report):
    page = opened(browser, report, width=390)
    assert page.run("document.querySelectorAll('script, img, iframe, object').length") == 0
    assert page.run(
        "[...document.querySelectorAll('pre')].some((e) => e.innerText.includes('<script>alert(1)</script>'))"
    )
    assert page.dialogs == []


def test_pictures_have_a_size_and_take_the_colours_of_the_page(browser, report):
    def colours(page: Page) -> list[str]:
        return page.run("[...document.querySelectorAll('.plot svg path')].map((e) => getComputedStyle(e).stroke)")

    light, dark = (opened(browser, report, width=390, dark=dark) for dark in (False, True))
    assert light.run(
        "[...document.querySelectorAll('.plot svg')].every((e) => e.clientWidth > 250 && e.clientHeight > 100)"
    )
    assert "rgb(26, 127, 55)" in colours(light) and "rgb(63, 185, 80)" in colours(dark)


def test_a_program_is_folded_until_it_is_asked_for(browser, report):
    page = browser.page(width=390, height=844)
    page.open(report.as_uri())
    assert not page.run("document.querySelector('details').open")
    page.click("summary")
    assert page.run("document.querySelector('details').open")


@pytest.mark.slow
def test_the_report_of_the_quickstart_is_legible_on_phone_and_desktop_in_light_and_dark(browser, tmp_path):
    pytest.importorskip("torch")
    from coderl.config import load
    from coderl.run_folder import RunFolder
    from coderl.train import run

    short = ["sft.steps=12", "grpo.steps=3", "eval.limit=24", "eval.samples_per_task=2", "trackers=[]"]
    settings = load("quickstart", [f"output={tmp_path}", *short])
    folder = RunFolder.create(settings)
    run(settings, folder)
    for width in (390, 1280):
        for dark in (False, True):
            page = opened(browser, folder.report_path, width=width, dark=dark)
            assert page.run("document.documentElement.scrollWidth") <= width
            ratio, where = page.run(CONTRAST)
            assert ratio >= 4.5, where
            assert page.requests == [folder.report_path.as_uri()]
            assert page.faults == []
    assert "tests that it failed" in page.text("main")
