"""Flights of campaigns: so much in so much time for such a price."""

# Pieces of statements are put together from constants alone.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.campaigns import FlightStatus, flight_status
from analytics_core.db.campaigns import CampaignRow, DueCampaign
from analytics_core.db.pool import Connection, Tenant
from analytics_core.errors import Conflict, NotFound, Outdated
from analytics_core.ids import new_id

__all__ = (
    "MAX_FLIGHTS",
    "FlightFields",
    "FlightRow",
    "add_flight",
    "change_flight",
    "end_placements",
    "find_flight",
    "hold_flight",
    "list_campaign_flights",
    "list_due_flights",
    "list_flights",
    "set_flight_status",
    "settle_flights",
    "use_flight",
)

MAX_FLIGHTS: Final = 200
"""Flights a campaign, cancelled ones too."""


class FlightFields(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a flight.

    Attributes:
        starts_at: Its first quarter hour.
        ends_at: The instant behind its last one.
        booked_impressions: How many were promised; ``None`` where none were.
        price_amount: As the campaign is priced.
        window_days: ``None`` for the campaign's.
        measurement_days: How long after its end downloads of what is baked in still count.
    """

    name: str
    starts_at: dt.datetime
    ends_at: dt.datetime
    booked_impressions: int | None = None
    price_amount: int
    window_days: int | None = None
    measurement_days: int = 30


class FlightRow(FlightFields, frozen=True, kw_only=True):
    """A flight.

    Attributes:
        makegood_of: The flight that fell short and is made good by this one.
        placements: How many there are, without those that were missed or pulled.
        version: Raised by one with every change.
    """

    flight_id: UUID
    campaign_id: UUID
    sponsor_id: UUID
    currency: str
    status: FlightStatus
    makegood_of: UUID | None
    placements: int
    version: int
    created_at: dt.datetime


_COLUMNS: Final[LiteralString] = """f.flight_id, f.campaign_id, f.sponsor_id, f.currency, f.name, f.status, f.starts_at,
    f.ends_at, f.booked_impressions, f.price_amount, f.window_days, f.measurement_days, f.makegood_of,
    (select count(*) from app.placements p where p.tenant_id = f.tenant_id and p.flight_id = f.flight_id
        and p.status not in ('missed', 'pulled')) as placements,
    f.version, f.created_at"""

_COUNT: Final[LiteralString] = """/* flights.count */ select count(*) from app.flights where campaign_id = $1"""

_ADD: Final[LiteralString] = """/* flights.add */
insert into app.flights (tenant_id, flight_id, campaign_id, sponsor_id, currency, name, status, starts_at, ends_at,
    booked_impressions, price_amount, window_days, measurement_days, makegood_of, created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"""

_FIND: Final[LiteralString] = "/* flights.find */ select " + _COLUMNS + " from app.flights f where f.flight_id = $1"

_LIST: Final[LiteralString] = (
    "/* flights.list */ select "
    + _COLUMNS
    + """ from app.flights f
where ($1::timestamptz is null or (f.created_at, f.flight_id) > ($1, $2::uuid))
    and ($4::uuid is null or f.campaign_id = $4)
order by f.created_at, f.flight_id limit $3"""
)

_LOCK: Final[LiteralString] = """/* flights.lock */
select version from app.flights where flight_id = $1 for update"""

_USE: Final[LiteralString] = """/* flights.use */ select 1 from app.flights where flight_id = $1 for share"""

_CHANGE: Final[LiteralString] = """/* flights.change */
update app.flights set name = $2, starts_at = $3, ends_at = $4, booked_impressions = $5, price_amount = $6,
    window_days = $7, measurement_days = $8, version = version + 1
where flight_id = $1"""

# Whoever has cancelled it meanwhile is not undone.
_SET_STATUS: Final[LiteralString] = """/* flights.set_status */
update app.flights set status = $2, version = version + 1 where flight_id = $1 and status <> 'cancelled'"""

# What has not begun was never heard; what has is heard until now.
_END_PLACEMENTS: Final[LiteralString] = """/* flights.end_placements */
update app.placements set status = case when live_from >= $2 then 'missed' else 'pulled' end,
    live_until = case when live_from >= $2 then live_until else least(live_until, $2) end, version = version + 1
where flight_id = $1 and status in ('planned', 'live', 'verified') and live_until > $2"""

# The others change with their campaign.
_DUE: Final[LiteralString] = """/* flights.due */
select t.tenant_id, t.tenant_no, f.campaign_id from app.flights f
join app.campaigns c using (tenant_id, campaign_id) join app.tenants t using (tenant_id)
where (f.status = 'planned' and f.starts_at <= $1 and (c.status = 'active' or (c.status = 'completed'
        and f.makegood_of is not null)))
    or (f.status in ('active', 'paused') and f.ends_at <= $1)
group by 1, 2, 3 order by min(f.starts_at), f.campaign_id limit $2"""


async def add_flight(
    conn: Connection,
    tenant: Tenant,
    campaign: CampaignRow,
    fields: FlightFields,
    *,
    makegood_of: UUID | None,
    now: dt.datetime,
) -> FlightRow:
    """Add a flight to a campaign.

    Args:
        conn: In a transaction of the tenant that holds the campaign.
        tenant: Whose it is.
        campaign: Gives it its sponsor and its currency.
        fields: What is said of it.
        makegood_of: The flight that it makes good.
        now: Aware instant.

    Raises:
        Conflict: ``too_many_flights``.
    """
    if await conn.fetchval(_COUNT, campaign.campaign_id) >= MAX_FLIGHTS:
        raise Conflict("too_many_flights", f"a campaign has at most {MAX_FLIGHTS} flights; make another campaign")
    flight_id = new_id()
    status = flight_status(
        campaign.status, fields.starts_at, fields.ends_at, now=now, is_makegood=makegood_of is not None
    )
    await conn.execute(
        _ADD,
        tenant.tenant_id,
        flight_id,
        campaign.campaign_id,
        campaign.sponsor_id,
        campaign.currency,
        fields.name,
        status.value,
        fields.starts_at,
        fields.ends_at,
        fields.booked_impressions,
        fields.price_amount,
        fields.window_days,
        fields.measurement_days,
        makegood_of,
        now,
    )
    return await find_flight(conn, flight_id)


async def find_flight(conn: Connection, flight_id: UUID) -> FlightRow:
    """Read one flight that the transaction sees.

    Raises:
        NotFound: It sees none of this id.
    """
    row = await conn.fetchrow(_FIND, flight_id)
    if row is None:
        raise NotFound("flight")
    return msgspec.convert(row, FlightRow)


async def list_flights(
    conn: Connection, *, after: tuple[dt.datetime, UUID] | None, limit: int, campaign_id: UUID | None = None
) -> list[FlightRow]:
    """List the flights that the transaction sees in the order in which they were made, behind *after*."""
    at, flight_id = after if after is not None else (None, None)
    return [msgspec.convert(row, FlightRow) for row in await conn.fetch(_LIST, at, flight_id, limit, campaign_id)]


async def list_campaign_flights(conn: Connection, campaign_id: UUID) -> list[FlightRow]:
    """List all flights of a campaign, of which there are few."""
    return await list_flights(conn, after=None, limit=MAX_FLIGHTS, campaign_id=campaign_id)


async def hold_flight(conn: Connection, flight_id: UUID, *, version: int | None = None) -> FlightRow:
    """Read a flight that nobody else changes until the transaction ends.

    Raises:
        NotFound: The tenant has none of this id.
        Outdated: There is another version than the one that is expected.
    """
    found: int | None = await conn.fetchval(_LOCK, flight_id)
    if found is None:
        raise NotFound("flight")
    if version is not None and version != found:
        raise Outdated("flight", version=found)
    return await find_flight(conn, flight_id)


async def use_flight(conn: Connection, flight_id: UUID) -> FlightRow:
    """Read a flight for something that comes under it, so that it is not changed meanwhile.

    Raises:
        NotFound: The tenant has none of this id.
        Conflict: ``flight_cancelled``.
    """
    if await conn.fetchval(_USE, flight_id) is None:
        raise NotFound("flight")
    flight = await find_flight(conn, flight_id)
    if flight.status is FlightStatus.CANCELLED:
        raise Conflict("flight_cancelled", "this flight is cancelled; make another one")
    return flight


async def change_flight(conn: Connection, held: FlightRow, fields: FlightFields) -> FlightRow:
    """Say something else of a flight that is held: all of it, also what stays as it was."""
    await conn.execute(
        _CHANGE,
        held.flight_id,
        fields.name,
        fields.starts_at,
        fields.ends_at,
        fields.booked_impressions,
        fields.price_amount,
        fields.window_days,
        fields.measurement_days,
    )
    return await find_flight(conn, held.flight_id)


async def set_flight_status(conn: Connection, flight_id: UUID, status: FlightStatus) -> None:
    """Move a flight that is held, or whose campaign is, to another state; one that is cancelled stays it."""
    await conn.execute(_SET_STATUS, flight_id, status.value)


async def end_placements(conn: Connection, flight_id: UUID, *, at: dt.datetime) -> None:
    """Have the placements of a flight end: what was heard until then stays delivered.

    Args:
        conn: In a transaction of the tenant.
        flight_id: Which was cancelled.
        at: A quarter hour.
    """
    await conn.execute(_END_PLACEMENTS, flight_id, at)


async def settle_flights(conn: Connection, campaign: CampaignRow, *, now: dt.datetime) -> list[FlightRow]:
    """Have the flights of a campaign that is held follow it and the clock.

    Returns:
        Those that changed, as they are now.
    """
    changed = []
    for flight in await list_campaign_flights(conn, campaign.campaign_id):
        if flight.status is FlightStatus.CANCELLED:
            continue
        status = flight_status(
            campaign.status,
            flight.starts_at,
            flight.ends_at,
            now=now,
            is_makegood=flight.makegood_of is not None,
        )
        is_over = flight.status is FlightStatus.COMPLETED or (
            flight.status is not FlightStatus.PLANNED and now >= flight.ends_at
        )
        if is_over and status is FlightStatus.CANCELLED:
            # It was sold and heard, and is owed whatever becomes of the others.
            status = FlightStatus.COMPLETED
        if status is not flight.status:
            await set_flight_status(conn, flight.flight_id, status)
            changed.append(await find_flight(conn, flight.flight_id))
    return changed


async def list_due_flights(conn: Connection, *, now: dt.datetime, limit: int) -> list[DueCampaign]:
    """List campaigns of all tenants with flights that the clock has passed, as ingest."""
    return [msgspec.convert(row, DueCampaign) for row in await conn.fetch(_DUE, now, limit)]
