"""What services log: lines of JSON, in which nobody finds an address, a token, a mail address or what was asked for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
import pytest

from analytics_core.settings import DatabaseSettings
from tests.acceptance.services import running
from tests.integration.api.ledger import Ledger, make_feed
from tests.integration.api.people import PASSWORD, make_person
from tests.trackers import Connection

pytestmark = pytest.mark.anyio

ADDRESS: Final = "203.0.113.77"
TOKEN: Final = "canary-token-8d1f"
MAIL: Final = "canary@people.example"
AGENT: Final = "CanaryAgent/1.0"
CANARIES: Final = (ADDRESS, TOKEN, MAIL, AGENT, PASSWORD, "canary-password")


async def wait_for(ledger: Ledger, query: str) -> None:
    """Wait until a number is no longer 0."""
    deadline = time.monotonic() + 90
    while not await ledger.operator.fetchval(query):
        assert time.monotonic() < deadline, query
        await asyncio.sleep(0.2)


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Read a log, each line of which has to be JSON that says what it is."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        assert {"at", "level", "service", "event"} <= line.keys(), line
    return lines


async def use_api(url: str, key: str, hit_id: str) -> None:
    """Send what has canaries in all places, some of it wrong."""
    headers = {"User-Agent": AGENT, "X-Forwarded-For": ADDRESS, "Referer": f"https://{TOKEN}.example/"}
    async with httpx.AsyncClient(base_url=f"{url}/api/v1", headers=headers, timeout=60) as client:
        good = {"Authorization": f"Bearer {key}"}
        assert (await client.get("/podcasts", headers={"Authorization": f"Bearer {TOKEN}"})).status_code == 401
        assert (await client.get("/podcasts", headers=good, params={"cursor": TOKEN})).status_code == 422
        assert (await client.get(f"/podcasts/{TOKEN}", headers=good)).status_code == 404
        assert (await client.get(f"/{TOKEN}", headers=good)).status_code == 404
        for body in ({"email": MAIL, "password": PASSWORD}, {"email": MAIL, "password": "canary-password"}):
            answer = await client.post("/auth/login", json=body)
            assert answer.status_code in (200, 401), answer.text
        feed = {"feed_url": f"http://127.0.0.1:1/{TOKEN}?mail={MAIL}"}
        assert (await client.post("/podcasts", headers=good, json=feed)).status_code == 422
        assert (await client.post("/links", headers=good, json={"url": TOKEN, "slug": MAIL})).status_code == 422
        # A hit that this version cannot show: an error of ours, with a chain of causes.
        assert (await client.get(f"/analytics/hits/{hit_id}", headers=good)).status_code == 500


async def test_no_service_logs_who_asked_or_for_what(database: DatabaseSettings, tmp_path: Path) -> None:
    environ = {
        "DATABASE_URL": str(database.url),
        "CASTLEDGER_DATA_DIR": str(tmp_path),
        "CASTLEDGER_ADMIN_PORTS": "tracker=0,ingest=0,api=0",
        "CASTLEDGER_API_HOST": "127.0.0.1",
        "CASTLEDGER_API_PORT": "0",
        "CASTLEDGER_FEED_ALLOW_PRIVATE": "true",
        "CASTLEDGER_LOG_LEVEL": "debug",
        "TRACKER_HOST": "127.0.0.1",
        "TRACKER_PORT": "0",
        "TRACKER_PUBLIC_URL": "https://pod.example.org",
        "TRACKER_TRUSTED_PROXIES": "127.0.0.1/32",
    }
    logs = {name: tmp_path / f"{name}.log" for name in ("prefix_redirect", "ingest", "api")}
    async with Ledger.open(database) as ledger:
        key = await ledger.make_key("home", is_installation=True)
        await make_person(ledger, MAIL, "home")
        with contextlib.ExitStack() as stack:
            ports = {
                name: stack.enter_context(running(name, environ=environ, log=stack.enter_context(path.open("w"))))
                for name, path in logs.items()
            }
            url = f"http://127.0.0.1:{ports['api']['port']}"
            async with httpx.AsyncClient(base_url=url, timeout=60) as http:
                sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/rss+xml"}
                podcast = (await http.post("/api/v1/podcasts", headers=sent, content=make_feed())).json()
            with Connection(ports["prefix_redirect"]["port"]) as connection:
                forwarded = (f"X-Forwarded-For: {ADDRESS}", f"User-Agent: {AGENT}", f"Authorization: Bearer {TOKEN}")
                asked = f"/e,pg={podcast['podcast_guid']}/cdn1.example.com/ep1.mp3?token={TOKEN}&mail={MAIL}"
                assert connection.ask(asked, *forwarded).status == 302
                assert connection.ask(f"/e/nothing {TOKEN}", *forwarded).status >= 400
            await wait_for(ledger, "select count(*) from ts.listener_events")
            # Whose feed's address is polled in vain, token and all.
            await ledger.operator.execute(
                "update app.podcasts set feed_url = $1, next_poll_at = now()", f"http://127.0.0.1:1/{TOKEN}?m={MAIL}"
            )
            hit_id = await ledger.land(
                "2026-11-24T01:00+00:00", None, podcast_id=podcast["podcast_id"], bits=2, byte_range=(9, 0, 0)
            )
            await use_api(url, key, hit_id)
            await wait_for(ledger, "select feed_failures from app.podcasts")
    for name, path in logs.items():
        text = path.read_text()
        lines = lines_of(path)
        assert lines, name
        for canary in (*CANARIES, key, str(UUID(int=1))):
            assert canary not in text, f"{name} logs {canary}"
    requests = [line for line in lines_of(logs["api"]) if line["event"] in ("request", "error")]
    assert {line["event"] for line in requests} == {"request", "error"}
    assert all(line["request_id"] for line in requests)
