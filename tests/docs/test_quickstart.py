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

from tests.acceptance.feeds import own_feed

PAGE = Path(__file__).parents[2] / "docs" / "quickstart.md"
_DEADLINE_S = 90.0


@pytest.mark.skipif(shutil.which("curl") is None, reason="the quickstart needs curl")
def test_every_command_of_the_quickstart_does_what_the_page_says(folder: Path) -> None:
    start, add, rewrite, play, explain, ask = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (folder / "feed.xml").write_bytes(own_feed())
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "CASTLEDGER_DATA_DIR": str(folder / "ledger"),
        # Only what may be taken on this machine differs from the page.
        "TRACKER_PORT": "0",
        "CASTLEDGER_API_PORT": "0",
        "CASTLEDGER_ADMIN_PORTS": "tracker=0,api=0,ingest=0",
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
        printed = dict(up.stdout.readline().strip().split(": ", 1) for _ in range(4))
        assert list(printed) == re.findall(r"`(\w+)`", PAGE.read_text().partition("prints four lines")[2])[:4]
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
    finally:
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=_DEADLINE_S)
    assert up.returncode == 0
