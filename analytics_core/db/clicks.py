"""Clicks on links, counted by time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.pool import Connection
from analytics_core.reports import Bucket

__all__ = ("ClickCounts", "Clicks", "count_clicks")

_TIMEOUT_S: Final = 30.0


class ClickCounts(msgspec.Struct, frozen=True):
    """Clicks by anyone but bots, and by bots."""

    clicks: int = 0
    bots: int = 0


class Clicks(msgspec.Struct, frozen=True):
    """How often links were followed.

    Attributes:
        buckets: Bucket by bucket.
        undated: Clicks of all times of which only the number is kept.
        cutoff_at: Every click before has landed; ``None`` before the first hit did.
    """

    buckets: list[ClickCounts]
    undated: ClickCounts
    cutoff_at: dt.datetime | None


_WANTED: Final[LiteralString] = "select link_no, clicks_dropped, bots_dropped from app.links where "

# Always by way of links: a click is seen where its link is. Link by link, as a lateral query with an offset is not
# pulled up: a planner that does not know the range would go through all clicks of the time.
_COUNTED: Final[LiteralString] = """, counted as (
    select c.bucket, c.clicks, c.bots
    from wanted w
    cross join lateral (
        select width_bucket(occurred_at, $2::timestamptz[]) - 1 as bucket,
            count(*) filter (where not is_bot) as clicks, count(*) filter (where is_bot) as bots
        from app.clicks
        where link_no = w.link_no and occurred_at >= ($2::timestamptz[])[1] and occurred_at < $3::timestamptz
        group by 1 offset 0
    ) c
)
select bucket, sum(clicks)::bigint as clicks, sum(bots)::bigint as bots from counted group by bucket
union all
select -1, coalesce(sum(clicks_dropped), 0)::bigint, coalesce(sum(bots_dropped), 0)::bigint from wanted"""

_OF_LINK: Final[LiteralString] = "/* clicks.of_link */ with wanted as (" + _WANTED + "link_id = $1::uuid)" + _COUNTED
_OF_SPONSOR: Final[LiteralString] = (
    "/* clicks.of_sponsor */ with wanted as (" + _WANTED + "sponsor_id = $1::uuid)" + _COUNTED
)
_OF_ALL: Final[LiteralString] = "/* clicks.of_all */ with wanted as (" + _WANTED + "$1::uuid is null)" + _COUNTED

_CUTOFF: Final[LiteralString] = """/* clicks.cutoff */ select cutoff_at from api.cutoff"""


async def count_clicks(
    conn: Connection, buckets: Sequence[Bucket], *, link_id: UUID | None = None, sponsor_id: UUID | None = None
) -> Clicks:
    """Count the clicks on one link, on a sponsor's, or on all that the transaction sees.

    Args:
        conn: In a transaction of the tenant.
        buckets: As :func:`analytics_core.reports.plan_buckets` makes them.
        link_id: Of this link.
        sponsor_id: Of this sponsor's links; not beside *link_id*.
    """
    query, of = (_OF_LINK, link_id) if link_id is not None else (_OF_SPONSOR, sponsor_id)
    if of is None:
        query = _OF_ALL
    starts = [bucket.start for bucket in buckets]
    rows = await conn.fetch(query, of, starts, buckets[-1].end, timeout=_TIMEOUT_S)
    found = {row["bucket"]: ClickCounts(row["clicks"], row["bots"]) for row in rows}
    nothing = ClickCounts()
    return Clicks(
        [found.get(number, nothing) for number in range(len(buckets))], found[-1], await conn.fetchval(_CUTOFF)
    )
