"""Retention: which days' hits, downloads and clicks may go, and their going.

Only days that are final go, so that nothing lands there any more that counts; and downloads only once all that is made
of them is: their rollups, and the listeners of their whole month. A day without downloads is noted as such, and its
rollups stay what they are.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, Literal, LiteralString, TypeAlias

import msgspec

from analytics_core.db.hits import lock_finality
from analytics_core.db.pool import Connection

__all__ = (
    "MAX_RETENTION_DAYS",
    "MIN_RETENTION_DAYS",
    "FormerRetention",
    "Series",
    "TenantDay",
    "TenantRetention",
    "drop_clicks",
    "drop_day",
    "drop_segments",
    "drop_tenant_downloads",
    "drop_tenant_hits",
    "list_download_days",
    "list_hit_days",
    "list_retention",
    "list_tenant_download_days",
    "list_tenant_hit_days",
    "note_lost_hits",
    "set_hits_policy",
    "set_retention",
)

MIN_RETENTION_DAYS: Final = 30
"""A tenant's hits are kept at least so long: they may wait for their episode meanwhile."""
MAX_RETENTION_DAYS: Final = 7_320

Series: TypeAlias = Literal["listener_events", "downloads"]


class TenantDay(msgspec.Struct, frozen=True):
    """A tenant's UTC day."""

    tenant_no: int
    day: dt.date


class FormerRetention(msgspec.Struct, frozen=True):
    """For how many days a tenant's hits were kept before that was changed."""

    tenant_no: int
    hits_days: int | None


class TenantRetention(msgspec.Struct, frozen=True):
    """For how many days a tenant's hits are kept; ``None`` for as long as those of all."""

    slug: str
    hits_days: int | None


_HIT_DAYS: Final[LiteralString] = """/* retention.hit_days */
select k.day from ops.list_kept_days('listener_events') as k(day)
where k.day < $1 and ($2::date is null or k.day = $2)
    and not exists (select from ops.days d where d.day = k.day and d.final_at is null)
order by k.day limit $3"""

_DOWNLOAD_DAYS: Final[LiteralString] = """/* retention.download_days */
select k.day from ops.list_kept_days('downloads') as k(day)
cross join lateral (select date_trunc('month', k.day::timestamp)::date as first) m
where k.day < $1::date and ($3::date is null or k.day = $3)
    and not exists (select from ops.days d where d.day = k.day and d.final_at >= $2)
    and not exists (
        select from ops.days d where d.day >= m.first and d.day < m.first + interval '1 month' and d.final_at is null)
    and not exists (select from ops.dirty_marks w where w.day = k.day)
    and not exists (select from ops.listener_marks w where w.month = m.first)
order by k.day limit $4"""

_NOTE_HITS: Final[LiteralString] = """/* retention.note_hits */
update ops.days set hits_dropped_at = $2 where day = $1 and hits_dropped_at is null"""

_NOTE_LOST: Final[LiteralString] = """/* retention.note_lost */
update ops.days d set hits_dropped_at = $2
where d.day < $1 and d.hits_dropped_at is null
    and d.day not in (select k.day from ops.list_kept_days('listener_events') as k(day))"""

_NOTE_DOWNLOADS: Final[LiteralString] = """/* retention.note_downloads */
update ops.days set downloads_dropped_at = $2, generation = generation + 1
where day = $1 and downloads_dropped_at is null"""

_DROP: Final[LiteralString] = """/* retention.drop_day */ select ops.drop_day($1, $2)"""

_TENANT_HIT_DAYS: Final[LiteralString] = """/* retention.tenant_hit_days */
select d.tenant_no, d.day from app.tenants t join ops.days d using (tenant_no)
where t.retention_hits_days is not null and d.day < $1::date - t.retention_hits_days and d.hits_dropped_at is null
    and d.final_at is not null
order by d.day, d.tenant_no limit $2"""

_NOTE_INCOMPLETE: Final[LiteralString] = """/* retention.note_incomplete */
update ops.days set hits_incomplete = true where tenant_no = $1 and day = $2 and not hits_incomplete"""

_DELETE_HITS: Final[LiteralString] = """/* retention.delete_hits */ select ops.delete_hits($1, $2)"""

_NOTE_TENANT_HITS: Final[LiteralString] = """/* retention.note_tenant_hits */
update ops.days set hits_dropped_at = $3 where tenant_no = $1 and day = $2"""

_TENANT_DOWNLOAD_DAYS: Final[LiteralString] = """/* retention.tenant_download_days */
select d.tenant_no, d.day from app.tenants t join ops.days d using (tenant_no)
cross join lateral (select date_trunc('month', d.day::timestamp)::date as first) m
where t.retention_hits_days is not null and ($2::integer is null or (d.tenant_no, d.day) = ($2, $3::date))
    and d.day < date_trunc('month', ($1::date - t.retention_hits_days)::timestamp) and d.downloads_dropped_at is null
    and not exists (
        select from ops.days o
        where o.tenant_no = d.tenant_no and o.day >= m.first and o.day < m.first + interval '1 month'
            and o.final_at is null)
    and not exists (select from ops.dirty_marks w where w.tenant_no = d.tenant_no and w.day = d.day)
    and not exists (select from ops.listener_marks w where w.tenant_no = d.tenant_no and w.month = m.first)
order by d.day, d.tenant_no limit $4"""

_DELETE_DOWNLOADS: Final[LiteralString] = """/* retention.delete_downloads */
delete from ts.downloads where tenant_no = $1 and day = $2"""

_NOTE_TENANT_DOWNLOADS: Final[LiteralString] = """/* retention.note_tenant_downloads */
update ops.days set downloads_dropped_at = $3, generation = generation + 1 where tenant_no = $1 and day = $2"""

_LIMITS: Final[LiteralString] = """/* retention.limits */
select set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true)"""

# What a link was followed before stays in its count. A null among dates is passed over by `greatest`.
_DROP_CLICKS: Final[LiteralString] = """/* retention.drop_clicks */
with old as materialized (
    select c.segment_no, c.ordinal from app.tenants t cross join lateral (
        select segment_no, ordinal from app.clicks
        where tenant_no = t.tenant_no
            and occurred_at < greatest($1::date, $2::date - t.retention_hits_days)::timestamp at time zone 'UTC'
        order by occurred_at limit $3
    ) c limit $3
), gone as (
    delete from app.clicks c using old o where c.segment_no = o.segment_no and c.ordinal = o.ordinal
    returning c.link_no, c.is_bot
), counted as (
    update app.links l set clicks_dropped = l.clicks_dropped + g.clicks, bots_dropped = l.bots_dropped + g.bots
    from (
        select link_no, count(*) filter (where not is_bot) as clicks, count(*) filter (where is_bot) as bots
        from gone group by link_no
    ) g where l.link_no = g.link_no
)
select count(*) from gone"""

# A segment's row is the fence of its file: it stays as long as a copy of that may come back, and its hits are there.
_DROP_SEGMENTS: Final[LiteralString] = """/* retention.drop_segments */
with kept as materialized (select day from ops.list_kept_days('listener_events') as k(day))
delete from ops.segments where segment_no in (
    select s.segment_no from ops.segments s
    where s.finished_at < $1 and greatest(s.created_at, s.last_hit_at) < $1
        and not exists (
            select from kept k
            where k.day between (s.first_hit_at at time zone 'UTC')::date and (s.last_hit_at at time zone 'UTC')::date)
        and not exists (select from app.clicks c where c.segment_no = s.segment_no)
        and not exists (select from ops.pending_hits p where p.segment_no = s.segment_no)
        and not exists (select from ops.dead_letters d where d.segment_no = s.segment_no)
    order by s.finished_at limit $2)"""

_POLICY: Final[LiteralString] = """/* retention.set_hits_policy */ select ops.set_hits_retention($1)"""

_LIST: Final[LiteralString] = """/* retention.list */
select slug, retention_hits_days as hits_days from app.tenants order by slug"""

_SET: Final[LiteralString] = """/* retention.set */
with was as (select tenant_id, tenant_no, retention_hits_days from app.tenants where slug = $1 for update)
update app.tenants t set retention_hits_days = $2 from was where t.tenant_id = was.tenant_id
returning was.tenant_no, was.retention_hits_days as hits_days"""


async def list_hit_days(conn: Connection, *, before: dt.date, limit: int) -> list[dt.date]:
    """List the days before *before* whose hits may go as a whole, oldest first; as ingest."""
    return [row["day"] for row in await conn.fetch(_HIT_DAYS, before, None, limit)]


async def list_download_days(conn: Connection, *, final_before: dt.datetime, limit: int) -> list[dt.date]:
    """List the days whose downloads may go as a whole, oldest first: final for every tenant since *final_before*."""
    before = final_before.astimezone(dt.UTC).date()
    return [row["day"] for row in await conn.fetch(_DOWNLOAD_DAYS, before, final_before, None, limit)]


async def drop_day(conn: Connection, series: Series, day: dt.date, *, before: dt.datetime, now: dt.datetime) -> bool:
    """Drop a day of hits or of downloads as a whole, and note it for every tenant.

    Args:
        conn: As ingest, outside a transaction.
        series: Which of the two.
        day: As it was listed; whether it may go is looked at again while nobody lands and nothing becomes final.
        before: For hits the horizon, at midnight; for downloads since when the day has to be final.
        now: Aware instant.

    Returns:
        Whether it was dropped.

    Raises:
        asyncpg.LockNotAvailableError: Somebody has read the table for two seconds; nothing was dropped.
    """
    async with conn.transaction():
        await lock_finality(conn, exclusive=True)
        horizon = before.astimezone(dt.UTC).date()
        if series == "downloads":
            found = await conn.fetch(_DOWNLOAD_DAYS, horizon, before, day, 1)
        else:
            found = await conn.fetch(_HIT_DAYS, horizon, day, 1)
        if not found or not await conn.fetchval(_DROP, series, day):
            return False
        await conn.execute(_NOTE_DOWNLOADS if series == "downloads" else _NOTE_HITS, day, now)
    return True


async def note_lost_hits(conn: Connection, *, before: dt.date, now: dt.datetime) -> None:
    """Note of days before *before* that their hits have gone where a policy of TimescaleDB's has dropped them."""
    await conn.execute(_NOTE_LOST, before, now)


async def list_tenant_hit_days(conn: Connection, *, today: dt.date, limit: int) -> list[TenantDay]:
    """List the final days of tenants who keep hits for a shorter time, and for whom that is over; oldest first."""
    return [msgspec.convert(row, TenantDay) for row in await conn.fetch(_TENANT_HIT_DAYS, today, limit)]


async def drop_tenant_hits(conn: Connection, which: TenantDay, *, now: dt.datetime) -> int:
    """Delete a tenant's hits of a final day; return how many.

    Most of them while others land; what landed meanwhile goes with everybody kept waiting, which is none as a rule.
    """
    async with conn.transaction():
        # At once, and not with the rest: nothing may be made of those that are left.
        await conn.execute(_NOTE_INCOMPLETE, which.tenant_no, which.day)
        deleted = int(await conn.fetchval(_DELETE_HITS, which.tenant_no, which.day))
    async with conn.transaction():
        await lock_finality(conn, exclusive=True)
        deleted += int(await conn.fetchval(_DELETE_HITS, which.tenant_no, which.day))
        await conn.execute(_NOTE_TENANT_HITS, which.tenant_no, which.day, now)
    return deleted


async def list_tenant_download_days(conn: Connection, *, today: dt.date, limit: int) -> list[TenantDay]:
    """List the days of such tenants whose downloads may go: once their month's last day is older than hits are kept."""
    rows = await conn.fetch(_TENANT_DOWNLOAD_DAYS, today, None, None, limit)
    return [msgspec.convert(row, TenantDay) for row in rows]


async def drop_tenant_downloads(conn: Connection, which: TenantDay, *, today: dt.date, now: dt.datetime) -> int:
    """Delete a tenant's downloads of a day, if that still may be, and note it; return how many.

    Nothing adds downloads to a final day, so nobody is kept from landing.
    """
    async with conn.transaction():
        await conn.execute(_LIMITS)
        await lock_finality(conn)
        if not await conn.fetch(_TENANT_DOWNLOAD_DAYS, today, which.tenant_no, which.day, 1):
            return 0
        deleted = int(str(await conn.execute(_DELETE_DOWNLOADS, which.tenant_no, which.day)).split()[-1])
        await conn.execute(_NOTE_TENANT_DOWNLOADS, which.tenant_no, which.day, now)
    return deleted


async def drop_clicks(conn: Connection, *, before: dt.date, today: dt.date, limit: int) -> int:
    """Delete some clicks that are older than their tenant keeps hits, and keep their number with their links.

    Args:
        conn: As ingest, outside a transaction.
        before: The horizon of tenants who keep hits as long as all do.
        today: From which shorter times are counted.
        limit: Most that go at once.

    Returns:
        How many went; *limit* when there may be more.
    """
    return int(await conn.fetchval(_DROP_CLICKS, before, today, limit))


async def drop_segments(conn: Connection, *, before: dt.datetime, limit: int) -> int:
    """Forget some segments that were finished, and whose hits are from, before *before*; those whose hits are gone.

    A file of theirs that came back afterwards would land again. Nothing would be counted twice: what lands on days that
    are final is kept as late.

    Args:
        conn: As ingest.
        before: Aware instant, so long ago that nobody keeps a spool's file of that time.
        limit: Most that go at once.

    Returns:
        How many went; *limit* when there may be more.
    """
    return int(str(await conn.execute(_DROP_SEGMENTS, before, limit)).split()[-1])


async def set_hits_policy(conn: Connection, *, months: int) -> bool:
    """Have TimescaleDB's policy keep hits for so many months, and a week; as ingest.

    Returns:
        Whether that was not so already; false where there is no TimescaleDB.
    """
    return bool(await conn.fetchval(_POLICY, months))


async def list_retention(conn: Connection) -> list[TenantRetention]:
    """List for how long each tenant keeps hits, by slug; as the role that authenticates."""
    return [msgspec.convert(row, TenantRetention) for row in await conn.fetch(_LIST)]


async def set_retention(conn: Connection, slug: str, hits_days: int | None) -> FormerRetention | None:
    """Have a tenant's hits kept for so many days, or as long as those of all; ``None`` when there is no such tenant.

    Args:
        conn: As the role that authenticates.
        slug: Which tenant.
        hits_days: From ``MIN_RETENTION_DAYS`` to ``MAX_RETENTION_DAYS``, or ``None``.
    """
    row = await conn.fetchrow(_SET, slug, hits_days)
    return None if row is None else msgspec.convert(row, FormerRetention)
