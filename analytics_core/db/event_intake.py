"""What came in as events and what became of it, by day, type and sponsor: counted as ingest, read as the API."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.pool import Connection
from analytics_core.event_conversions import Outcome
from analytics_core.intake import IntakeKey

__all__ = ("IntakeRow", "add_intake", "count_outcomes", "count_undecided", "drop_intake", "list_intake", "sum_intake")


class IntakeRow(msgspec.Struct, frozen=True, kw_only=True):
    """Events that one thing became of.

    Attributes:
        day: The UTC day of their receipt; ``None`` where days are added up.
        sponsor: The name of whose they are; ``None`` for nobody's.
    """

    day: dt.date | None = None
    type: str
    sponsor_id: UUID | None
    sponsor: str | None
    outcome: Outcome
    events: int


# In one order, so that writers meet in it.
_ADD: Final[LiteralString] = """/* event_intake.add */
insert into app.event_intake as i (tenant_id, day, type, outcome, found_id, sponsor_id, events)
select n.tenant_id, n.day, n.type, n.outcome, n.sponsor_id, coalesce(s.merged_into, n.sponsor_id), n.events
from unnest($1::uuid[], $2::date[], $3::text[], $4::text[], $5::uuid[], $6::bigint[])
    as n(tenant_id, day, type, outcome, sponsor_id, events)
-- A merge may have ended since it was found whose they are.
left join app.sponsors s on s.tenant_id = n.tenant_id and s.sponsor_id = n.sponsor_id and s.archived_at is not null
order by 1, 2, 3, 4, 5
on conflict (tenant_id, day, type, outcome, found_id) do update set events = i.events + excluded.events"""

_LIST: Final[LiteralString] = """/* event_intake.list */
select i.day, i.type, i.sponsor_id, s.name as sponsor, i.outcome, sum(i.events)::bigint as events,
    count(*) over () as in_all
from app.event_intake i left join app.sponsors s using (tenant_id, sponsor_id)
where i.day >= $1 and i.day < $2 and ($3::uuid is null or i.sponsor_id = $3)
group by i.day, i.type, i.sponsor_id, s.name, i.outcome
order by i.day desc, events desc, i.type, i.outcome, i.sponsor_id limit $4"""

_SUMS: Final[LiteralString] = """/* event_intake.sums */
select i.type, i.sponsor_id, s.name as sponsor, i.outcome, sum(i.events)::bigint as events
from app.event_intake i left join app.sponsors s using (tenant_id, sponsor_id)
where i.day >= $1 and i.day < $2
group by i.type, i.sponsor_id, s.name, i.outcome
order by events desc, i.type, i.outcome, i.sponsor_id limit $3"""

_OUTCOMES: Final[LiteralString] = """/* event_intake.outcomes */
select outcome, sum(events)::bigint as events from app.event_intake
where day >= $1 and day < $2 and ($3::uuid is null or sponsor_id = $3) group by outcome order by events desc, outcome"""

_UNDECIDED: Final[LiteralString] = """/* event_intake.undecided */ select count(*) from api.event_marks"""

_DROP: Final[LiteralString] = """/* event_intake.drop */
delete from app.event_intake where ctid = any (array(select ctid from app.event_intake where day < $1 limit $2))"""


async def add_intake(conn: Connection, counts: Mapping[IntakeKey, int]) -> None:
    """Count events, as the last thing in the transaction that decides about them: others wait who count the same."""
    if counts:
        columns = ([getattr(key, name) for key in counts] for name in IntakeKey._fields)
        await conn.execute(_ADD, *columns, list(counts.values()))


async def list_intake(
    conn: Connection, *, first: dt.date, until: dt.date, sponsor_id: UUID | None, limit: int
) -> tuple[list[IntakeRow], int]:
    """List what came in and what became of it, the last day first, and of a day what is most.

    Args:
        conn: In a transaction of the tenant.
        first: From this day,
        until: to before this one.
        sponsor_id: Only what is this one's; ``None`` for all that the transaction sees.
        limit: How many at most.

    Returns:
        These, and how many there are in all.
    """
    rows = await conn.fetch(_LIST, first, until, sponsor_id, limit)
    return msgspec.convert(rows, list[IntakeRow]), rows[0]["in_all"] if rows else 0


async def sum_intake(conn: Connection, *, first: dt.date, until: dt.date, limit: int) -> list[IntakeRow]:
    """List the same with days added up, what is most first."""
    return msgspec.convert(await conn.fetch(_SUMS, first, until, limit), list[IntakeRow])


async def count_outcomes(
    conn: Connection, *, first: dt.date, until: dt.date, sponsor_id: UUID | None
) -> dict[Outcome, int]:
    """Count events by what became of them, what is most first."""
    rows = await conn.fetch(_OUTCOMES, first, until, sponsor_id)
    return {Outcome(row["outcome"]): row["events"] for row in rows}


async def count_undecided(conn: Connection) -> int:
    """Count events of the tenant that are still to be decided about, refunds that wait for a purchase among them."""
    return int(await conn.fetchval(_UNDECIDED))


async def drop_intake(conn: Connection, *, before: dt.date, limit: int) -> int:
    """Delete some counts of days before one, as ingest; return how many rows."""
    return int(str(await conn.execute(_DROP, before, limit)).split()[-1])
