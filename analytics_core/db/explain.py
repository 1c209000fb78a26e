"""Hits as people ask for them: why each counts or does not, one by one and a day at a time."""

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.analytics import Scope
from analytics_core.db.pool import Connection
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


class VerdictCount(msgspec.Struct, frozen=True):
    """How many hits of a day had one set of verdicts and one evidence."""

    verdict_bits: int
    evidence: int
    hits: int


class DownloadCount(msgspec.Struct, frozen=True):
    """How many downloads of a day were won by one evidence."""

    evidence: int
    downloads: int


class DayCounts(msgspec.Struct, frozen=True):
    """All hits of one UTC day, and the downloads that came of them; both of the same instant."""

    hits: list[VerdictCount]
    downloads: list[DownloadCount]


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
        target: What was asked for, known only of hits that wait for their episode.
        winner_segment_no: With ``winner_ordinal`` the hit that its download's row keeps; ``None`` when there is none.
    """

    occurred_at: dt.datetime
    segment_no: int
    ordinal: int
    podcast_id: UUID | None
    episode_id: UUID | None
    verdict_bits: int
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
    target: str | None
    winner_segment_no: int | None
    winner_ordinal: int | None

    @property
    def place(self) -> HitPlace:
        """The hit's place in the order of hits."""
        return HitPlace(self.occurred_at, self.segment_no, self.ordinal)

    @property
    def is_counted(self) -> bool:
        """Whether this very hit is the one that its download's row keeps."""
        return (self.winner_segment_no, self.winner_ordinal) == (self.segment_no, self.ordinal)


_COUNT_DAY: Final[LiteralString] = """/* explain.day */
select coalesce((select jsonb_agg(h) from (
        select verdict_bits, evidence, sum(hits)::bigint as hits from (
            select e.verdict_bits, e.evidence, count(*) as hits from api.listener_events e
            where e.occurred_at >= $3 and e.occurred_at < $4 and e.podcast_no = any($1::integer[])
                and ($2::integer is null or e.episode_no = $2)
            group by e.verdict_bits, e.evidence
            union all
            select p.verdict_bits, 0, count(*) from api.pending_hits p
            where $2::integer is null and p.occurred_at >= $3 and p.occurred_at < $4
                and p.podcast_no = any($1::integer[])
            group by p.verdict_bits
        ) u group by verdict_bits, evidence order by verdict_bits, evidence
    ) h), '[]') as hits,
    coalesce((select jsonb_agg(d) from (
        select d.evidence, count(*) as downloads from api.downloads d
        where d.day = $5 and d.podcast_no = any($1::integer[]) and ($2::integer is null or d.episode_no = $2)
        group by d.evidence order by d.evidence
    ) d), '[]') as downloads"""

_LIST_HITS: Final[LiteralString] = """/* explain.hits */
select h.occurred_at, h.segment_no, h.ordinal, p.podcast_id, e.episode_id, h.verdict_bits, h.evidence, h.range_kind,
    h.range_first, h.range_last, h.method, h.flags, h.country, h.user_agent, h.agent_kind, h.app, h.device,
    h.agent_rule, h.referrer, h.target, d.segment_no as winner_segment_no, d.ordinal as winner_ordinal
from (
    select l.occurred_at, l.segment_no, l.ordinal, l.podcast_no, l.episode_no, l.verdict_bits, l.evidence,
        l.range_kind, l.range_first, l.range_last, l.method, l.flags, l.country, l.user_agent, l.agent_kind, l.app,
        l.device, l.agent_rule, l.referrer, null::text as target, l.listener_key
    from api.listener_events l
    where l.occurred_at >= $1::timestamptz and l.occurred_at < $2::timestamptz and l.kind = $10
        and ($3::integer is null or l.podcast_no = $3) and ($4::integer is null or l.episode_no = $4)
        and ($5::smallint is null or l.verdict = $5)
        and ($6::timestamptz is null or (l.occurred_at, l.segment_no, l.ordinal) > ($6, $7::integer, $8::integer))
    union all
    select w.occurred_at, w.segment_no, w.ordinal, w.podcast_no, 0, w.verdict_bits, 0,
        w.range_kind, w.range_first, w.range_last, w.method, w.flags, w.country, w.user_agent, w.agent_kind, w.app,
        w.device, w.agent_rule, w.referrer, w.target, null::uuid
    from api.pending_hits w
    where $4::integer is null and w.occurred_at >= $1 and w.occurred_at < $2
        and ($3::integer is null or w.podcast_no = $3)
        and ($5::smallint is null or (w.verdict_bits & -w.verdict_bits) = (1 << $5) >> 1)
        and ($6::timestamptz is null or (w.occurred_at, w.segment_no, w.ordinal) > ($6, $7::integer, $8::integer))
    order by 1, 2, 3 limit $9
) h
left join app.podcasts p on p.podcast_no = h.podcast_no
left join app.episodes e on e.episode_no = h.episode_no
left join lateral (
    select w.segment_no, w.ordinal from api.downloads w
    where h.verdict_bits = 0 and w.day = (h.occurred_at at time zone 'UTC')::date and w.episode_no = h.episode_no
        and w.listener_key = h.listener_key
        -- Once more by itself, so that partitions of other days are pruned however this is joined.
        and w.day between ($1::timestamptz at time zone 'UTC')::date
            and (($2::timestamptz - interval '1 microsecond') at time zone 'UTC')::date
) d on true
order by h.occurred_at, h.segment_no, h.ordinal"""

_SEGMENT: Final[LiteralString] = """/* explain.segment */
select first_hit_at, last_hit_at from api.segments where segment_no = $1"""

_FIND_HIT: Final[LiteralString] = """/* explain.hit */
select h.occurred_at, h.segment_no, h.ordinal, p.podcast_id, e.episode_id, h.verdict_bits, h.evidence, h.range_kind,
    h.range_first, h.range_last, h.method, h.flags, h.country, h.user_agent, h.agent_kind, h.app, h.device,
    h.agent_rule, h.referrer, h.target, d.segment_no as winner_segment_no, d.ordinal as winner_ordinal
from (
    select l.occurred_at, l.segment_no, l.ordinal, l.podcast_no, l.episode_no, l.verdict_bits, l.evidence,
        l.range_kind, l.range_first, l.range_last, l.method, l.flags, l.country, l.user_agent, l.agent_kind, l.app,
        l.device, l.agent_rule, l.referrer, null::text as target, l.listener_key
    from api.listener_events l
    where l.occurred_at >= $3::timestamptz and l.occurred_at <= $4::timestamptz and l.segment_no = $1
        and l.ordinal = $2 and l.kind = $5
    union all
    select w.occurred_at, w.segment_no, w.ordinal, w.podcast_no, 0, w.verdict_bits, 0,
        w.range_kind, w.range_first, w.range_last, w.method, w.flags, w.country, w.user_agent, w.agent_kind, w.app,
        w.device, w.agent_rule, w.referrer, w.target, null::uuid
    from api.pending_hits w where w.segment_no = $1 and w.ordinal = $2
) h
left join app.podcasts p on p.podcast_no = h.podcast_no
left join app.episodes e on e.episode_no = h.episode_no
left join lateral (
    select w.segment_no, w.ordinal from api.downloads w
    where h.verdict_bits = 0 and w.day = (h.occurred_at at time zone 'UTC')::date and w.episode_no = h.episode_no
        and w.listener_key = h.listener_key
        and w.day between ($3::timestamptz at time zone 'UTC')::date and ($4::timestamptz at time zone 'UTC')::date
) d on true
limit 1"""


async def count_day(conn: Connection, scope: Scope, *, day: dt.date) -> DayCounts:
    """Count all hits and downloads of one UTC day, in one look so that they fit one another.

    Hits that wait for their episode are among those of a podcast, not of an episode.
    """
    start = dt.datetime.combine(day, dt.time(), dt.UTC)
    row = await conn.fetchrow(
        _COUNT_DAY,
        list(scope.podcast_nos),
        scope.episode_no,
        start,
        start + dt.timedelta(days=1),
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
    return [msgspec.convert(row, HitRow) for row in rows]


async def find_hit(conn: Connection, segment_no: int, ordinal: int) -> HitRow | None:
    """Find one hit, which is no click: in its segment's minutes, or among those that wait."""
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
    return None if row is None else msgspec.convert(row, HitRow)
