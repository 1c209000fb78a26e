"""Erasure of a listener: all of it goes, nobody else's, figures follow, and a record proves it."""

from __future__ import annotations

import asyncio
import datetime as dt
from uuid import UUID

import msgspec
import pytest

from analytics_core.db.erasure_requests import StoredErasure, find_listener
from analytics_core.db.pool import tenant_transaction
from analytics_core.erasures import is_about
from analytics_core.errors import Conflict
from analytics_core.settings import DatabaseSettings
from ingest.retention import KEEP_DOWNLOADS, drop_old
from tests.factories import MadePodcast, make_hit, make_tenant, write_segment
from tests.integration.ingest.erasing import Eraser
from tests.ledgers import DAY, NOW, Ledger, minute

pytestmark = pytest.mark.anyio

MONTH = DAY.replace(day=1)
ONE_DAY = dt.timedelta(days=1)


async def land(ledger: Ledger, *addresses: str, at: dt.datetime | None = None, target: str = "a.mp3") -> None:
    hits = [make_hit(at or minute(0), f"cdn.example.com/{target}", address=address) for address in addresses]
    write_segment(ledger.folder, hits)
    await ledger.ship_all()
    await ledger.refresh()


async def key_of(ledger: Ledger, eraser: Eraser, podcast: MadePodcast, number: int = 0) -> UUID:
    """Find a listener by the hit that landed as such."""
    segment_no, ordinal = (await ledger.hits())[number][:2]
    async with tenant_transaction(eraser.api, podcast.tenant) as conn:
        found = await find_listener(conn, segment_no, ordinal)
    assert found is not None
    assert found[1] == MONTH
    return found[0]


async def totals(ledger: Ledger) -> dict[dt.date, int]:
    rows = await ledger.conn.fetch(
        "select day, sum(downloads) as n from app.metrics_daily where dimension = 'total' group by 1"
    )
    return {row["day"]: row["n"] for row in rows}


async def test_a_listener_goes_everywhere_and_nobody_else(ledger: Ledger, podcast: MadePodcast, eraser: Eraser) -> None:
    await land(ledger, "192.0.2.1", "192.0.3.1")
    await land(ledger, "192.0.2.1", target="b.mp3")
    await land(ledger, "192.0.2.1", "192.0.3.1", at=NOW - ONE_DAY)
    write_segment(
        ledger.folder,
        [
            make_hit(minute(5), "gone.example.com/x.mp3", address=address, arguments=f"pg={podcast.guid}")
            for address in ("192.0.2.1", "192.0.3.1")
        ],
    )
    await ledger.ship_all()
    assert await totals(ledger) == {DAY - ONE_DAY: 2, DAY: 3}
    key = await key_of(ledger, eraser, podcast)
    # A flood may have been the listener's, or somebody else's.
    for whose in (key, UUID(int=1)):
        await ledger.conn.execute(
            "insert into app.spikes (tenant_no, spike_id, podcast_no, kind, begins_at, ends_at, listener_key, usual,"
            " hits, downloads, episodes, found_at) values ($1, $2, $3, 'source', $4, $5, $2, '{0}', 1, 1, 1, $5)",
            podcast.tenant.tenant_no,
            whose,
            podcast.podcast_no,
            minute(0),
            NOW,
        )
    record = await eraser.erase_listener(podcast.tenant, key, MONTH, now=NOW)
    assert record.removed == {"hits": 3, "clicks": 0, "downloads": 3, "spikes": 1, "pending_hits": 1}
    assert record.remaining == {"hits": 0, "downloads": 0, "spikes": 0, "pending_hits": 0}
    assert await ledger.count("app.spikes") == 1
    await ledger.refresh()
    assert await totals(ledger) == {DAY - ONE_DAY: 1, DAY: 1}
    assert [await ledger.count(table) for table in ("ts.listener_events", "ts.downloads", "ops.pending_hits")] == [
        2,
        2,
        1,
    ]
    assert [row["generation"] for row in await ledger.conn.fetch("select generation from ops.days")] == [1, 1]
    # Done once more it finds nothing, and leaves a record of its own.
    again = await eraser.erase_listener(podcast.tenant, key, MONTH, now=NOW)
    assert set(again.removed.values()) == {0}
    assert again.erasure_id != record.erasure_id
    assert again.subject_hash != record.subject_hash


async def test_the_record_shows_whether_it_is_what_was_written(
    ledger: Ledger, podcast: MadePodcast, eraser: Eraser, database: DatabaseSettings
) -> None:
    await land(ledger, "192.0.2.1")
    key = await key_of(ledger, eraser, podcast)
    record = await eraser.erase_listener(podcast.tenant, key, MONTH, now=NOW)
    found = await eraser.stored(podcast.tenant, record.erasure_id)
    assert found.is_whole
    assert is_about(found.record, key.bytes)
    assert not is_about(found.record, bytes(16))
    assert key.bytes not in msgspec.json.encode(found.record)
    for change in (
        {"removed": {"hits": 0}},
        {"month": MONTH - ONE_DAY},
        {"subject_hash": bytes(32)},
        {"finished_at": NOW + ONE_DAY},
        {"remaining": {"hits": 1}},
        {"remaining": None},
    ):
        assert not StoredErasure(msgspec.structs.replace(found.record, **change), found.digest).is_whole
    other = await make_tenant(database, "two")
    assert await eraser.all_of(podcast.tenant) == [found]
    assert await eraser.all_of(podcast.tenant, seen_by=other) == []


async def test_an_erasure_that_was_stopped_goes_on_under_its_record(
    ledger: Ledger, podcast: MadePodcast, eraser: Eraser
) -> None:
    await land(ledger, "192.0.2.1", at=NOW - ONE_DAY)
    await land(ledger, "192.0.2.1")
    key = await key_of(ledger, eraser, podcast)
    # Somebody holds the second day's row, so that the erasure stands still behind the first day, and is killed there.
    async with ledger.conn.transaction():
        await ledger.conn.execute("update ops.days set rekeyed = rekeyed where day = $1", DAY)
        working = asyncio.create_task(eraser.erase_listener(podcast.tenant, key, MONTH, now=NOW))
        await eraser.somebody_waits()
        with pytest.raises(Conflict, match="another erasure is at work"):
            await eraser.erase_listener(podcast.tenant, key, MONTH, now=NOW)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    [half] = await eraser.all_of(podcast.tenant)
    assert half.record.removed == {"hits": 1, "clicks": 0, "downloads": 1, "spikes": 0}
    assert not half.is_whole
    record = await eraser.erase_listener(podcast.tenant, key, MONTH, now=NOW + ONE_DAY)
    assert record.erasure_id == half.record.erasure_id
    assert record.removed == {"hits": 2, "clicks": 0, "downloads": 2, "spikes": 0, "pending_hits": 0}
    assert (await eraser.stored(podcast.tenant, record.erasure_id)).is_whole
    assert await eraser.requests() == []


async def test_what_lands_while_a_listener_is_erased_goes_as_well(
    ledger: Ledger, podcast: MadePodcast, eraser: Eraser
) -> None:
    await land(ledger, "192.0.2.1", "192.0.3.1")
    key = await key_of(ledger, eraser, podcast)
    # A writer that has not committed yet: the erasure cannot see its hit, and waits for it before it is done.
    async with ledger.conn.transaction():
        write_segment(ledger.folder, [make_hit(minute(9), address="192.0.2.1")])
        await ledger.shipper.ship(ledger.conn)
        working = asyncio.create_task(eraser.erase_listener(podcast.tenant, key, MONTH, now=NOW))
        await eraser.somebody_waits()
    record = await working
    assert record.removed["hits"] == 2
    await ledger.ship_all()
    await ledger.refresh()
    assert await totals(ledger) == {DAY: 1}


async def test_figures_of_a_day_whose_downloads_are_gone_stay(
    ledger: Ledger, podcast: MadePodcast, eraser: Eraser
) -> None:
    await land(ledger, "192.0.2.1", "192.0.3.1")
    key = await key_of(ledger, eraser, podcast)
    await ledger.conn.execute("update ops.days set final_at = $1", NOW)
    await ledger.conn.execute("delete from ops.listener_marks")
    later = NOW + KEEP_DOWNLOADS + ONE_DAY
    assert (await drop_old(ledger.conn, now=later, hits_months=25))["days of downloads"] == 1
    record = await eraser.erase_listener(podcast.tenant, key, MONTH, now=later)
    assert record.removed == {"hits": 1, "clicks": 0, "downloads": 0, "spikes": 0, "pending_hits": 0}
    await ledger.refresh()
    assert await totals(ledger) == {DAY: 2}
