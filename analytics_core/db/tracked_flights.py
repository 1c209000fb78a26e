"""Flights as what recognises them needs them: promo codes and links, which belong to one flight each."""

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.flights import find_flight, use_flight
from analytics_core.db.pool import Connection
from analytics_core.db.sponsors import lock_sponsor, refuse_archived
from analytics_core.errors import NotFound
from analytics_core.utm_templates import fill_utm

__all__ = ("TrackedFlight", "find_tracked_flight", "hold_flight")


class TrackedFlight(msgspec.Struct, frozen=True):
    """A flight, with what its links and codes take from it.

    Attributes:
        podcast: The one podcast in which it is placed; ``None`` for none, or for several.
        utm: Its campaign's template of campaign parameters.
    """

    flight_id: UUID
    campaign_id: UUID
    sponsor_id: UUID
    starts_at: dt.datetime
    flight: str
    campaign: str
    sponsor: str
    podcast: str | None
    utm: dict[str, str]

    def fill_utm(self) -> dict[str, str]:
        """Fill its campaign's template with its names."""
        return fill_utm(
            self.utm,
            {"campaign": self.campaign, "flight": self.flight, "podcast": self.podcast, "sponsor": self.sponsor},
        )


_FIND: Final[LiteralString] = """/* tracked_flights.find */
select f.flight_id, f.campaign_id, f.sponsor_id, f.starts_at, f.name as flight, c.name as campaign,
    s.name as sponsor,
    (select case when count(distinct p.podcast_id) = 1 then min(d.title) end
        from app.placements p join app.podcasts d using (tenant_id, podcast_id)
        where p.tenant_id = f.tenant_id and p.flight_id = f.flight_id and p.status not in ('missed', 'pulled')
    ) as podcast,
    c.utm
from app.flights f join app.campaigns c using (tenant_id, campaign_id)
    join app.sponsors s on s.tenant_id = f.tenant_id and s.sponsor_id = f.sponsor_id
where f.flight_id = $1"""


async def find_tracked_flight(conn: Connection, flight_id: UUID) -> TrackedFlight:
    """Read one flight that the transaction sees.

    Raises:
        NotFound: It sees none of this id.
    """
    row = await conn.fetchrow(_FIND, flight_id)
    if row is None:
        raise NotFound("flight")
    return msgspec.convert(row, TrackedFlight)


async def hold_flight(conn: Connection, flight_id: UUID) -> TrackedFlight:
    """Read a flight that is to get something, and that stays its sponsor's until the transaction ends.

    The sponsor is locked before the flight, as a merge of sponsors does it, which moves flights too.

    Raises:
        NotFound: The tenant has none of this id.
        Conflict: ``flight_cancelled``, or ``sponsor_archived``.
    """
    while True:
        sponsor_id = (await find_flight(conn, flight_id)).sponsor_id
        is_archived = await lock_sponsor(conn, sponsor_id)
        if (await use_flight(conn, flight_id)).sponsor_id == sponsor_id:
            break
    refuse_archived(is_archived)
    return await find_tracked_flight(conn, flight_id)
