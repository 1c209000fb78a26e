"""Life goes on after an import: hits land, days stay final, waiting hits find their episode."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from uuid import UUID

import pytest

from analytics_core.archives.manifest import Filters
from analytics_core.db.erasure import erase_tenant
from analytics_core.db.podcasts import CATALOGUE_CHANNEL
from analytics_core.db.pool import Connection, connect, open_pool, tenant_transaction
from analytics_core.db.sums import find_wrong_sums
from analytics_core.db.tenants import find_tenant
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.archive_import import import_archive
from castledger_server.archive_progress import Progress
from ingest.pending import rejudge_pending
from ingest.rollups import refresh_listeners
from tests.archives import OLD, SLUG, ask_everything, contents, export, occupy, open_ledger, owner_key
from tests.factories import MadePodcast, make_hit, write_segment
from tests.ledgers import DAY, NOW, Ledger, minute

pytestmark = pytest.mark.anyio


async def totals(conn: Connection) -> dict[dt.date, int]:
    rows = await conn.fetch(
        "select day, sum(downloads) as n from app.metrics_daily m join app.tenants t using (tenant_no)"
        " where slug = $1 and dimension = 'total' group by 1",
        SLUG,
    )
    return {row["day"]: row["n"] for row in rows}


async def settle(ledger: Ledger) -> None:
    await ledger.ship_all()
    await ledger.refresh()
    while await refresh_listeners(ledger.conn, at_most_every=None):
        continue


async def test_new_hits_land_beside_what_was_imported(
    database: DatabaseSettings, second_database: DatabaseSettings, podcast: MadePodcast, tmp_path: Path
) -> None:
    await export(database, tmp_path / "archive")
    await occupy(second_database, tmp_path / "resident")
    ledger, pool = await open_ledger(second_database, tmp_path / "spool-2")
    told = asyncio.Event()
    listening = await connect(second_database, Role.INGEST, application_name="test")
    await listening.add_listener(CATALOGUE_CHANNEL, lambda *_: told.set())
    try:
        await import_archive(second_database, tmp_path / "archive", slug=None, progress=Progress())
        # Ingest hears of the podcasts, and trackers by it.
        async with asyncio.timeout(20):
            await told.wait()
        await settle(ledger)
        before = await totals(ledger.conn)
        # The same listener has another key here; on a final day it counts no more.
        old = dt.datetime.combine(OLD, dt.time(15), dt.UTC)
        hits = [make_hit(at, "cdn.example.com/a.mp3", address="192.0.2.1") for at in (minute(40), old)]
        write_segment(ledger.folder, [*hits, make_hit(minute(41), "media.example.com/c.mp3?x=1")])
        await settle(ledger)
        assert await totals(ledger.conn) == {**before, DAY: before[DAY] + 2}
        assert await find_wrong_sums(ledger.conn, first=dt.date(2026, 10, 1), last=DAY) == []
        rekeyed = await ledger.conn.fetch(
            "select day, rekeyed, generation from ops.days join app.tenants using (tenant_no) where slug = $1", SLUG
        )
        assert {row["day"] for row in rekeyed if row["rekeyed"]} == {DAY}
        # What waits for its episode finds it here too.
        waiting = await ledger.count("ops.pending_hits")
        conn = await connect(second_database, Role.INGEST, application_name="test")
        await conn.execute(
            """insert into app.enclosure_owners
                (enclosure_key, bare_key, file_name, tenant_no, podcast_no, episode_no, length_bytes)
            select p.enclosure_key, p.bare_key, p.file_name, e.tenant_no, e.podcast_no, e.episode_no, null
            from ops.pending_hits p join app.episodes e on e.podcast_no = p.podcast_no limit 1"""
        )
        await conn.close()
        while await rejudge_pending(ledger.conn, ledger.secrets):
            continue
        assert await ledger.count("ops.pending_hits") < waiting
        await settle(ledger)
        assert await find_wrong_sums(ledger.conn, first=dt.date(2026, 10, 1), last=DAY) == []
    finally:
        await listening.close()
        await ledger.conn.close()
        await pool.close()


async def test_an_erased_tenant_comes_back_where_it_was(
    database: DatabaseSettings, podcast: MadePodcast, tmp_path: Path
) -> None:
    """Segments and agents are there still, and are taken for what they are."""
    before = await ask_everything(database, await owner_key(database, podcast), tmp_path)
    await export(database, tmp_path / "one")
    pool = await open_pool(database, Role.OWNER, application_name="test", max_size=1)
    async with tenant_transaction(pool, podcast.tenant) as conn:
        await erase_tenant(conn, podcast.tenant)
    await pool.close()
    imported = await import_archive(database, tmp_path / "one", slug="again", progress=Progress())
    assert (imported.slug, imported.manifest.tenant.slug) == ("again", SLUG)
    assert imported.key is not None
    assert await ask_everything(database, imported.key, tmp_path) == before


async def test_a_part_of_a_ledger_is_imported_as_such(
    database: DatabaseSettings, second_database: DatabaseSettings, podcast: MadePodcast, tmp_path: Path
) -> None:
    first = DAY - dt.timedelta(days=1)
    wanted = Filters([UUID(int=podcast.podcast_id.int)], first, first + dt.timedelta(days=1))
    manifest = await export(database, tmp_path / "archive", wanted=wanted)
    rows = {table.name: sum(file.rows for file in table.files) for table in manifest.tables}
    assert (rows["podcasts"], rows["episodes"], rows["days"], rows["links"], rows["clicks"]) == (1, 2, 1, 0, 0)
    # A month of which a day is wanted cannot be cut.
    assert rows["listener_months"] == 0
    assert {name.partition("/")[2] for name in contents(tmp_path / "archive") if "/" in name} == {
        f"{first}.ndjson.gz",
    }
    imported = await import_archive(second_database, tmp_path / "archive", slug=None, progress=Progress())
    assert imported.key is not None
    ledger, pool = await open_ledger(second_database, tmp_path / "spool-2")
    source, source_pool = await open_ledger(database, tmp_path / "spool")
    try:
        await settle(ledger)
        figures = (
            "select m.day, e.guid, m.dimension, m.key, m.downloads, m.quarters_strict from app.metrics_daily m"
            " join app.episodes e using (episode_no) where m.podcast_no = $1 and m.day = $2 order by 1, 2, 3, 4"
        )
        podcast_no = await ledger.conn.fetchval("select podcast_no from app.podcasts where title = 'Podcast'")
        here = await ledger.conn.fetch(figures, podcast_no, first)
        assert here == await source.conn.fetch(figures, podcast.podcast_no, first)
        assert await totals(ledger.conn) == {
            first: sum(row["downloads"] for row in here if row["dimension"] == "total")
        }
        # The listeners of that one day, counted from its downloads.
        listeners = "select listeners from app.listener_months where podcast_no = $1 and episode_no = 0 and month = $2"
        assert await ledger.conn.fetchval(listeners, podcast_no, first.replace(day=1)) == [
            await source.conn.fetchval(
                "select count(distinct listener_key) from ts.downloads where podcast_no = $1 and day = $2",
                podcast.podcast_no,
                first,
            )
        ]
        assert await ledger.conn.fetchval("select count(*) from ops.listener_marks") == 0
    finally:
        for one, its_pool in ((ledger, pool), (source, source_pool)):
            await one.conn.close()
            await its_pool.close()


async def test_the_tenants_own_settings_come_along(
    database: DatabaseSettings, second_database: DatabaseSettings, podcast: MadePodcast, tmp_path: Path
) -> None:
    conn = await connect(database, Role.AUTH, application_name="test")
    await conn.execute("update app.tenants set retention_hits_days = 90 where slug = $1", SLUG)
    await conn.close()
    manifest = await export(database, tmp_path / "archive")
    assert manifest.tenant.retention_hits_days == 90
    assert manifest.exported_at == NOW
    await import_archive(second_database, tmp_path / "archive", slug="other-name", progress=Progress())
    conn = await connect(second_database, Role.AUTH, application_name="test")
    found = await find_tenant(conn, "other-name")
    assert found is not None
    assert (found.name, found.is_installation) == (manifest.tenant.name, False)
    assert await conn.fetchval("select retention_hits_days from app.tenants") == 90
    await conn.close()
