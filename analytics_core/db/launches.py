"""How episodes began: their downloads in each 24 hours since they were published."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, LiteralString

import msgspec

from analytics_core.db.pool import Connection

__all__ = ("Launch", "read_launches")


class Launch(msgspec.Struct, frozen=True):
    """An episode's first days.

    Attributes:
        start_at: The quarter hour of its publish date, else of its first download.
        running: Downloads until the end of the first, second, … 24 hours since then.
    """

    episode_no: int
    start_at: dt.datetime
    running: list[int]

    def known(self, now: dt.datetime) -> list[int]:
        """Cut off what is still to come; the 24 hours that run now are in it."""
        begun = (now - self.start_at) // dt.timedelta(days=1) + 1
        return self.running[: max(begun, 0)]

    def at_day(self, day: int, now: dt.datetime) -> int | None:
        """Tell the downloads of its first days; ``None`` while these are not over."""
        if now - self.start_at < dt.timedelta(days=day):
            return None
        return self.running[day - 1]


class _Window(msgspec.Struct, frozen=True):
    episode_no: int
    start_at: dt.datetime
    place: int
    downloads: int


# What comes before the start's time of day belongs to the 24 hours that began the day before.
_READ: Final[LiteralString] = """/* launches.read */
with starts as (
    select e.episode_no, coalesce(
        date_bin('15 minutes', e.published_at, timestamptz '1970-01-01 00:00:00+00'),
        (f.day + (select min(q.place) - 1 from unnest(f.quarters) with ordinality as q(n, place) where q.n > 0)
            * interval '15 minutes') at time zone 'UTC') as start_at
    from app.episodes e
    left join lateral (
        select m.day, m.quarters from app.metrics_daily m
        where e.published_at is null and m.episode_no = e.episode_no and m.dimension = 'total' order by m.day limit 1
    ) f on true
    where e.episode_no = any($1::integer[])
), days as (
    select s.episode_no, d.place, d.downloads, d.head
    from starts s
    -- Not pulled up for its offset: some thirty rows an episode are looked up, whatever the planner believes.
    cross join lateral (
        select m.day - (s.start_at at time zone 'UTC')::date as place, m.downloads,
            (select coalesce(sum(q), 0)
                from unnest(m.quarters[1:(extract(epoch from s.start_at)::bigint / 900 % 96)::integer]) as q) as head
        from app.metrics_daily m
        where m.episode_no = s.episode_no and m.dimension = 'total'
            and m.day between (s.start_at at time zone 'UTC')::date
                and (s.start_at at time zone 'UTC')::date + $2::integer
        offset 0
    ) d
)
select s.episode_no, s.start_at, coalesce(w.place, 0) as place, coalesce(w.n, 0)::bigint as downloads
from starts s
left join (
    select episode_no, place, downloads - head as n from days
    union all
    select episode_no, place - 1, head from days where place > 0
) w on w.episode_no = s.episode_no and w.place < $2::integer
where s.start_at is not null"""


async def read_launches(conn: Connection, episode_nos: Sequence[int], *, days: int) -> dict[int, Launch]:
    """Read how episodes began.

    Args:
        conn: In a transaction of the tenant.
        episode_nos: Of the tenant's episodes.
        days: How many times 24 hours.

    Returns:
        By number; one without a publish date and without any download is left out.
    """
    windows = [msgspec.convert(row, _Window) for row in await conn.fetch(_READ, list(episode_nos), days)]
    counts: dict[int, list[int]] = {}
    starts: dict[int, dt.datetime] = {}
    for window in windows:
        starts[window.episode_no] = window.start_at
        counts.setdefault(window.episode_no, [0] * days)[window.place] += window.downloads
    return {number: Launch(number, starts[number], list(accumulate(counts[number]))) for number in counts}
