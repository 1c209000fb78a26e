"""Open days are counted anew while ingest lands on them: whoever comes first, downloads are what the hits say."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from analytics_core.db.pool import Connection, connect
from analytics_core.db.restating import NotRestated, RestatedDay, hold_day, replace_downloads
from analytics_core.downloads import JudgedHit, count_downloads
from analytics_core.hits import HitFlag
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from analytics_core.verdicts import Evidence
from tests.factories import MadePodcast, make_episode, make_hit, make_podcast, make_tenant, micros, write_segment
from tests.ledgers import DAY, NOW, Ledger, minute

pytestmark = pytest.mark.anyio

RANGES: Final = ("", "bytes=0-2000000", "bytes=0-1")


@pytest.fixture
async def second(database: DatabaseSettings) -> AsyncIterator[Connection]:
    """Who counts anew."""
    conn = await connect(database, Role.INGEST, application_name="second")
    yield conn
    conn.terminate()


@pytest.fixture
async def third(database: DatabaseSettings) -> AsyncIterator[Connection]:
    """Who is in the way, and looks on."""
    conn = await connect(database, Role.INGEST, application_name="third")
    yield conn
    conn.terminate()


def write(folder: Path, rows: Sequence[tuple[int, int, int]], *, source: str = "tracker-0") -> None:
    """Write hits, each at a minute, of a listener, with a range."""
    hits = [
        make_hit(minute(at), address=f"192.0.2.{listener}", byte_range=RANGES[byte_range])
        for at, listener, byte_range in rows
    ]
    write_segment(folder, hits, source=source)


async def told(conn: Connection) -> list[tuple[object, ...]]:
    """What the stored hits say that downloads ought to be, hit by hit."""
    rows = await conn.fetch("select * from ts.listener_events")
    counted = count_downloads(
        JudgedHit(
            micros(row["occurred_at"]),
            row["episode_no"],
            row["listener_key"].bytes,
            row["verdict_bits"],
            Evidence(row["evidence"]),
            row["segment_no"],
            row["ordinal"],
        )
        for row in rows
        if row["flags"] & HitFlag.LATE == 0
    )
    return sorted(
        (key.episode_no, key.listener_key, win.winner.at_us, win.winner.evidence, win.winner.segment_no)
        for key, win in counted.items()
    )


async def stored(conn: Connection) -> list[tuple[object, ...]]:
    rows = await conn.fetch("select * from ts.downloads")
    return sorted(
        (row["episode_no"], row["listener_key"].bytes, micros(row["occurred_at"]), row["evidence"], row["segment_no"])
        for row in rows
    )


async def is_waited_for(conn: Connection, waiting: Connection, holding: Connection) -> bool:
    """Wait until one connection waits for another; false when it never does."""
    for _ in range(500):
        pids = await conn.fetchval("select pg_blocking_pids($1)", waiting.get_server_pid())
        if holding.get_server_pid() in pids:
            return True
        await asyncio.sleep(0.02)
    return False


async def remake(conn: Connection, tenant_no: int) -> RestatedDay:
    """Make the day's downloads anew from nothing, in a transaction that holds it."""
    await conn.execute("delete from ts.downloads where tenant_no = $1 and day = $2", tenant_no, DAY)
    return await replace_downloads(conn, tenant_no, DAY, hits=0)


async def generation(conn: Connection) -> int:
    return int(await conn.fetchval("select generation from ops.days where day = $1", DAY))


async def test_who_lands_waits_for_who_counts_anew(
    ledger: Ledger, podcast: MadePodcast, second: Connection, third: Connection
) -> None:
    tenant_no = int(podcast.tenant.tenant_no)
    write(ledger.folder, [(1, 1, 2), (2, 2, 0), (3, 3, 1)])
    await ledger.ship_all()
    before = await generation(third)
    # The first is better now, the second is not, the fourth is new.
    write(ledger.folder, [(4, 1, 0), (5, 2, 2), (6, 4, 1)])
    transaction = second.transaction()
    await transaction.start()
    assert await hold_day(second, tenant_no, DAY, open_too=True) is True
    landing = asyncio.create_task(ledger.ship_all())
    assert await is_waited_for(third, ledger.conn, second)
    assert await remake(second, tenant_no) == RestatedDay(DAY, 0, 0, 3, 0, 2)
    assert not landing.done()
    await transaction.commit()
    assert await landing == 3
    assert len(await stored(third)) == 4
    assert await stored(third) == await told(third)
    assert await generation(third) > before


async def test_who_counts_anew_waits_for_who_lands_and_sees_it(
    ledger: Ledger, podcast: MadePodcast, second: Connection, third: Connection
) -> None:
    tenant_no = int(podcast.tenant.tenant_no)
    write(ledger.folder, [(1, 1, 2), (2, 2, 0), (3, 3, 1)])
    await ledger.ship_all()
    write(ledger.folder, [(4, 1, 0), (5, 2, 2), (6, 4, 1)])
    # Hits and downloads are written, but for the marks, which have to wait.
    obstacle, transaction = third.transaction(), second.transaction()
    await obstacle.start()
    await third.execute("lock table ops.dirty_marks in exclusive mode")
    landing = asyncio.create_task(ledger.ship_all())
    assert await is_waited_for(third, ledger.conn, third)
    await transaction.start()
    holding = asyncio.create_task(hold_day(second, tenant_no, DAY, open_too=True))
    assert await is_waited_for(third, second, ledger.conn)
    await obstacle.rollback()
    assert await landing == 3
    assert await holding is True
    assert await remake(second, tenant_no) == RestatedDay(DAY, 0, 0, 4, 0, 4)
    await transaction.commit()
    assert await stored(third) == await told(third)


async def test_who_lands_on_other_days_or_for_others_does_not_wait(
    ledger: Ledger, podcast: MadePodcast, second: Connection, database: DatabaseSettings
) -> None:
    other = await make_tenant(database, "two")
    await make_podcast(database, other, make_episode("x", "https://x.example.net/x.mp3"))
    write(ledger.folder, [(1, 1, 0)])
    await ledger.ship_all()
    transaction = second.transaction()
    await transaction.start()
    assert await hold_day(second, int(podcast.tenant.tenant_no), DAY, open_too=True) is True
    write_segment(
        ledger.folder,
        [make_hit(NOW - dt.timedelta(days=1)), make_hit(minute(1), "x.example.net/x.mp3")],
    )
    # With a lock in its way it would say so.
    await ledger.conn.execute("set lock_timeout = '5s'")
    assert await ledger.ship_all() == 2
    await transaction.rollback()


async def test_open_days_are_held_only_where_that_is_asked_for(
    ledger: Ledger, podcast: MadePodcast, second: Connection
) -> None:
    tenant_no = int(podcast.tenant.tenant_no)
    async with second.transaction():
        assert await hold_day(second, tenant_no, DAY, open_too=True) is False
    write(ledger.folder, [(1, 1, 0)])
    await ledger.ship_all()
    async with second.transaction():
        assert await hold_day(second, tenant_no, DAY) is NotRestated.NOT_FINAL
    await second.execute("update ops.days set hits_incomplete = true")
    async with second.transaction():
        assert await hold_day(second, tenant_no, DAY, open_too=True) is NotRestated.HITS_GONE
