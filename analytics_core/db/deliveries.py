"""What is kept of deliveries: terms of flights, their placements, and the impressions of each by day.

Each reading names its tenant, so that one key of an index finds the rows, whoever else may see them; a sponsor's login
is shown its own by the policies alone.
"""

# Pieces of statements are put together from constants alone.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, Literal, LiteralString, TypeAlias
from uuid import UUID

import msgspec

from analytics_core.db.pool import Connection
from analytics_core.deliveries import (
    CampaignDelivery,
    DayDelivery,
    FlightDelivery,
    FlightTerms,
    PlacementDelivery,
    deliver_campaign,
    deliver_flight,
)
from analytics_core.errors import InvalidInput, NotFound
from analytics_core.ids import TenantId
from analytics_core.pacing import UNDER

__all__ = (
    "MAX_DAYS",
    "MAX_PLACEMENTS",
    "CampaignHead",
    "DeliveredCampaign",
    "DeliveredFlight",
    "OrderHead",
    "count_flights_behind",
    "find_campaign",
    "find_order",
    "list_terms",
    "list_terms_of",
    "read_campaign_delivery",
    "read_cutoff",
    "read_flight_delivery",
    "sum_impressions",
)

MAX_PLACEMENTS: Final = 5_000
"""Placements of a flight or campaign whose delivery is told: as many as a flight has at most."""
MAX_DAYS: Final = 200_000
"""Days with an impression, of all of them together."""

CampaignStatus: TypeAlias = Literal["draft", "scheduled", "active", "paused", "completed", "cancelled"]
OrderStatus: TypeAlias = Literal["draft", "open", "closed", "cancelled"]


class CampaignHead(msgspec.Struct, frozen=True, kw_only=True):
    """What figures of a campaign say of it."""

    campaign_id: UUID
    sponsor_id: UUID
    insertion_order_id: UUID
    name: str
    status: CampaignStatus
    starts_on: dt.date
    ends_on: dt.date
    model: str
    budget_amount: int
    currency: str


class OrderHead(msgspec.Struct, frozen=True, kw_only=True):
    """What an invoice says of its insertion order."""

    insertion_order_id: UUID
    sponsor_id: UUID
    number: int
    name: str
    reference: str | None
    status: OrderStatus
    currency: str


class DeliveredFlight(msgspec.Struct, frozen=True):
    """A flight, how it stands, and its placements."""

    delivery: FlightDelivery
    placements: Sequence[PlacementDelivery]


class DeliveredCampaign(msgspec.Struct, frozen=True):
    """A campaign, how it stands, and the placements of all of its flights."""

    head: CampaignHead
    delivery: CampaignDelivery
    placements: Sequence[PlacementDelivery]


_FIND_CAMPAIGN: Final[LiteralString] = """/* deliveries.find_campaign */
select campaign_id, sponsor_id, insertion_order_id, name, status, starts_on, ends_on, model, budget_amount, currency
from app.campaigns where tenant_id = $1 and campaign_id = $2"""

_FIND_ORDER: Final[LiteralString] = """/* deliveries.find_order */
select insertion_order_id, sponsor_id, number, name, reference, status, currency
from app.insertion_orders where tenant_id = $1 and insertion_order_id = $2"""

_TERMS: Final[LiteralString] = """
select f.flight_id, f.campaign_id, f.sponsor_id, c.insertion_order_id, f.name, c.name as campaign_name, f.status,
    c.status as campaign_status, c.pricing, f.price_amount, f.currency, f.starts_at, f.ends_at, f.booked_impressions,
    f.measurement_days, f.makegood_of
from app.flights f join app.campaigns c on c.tenant_id = f.tenant_id and c.campaign_id = f.campaign_id
where f.tenant_id = $1 and """

_TERMS_OF_FLIGHT: Final[LiteralString] = "/* deliveries.terms_of_flight */" + _TERMS + "f.flight_id = $2"

_TERMS_OF_CAMPAIGN: Final[LiteralString] = (
    "/* deliveries.terms_of_campaign */" + _TERMS + "f.campaign_id = $2 order by f.created_at, f.flight_id"
)

_TERMS_OF_CAMPAIGNS: Final[LiteralString] = (
    "/* deliveries.terms_of_campaigns */" + _TERMS + "f.campaign_id = any($2::uuid[])"
)

_TERMS_OF_ORDER: Final[LiteralString] = (
    "/* deliveries.terms_of_order */"
    + _TERMS
    + """f.campaign_id in (select campaign_id from app.campaigns where tenant_id = $1 and insertion_order_id = $2)
order by c.created_at, c.campaign_id, f.created_at, f.flight_id"""
)

# Titles by themselves: whoever may not read the catalogue gets the placement without them.
_PLACEMENTS: Final[LiteralString] = """/* deliveries.placements */
select p.placement_id, p.flight_id, p.podcast_id,
    (select d.title from app.podcasts d where d.tenant_id = p.tenant_id and d.podcast_id = p.podcast_id)
        as podcast_title,
    p.episode_id,
    (select e.title from app.episodes e where e.tenant_id = p.tenant_id and e.episode_id = p.episode_id)
        as episode_title,
    p.position, p.status, p.live_from, p.live_until
from app.placements p where p.tenant_id = $1 and p.flight_id = any($2::uuid[])
order by p.live_from, p.placement_id limit $3"""

_DAYS: Final[LiteralString] = """/* deliveries.days */
select placement_id, day, downloads, downloads_strict from app.placement_daily
where tenant_id = $1 and placement_id = any($2::uuid[]) order by placement_id, day limit $3"""

_MAKEGOODS: Final[LiteralString] = """/* deliveries.makegoods */
select f.makegood_of, sum(f.booked_impressions)::bigint as booked
from app.flights f join app.campaigns c on c.tenant_id = f.tenant_id and c.campaign_id = f.campaign_id
where f.tenant_id = $1 and f.makegood_of = any($2::uuid[]) and f.status <> 'cancelled' and c.status <> 'cancelled'
    and f.booked_impressions is not null
group by 1"""

_IMPRESSIONS: Final[LiteralString] = """/* deliveries.impressions */
select flight_id, sum(downloads)::bigint as delivered from app.placement_daily
where tenant_id = $1 and campaign_id = any($2::uuid[]) group by 1"""

# As :func:`analytics_core.pacing.pace_of` has it, in whole numbers: over all tenants.
_BEHIND: Final[LiteralString] = """/* deliveries.behind */
select count(*) from (
    select f.booked_impressions::numeric as booked,
        extract(epoch from least($1::timestamptz, f.ends_at) - f.starts_at)::numeric as elapsed,
        extract(epoch from f.ends_at - f.starts_at)::numeric as length,
        (select coalesce(sum(d.downloads), 0) from app.placement_daily d
            where d.tenant_id = f.tenant_id and d.campaign_id = f.campaign_id and d.flight_id = f.flight_id
        ) as delivered
    from app.flights f join app.campaigns c on c.tenant_id = f.tenant_id and c.campaign_id = f.campaign_id
    where f.booked_impressions is not null and f.status <> 'cancelled'
        and c.status in ('active', 'paused', 'completed')
        and f.starts_at < $1 and f.ends_at + f.measurement_days * interval '1 day' > $1
) k
where delivered * length * $3 < booked * elapsed * $2"""

_CUTOFF: Final[LiteralString] = """/* deliveries.cutoff */
select cutoff_at from api.cutoff"""


async def find_campaign(conn: Connection, tenant_id: TenantId, campaign_id: UUID) -> CampaignHead:
    """Read what figures of a campaign say of it.

    Raises:
        NotFound: There is none of this id to whoever asks.
    """
    row = await conn.fetchrow(_FIND_CAMPAIGN, tenant_id, campaign_id)
    if row is None:
        raise NotFound("campaign")
    return msgspec.convert(row, CampaignHead)


async def find_order(conn: Connection, tenant_id: TenantId, insertion_order_id: UUID) -> OrderHead:
    """Read what an invoice says of its insertion order.

    Raises:
        NotFound: There is none of this id to whoever asks.
    """
    row = await conn.fetchrow(_FIND_ORDER, tenant_id, insertion_order_id)
    if row is None:
        raise NotFound("insertion order")
    return msgspec.convert(row, OrderHead)


async def list_terms(
    conn: Connection, tenant_id: TenantId, *, campaign_id: UUID | None = None, insertion_order_id: UUID | None = None
) -> list[FlightTerms]:
    """List the flights of a campaign, or of all campaigns of an insertion order, in the order in which they were made.

    Args:
        conn: In a transaction of the tenant.
        tenant_id: Of the tenant.
        campaign_id: The campaign.
        insertion_order_id: The order, where no campaign is given.
    """
    if campaign_id is not None:
        rows = await conn.fetch(_TERMS_OF_CAMPAIGN, tenant_id, campaign_id)
    else:
        rows = await conn.fetch(_TERMS_OF_ORDER, tenant_id, insertion_order_id)
    return [msgspec.convert(row, FlightTerms) for row in rows]


async def list_terms_of(conn: Connection, tenant_id: TenantId, campaign_ids: Sequence[UUID]) -> list[FlightTerms]:
    """List the flights of campaigns."""
    return [msgspec.convert(row, FlightTerms) for row in await conn.fetch(_TERMS_OF_CAMPAIGNS, tenant_id, campaign_ids)]


async def sum_impressions(conn: Connection, tenant_id: TenantId, campaign_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Add the impressions of campaigns up by flight; one without any is not there."""
    rows = await conn.fetch(_IMPRESSIONS, tenant_id, campaign_ids)
    return {row["flight_id"]: row["delivered"] for row in rows}


async def count_flights_behind(conn: Connection, *, now: dt.datetime) -> int:
    """Count the flights of all tenants that have begun, still count, and have delivered too little; as ingest."""
    return int(await conn.fetchval(_BEHIND, now, UNDER.numerator, UNDER.denominator))


async def read_cutoff(conn: Connection) -> dt.datetime | None:
    """Tell until when every hit that was answered has landed; ``None`` before the first one did."""
    cutoff: dt.datetime | None = await conn.fetchval(_CUTOFF)
    return cutoff


async def read_flight_delivery(
    conn: Connection, tenant_id: TenantId, flight_id: UUID, *, now: dt.datetime
) -> DeliveredFlight:
    """Tell how a flight stands.

    Args:
        conn: In a transaction of the tenant whose statements see one instant.
        tenant_id: Of the tenant.
        flight_id: Which.
        now: Aware instant.

    Raises:
        NotFound: There is none of this id to whoever asks.
        InvalidInput: ``too_much``: it has more than :data:`MAX_PLACEMENTS` or :data:`MAX_DAYS`.
    """
    row = await conn.fetchrow(_TERMS_OF_FLIGHT, tenant_id, flight_id)
    if row is None:
        raise NotFound("flight")
    terms = msgspec.convert(row, FlightTerms)
    deliveries, placements = await _deliver(conn, tenant_id, [terms], now=now)
    return DeliveredFlight(deliveries[0], placements)


async def read_campaign_delivery(
    conn: Connection, tenant_id: TenantId, campaign_id: UUID, *, now: dt.datetime
) -> DeliveredCampaign:
    """Tell how a campaign stands, as :func:`read_flight_delivery` does of a flight."""
    head = await find_campaign(conn, tenant_id, campaign_id)
    terms = await list_terms(conn, tenant_id, campaign_id=campaign_id)
    deliveries, placements = await _deliver(conn, tenant_id, terms, now=now)
    return DeliveredCampaign(head, deliver_campaign(deliveries), placements)


def _too_much(what: str) -> InvalidInput:
    return InvalidInput(
        "placements",
        f"there are {what}, which is more than is told at once: ask for flights one by one, or at /placements for what "
        "each has delivered",
        code="too_much",
    )


async def _deliver(
    conn: Connection, tenant_id: TenantId, terms: Sequence[FlightTerms], *, now: dt.datetime
) -> tuple[list[FlightDelivery], list[PlacementDelivery]]:
    flight_ids = [one.flight_id for one in terms]
    rows = await conn.fetch(_PLACEMENTS, tenant_id, flight_ids, MAX_PLACEMENTS + 1)
    if len(rows) > MAX_PLACEMENTS:
        raise _too_much(f"more than {MAX_PLACEMENTS:,} placements")
    found = await conn.fetch(_DAYS, tenant_id, [row["placement_id"] for row in rows], MAX_DAYS + 1)
    if len(found) > MAX_DAYS:
        raise _too_much(f"more than {MAX_DAYS:,} days of its placements")
    days: defaultdict[UUID, list[DayDelivery]] = defaultdict(list)
    for placement_id, day, delivered, strict in found:
        days[placement_id].append(DayDelivery(day, delivered, strict))
    placements = [PlacementDelivery(**row, days=days[row["placement_id"]]) for row in rows]
    by_flight: defaultdict[UUID, list[PlacementDelivery]] = defaultdict(list)
    for placement in placements:
        by_flight[placement.flight_id].append(placement)
    makegoods = {row["makegood_of"]: row["booked"] for row in await conn.fetch(_MAKEGOODS, tenant_id, flight_ids)}
    deliveries = [
        deliver_flight(one, by_flight[one.flight_id], makegood_booked=makegoods.get(one.flight_id, 0), now=now)
        for one in terms
    ]
    return deliveries, placements
