"""The live page of a run: it follows the metrics file, serves this machine alone, and stays text whatever a program wrote."""

from __future__ import annotations

import http.client
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from coderl.config import parse
from coderl.errors import RunFolderError
from coderl.metrics import Metrics
from coderl.run_folder import RunFolder
from coderl.watch import Watch


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    settings = parse(
        {
            "name": "seen",
            "output": str(tmp_path),
            "stages": ["grpo"],
            "policy": {"model": "new:"},
            "tasks": {"train": ["easy"]},
        }
    )
    made = RunFolder.create(settings)
    log(made, 1)
    return made


@pytest.fixture
def live(folder: RunFolder) -> Iterator[Watch]:
    watch = Watch(folder, seconds=0.2)
    thread = threading.Thread(target=watch.server.serve_forever)
    thread.start()
    yield watch
    watch.server.shutdown()
    thread.join()
    watch.server.server_close()


def log(folder: RunFolder, step: int) -> None:
    with Metrics(folder, trackers=[], run_name="seen") as metrics:
        metrics.log("0_grpo", step, {"rollout/reward": step / 10, "loss": 0.5})
        metrics.event("0_grpo", step, "news", f"<script>alert({step})</script>")


def get(live: Watch, path: str = "/", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", live.server.server_port, timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_the_page_follows_the_run(live: Watch, folder: RunFolder) -> None:
    status, before = get(live)
    version = get(live, "/version")[1]
    assert status == 200 and f'data-version="{version}"' in before
    assert "step 2, news" not in before
    log(folder, 2)
    assert get(live, "/version")[1] != version
    assert "step 2, news" in get(live)[1]


def test_text_of_a_run_cannot_run(live: Watch) -> None:
    page = get(live)[1]
    assert page.count("<script") == 1 and "&lt;script&gt;alert(1)" in page
    assert "default-src &#x27;none&#x27;" in page and "script-src &#x27;nonce-" in page


def test_a_page_of_another_site_is_refused(live: Watch) -> None:
    assert get(live, Host="evil.example")[0] == 403
    assert get(live, "/version", Host="evil.example")[0] == 403
    assert get(live, "/../config.yaml")[0] == 404
    assert get(live, Host=f"localhost:{live.server.server_port}")[0] == 200


def test_whoever_reaches_a_page_that_is_shown_to_others_can_read_it(folder: RunFolder) -> None:
    """Under whatever name they reach it."""
    watch = Watch(folder, host="0.0.0.0")
    thread = threading.Thread(target=watch.server.serve_forever)
    thread.start()
    try:
        assert get(watch, Host=f"trainer.example:{watch.server.server_port}")[0] == 200
    finally:
        watch.server.shutdown()
        thread.join()
        watch.server.server_close()


def test_a_port_in_use_is_one_line(live: Watch, folder: RunFolder) -> None:
    with pytest.raises(RunFolderError, match="choose another --port"):
        Watch(folder, port=live.server.server_port)


@pytest.mark.browser
def test_a_browser_shows_what_was_written_after_it_opened(
    live: Watch, folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, version = iter(range(10**6)), live.version

    def written_at_the_fourth_look() -> str:
        if next(looks) == 3:
            log(folder, 2)
        return version()

    monkeypatch.setattr(live, "version", written_at_the_fourth_look)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    wait = ["--virtual-time-budget=60000", "--timeout=60000", "--dump-dom", live.url]
    done = subprocess.run([chromium, *options, *wait], capture_output=True, text=True, timeout=120, check=True)
    assert "live: renews itself" in done.stdout
    assert "step 2, news" in done.stdout
