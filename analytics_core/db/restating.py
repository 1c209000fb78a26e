"""Restating a day: its late hits are taken in, and its downloads made anew from its hits, in one transaction.

Only where all that it is made of is still there; nothing is ever made anew from what is gone. Of a final day nobody
else writes downloads, and ingest goes on meanwhile: what lands is late, and not among what was taken in. Of a day that
is not final whoever lands hits on it has to wait (:func:`hold_day`). Rollups, sums and listeners follow by marks, as
after any other change of downloads. A recount (:mod:`analytics_core.db.recounting`) holds the day in the same way, and
changes what its hits say.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable
from typing import Final, LiteralString

import msgspec

from analytics_core.db.copying import CopyFormat, Keys
from analytics_core.db.hits import Integers, lock_finality
from analytics_core.db.ownership import lock_ownership
from analytics_core.db.pool import Connection
from analytics_core.hits import HitFlag

__all__ = (
    "LateHits",
    "NotRestated",
    "RestatedDay",
    "find_late_hits",
    "hold_day",
    "list_due_days",
    "list_final_days",
    "note_keys",
    "rebuild_day",
    "replace_downloads",
    "want_restatement",
)


class NotRestated(enum.Enum):
    """Why a tenant's day cannot be restated."""

    NOT_FINAL = "it is not final yet"
    HITS_GONE = "its hits are not kept any more"
    DOWNLOADS_GONE = "its downloads are not kept any more"
    MONTH_GONE = "downloads of its month are not kept any more, without which its listeners cannot be counted"


class RestatedDay(msgspec.Struct, frozen=True):
    """What a restatement changed of a day.

    Attributes:
        hits: Late ones that were taken in; of a recount, those that were judged otherwise.
        downloads_before: Of the tenant on the whole day.
        strict_before: Strict ones among them.
    """

    day: dt.date
    hits: int
    downloads_before: int
    downloads_after: int
    strict_before: int
    strict_after: int


class LateHits(msgspec.Struct, frozen=True):
    """How many late hits of a tenant a day has."""

    tenant_no: int
    hits: int


class _Day(msgspec.Struct, frozen=True):
    is_final: bool
    hits_gone: bool
    downloads_gone: bool
    month_gone: bool

    def refusal(self, *, open_too: bool) -> NotRestated | None:
        if not self.is_final and not open_too:
            return NotRestated.NOT_FINAL
        if self.downloads_gone:
            return NotRestated.DOWNLOADS_GONE
        if self.hits_gone:
            return NotRestated.HITS_GONE
        return NotRestated.MONTH_GONE if self.month_gone else None


class _Compared(msgspec.Struct, frozen=True):
    """Downloads as they are and as they ought to be, and how many have to go or to be written."""

    downloads_before: int
    downloads_after: int
    strict_before: int
    strict_after: int
    gone: int
    written: int


class _Counted(msgspec.Struct, frozen=True):
    downloads: int
    strict: int


# The day's lock: whoever restates it, lets its hits go or erases a listener of it takes turns.
_LOCK: Final[LiteralString] = """/* restating.lock */
select final_at is not null as is_final, hits_incomplete or hits_dropped_at is not null as hits_gone,
    downloads_dropped_at is not null as downloads_gone, exists (
        select from ops.days o
        where o.tenant_no = d.tenant_no and o.downloads_dropped_at is not null
            and o.day >= date_trunc('month', $2::date::timestamp)::date
            and o.day < (date_trunc('month', $2::date::timestamp) + interval '1 month')::date
    ) as month_gone
from ops.days d where tenant_no = $1 and day = $2 for update"""

_SETTLE: Final[LiteralString] = """/* restating.settle */
update ops.days set restatement_due = false where tenant_no = $1 and day = $2 and restatement_due"""

_TAKE_IN: Final[LiteralString] = """/* restating.take_in */ select ops.take_in_late_hits($1, $2, $3)"""

_STAGE: Final[LiteralString] = """/* restating.stage */
create temporary table if not exists restated_downloads (like ts.downloads, is_gone boolean not null)
    on commit delete rows"""

# The rule is analytics_core.downloads.better; 16, 1024 and 2048 are hits.NOT_COUNTED. A full join: it is never a nested
# loop, whatever the planner expects.
_FRESH: Final[LiteralString] = """fresh as materialized (
    select distinct on (episode_no, listener_key) episode_no, listener_key, occurred_at, segment_no, ordinal,
        podcast_no, agent_no, referrer_no, feed_app_no, country, evidence, source, place_no
    from ts.listener_events
    where tenant_no = $1 and occurred_at >= $3 and occurred_at < $4 and verdict = 0 and evidence > 0 and episode_no > 0
        and flags & (16 | 1024 | 2048) = 0"""
_OLD: Final[LiteralString] = """
    order by episode_no, listener_key, evidence desc, occurred_at, segment_no, ordinal
), old as materialized (
    select episode_no, listener_key, occurred_at, segment_no, ordinal, podcast_no, agent_no, referrer_no, feed_app_no,
        country, evidence, source, place_no
    from ts.downloads
    where day = $2 and tenant_no = $1"""
_STAGED: Final[LiteralString] = """
), staged as (
    insert into pg_temp.restated_downloads (day, episode_no, listener_key, occurred_at, segment_no, ordinal, tenant_no,
        podcast_no, agent_no, referrer_no, feed_app_no, country, evidence, source, place_no, is_gone)
    select $2, coalesce(f.episode_no, o.episode_no), coalesce(f.listener_key, o.listener_key),
        coalesce(f.occurred_at, o.occurred_at), coalesce(f.segment_no, o.segment_no), coalesce(f.ordinal, o.ordinal),
        $1, coalesce(f.podcast_no, o.podcast_no), coalesce(f.agent_no, o.agent_no),
        coalesce(f.referrer_no, o.referrer_no), coalesce(f.feed_app_no, o.feed_app_no),
        coalesce(f.country, o.country), coalesce(f.evidence, o.evidence), coalesce(f.source, o.source),
        coalesce(f.place_no, o.place_no), f.episode_no is null
    from fresh f full join old o on o.episode_no = f.episode_no and o.listener_key = f.listener_key
    where (f.occurred_at, f.segment_no, f.ordinal, f.podcast_no, f.agent_no, f.referrer_no, f.feed_app_no, f.country,
            f.evidence, f.source, f.place_no)
        is distinct from (o.occurred_at, o.segment_no, o.ordinal, o.podcast_no, o.agent_no, o.referrer_no,
            o.feed_app_no, o.country, o.evidence, o.source, o.place_no)
    returning is_gone
)
select (select count(*) from old) as downloads_before, (select count(*) from fresh) as downloads_after,
    (select count(*) from old where evidence > 1) as strict_before,
    (select count(*) from fresh where evidence > 1) as strict_after,
    (select count(*) from staged where is_gone) as gone, (select count(*) from staged where not is_gone) as written"""

_COMPARE: Final[LiteralString] = "/* restating.compare */ with " + _FRESH + _OLD + _STAGED

# The same of some listeners and episodes alone.
_OF_KEYS: Final[LiteralString] = """
        and (episode_no, listener_key) in (select episode_no, listener_key from pg_temp.restated_keys)"""
_COMPARE_SOME: Final[LiteralString] = (
    "/* restating.compare_some */ with " + _FRESH + _OF_KEYS + _OLD + _OF_KEYS + _STAGED
)

_STAGE_KEYS: Final[LiteralString] = """/* restating.stage_keys */
create temporary table if not exists restated_keys (episode_no integer not null, listener_key uuid not null)
    on commit delete rows"""

_COUNT: Final[LiteralString] = """/* restating.count */
select count(*) as downloads, count(*) filter (where evidence > 1) as strict from ts.downloads
where day = $2 and tenant_no = $1"""

_KEYS: Final = CopyFormat(
    "restated_keys", schema="pg_temp", columns=(("episode_no", "integer"), ("listener_key", "uuid"))
)

_TAKE_AWAY: Final[LiteralString] = """/* restating.take_away */
delete from ts.downloads d using pg_temp.restated_downloads s
where s.is_gone and d.day = $1 and d.episode_no = s.episode_no and d.listener_key = s.listener_key"""

_WRITE: Final[LiteralString] = """/* restating.write */
insert into ts.downloads (day, episode_no, listener_key, occurred_at, segment_no, ordinal, tenant_no, podcast_no,
    agent_no, referrer_no, feed_app_no, country, evidence, source, place_no)
select day, episode_no, listener_key, occurred_at, segment_no, ordinal, tenant_no, podcast_no, agent_no, referrer_no,
    feed_app_no, country, evidence, source, place_no
from pg_temp.restated_downloads where not is_gone order by day, episode_no, listener_key
on conflict (day, episode_no, listener_key) do update
    set occurred_at = excluded.occurred_at, segment_no = excluded.segment_no, ordinal = excluded.ordinal,
        tenant_no = excluded.tenant_no, podcast_no = excluded.podcast_no, agent_no = excluded.agent_no,
        referrer_no = excluded.referrer_no, feed_app_no = excluded.feed_app_no, country = excluded.country,
        evidence = excluded.evidence, source = excluded.source, place_no = excluded.place_no"""

_MARK: Final[LiteralString] = """/* restating.mark */
insert into ops.dirty_marks (tenant_no, podcast_no, episode_no, day)
select distinct tenant_no, podcast_no, episode_no, day from pg_temp.restated_downloads"""

_RAISE: Final[LiteralString] = """/* restating.raise */
update ops.days set generation = generation + 1 where tenant_no = $1 and day = $2"""

_WANT: Final[LiteralString] = """/* restating.want */
update ops.days d set restatement_due = true
from (
    select o.tenant_no, o.day from ops.days o
    join unnest($1::integer[], $2::date[]) as n(tenant_no, day) using (tenant_no, day)
    where not o.restatement_due order by o.tenant_no, o.day for update of o
) w
where d.tenant_no = w.tenant_no and d.day = w.day"""

_DUE: Final[LiteralString] = """/* restating.list_due */
select tenant_no, day from ops.days where restatement_due order by tenant_no, day limit $1"""

_FINAL_DAYS: Final[LiteralString] = """/* restating.list_final */
select distinct day from ops.days
where day >= $1 and day < $2 and final_at is not null and ($3::integer is null or tenant_no = $3) order by day"""

_LATE: Final[LiteralString] = """/* restating.find_late */
select tenant_no, count(*) as hits from ts.listener_events
where occurred_at >= $1 and occurred_at < $2 and flags & (16 | 2048) = 16 and ($3::integer is null or tenant_no = $3)
group by tenant_no order by tenant_no"""


def _bounds(day: dt.date) -> tuple[dt.datetime, dt.datetime]:
    start = dt.datetime.combine(day, dt.time(), dt.UTC)
    return start, start + dt.timedelta(days=1)


async def hold_day(conn: Connection, tenant_no: int, day: dt.date, *, open_too: bool = False) -> bool | NotRestated:
    """Keep a tenant's UTC day to oneself until the transaction ends, as far as others could restate it or drop it.

    A day that is not final yet is kept from whoever lands hits on it as well: they are waited for, and then wait. So it
    is to be held for a short time only, and in READ COMMITTED: what they landed is to be seen.

    Args:
        conn: As ingest, in a transaction that has read nothing yet.
        tenant_no: Whose day.
        day: Which day.
        open_too: Hold a day that is not final yet as well, which is refused otherwise.

    Returns:
        Whether there is such a day, or why it cannot be restated.
    """
    # As who lands: a tenant is not erased meanwhile, and no day becomes final or is dropped.
    await lock_ownership(conn)
    await lock_finality(conn)
    row = await conn.fetchrow(_LOCK, tenant_no, day)
    if row is None:
        return False
    refusal = msgspec.convert(row, _Day).refusal(open_too=open_too)
    return True if refusal is None else refusal


async def rebuild_day(
    conn: Connection, tenant_no: int, day: dt.date, *, flagged: HitFlag = HitFlag.NONE
) -> RestatedDay | NotRestated | None:
    """Take a tenant's late hits of a UTC day in, and make its downloads what its hits say.

    Args:
        conn: As ingest, in a transaction with READ COMMITTED isolation.
        tenant_no: Whose hits; other tenants' are not touched.
        day: Which day.
        flagged: Only hits that have these flags as well.

    Returns:
        What changed, ``None`` when there was nothing to take in, or why it cannot be; then nothing was changed.
    """
    held = await hold_day(conn, tenant_no, day)
    await conn.execute(_SETTLE, tenant_no, day)
    if isinstance(held, NotRestated):
        return held
    taken = int(await conn.fetchval(_TAKE_IN, tenant_no, day, int(flagged))) if held else 0
    return await replace_downloads(conn, tenant_no, day, hits=taken) if taken else None


async def note_keys(conn: Connection, episode_no: Integers, listener_key: Keys) -> None:
    """Note whose downloads may have changed, for :func:`replace_downloads` in the same transaction."""
    await conn.execute(_STAGE_KEYS)
    await _KEYS.copy(conn, {"episode_no": episode_no, "listener_key": listener_key})


async def replace_downloads(
    conn: Connection, tenant_no: int, day: dt.date, *, hits: int, noted_alone: bool = False
) -> RestatedDay:
    """Write the downloads that a tenant's hits of a day make, as far as they differ from those that are there.

    Args:
        conn: In a transaction that holds the day (:func:`hold_day`).
        tenant_no: Whose day.
        day: Which day.
        hits: How many hits made it necessary, for the record.
        noted_alone: Only downloads of :func:`note_keys` can have changed; the others are not looked at.
    """
    await conn.execute(_STAGE)
    if noted_alone:
        await conn.execute(_STAGE_KEYS)
        compared = await _compare_some(conn, tenant_no, day)
    else:
        compared = msgspec.convert(await conn.fetchrow(_COMPARE, tenant_no, day, *_bounds(day)), _Compared)
    # Each only where there is something to do: compressed days are opened by asking already.
    if compared.gone:
        await conn.execute(_TAKE_AWAY, day)
    if compared.written:
        await conn.execute(_WRITE)
    if compared.gone or compared.written:
        await conn.execute(_MARK)
        await conn.execute(_RAISE, tenant_no, day)
    return RestatedDay(
        day=day,
        hits=hits,
        downloads_before=compared.downloads_before,
        downloads_after=compared.downloads_after,
        strict_before=compared.strict_before,
        strict_after=compared.strict_after,
    )


async def _compare_some(conn: Connection, tenant_no: int, day: dt.date) -> _Compared:
    """Compare the downloads that were noted, and count all."""
    counted = msgspec.convert(await conn.fetchrow(_COUNT, tenant_no, day), _Counted)
    some = msgspec.convert(await conn.fetchrow(_COMPARE_SOME, tenant_no, day, *_bounds(day)), _Compared)
    return msgspec.structs.replace(
        some,
        downloads_before=counted.downloads,
        downloads_after=counted.downloads + some.downloads_after - some.downloads_before,
        strict_before=counted.strict,
        strict_after=counted.strict + some.strict_after - some.strict_before,
    )


async def want_restatement(conn: Connection, days: Iterable[tuple[int, dt.date]]) -> None:
    """Have final days of tenants restated by the job, as far as their late hits are flagged ``WAITED``.

    Args:
        conn: In the transaction that lands these hits.
        days: Pairs of tenant and UTC day.
    """
    wanted = sorted(set(days))
    if wanted:
        await conn.execute(_WANT, [tenant_no for tenant_no, _ in wanted], [day for _, day in wanted])


async def list_due_days(conn: Connection, *, limit: int) -> list[tuple[int, dt.date]]:
    """List the tenants' days that the job is to restate, by tenant and day."""
    return [(row["tenant_no"], row["day"]) for row in await conn.fetch(_DUE, limit)]


async def list_final_days(
    conn: Connection, *, first: dt.date, until: dt.date, tenant_no: int | None = None
) -> list[dt.date]:
    """List the days from *first* to before *until* that are final for a tenant, or for any."""
    return [row["day"] for row in await conn.fetch(_FINAL_DAYS, first, until, tenant_no)]


async def find_late_hits(conn: Connection, day: dt.date, *, tenant_no: int | None = None) -> list[LateHits]:
    """Count the late hits of a day that would count, by tenant, of one or of all; reads all hits of the day."""
    return [msgspec.convert(row, LateHits) for row in await conn.fetch(_LATE, *_bounds(day), tenant_no)]
