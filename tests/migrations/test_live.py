"""Migrations while the code before them serves: trackers answer, ingest waits or goes on, no hit is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from analytics_core.settings import DatabaseSettings
from migrations.runner import Migration, MigrationError, migrate_up
from tests.acceptance.services import running
from tests.factories import make_episode, make_podcast, make_tenant
from tests.trackers import TrackerProcess

pytestmark = pytest.mark.anyio

GATE = 4_242
DEADLINE_S = 60.0

# Tables of every kind that ingest writes get a column, as the next version's first half would give them one; then
# the migration keeps its locks for as long as the test holds the gate.
WIDEN = f"""
set local lock_timeout = '30s';
alter table ops.segments add column remark text;
alter table ops.days add column remark text;
alter table ts.listener_events add column remark integer;
alter table ts.downloads add column remark integer;
alter table app.metrics_daily add column remark text;
set local lock_timeout = 0;
select pg_advisory_xact_lock({GATE});
"""

ADD_TABLE = """
create table ops.remarks (remark_no integer primary key, remark text not null);
grant select, insert on ops.remarks to castledger_ingest;
"""

WAITING = """
select count(*) from pg_stat_activity
where datname = current_database() and application_name ~ $1 and wait_event_type = 'Lock'"""


def _migration(version: str, sql: str, *, phase: str = "pre") -> Migration:
    return Migration(version, phase, f"test_{version}", None, sql)


@pytest.fixture
async def owner(database: DatabaseSettings) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    conn = await asyncpg.connect(str(database.url))
    await conn.execute("set role castledger_owner")
    yield conn
    await conn.close()


async def _wait_for(conn: asyncpg.Connection[asyncpg.Record], query: str, wanted: int, *values: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    found = None
    while time.monotonic() < deadline:
        found = await conn.fetchval(query, *values)
        if found == wanted:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{query}: {found} instead of {wanted}")


def _play(tracker: TrackerProcess, name: str, count: int) -> None:
    with tracker.connect() as connection:
        for number in range(count):
            answer = connection.ask(
                "/e/cdn.example.com/a.mp3",
                f"User-Agent: {name}/{number} (iPhone)",
                "Accept: */*",
            )
            assert answer.status == 302


async def test_hits_land_once_before_during_and_after_a_migration(
    database: DatabaseSettings, owner: asyncpg.Connection[asyncpg.Record], tmp_path: Path
) -> None:
    await make_podcast(database, await make_tenant(database), make_episode("a"))
    hits = "select count(*)::int from ts.listener_events"
    totals = "select coalesce(sum(downloads), 0)::int from app.metrics_daily where dimension = 'total'"
    gate = await asyncpg.connect(str(database.url))
    environ = {
        "DATABASE_URL": str(database.url),
        "CASTLEDGER_DATA_DIR": str(tmp_path),
        "SPOOL_DIR": str(tmp_path / "spool"),
        "CASTLEDGER_ADMIN_PORTS": "ingest=0",
        "TRACKER_PUBLIC_URL": "https://pod.example.org",
    }
    with TrackerProcess(tmp_path) as tracker, running("ingest", environ=environ):
        await asyncio.to_thread(_play, tracker, "Before", 50)
        await _wait_for(owner, hits, 50)
        await gate.execute("select pg_advisory_lock($1)", GATE)
        more = [_migration("9001", WIDEN), _migration("9002", ADD_TABLE)]
        migrating = asyncio.create_task(migrate_up(database, phase="pre", more=more))
        await _wait_for(gate, WAITING, 1, "^castledger migrate$")
        # The locks are held now, so the tracker answers and the landing of what it answered has to wait for them.
        await asyncio.to_thread(_play, tracker, "During", 50)
        await _wait_for(gate, f"select (({WAITING}) > 0)::int", 1, "ingest")
        assert not migrating.done()
        await gate.execute("select pg_advisory_unlock($1)", GATE)
        assert [migration.version for migration in await migrating] == ["9001", "9002"]
        await asyncio.to_thread(_play, tracker, "After", 50)
        await _wait_for(owner, hits, 150)
        await gate.execute("set role castledger_ingest")
        await _wait_for(gate, totals, 150)
    await gate.close()
    places = await owner.fetch("select distinct segment_no, ordinal from ts.listener_events")
    assert len(places) == await owner.fetchval("select count(*) from ts.downloads") == 150


async def test_a_migration_that_cannot_get_its_lock_leaves_nothing_and_applies_later(
    database: DatabaseSettings, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    widen = _migration(
        "9001",
        "create table ops.remarks (remark text); set local lock_timeout = '50ms';"
        "alter table ts.listener_events add column remark integer;",
    )
    holder = owner.transaction()
    await holder.start()
    await owner.execute("lock table ts.listener_events in row exclusive mode")
    with pytest.raises(MigrationError, match="9001_test_9001: canceling statement due to lock timeout"):
        await migrate_up(database, more=[widen])
    assert await owner.fetchval("select to_regclass('ops.remarks')") is None
    await holder.rollback()
    assert await migrate_up(database, more=[widen]) == [widen]
    assert await migrate_up(database, more=[widen]) == []


async def test_what_follows_the_new_code_is_held_back(database: DatabaseSettings) -> None:
    first, second = _migration("9001", "create table ops.remarks ()"), _migration("9002", "select 1", phase="post")
    third = _migration("9003", "select 2")
    # The third may build upon the second, so it waits as well.
    assert await migrate_up(database, phase="pre", more=[first, second, third]) == [first]
    assert await migrate_up(database, more=[first, second, third]) == [second, third]
