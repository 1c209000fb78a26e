"""How episodes began: their downloads in each 24 hours since they were published."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Collection, Mapping, Sequence
from typing import Final, LiteralString

import msgspec
from asyncpg import Record

from analytics_core.db.pool import Connection
from analytics_core.reports import whole_months

__all__ = ("MAX_DAYS", "Launch", "Origin", "read_launches")

MAX_DAYS: Final = 90


class Origin(enum.Enum):
    """What an episode's days are counted from: its publish date, its first download, or the former where it has one."""

    PUBLISHED = "published"
    FIRST_HIT = "first_hit"
    EITHER = "either"


class Launch(msgspec.Struct, frozen=True):
    """An episode's first days.

    Attributes:
        start_at: The quarter hour of its publish date or of its first download.
        running: Downloads until the end of the first, second, … 24 hours since then.
        running_strict: Strict ones; empty unless they were asked for.
    """

    episode_no: int
    start_at: dt.datetime
    running: list[int]
    running_strict: list[int] = []

    def known(self, now: dt.datetime) -> list[int]:
        """Cut off what is still to come; the 24 hours that run now are in it."""
        begun = (now - self.start_at) // dt.timedelta(days=1) + 1
        return self.running[: max(begun, 0)]

    def at_day(self, day: int, now: dt.datetime) -> int | None:
        """Tell the downloads of its first days; ``None`` while these are not over."""
        if now - self.start_at < dt.timedelta(days=day):
            return None
        return self.running[day - 1]


# Whole days come from the months; what comes before the start's time of day belongs to the 24 hours that began the
# day before, and is read from the quarter hours of the days that are asked for. Each is looked up by itself.
_READ: Final[LiteralString] = """/* launches.read */
with starts as materialized (
    select e.episode_no, e.podcast_no, coalesce(
        case when $4::text <> 'first_hit' then
            date_bin('15 minutes', e.published_at, timestamptz '1970-01-01 00:00:00+00') end,
        (f.day + (select min(q.place) - 1 from unnest(f.quarters) with ordinality as q(n, place) where q.n > 0)
            * interval '15 minutes') at time zone 'UTC') as start_at
    from app.episodes e
    left join lateral (
        select m.day, m.quarters from app.metrics_daily m
        where ($4::text = 'first_hit' or $4::text = 'either' and e.published_at is null)
            and m.episode_no = e.episode_no and m.dimension = 'total'
        order by m.day limit 1
    ) f on true
    where e.episode_no = any($1::integer[])
)
select s.episode_no, s.start_at, d.months, d.running, d.running_strict, h.heads, h.heads_strict
from starts s
cross join lateral (
    select (s.start_at at time zone 'UTC')::date as day, extract(epoch from s.start_at)::bigint / 900 % 96 as quarter
) b
cross join lateral (
    select array_agg(m.month) as months, array_agg(m.running) as running,
        array_agg(m.running_strict) filter (where $5::boolean) as running_strict
    from (
        select distinct date_trunc('month', b.day + n)::date as month
        -- As many days apart as a month has at least, so that none is left out.
        from unnest(array[0, 28, 56, 84, $2::integer]) as n where n <= $2::integer
    ) w
    join app.podcast_months m on m.podcast_no = s.podcast_no and m.dimension = 'episode' and m.month = w.month
        and m.key = s.episode_no::text
) d
cross join lateral (
    select array_agg(q.head order by p.place) as heads, array_agg(q.head_strict order by p.place) as heads_strict
    from unnest($3::integer[]) as p(place)
    -- Not pulled up for its offset: looked up day by day.
    left join lateral (
        select (select sum(n) from unnest(m.quarters[1:b.quarter::integer]) as n) as head,
            case when $5::boolean then (select sum(n) from unnest(m.quarters_strict[1:b.quarter::integer]) as n) end
                as head_strict
        from app.metrics_daily m
        where m.episode_no = s.episode_no and m.day = b.day + p.place and m.dimension = 'total' and m.key = ''
        offset 0
    ) q on true
) h
where s.start_at is not null"""


def _running(
    first: dt.date,
    months: Mapping[dt.date, Sequence[int]],
    heads: Mapping[int, int],
    *,
    days: int,
) -> list[int]:
    """Add days up from the start, with the beginning of the day on which the last 24 hours end where it was read.

    Args:
        first: The UTC day of the start.
        months: By the first day of each, its running counts.
        heads: By places of days, from 0 for the first, what came before the start's time of day.
        days: How many.
    """
    total = -heads[0]
    running: list[int] = []
    for part in whole_months(first, first + dt.timedelta(days=days - 1)):
        known = months.get(part.month)
        if known is None:
            running += [total] * (part.last - part.first + 1)
            continue
        before = total - (known[part.first - 2] if part.first > 1 else 0)
        running += [before + count for count in known[part.first - 1 : part.last]]
        total = running[-1]
    for place, head in heads.items():
        if 0 < place <= days:
            running[place - 1] += head
    return running


def _launch(row: Record, *, days: int, places: Sequence[int], strict: bool) -> Launch:
    first = row["start_at"].astimezone(dt.UTC).date()
    months = row["months"] or ()

    def running(counts: str, heads: str) -> list[int]:
        by_month = dict(zip(months, row[counts] or (), strict=True))
        by_place = {place: head or 0 for place, head in zip(places, row[heads], strict=True)}
        return _running(first, by_month, by_place, days=days)

    return Launch(
        row["episode_no"],
        row["start_at"],
        running("running", "heads"),
        running("running_strict", "heads_strict") if strict else [],
    )


async def read_launches(
    conn: Connection,
    episode_nos: Sequence[int],
    *,
    days: int,
    exact: Collection[int] | None = None,
    origin: Origin = Origin.EITHER,
    strict: bool = False,
) -> dict[int, Launch]:
    """Read how episodes began.

    Args:
        conn: In a transaction of the tenant.
        episode_nos: Of the tenant's episodes.
        days: How many times 24 hours, ``MAX_DAYS`` at most.
        exact: After which days running counts have to be exact, by default all. The others are then those at the end
            of the UTC day before, which is quicker and good enough for a shape.
        origin: Since when.
        strict: Whether to read strict downloads too.

    Returns:
        By number; one without the origin that is asked for is left out.
    """
    places = sorted({0, *(range(1, days + 1) if exact is None else exact)})
    rows = await conn.fetch(_READ, list(episode_nos), days, places, origin.value, strict)
    return {row["episode_no"]: _launch(row, days=days, places=places, strict=strict) for row in rows}
