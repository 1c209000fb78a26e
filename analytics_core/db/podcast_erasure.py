"""Erasure of a podcast: first it is nobody's any more, then its hits and figures go, with a record as proof.

The first transaction takes podcast, episodes and enclosures away while nobody lands, and raises the generation of
ownership: what was judged for the podcast meanwhile is judged again, and finds an address that nobody owns. From then
on nothing is added under its number, and the rest goes in steps that keep nobody waiting. Each enters what it took away
into the record, so that an erasure that was stopped goes on where it was.
"""

# Names of tables are written here: nothing that anybody sent is joined in.
# ruff: noqa: S608

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Mapping
from typing import Final, LiteralString
from uuid import UUID

import asyncpg

from analytics_core.db.erasure_requests import ErasureRequest, end_erasure, find_erasure, note_removed
from analytics_core.db.ownership import lock_ownership, raise_ownership
from analytics_core.db.podcasts import CATALOGUE_CHANNEL
from analytics_core.db.pool import Connection, Pool, Tenant, tenant_transaction
from analytics_core.erasures import ErasureRecord
from analytics_core.errors import Unavailable

__all__ = ("PODCAST_TABLES", "count_podcast", "erase_podcast")

_ROWS: Final = 10_000
_ATTEMPTS: Final = 5

_LIMITS: Final[LiteralString] = """/* podcast_erasure.limits */
select set_config('lock_timeout', '10s', true),
    set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true)"""

_LOCK_PODCAST: Final[LiteralString] = """/* podcast_erasure.lock */
select podcast_id from app.podcasts where tenant_no = $1 and podcast_no = $2 for update"""

_NEWEST_TRANSFER: Final[LiteralString] = """/* podcast_erasure.newest_transfer */
select coalesce(max(transfer_no), 0) from app.podcast_transfers"""

# Reports about what sponsors got name the podcasts in which they were heard. Those that are being made are begun once
# more: whoever makes one keeps nothing of it then, and what waits to be begun waits for this.
_REPORT_FILES: Final[LiteralString] = """/* podcast_erasure.report_files */
with named as (
    select r.tenant_id, r.report_id, r.status from app.reports r
    where r.kind <> 'podcast' and exists (
        select from app.placements p
        where p.tenant_no = $1 and p.podcast_no = $2 and p.tenant_id = r.tenant_id
            and (r.sponsor_id is null or p.sponsor_id = r.sponsor_id)
            and coalesce(p.campaign_id = (r.params ->> 'campaign_id')::uuid, true)
    ) and (r.status in ('queued', 'running') or exists (
        select from app.report_files f where f.tenant_id = r.tenant_id and f.report_id = r.report_id
    ))
), told as (
    update app.reports r set status = case n.status when 'running' then 'queued' else n.status end,
        error = case n.status when 'ready' then 'it named a podcast that was erased' end
    from named n where r.tenant_id = n.tenant_id and r.report_id = n.report_id
)
delete from app.report_files f using named n where f.tenant_id = n.tenant_id and f.report_id = n.report_id"""

# In this order, as they refer to each other. Claims and transfers go whoever the others in them are.
_CATALOGUE: Final[Mapping[str, LiteralString]] = {
    "enclosure_owners": """/* podcast_erasure.owners */
delete from app.enclosure_owners where tenant_no = $1 and podcast_no = $2""",
    "enclosures": """/* podcast_erasure.enclosures */
delete from app.enclosures c using app.episodes e
where e.tenant_no = $1 and e.podcast_no = $2 and c.tenant_id = e.tenant_id and c.episode_id = e.episode_id""",
    "report_files": _REPORT_FILES,
    "placement_daily": """/* podcast_erasure.placement_daily */
delete from app.placement_daily d using app.placements p
where p.tenant_no = $1 and p.podcast_no = $2 and d.tenant_id = p.tenant_id and d.placement_id = p.placement_id""",
    "placements": """/* podcast_erasure.placements */
delete from app.placements where tenant_no = $1 and podcast_no = $2""",
    "ad_slots": """/* podcast_erasure.ad_slots */
delete from app.ad_slots s using app.podcasts p
where p.tenant_no = $1 and p.podcast_no = $2 and s.tenant_id = p.tenant_id and s.podcast_id = p.podcast_id""",
    "episodes": """/* podcast_erasure.episodes */
delete from app.episodes where tenant_no = $1 and podcast_no = $2""",
    "claims": """/* podcast_erasure.claims */
delete from app.podcast_claims c using app.podcasts p
where p.tenant_no = $1 and p.podcast_no = $2 and (c.podcast_no = p.podcast_no or c.podcast_id = p.podcast_id)""",
    "transfers": """/* podcast_erasure.transfers */
delete from app.podcast_transfers t using app.podcasts p
where p.tenant_no = $1 and p.podcast_no = $2 and p.podcast_no in (t.from_podcast_no, t.to_podcast_no)""",
    "podcasts": """/* podcast_erasure.podcast */
delete from app.podcasts where tenant_no = $1 and podcast_no = $2""",
}

_NOTIFY: Final[LiteralString] = """/* podcast_erasure.notify */ select pg_notify($1, '')"""

_DAYS: Final[LiteralString] = (
    """/* podcast_erasure.days */ select day from ops.days where tenant_no = $1 order by day"""
)

_HITS: Final[LiteralString] = """/* podcast_erasure.hits */ select hits from ops.erase_hits($1, $2)"""

_DOWNLOADS: Final[LiteralString] = """/* podcast_erasure.downloads */
with gone as (
    delete from ts.downloads where tenant_no = $1 and podcast_no = $2 and day = $3 returning 1
), raised as (
    update ops.days set generation = generation + 1
    where tenant_no = $1 and day = $3 and exists (select from gone)
)
select count(*) from gone"""

# With their files and all links to them: titles and figures are in these.
_REPORTS: Final[LiteralString] = """/* podcast_erasure.reports */
delete from app.reports where tenant_id = $1 and (params ->> 'podcast_id')::uuid = $2"""

# Who brings figures up to date only tries these locks: whoever waits for them cannot be waited for in a circle.
_LOCK_FIGURES: Final[LiteralString] = """/* podcast_erasure.lock_figures */
select pg_advisory_xact_lock(hashtext('castledger.sums'), $1),
    pg_advisory_xact_lock(hashtext('castledger.listeners'), $1)"""

# Marks and versions say what is to be made anew, and are made by what is taken away: they go uncounted, and last.
_FIGURES: Final[Mapping[str, LiteralString]] = {
    "unknown_hosts": "app.unknown_hosts",
    "dead_letters": "ops.dead_letters",
    "rollups": "app.metrics_daily",
    "daily_sums": "app.podcast_daily",
    "monthly_sums": "app.podcast_months",
    "listeners": "app.listener_months",
    "spikes": "app.spikes",
}
_TRACES: Final[Mapping[str, LiteralString]] = {
    "dirty_marks": "ops.dirty_marks",
    "sum_marks": "ops.sum_marks",
    "placement_marks": "ops.placement_marks",
    "listener_marks": "ops.listener_marks",
    "figure_versions": "ops.figure_versions",
    "day_sources": "ops.day_sources",
}
_PENDING: Final[Mapping[str, LiteralString]] = {"pending_hits": "ops.pending_hits"}
_SERIES: Final[Mapping[str, LiteralString]] = {"hits": "ts.listener_events", "downloads": "ts.downloads"}
_OWNED: Final[Mapping[str, LiteralString]] = {
    "enclosure_owners": "app.enclosure_owners",
    "placements": "app.placements",
    "episodes": "app.episodes",
    "podcasts": "app.podcasts",
}

PODCAST_TABLES: Final[Mapping[str, LiteralString]] = {
    **_SERIES,
    **_PENDING,
    **_FIGURES,
    **_TRACES,
    **_OWNED,
    "ad_slots": "app.ad_slots",
    "claims": "app.podcast_claims",
    "transfers": "app.podcast_transfers",
}
"""What is kept of a podcast under its number, by the name it has in records; enclosures go by their episode, and what
placements delivered by these."""


def _portion(table: LiteralString) -> LiteralString:
    """Write the statement that deletes some rows of a podcast."""
    return (
        "/* podcast_erasure.portion */ delete from " + table + " where ctid = any(array(select ctid from " + table
        + " where tenant_no = $1 and podcast_no = $2 limit $3))"
    )  # fmt: skip


_BY_PORTION: Final = {
    what: _portion(table) for tables in (_PENDING, _FIGURES, _TRACES) for what, table in tables.items()
}
_COUNT: Final[LiteralString] = (
    "/* podcast_erasure.count */ select "
    + ", ".join(
        "(select count(*) from " + table + " where tenant_no = $1 and podcast_no = $2) as " + what
        for tables in (_SERIES, _PENDING, _FIGURES, _TRACES, _OWNED)
        for what, table in tables.items()
    )
    + """, (
        select count(*) from app.enclosures c join app.episodes e using (tenant_id, episode_id)
        where e.tenant_no = $1 and e.podcast_no = $2
    ) as enclosures, (
        select count(*) from app.placement_daily d join app.placements p using (tenant_id, placement_id)
        where p.tenant_no = $1 and p.podcast_no = $2
    ) as placement_daily,
    (select count(*) from app.reports where tenant_id = $4 and (params ->> 'podcast_id')::uuid = $3) as reports,
    (select count(*) from app.ad_slots where podcast_id = $3) as ad_slots,
    (select count(*) from app.podcast_claims where podcast_no = $2 or podcast_id = $3) as claims,
    (select count(*) from app.podcast_transfers where $2 in (from_podcast_no, to_podcast_no)) as transfers"""
)


def _deleted(status: object) -> int:
    return int(str(status).split()[-1])


class _Erasure:
    """An erasure at work."""

    def __init__(self, pool: Pool, tenant: Tenant, podcast_id: UUID, podcast_no: int, record: ErasureRecord) -> None:
        self._pool = pool
        self._tenant = tenant
        self._podcast_id = podcast_id
        self._podcast_no = podcast_no
        self.record = record

    @contextlib.asynccontextmanager
    async def _step(self) -> AsyncIterator[tuple[Connection, dict[str, int]]]:
        """Open a transaction; what it enters as taken away is in the record once it is committed."""
        removed: dict[str, int] = {}
        async with tenant_transaction(self._pool, self._tenant) as conn:
            await conn.execute(_LIMITS)
            yield conn, removed
            record = await note_removed(conn, self._tenant, self.record, removed)
        self.record = record

    async def release(self) -> None:
        """Take away what says that an address is the podcast's; nothing to be done where that is gone already."""
        async with self._step() as (conn, removed):
            # The podcast before ownership, as whoever moves one does; and before whoever polls its feed.
            if await conn.fetchval(_LOCK_PODCAST, self._tenant.tenant_no, self._podcast_no) is None:
                return
            await lock_ownership(conn, exclusive=True)
            newest = int(await conn.fetchval(_NEWEST_TRANSFER))
            for what, statement in _CATALOGUE.items():
                removed[what] = _deleted(await conn.execute(statement, self._tenant.tenant_no, self._podcast_no))
            # The newest transfer is a part of the generation, which must never fall back.
            await raise_ownership(conn, by=1 + newest - int(await conn.fetchval(_NEWEST_TRANSFER)))
            await conn.execute(_NOTIFY, CATALOGUE_CHANNEL)

    async def _take_portions(self, conn: Connection, tables: Mapping[str, LiteralString]) -> dict[str, int]:
        return {
            what: _deleted(await conn.execute(_BY_PORTION[what], self._tenant.tenant_no, self._podcast_no, _ROWS))
            for what in tables
        }

    async def take_pending(self) -> None:
        """Take waiting hits away: before those that landed, as they may become such in the meantime."""
        while True:
            async with self._step() as (conn, removed):
                removed.update(await self._take_portions(conn, _PENDING))
            if not any(removed.values()):
                return

    async def days(self) -> list[dt.date]:
        async with tenant_transaction(self._pool, self._tenant) as conn:
            return [row["day"] for row in await conn.fetch(_DAYS, self._tenant.tenant_no)]

    async def take_day(self, day: dt.date) -> None:
        """Take a day's hits and downloads away."""
        async with self._step() as (conn, removed):
            removed["hits"] = int(await conn.fetchval(_HITS, self.record.erasure_id, day))
            removed["downloads"] = int(await conn.fetchval(_DOWNLOADS, self._tenant.tenant_no, self._podcast_no, day))

    async def take_figures(self) -> None:
        """Take away what was made of hits and downloads, once these are gone, so that nothing is made of them anew."""
        while True:
            async with self._step() as (conn, removed):
                await conn.execute(_LOCK_FIGURES, self._podcast_no)
                removed.update(await self._take_portions(conn, _FIGURES))
                traces = await self._take_portions(conn, _TRACES)
                reports = await conn.execute(_REPORTS, self._tenant.tenant_id, self._podcast_id)
                removed["reports"] = _deleted(reports)
            if not any(removed.values()) and not any(traces.values()):
                return

    async def finish(self, *, now: dt.datetime) -> bool:
        """Look whether anything is left; with nothing left the record is done."""
        async with tenant_transaction(self._pool, self._tenant) as conn:
            await conn.execute(_LOCK_FIGURES, self._podcast_no)
            # In a statement of its own: its snapshot has to be taken when nobody makes figures of the podcast.
            remaining = await count_podcast(conn, self._tenant, self._podcast_id, self._podcast_no)
            if any(remaining.values()):
                return False
            record = await end_erasure(conn, self._tenant, self.record, remaining, now=now)
        self.record = record
        return True


async def count_podcast(conn: Connection, tenant: Tenant, podcast_id: UUID, podcast_no: int) -> dict[str, int]:
    """Count what is kept of a podcast, by table; as ingest, in the tenant's transaction."""
    row = await conn.fetchrow(_COUNT, tenant.tenant_no, podcast_no, podcast_id, tenant.tenant_id)
    if row is None:
        raise AssertionError("a count is a row")
    return dict(row)


async def erase_podcast(
    pool: Pool, request: ErasureRequest, *, now: dt.datetime, at_most: int = _ATTEMPTS
) -> ErasureRecord:
    """Erase a podcast with all that is kept of it.

    Hits that are asked for later under its old addresses are of an unknown episode, and nobody's.

    Args:
        pool: As ingest.
        request: About a podcast; whoever calls holds :func:`analytics_core.db.erasure_requests.erasing`.
        now: Aware instant.
        at_most: How often to begin again because something was left.

    Returns:
        The record; not finished when something was left each time.

    Raises:
        Unavailable: The database does not answer, or somebody kept rows locked for too long; what was taken away so far
            is in the record, and calling it again goes on.
    """
    if request.podcast_id is None or request.podcast_no is None:
        raise ValueError("the request is not about a podcast")
    async with tenant_transaction(pool, request.tenant) as conn:
        stored = await find_erasure(conn, request.tenant, request.erasure_id)
    if stored is None:
        raise AssertionError("an erasure has a record")
    erasure = _Erasure(pool, request.tenant, request.podcast_id, request.podcast_no, stored.record)
    try:
        await erasure.release()
        for _ in range(at_most):
            await erasure.take_pending()
            for day in await erasure.days():
                await erasure.take_day(day)
            await erasure.take_figures()
            if await erasure.finish(now=now):
                break
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
        raise Unavailable("the podcast could not be erased to its end: its rows are in use") from error
    return erasure.record
