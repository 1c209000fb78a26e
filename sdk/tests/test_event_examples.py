"""The examples about events, as a developer pastes them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sdk.tests.collectors import DEADLINE_S, collecting
from sdk.tests.twin import KEY

_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("page", "expected"),
    [("sdk/README.md", ["signup", "purchase"]), ("docs/sdk-events.md", ["purchase"])],
)
def test_an_example_sends_what_it_says(page: str, expected: list[str]) -> None:
    path = _ROOT / page
    if not path.exists():
        pytest.skip("the SDK is tested alone")
    [example] = [text for text in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL) if ".track(" in text]
    with collecting() as collector:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", example],
            check=False,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            env={**os.environ, "CASTLEDGER_API_KEY": KEY, "CASTLEDGER_COLLECTOR_URL": collector.url},
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Stats(tracked={len(expected)}, queued=0, on_disk=0, sent={len(expected)}," in done.stdout
    assert [event["type"] for event in collector.accepted] == expected
