"""Hits as people ask for them: why each counts or does not, one by one and a day at a time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, LiteralString, TypeAlias
from uuid import UUID

import asyncpg
import msgspec

from analytics_core.db.analytics import Scope
from analytics_core.db.pool import Connection
from analytics_core.errors import NotKept
from analytics_core.hits import HitKind

__all__ = (
    "DayCounts",
    "DownloadCount",
    "HitFilter",
    "HitPlace",
    "HitRow",
    "VerdictCount",
    "count_day",
    "find_hit",
    "list_hits",
)

_TIMEOUT_S: Final = 30.0
_DAY: Final = dt.timedelta(days=1)


class VerdictCount(msgspec.Struct, frozen=True):
    """How many hits of a day had one verdict and one evidence.

    Attributes:
        left_out: Those of them that are of accepted spikes, or that another source counts instead of.
    """

    verdict: int
    evidence: int
    hits: int
    left_out: int = 0


class DownloadCount(msgspec.Struct, frozen=True):
    """How many downloads of a day were won by one evidence."""

    evidence: int
    downloads: int


class DayCounts(msgspec.Struct, frozen=True):
    """All hits of one UTC day, and the downloads that came of them; both of the same instant.

    Attributes:
        hits: Empty when they are not kept any more.
        downloads: The same; made of the hits where the downloads alone are gone.
        counted: Downloads, and strict ones among them, as they were summed up; ``None`` while hits are kept.
    """

    hits: list[VerdictCount]
    downloads: list[DownloadCount]
    counted: tuple[int, int] | None = None


class HitPlace(msgspec.Struct, frozen=True):
    """Where a hit stands in the order of hits."""

    occurred_at: dt.datetime
    segment_no: int
    ordinal: int


class HitFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which hits are asked for: half-open in time, ``None`` where it does not matter."""

    start: dt.datetime
    end: dt.datetime
    podcast_no: int | None = None
    episode_no: int | None = None
    verdict: int | None = None


class HitRow(msgspec.Struct, frozen=True):
    """A hit as it is stored, with the names of what it points to.

    Attributes:
        verdict: What decides it under the profile of its day; ``verdict_bits`` are of the default one, whatever the
            day's is.
        target: What was asked for, known only of hits that wait for their episode.
        networks: In which lists its address was, a union of ``NetworkClass``.
        winner_segment_no: With ``winner_ordinal`` the hit that its download's row keeps, or kept; ``None`` when
            there is none, or it cannot be known any more.
        is_settled: The downloads of its day are gone: it will never count otherwise than it does.
        source: ``HitSource``.
        rules: What its day is judged by, in one word; ``None`` for the default profile.
        spike_id: The accepted spike that leaves it out, if it is left out and that is still known.
        spike_at: Since when that is accepted.
    """

    occurred_at: dt.datetime
    segment_no: int
    ordinal: int
    podcast_id: UUID | None
    episode_id: UUID | None
    verdict_bits: int
    verdict: int
    evidence: int
    range_kind: int
    range_first: int
    range_last: int
    method: int
    flags: int
    country: int
    user_agent: str
    agent_kind: int
    app: str
    device: str
    agent_rule: str
    referrer: str
    os: str
    region: str
    city: str
    target: str | None
    networks: int
    winner_segment_no: int | None
    winner_ordinal: int | None
    is_settled: bool = False
    source: int = 1
    spike_id: UUID | None = None
    spike_at: dt.datetime | None = None
    rules: str | None = None

    @property
    def place(self) -> HitPlace:
        """The hit's place in the order of hits."""
        return HitPlace(self.occurred_at, self.segment_no, self.ordinal)

    @property
    def is_counted(self) -> bool:
        """Whether this very hit is the one that its download's row keeps."""
        return (self.winner_segment_no, self.winner_ordinal) == (self.segment_no, self.ordinal)


# Where downloads are gone they are made of the day's hits by the very rule that made them: of each listener's and
# episode's hits the best, whose evidence is all that is asked for here. 16, 1024 and 2048 are hits.NOT_COUNTED.
_COUNT_DAY: Final[LiteralString] = """/* explain.day */
with gone as materialized (
    select coalesce(bool_or(y.downloads_gone), false) as downloads, coalesce(bool_or(y.hits_gone), false) as hits
    from api.days y where y.day = $5
)
select coalesce((select jsonb_agg(h) from (
        select verdict, evidence, sum(hits)::bigint as hits, sum(left_out)::bigint as left_out from (
            select e.verdict, e.evidence, count(*) as hits,
                count(*) filter (where e.flags & (1024 | 2048) <> 0) as left_out
            from api.listener_events e
            where (select not hits from gone) and e.occurred_at >= $3 and e.occurred_at < $4
                and e.podcast_no = any($1::integer[]) and ($2::integer is null or e.episode_no = $2)
                and e.verdict >= 0
            group by e.verdict, e.evidence
            union all
            select log(2, p.verdict_bits & -p.verdict_bits)::integer + 1, 0, count(*), 0 from api.pending_hits p
            where (select not hits from gone) and $2::integer is null and p.occurred_at >= $3 and p.occurred_at < $4
                and p.podcast_no = any($1::integer[])
            group by 1
        ) u group by verdict, evidence order by verdict, evidence
    ) h), '[]') as hits,
    coalesce((select jsonb_agg(w) from (
        select evidence, count(*) as downloads from (
            select d.evidence from api.downloads d
            where (select not downloads and not hits from gone) and d.day = $5 and d.podcast_no = any($1::integer[])
                and ($2::integer is null or d.episode_no = $2)
            union all
            select max(e.evidence) from api.listener_events e
            where (select downloads and not hits from gone) and e.occurred_at >= $3 and e.occurred_at < $4
                and e.podcast_no = any($1::integer[]) and ($2::integer is null or e.episode_no = $2)
                and e.verdict = 0 and e.evidence > 0 and e.episode_no > 0 and e.flags & (16 | 1024 | 2048) = 0
            group by e.episode_no, e.listener_key
        ) d group by evidence order by evidence
    ) w), '[]') as downloads,
    (select jsonb_build_array(coalesce(sum(m.downloads), 0), coalesce(sum(m.downloads_strict), 0))
        from app.metrics_daily m
        where m.podcast_no = any($1::integer[]) and m.dimension = 'total' and m.day = $5
            and ($2::integer is null or m.episode_no = $2)
        having (select hits from gone)) as counted"""

# What both queries about single hits ask for: the hit, landed or waiting, the one that won, and the spike it is of.
_HIT: Final[LiteralString] = """
select h.occurred_at, h.segment_no, h.ordinal, p.podcast_id, e.episode_id, h.verdict_bits, h.verdict, h.evidence,
    h.range_kind, h.range_first, h.range_last, h.method, h.flags, h.country, h.user_agent, h.agent_kind, h.app,
    h.device, h.agent_rule, h.referrer, h.os, h.region, h.city, h.target, h.networks, d.segment_no as winner_segment_no,
    d.ordinal as winner_ordinal,
    coalesce(y.downloads_gone, false) as is_settled, coalesce(y.hits_gone, false) as hits_gone, h.episode_no,
    h.listener_key, h.source, y.rules, k.spike_id, k.spike_at
from (
    select l.occurred_at, l.segment_no, l.ordinal, l.podcast_no, l.episode_no, l.verdict_bits, l.verdict, l.evidence,
        l.range_kind, l.range_first, l.range_last, l.method, l.flags, l.country, l.user_agent, l.agent_kind, l.app,
        l.device, l.agent_rule, l.referrer, l.os, l.region, l.city, null::text as target, l.networks, l.listener_key,
        l.source, l.asn
    from api.listener_events l"""
_OR_WAITING: Final[LiteralString] = """
    union all
    select w.occurred_at, w.segment_no, w.ordinal, w.podcast_no, 0, w.verdict_bits,
        log(2, w.verdict_bits & -w.verdict_bits)::integer + 1, 0, w.range_kind, w.range_first, w.range_last, w.method,
        w.flags, w.country, w.user_agent, w.agent_kind, w.app, w.device, w.agent_rule, w.referrer, w.os, w.region,
        w.city, w.target, w.networks, null::uuid, w.source, w.asn
    from api.pending_hits w"""
_AROUND: Final[LiteralString] = """
) h
left join app.podcasts p on p.podcast_no = h.podcast_no
left join app.episodes e on e.episode_no = h.episode_no
left join api.days y on y.day = (h.occurred_at at time zone 'UTC')::date
left join lateral (
    select w.segment_no, w.ordinal from api.downloads w
    where h.verdict = 0 and w.day = (h.occurred_at at time zone 'UTC')::date and w.episode_no = h.episode_no
        and w.listener_key = h.listener_key"""
_SPIKE: Final[LiteralString] = """
) d on true
left join lateral (
    select s.spike_id, s.decided_at as spike_at from app.spikes s
    where h.flags & 1024 <> 0 and s.podcast_no = h.podcast_no and s.state = 'accepted' and not s.is_due
        and s.begins_at <= h.occurred_at and s.ends_at > h.occurred_at
        and (s.listener_key is null or s.listener_key = h.listener_key) and (s.asn is null or s.asn = h.asn)
        and (s.country is null or s.country = h.country)
        and (s.app is null or s.user_agent is not null or s.app = h.app)
        and (s.user_agent is null or s.user_agent = h.user_agent)
    order by s.decided_at, s.spike_id limit 1
) k on true"""

_LIST_HITS: Final[LiteralString] = (
    "/* explain.hits */"
    + _HIT
    + """
    where l.occurred_at >= $1::timestamptz and l.occurred_at < $2::timestamptz and l.kind = $10
        and ($3::integer is null or l.podcast_no = $3) and ($4::integer is null or l.episode_no = $4)
        and ($5::smallint is null or l.verdict = $5)
        and ($6::timestamptz is null or (l.occurred_at, l.segment_no, l.ordinal) > ($6, $7::integer, $8::integer))"""
    + _OR_WAITING
    + """
    where $4::integer is null and w.occurred_at >= $1 and w.occurred_at < $2
        and ($3::integer is null or w.podcast_no = $3)
        and ($5::smallint is null or (w.verdict_bits & -w.verdict_bits) = (1 << $5) >> 1)
        and ($6::timestamptz is null or (w.occurred_at, w.segment_no, w.ordinal) > ($6, $7::integer, $8::integer))
    order by 1, 2, 3 limit $9"""
    + _AROUND
    + """
        -- Once more by itself, so that partitions of other days are pruned however this is joined.
        and w.day between ($1::timestamptz at time zone 'UTC')::date
            and (($2::timestamptz - interval '1 microsecond') at time zone 'UTC')::date"""
    + _SPIKE
    + """
order by h.occurred_at, h.segment_no, h.ordinal"""
)

_SEGMENT: Final[LiteralString] = """/* explain.segment */
select first_hit_at, last_hit_at from api.segments where segment_no = $1"""

_IS_GONE: Final[LiteralString] = """/* explain.is_gone */
select bool_and(hits_gone) from api.days
where day between ($1::timestamptz at time zone 'UTC')::date and ($2::timestamptz at time zone 'UTC')::date"""

_FIND_HIT: Final[LiteralString] = (
    "/* explain.hit */"
    + _HIT
    + """
    where l.occurred_at >= $3::timestamptz and l.occurred_at <= $4::timestamptz and l.segment_no = $1
        and l.ordinal = $2 and l.kind = $5"""
    + _OR_WAITING
    + """
    where w.segment_no = $1 and w.ordinal = $2"""
    + _AROUND
    + """
        and w.day between ($3::timestamptz at time zone 'UTC')::date and ($4::timestamptz at time zone 'UTC')::date"""
    + _SPIKE
    + """
limit 1"""
)


# Of downloads that are gone: analytics_core.downloads.better over the hits of their days, which are read once.
_WINNERS: Final[LiteralString] = """/* explain.winners */
select distinct on (k.day, k.episode_no, k.listener_key) k.day, k.episode_no, k.listener_key, w.segment_no, w.ordinal
from (
    select (e.occurred_at at time zone 'UTC')::date as day, e.episode_no, e.listener_key, e.evidence, e.occurred_at,
        e.segment_no, e.ordinal
    from api.listener_events e
    where e.occurred_at >= $4::timestamptz and e.occurred_at < $5::timestamptz and e.episode_no = any($2::integer[])
        and e.listener_key = any($3::uuid[]) and e.verdict = 0 and e.evidence > 0
        and e.flags & (16 | 1024 | 2048) = 0
) w join unnest($1::date[], $2::integer[], $3::uuid[]) as k(day, episode_no, listener_key)
    using (day, episode_no, listener_key)
order by k.day, k.episode_no, k.listener_key, w.evidence desc, w.occurred_at, w.segment_no, w.ordinal"""


_Key: TypeAlias = tuple[dt.date, int, UUID]
"""Of a download: its UTC day, episode and listener."""


def _key_of(row: asyncpg.Record) -> _Key | None:
    """Name the download of a hit that can have made one."""
    if row["verdict"] or row["listener_key"] is None:
        return None
    return row["occurred_at"].astimezone(dt.UTC).date(), row["episode_no"], row["listener_key"]


async def _with_winners(conn: Connection, rows: Sequence[asyncpg.Record]) -> list[HitRow]:
    """Take hits as they were read; those of days whose downloads are gone with the winner that the day's hits make."""
    keys = [_key_of(row) for row in rows]
    missing = {key for row, key in zip(rows, keys, strict=True) if key and row["is_settled"] and not row["hits_gone"]}
    winners: dict[_Key | None, asyncpg.Record] = {}
    if missing:
        first, last = (dt.datetime.combine(day, dt.time(), dt.UTC) for day in (min(missing)[0], max(missing)[0] + _DAY))
        columns = [list(column) for column in zip(*missing, strict=True)]
        found = await conn.fetch(_WINNERS, *columns, first, last, timeout=_TIMEOUT_S)
        winners = {(row["day"], row["episode_no"], row["listener_key"]): row for row in found}
    hits = []
    for row, key in zip(rows, keys, strict=True):
        hit = msgspec.convert(row, HitRow)
        if (winner := winners.get(key)) is not None:
            hit = msgspec.structs.replace(hit, winner_segment_no=winner["segment_no"], winner_ordinal=winner["ordinal"])
        hits.append(hit)
    return hits


async def count_day(conn: Connection, scope: Scope, *, day: dt.date) -> DayCounts:
    """Count all hits and downloads of one UTC day, in one look so that they fit one another.

    Hits that wait for their episode are among those of a podcast, not of an episode. Of a day whose downloads are gone
    they are made of its hits again; of one whose hits are gone there is only what was summed up.
    """
    start = dt.datetime.combine(day, dt.time(), dt.UTC)
    row = await conn.fetchrow(
        _COUNT_DAY,
        list(scope.podcast_nos),
        scope.episode_no,
        start,
        start + _DAY,
        day,
        timeout=_TIMEOUT_S,
    )
    return msgspec.convert(row, DayCounts)


async def list_hits(conn: Connection, wanted: HitFilter, *, after: HitPlace | None, limit: int) -> list[HitRow]:
    """List hits in the order in which they occurred, behind *after*; clicks on links are not among them."""
    rows = await conn.fetch(
        _LIST_HITS,
        wanted.start,
        wanted.end,
        wanted.podcast_no,
        wanted.episode_no,
        wanted.verdict,
        None if after is None else after.occurred_at,
        None if after is None else after.segment_no,
        None if after is None else after.ordinal,
        limit,
        int(HitKind.REQUEST),
        timeout=_TIMEOUT_S,
    )
    return await _with_winners(conn, rows)


async def find_hit(conn: Connection, segment_no: int, ordinal: int) -> HitRow | None:
    """Find one hit, which is no click: in its segment's minutes, or among those that wait.

    Raises:
        NotKept: It is not there, and the tenant's hits of all days of its segment have gone.
    """
    segment = await conn.fetchrow(_SEGMENT, segment_no)
    if segment is None:
        return None
    # A segment with no hit landed has no times; then the range below is null and only waiting hits are found.
    row = await conn.fetchrow(
        _FIND_HIT,
        segment_no,
        ordinal,
        segment["first_hit_at"],
        segment["last_hit_at"],
        int(HitKind.REQUEST),
        timeout=_TIMEOUT_S,
    )
    if row is not None:
        return (await _with_winners(conn, [row]))[0]
    if await conn.fetchval(_IS_GONE, segment["first_hit_at"], segment["last_hit_at"]):
        day = segment["first_hit_at"].astimezone(dt.UTC).date()
        raise NotKept(f"hits of {day} are not kept any more; the figures of that day are")
    return None
