"""Retention: hits go by whole days, never one that is not final, and what they were counted as stays."""

from __future__ import annotations

import datetime as dt

import pytest

from analytics_core.db.hits import drop_hits, ensure_partitions
from tests.factories import MadePodcast, make_hit, write_segment
from tests.ledgers import DAY, Ledger, minute

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("native")]

NEXT_DAY = DAY + dt.timedelta(days=1)


async def test_hits_of_a_final_day_go_and_their_downloads_and_rollups_stay(
    ledger: Ledger, podcast: MadePodcast
) -> None:
    write_segment(ledger.folder, [make_hit(minute(0)), make_hit(minute(1), address="192.0.2.2")])
    await ledger.ship_all()
    await ledger.refresh()
    assert await drop_hits(ledger.conn, before=NEXT_DAY) == 0
    assert await ledger.count("ts.listener_events") == 2
    await ledger.conn.execute("update ops.days set final_at = now()")
    assert await drop_hits(ledger.conn, before=DAY) == 0
    assert await ledger.count("ts.listener_events") == 2
    rollups = await ledger.count("app.metrics_daily")
    assert await drop_hits(ledger.conn, before=NEXT_DAY) == 1
    assert await drop_hits(ledger.conn, before=NEXT_DAY) == 0
    assert await ledger.count("ts.listener_events") == 0
    assert await ledger.count("ts.downloads") == 2
    assert await ledger.count("app.metrics_daily") == rollups > 0


async def test_a_hit_of_a_day_that_has_lost_its_hits_still_lands(ledger: Ledger, podcast: MadePodcast) -> None:
    write_segment(ledger.folder, [make_hit(minute(0))])
    await ledger.ship_all()
    await ledger.conn.execute("update ops.days set final_at = now()")
    assert await drop_hits(ledger.conn, before=NEXT_DAY) == 1
    write_segment(ledger.folder, [make_hit(minute(1), address="192.0.2.2")])
    assert await ledger.ship_all() == 1
    assert await ledger.count("ts.listener_events") == 1
    # It came after its day was final, and counts nowhere.
    assert await ledger.count("ts.downloads") == 1


async def test_a_run_drops_at_most_a_month_oldest_first(ledger: Ledger) -> None:
    days = [DAY - dt.timedelta(days=back) for back in range(33)]
    await ensure_partitions(ledger.conn, days)
    assert [await drop_hits(ledger.conn, before=NEXT_DAY) for _ in range(3)] == [31, 2, 0]
