"""A feed goes in, a defensible number comes out: real processes, real HTTP, ingest killed on the way."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import time
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx
import pytest

from analytics_core.db.pool import connect
from analytics_core.db.tenants import ensure_owner_key
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from tests.acceptance.feeds import own_feed
from tests.acceptance.services import Service, running
from tests.acceptance.traffic import count_by_brute_force, make, send

pytestmark = pytest.mark.anyio

COUNT = 20_000
LANDED = "select (select count(*) from ts.listener_events) + (select count(*) from ops.pending_hits)"


def real_data() -> Path | None:
    folder = Path(os.environ.get("CASTLEDGER_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
    return folder if folder.is_dir() else None


async def test_the_number_equals_a_brute_force_count(database: DatabaseSettings, tmp_path: Path) -> None:
    data = real_data()
    feed = own_feed() if data is None else (data / "feeds" / "1865.xml").read_bytes()
    auth = await connect(database, Role.AUTH, application_name="test")
    key = await ensure_owner_key(auth, None)
    await auth.close()
    environ = {
        "DATABASE_URL": str(database.url),
        "CASTLEDGER_DATA_DIR": str(tmp_path),
        "CASTLEDGER_LISTS_DIR": str(tmp_path / "lists"),
        "CASTLEDGER_ADMIN_PORTS": "tracker=0,api=0,ingest=0,collector=0",
        "CASTLEDGER_INGEST_BATCH": "2000",
        "TRACKER_PUBLIC_URL": "https://pod.example.com",
        "TRACKER_TRUSTED_PROXIES": "127.0.0.0/8",
        "TRACKER_FLOOD_RATE": "0",
        "CASTLEDGER_API_RATE": "0",
    }
    with (
        running("api", "--host", "127.0.0.1", "--port", "0", environ=environ) as api,
        running("prefix_redirect", "--replay", "--host", "127.0.0.1", "--port", "0", environ=environ) as tracker,
    ):
        ingest = Service("ingest", environ=environ)
        client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{api['port']}/api/v1", headers={"Authorization": f"Bearer {key}"}, timeout=30
        )
        try:
            ingest.wait()
            added = await client.post("/podcasts", content=feed, headers={"Content-Type": "application/rss+xml"})
            assert added.status_code == 201, added.text
            podcast = added.json()
            guid = UUID(podcast["podcast_guid"])
            episodes = []
            cursor = None
            while True:
                parameters = {"limit": 20} | ({"cursor": cursor} if cursor else {})
                page = (await client.get(f"/podcasts/{podcast['podcast_id']}/episodes", params=parameters)).json()
                episodes += page["data"]
                cursor = page["next_cursor"]
                if cursor is None:
                    break
            # Long episodes only, for which the ranges' meaning was worked out.
            long = [item for item in episodes if (item["enclosures"][0]["length_bytes"] or 0) >= 20_000_000][:30]
            assert len(long) >= 5
            targets = []
            for item in long:
                rest = item["enclosures"][0]["url"].removeprefix("https://")
                targets.append(
                    [
                        f"/e,pg={guid}/{rest}",
                        f"/e,pg={guid}/https://{rest}",
                        f"/e,pg={guid}/op3.dev/e,pg={guid}/{rest}",
                        f"/e,pg={guid}/{rest}{'&' if '?' in rest else '?'}_from=someapp",
                        f"/e,pg={guid}/pod.example.com/e/{rest}",
                        f"/e/{rest}",
                    ]
                )
            unknown = [f"/e,pg={guid}/cdn.example.org/nobody-knows-{number}.mp3" for number in range(5)]
            today = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            boundary = today - dt.timedelta(days=1)
            sent = make(targets, unknown=unknown, boundary=boundary, count=COUNT, data=data)
            truth = count_by_brute_force(sent)

            quarter = COUNT // 4
            ledger = await asyncpg.connect(str(database.url))
            for part in range(4):
                sending = asyncio.create_task(send(tracker["port"], sent[part * quarter : (part + 1) * quarter]))
                if part < 3:
                    # In the middle of it: some of this quarter has landed, some is on its way, some not yet sent.
                    while not sending.done() and await ledger.fetchval(LANDED) <= part * quarter:  # noqa: ASYNC110
                        await asyncio.sleep(0.002)
                    ingest.kill()
                    ingest = Service("ingest", environ=environ)
                    ingest.wait()
                assert await sending == {302: quarter}
            await ledger.close()

            days = sorted(truth.hits)
            hits: dict[dt.date, int] = {}
            explained: list[dict[str, object]] = []
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                explained = [
                    (
                        await client.get(
                            "/analytics/explain", params={"podcast_id": podcast["podcast_id"], "day": str(day)}
                        )
                    ).json()
                    for day in days
                ]
                hits = {day: int(str(answer["hits"])) for day, answer in zip(days, explained, strict=True)}
                if sum(hits.values()) >= COUNT and not any(answer["partial"] for answer in explained):
                    break
                await asyncio.sleep(0.5)
            assert hits == truth.hits
            for day, answer in zip(days, explained, strict=True):
                verdicts = answer["verdicts"]
                assert isinstance(verdicts, list)
                assert sum(item["hits"] for item in verdicts) == answer["hits"]
                eligible = sum(item["hits"] for item in verdicts if item["verdict"] == "eligible")
                assert eligible == int(str(answer["downloads"])) + int(str(answer["repeats"]))
                assert answer["downloads"] == truth.downloads[day]
                assert answer["downloads_strict"] == truth.strict[day]
            waiting = sum(
                item["hits"]
                for answer in explained
                for item in answer["verdicts"]  # type: ignore[attr-defined]
                if item["verdict"] == "unknown_episode"
            )
            assert 0 < waiting <= truth.unknown

            asked = {
                "podcast_id": podcast["podcast_id"],
                "from": str(days[0]),
                "to": str(days[-1] + dt.timedelta(days=1)),
            }
            report = (await client.get("/analytics/downloads", params=asked)).json()
            assert not report["partial"]
            assert {
                dt.date.fromisoformat(row["start"][:10]): row["downloads"] for row in report["data"]
            } == truth.downloads
            assert {
                dt.date.fromisoformat(row["start"][:10]): row["downloads_strict"] for row in report["data"]
            } == truth.strict
            by_app = (await client.get("/analytics/downloads", params={**asked, "by": "app"})).json()
            counted: dict[str, int] = {}
            for row in by_app["data"]:
                counted[row["key"]] = counted.get(row["key"], 0) + row["downloads"]
            assert counted == dict(truth.by_app)
        finally:
            await client.aclose()
            ingest.stop()
