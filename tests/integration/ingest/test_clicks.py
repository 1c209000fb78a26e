"""Clicks: recorded by a tracker, landed with their link, and outside of every download figure."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import Any

import pytest

from analytics_core.db.erasure import erase_tenant
from analytics_core.db.links import add_link, archive_link
from analytics_core.db.pool import open_pool, tenant_transaction
from analytics_core.db.vanity_hosts import add_vanity_host
from analytics_core.hits import Hit, HitKind, Method
from analytics_core.links import format_click_id, parse_click_id
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, load_settings
from ingest.registry_writer import RegistryWriter
from tests.factories import MadePodcast, make_hit, make_tenant, write_segment
from tests.ledgers import Ledger, minute
from tests.trackers import TrackerProcess

pytestmark = pytest.mark.anyio

AGENT = b"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:130.0) Gecko/20100101 Firefox/130.0"


async def make_links(
    database: DatabaseSettings,
    podcast: MadePodcast,
    *,
    click_id: bool = False,
    slugs: tuple[str, str] = ("offer", "former"),
) -> None:
    """Two links of the podcast's tenant, one of them taken away."""
    now = minute(0)
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    try:
        async with tenant_transaction(pool, podcast.tenant) as conn:
            _, former = [
                await add_link(
                    conn,
                    podcast.tenant,
                    slug=slug,
                    url=f"https://shop.example.com/{slug}",
                    utm={"source": "show"},
                    click_id=click_id,
                    now=now,
                )
                for slug in slugs
            ]
            await archive_link(conn, former, now=now)
    finally:
        await pool.close()


def click(at: dt.datetime, arguments: str, *, agent: bytes = AGENT, **changes: Any) -> Hit:
    hit = make_hit(at, "https://shop.example.com/", agent=agent)
    fields: dict[str, Any] = {"kind": HitKind.CLICK, "arguments": arguments.encode(), **changes}
    return Hit(**{**{name: getattr(hit, name) for name in hit.__struct_fields__}, **fields})


async def test_clicks_land_beside_hits_and_count_as_no_download(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    await make_links(database, podcast)
    other = await make_tenant(database, "other")
    some = parse_click_id("AAAAAAAAAAAAAAAAAAAAAQ")
    hits = [
        make_hit(minute(1)),
        click(minute(2), f"go=offer,click={format_click_id(some)}"),
        click(minute(3), "go=offer", agent=b"Googlebot/2.1 (+http://www.google.com/bot.html)"),
        click(minute(4), "go=offer", method=Method.HEAD),
        make_hit(minute(5), agent=b"Another/2.4"),
        click(minute(6), "go=former"),
        click(minute(7), "go=nobodys"),
        # Whoever makes an id up that is taken adds no second click under it.
        click(minute(8), f"go=offer,click={format_click_id(some)}"),
    ]
    write_segment(ledger.folder, hits)
    assert await ledger.ship_all() == len(hits)
    rows = await ledger.conn.fetch(
        "select kind, verdict, verdict_bits, evidence, tenant_no, podcast_no, episode_no "
        "from ts.listener_events order by ordinal"
    )
    no = podcast.tenant.tenant_no
    assert [tuple(row) for row in rows if row["kind"] == HitKind.CLICK] == [
        (2, -1, 0, 0, tenant_no, 0, 0) for tenant_no in (no, no, no, no, 0, no)
    ]
    assert other.tenant_no != no
    clicks = await ledger.conn.fetch(
        "select l.slug, c.occurred_at, c.is_bot, c.click_id, c.tenant_no from app.clicks c "
        "join app.links l using (link_no) order by c.occurred_at"
    )
    assert [tuple(row) for row in clicks] == [
        ("offer", minute(2), False, some, no),
        ("offer", minute(3), True, None, no),
        ("offer", minute(4), True, None, no),
        ("former", minute(6), False, None, no),
    ]
    assert await ledger.count("ts.downloads") == 2
    assert await ledger.count("ops.pending_hits") == 0
    await ledger.refresh()
    assert await ledger.conn.fetchval("select sum(downloads) from app.metrics_daily where dimension = 'total'") == 2


async def test_arguments_that_no_tracker_writes_stop_nothing(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    await make_links(database, podcast)
    write_segment(
        ledger.folder,
        [
            make_hit(minute(1), arguments="go=a\x00b"),
            click(minute(2), "go=offer"),
            click(minute(3), "go=a\x00b,click=\x00"),
            make_hit(minute(4), arguments="go=offer", agent=b"Another/2.4"),
        ],
    )
    assert await ledger.ship_all() == 4
    rows = await ledger.conn.fetch("select ordinal, kind, tenant_no from ts.listener_events order by 1")
    no = podcast.tenant.tenant_no
    assert [tuple(row) for row in rows] == [(0, 1, no), (1, 2, no), (2, 2, 0), (3, 1, no)]
    clicks = await ledger.conn.fetch("select ordinal from app.clicks")
    assert [row["ordinal"] for row in clicks] == [1]


async def test_a_batch_of_clicks_alone_lands_and_goes_with_its_tenant(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    await make_links(database, podcast)
    write_segment(ledger.folder, [click(minute(1), "go=offer")])
    assert await ledger.ship_all() == 1
    assert await ledger.count("app.clicks") == 1
    pool = await open_pool(database, Role.OWNER, application_name="test", max_size=1)
    try:
        async with tenant_transaction(pool, podcast.tenant) as conn:
            await erase_tenant(conn, podcast.tenant)
    finally:
        pool.terminate()
    for table in ("app.clicks", "app.links", "ts.listener_events"):
        assert await ledger.count(table) == 0


async def test_a_tracker_records_clicks_as_ingest_reads_them(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings, tmp_path: Path
) -> None:
    await make_links(database, podcast, click_id=True)
    path = tmp_path / "registry.snapshot"
    settings = load_settings({"CASTLEDGER_REGISTRY": str(path)}).tracker
    environ = {"SPOOL_DIR": str(ledger.folder)}
    with TrackerProcess(tmp_path, environ=environ) as tracker:
        assert tracker.ask("/go/offer").status == 404
        await RegistryWriter(settings).write(ledger.conn)
        deadline_s = time.monotonic() + 20
        while (answer := tracker.ask("/go/Offer/?utm_source=ep7&x=1", f"User-Agent: {AGENT.decode()}")).status != 302:
            assert time.monotonic() < deadline_s, "the link is not known"
        told = answer.headers["Location"].removeprefix("https://shop.example.com/offer?utm_source=ep7&cl_click=")
        again = tracker.ask("/go/offer", f"User-Agent: {AGENT.decode()}").headers["Location"]
        assert again.startswith("https://shop.example.com/offer?utm_source=show&cl_click=")
        assert not again.endswith(told)
        assert tracker.ask("/go/former").body == b"There is no such link. Please check the spelling of the address.\n"
    await ledger.ship_all()
    clicks = await ledger.conn.fetch("select click_id from app.clicks order by occurred_at")
    assert [format_click_id(row["click_id"]) for row in clicks] == [told, again[-22:]]


async def test_a_tracker_records_what_comes_by_a_vanity_host_as_clicks_on_its_link(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings, tmp_path: Path
) -> None:
    await make_links(database, podcast)
    link_id = await ledger.conn.fetchval("select link_id from app.links where slug = 'offer'")
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    try:
        async with tenant_transaction(pool, podcast.tenant) as conn:
            await add_vanity_host(conn, podcast.tenant, host="acme.show.example.net", link_id=link_id, now=minute(0))
    finally:
        await pool.close()
    path = tmp_path / "registry.snapshot"
    await RegistryWriter(load_settings({"CASTLEDGER_REGISTRY": str(path)}).tracker).write(ledger.conn)
    with TrackerProcess(tmp_path, environ={"SPOOL_DIR": str(ledger.folder)}) as tracker, tracker.connect() as client:
        for host in ("acme.show.example.net", "pod.example.net", "Acme.Show.Example.net:443"):
            client.send(b"GET /hello HTTP/1.1\r\nHost: %b\r\nUser-Agent: %b\r\n\r\n" % (host.encode(), AGENT))
            answer = client.read()
            assert answer is not None
            expected = None if host.startswith("pod") else "https://shop.example.com/offer?utm_source=show"
            assert answer.headers.get("Location") == expected
    assert await ledger.ship_all() == 2
    rows = await ledger.conn.fetch("select l.slug, c.is_bot from app.clicks c join app.links l using (link_no)")
    assert [tuple(row) for row in rows] == [("offer", False)] * 2
