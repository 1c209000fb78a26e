"""The page about reports: its requests are sent as they stand."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import httpx
import pytest

from analytics_core.clock import FixedClock
from analytics_core.db.reports import KEEP_FILES, KEEP_ROWS, MAX_WAITING
from analytics_core.reporting.documents import MAX_BYTES
from analytics_core.reporting.files import Format
from analytics_core.reporting.requests import MAX_DAYS, ReportKind
from analytics_core.reporting.shares import LOCKED_FOR, MAX_SHARED
from analytics_core.settings import DatabaseSettings
from ingest.reports import make_reports
from tests.integration.api.conftest import api, clock, ledger, log_stream, resources, settings  # noqa: F401 - fixtures
from tests.integration.api.ledger import Api, Ledger

pytestmark = pytest.mark.anyio

PAGE = (Path(__file__).parents[2] / "docs" / "reports.md").read_text()
PROSE = " ".join(PAGE.split())


async def send(api_: Api, command: str, ids: dict[str, str]) -> httpx.Response:
    """Send what a command of the page would."""
    for name, value in ids.items():
        command = command.replace(name, value)
    words = shlex.split(command)
    path = words[1].removeprefix("$CASTLEDGER_API_URL")
    data: Any = json.loads(words[words.index("-d") + 1]) if "-d" in words else None
    headers = {"Authorization": f"Bearer {api_.key}"} if "Authorization" in command else {}
    return await api_.http.request("GET" if data is None else "POST", path, headers=headers, json=data)


async def test_the_requests_do_what_the_page_says(
    api: Api,  # noqa: F811
    ledger: Ledger,  # noqa: F811
    clock: FixedClock,  # noqa: F811
    database: DatabaseSettings,
) -> None:
    commands = re.findall(r"^curl .*$", PAGE.replace("\\\n", " "), re.MULTILINE)
    podcast, sponsor, read, fetch, share, told, unlock = commands
    ids = {
        "PODCAST_ID": (await api.add_podcast())["podcast_id"],
        "SPONSOR_ID": (await api.request("POST", "/sponsors", json={"name": "Acme"})).json()["sponsor_id"],
    }
    for command in (podcast, sponsor):
        answer = await send(api, command, ids)
        assert answer.status_code == 202, answer.text
        ids["REPORT_ID"] = answer.json()["report_id"]
    assert await make_reports(ledger.ingest, database, clock=clock) == {"made": 2, "failed": 0}
    assert (await send(api, read, ids)).json()["status"] == "ready"
    file = await send(api, fetch, ids)
    assert file.content.startswith(b"PK")
    ids["TOKEN"] = (await send(api, share, ids)).json()["token"]
    assert (await send(api, told, ids)).json()["code"] == "wrong_password"
    assert (await send(api, unlock, ids)).content == file.content


def test_the_page_gives_the_numbers_of_the_code() -> None:
    kinds = re.findall(r"^\| `(\w+)` \| ", PAGE, re.MULTILINE)
    assert kinds == [kind.value for kind in ReportKind]
    assert all(f"`{one.value}`" in PAGE for one in Format)
    for text in (
        f"{MAX_DAYS} days later at most",
        f"Up to {MAX_WAITING} may wait; a file has up to {MAX_BYTES // 2**20} MiB",
        f"is kept for {KEEP_FILES.days} days",
        f"For another {KEEP_ROWS.days} it is known",
        f"`expires_at` is {MAX_SHARED.days} days ahead at most",
        f"waits for {LOCKED_FOR.seconds // 60} minutes",
    ):
        assert text in PROSE, text
