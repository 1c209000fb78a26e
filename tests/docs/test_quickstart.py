"""The quickstart is followed to the letter, by a shell."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.acceptance.feeds import own_feed

PAGE = Path(__file__).parents[2] / "docs" / "quickstart.md"
_DEADLINE_S = 90.0
_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def _sign_in(page: Page, url: str, key: str) -> None:
    page.goto(url)
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Use key").click()
    page.wait_for_url(re.compile("/podcasts"))


def _look(url: str, key: str, demo_key: str, shots: Path) -> None:
    """See the one download on the page, and the sample podcast's month; a picture of each is taken on the way."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            _sign_in(page, url, key)
            page.screenshot(path=shots / "first.png")
            assert page.get_by_role("heading", level=1).inner_text() == "Ours"
            assert re.search(r"Downloads\s+1\s", page.inner_text("main")), page.inner_text("main")
            page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
            _sign_in(page, url, demo_key)
            assert page.get_by_role("heading", level=1).inner_text() == "Tide Tables (Castledger demo)"
            page.screenshot(path=shots / "overview.png")
            assert "Pocket Casts" in page.inner_text("main")
        finally:
            browser.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the quickstart needs curl")
@pytest.mark.skipif(_CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_every_command_of_the_quickstart_does_what_the_page_says(folder: Path) -> None:
    start, add, rewrite, play, explain, demo, ask = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (folder / "feed.xml").write_bytes(own_feed())
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "CASTLEDGER_DATA_DIR": str(folder / "ledger"),
        # Only what may be taken on this machine differs from the page.
        "TRACKER_PORT": "0",
        "COLLECTOR_PORT": "0",
        "CASTLEDGER_API_PORT": "0",
        "CASTLEDGER_ADMIN_PORTS": "tracker=0,api=0,ingest=0,collector=0",
    }

    def run(command: str) -> str:
        done = subprocess.run(
            ["sh", "-ec", command], cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    up = subprocess.Popen(
        ["sh", "-c", f"exec {start.strip()}"], cwd=folder, env=environ, stdout=subprocess.PIPE, text=True
    )
    try:
        assert up.stdout is not None
        printed = dict(up.stdout.readline().strip().split(": ", 1) for _ in range(5))
        assert list(printed) == re.findall(r"`(\w+)`", PAGE.read_text().partition("prints five lines")[2])[:5]
        assert f"prefix: {printed['tracker_url']}/e,pg=" in run(add)
        run(rewrite)
        assert run(play) == "302 https://dts.podtrac.com/redirect.mp3/pdst.fm/e/cdn.example.org/s/e0.mp3?s=1&_from=a\n"
        deadline = time.monotonic() + _DEADLINE_S
        while re.search(r"^eligible +full +1 +1$", run(explain), re.MULTILINE) is None:
            assert time.monotonic() < deadline, run(explain)
            time.sleep(0.1)
        ask = ask.replace("API_KEY", printed["api_key"]).replace("http://127.0.0.1:8000", printed["api_url"])
        while not (rows := json.loads(run(ask))["data"]):
            assert time.monotonic() < deadline, "the rollup did not follow"
            time.sleep(0.1)
        assert [(row["key"], row["downloads"]) for row in rows] == [("AntennaPod", 1)]
        assert "every figure is what it should be" in run(demo)
        # Where the pictures of the pages come from: whoever wants to renew them says where they go.
        shots = Path(os.environ.get("CASTLEDGER_TEST_SHOTS") or folder)
        _look(printed["api_url"], printed["api_key"], (folder / "ledger" / "demo_api_key").read_text().strip(), shots)
    finally:
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=_DEADLINE_S)
    assert up.returncode == 0
