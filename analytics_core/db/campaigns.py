"""Campaigns of an order: what was promised, and where it stands."""

# Pieces of statements are put together from constants alone.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.campaigns import CampaignStatus, Model, Pricing
from analytics_core.db.insertion_orders import OrderRow
from analytics_core.db.pool import Connection, Tenant
from analytics_core.errors import NotFound, Outdated
from analytics_core.ids import new_id

__all__ = (
    "CampaignFields",
    "CampaignRow",
    "DueCampaign",
    "Trackable",
    "add_campaign",
    "change_campaign",
    "count_trackable",
    "find_campaign",
    "hold_campaign",
    "list_campaigns",
    "list_due_campaigns",
    "set_campaign_status",
    "use_campaign",
)


class CampaignFields(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a campaign.

    Attributes:
        starts_on: Its first day of UTC.
        ends_on: Its last one.
        window_days: How long before a conversion something may have led to it.
        utm: Campaign parameters that its links get.
    """

    name: str
    starts_on: dt.date
    ends_on: dt.date
    pricing: Pricing
    budget_amount: int
    model: Model
    window_days: int
    excludes_prior_customers: bool = False
    utm: dict[str, str] = {}


class CampaignRow(CampaignFields, frozen=True, kw_only=True):
    """A campaign.

    Attributes:
        version: Raised by one with every change.
        activated_at: When it began first.
        ended_at: When it was completed or cancelled.
    """

    campaign_id: UUID
    insertion_order_id: UUID
    sponsor_id: UUID
    currency: str
    status: CampaignStatus
    flights: int
    placements: int
    version: int
    created_at: dt.datetime
    activated_at: dt.datetime | None
    ended_at: dt.datetime | None


class Trackable(msgspec.Struct, frozen=True):
    """How much there is by which a campaign's effect can be seen."""

    flights: int
    placements: int
    codes: int
    links: int

    @property
    def missing(self) -> list[str]:
        """What there has to be one of, and is none of."""
        found = {"flight": self.flights, "placement": self.placements, "promo code or link": self.codes + self.links}
        return [what for what, count in found.items() if not count]


class DueCampaign(msgspec.Struct, frozen=True):
    """A campaign that the clock has passed, or flights of it."""

    tenant_id: UUID
    tenant_no: int
    campaign_id: UUID


_COLUMNS: Final[LiteralString] = """c.campaign_id, c.insertion_order_id, c.sponsor_id, c.currency, c.name, c.status,
    c.starts_on, c.ends_on, c.pricing, c.budget_amount, c.model, c.window_days, c.excludes_prior_customers, c.utm,
    (select count(*) from app.flights f where f.tenant_id = c.tenant_id and f.campaign_id = c.campaign_id
        and f.status <> 'cancelled') as flights,
    (select count(*) from app.placements p where p.tenant_id = c.tenant_id and p.campaign_id = c.campaign_id
        and p.status not in ('missed', 'pulled')) as placements,
    c.version, c.created_at, c.activated_at, c.ended_at"""

_ADD: Final[LiteralString] = """/* campaigns.add */
insert into app.campaigns (tenant_id, campaign_id, sponsor_id, insertion_order_id, currency, name, starts_on, ends_on,
    pricing, budget_amount, model, window_days, excludes_prior_customers, utm, created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"""

_FIND: Final[LiteralString] = (
    "/* campaigns.find */ select " + _COLUMNS + " from app.campaigns c where c.campaign_id = $1"
)

_LIST: Final[LiteralString] = (
    "/* campaigns.list */ select "
    + _COLUMNS
    + """ from app.campaigns c
where ($1::timestamptz is null or (c.created_at, c.campaign_id) > ($1, $2::uuid))
    and ($4::uuid is null or c.sponsor_id = $4) and ($5::uuid is null or c.insertion_order_id = $5)
    and ($6::text is null or c.status = $6)
order by c.created_at, c.campaign_id limit $3"""
)

_LOCK: Final[LiteralString] = """/* campaigns.lock */
select version from app.campaigns where campaign_id = $1 for update"""

_USE: Final[LiteralString] = """/* campaigns.use */
select 1 from app.campaigns where campaign_id = $1 for share"""

_CHANGE: Final[LiteralString] = """/* campaigns.change */
update app.campaigns set name = $2, starts_on = $3, ends_on = $4, pricing = $5, budget_amount = $6, model = $7,
    window_days = $8, excludes_prior_customers = $9, utm = $10, version = version + 1
where campaign_id = $1"""

_SET_STATUS: Final[LiteralString] = """/* campaigns.set_status */
update app.campaigns set status = $2, version = version + 1,
    activated_at = case when $2 = 'active' then coalesce(activated_at, $3) else activated_at end,
    ended_at = case when $2 in ('completed', 'cancelled') then $3 end
where campaign_id = $1"""

# Archived codes and links lead nobody to it.
_TRACKABLE: Final[LiteralString] = """/* campaigns.trackable */
select
    (select count(*) from app.flights where campaign_id = $1 and status <> 'cancelled') as flights,
    (select count(*) from app.placements where campaign_id = $1 and status not in ('missed', 'pulled')) as placements,
    (select count(*) from app.promo_codes where campaign_id = $1 and archived_at is null) as codes,
    (select count(*) from app.links where campaign_id = $1 and archived_at is null) as links"""

_DUE: Final[LiteralString] = """/* campaigns.due */
select t.tenant_id, t.tenant_no, c.campaign_id from app.campaigns c join app.tenants t using (tenant_id)
where (c.status = 'scheduled' and c.starts_on <= $1) or (c.status in ('active', 'paused') and c.ends_on < $1)
order by c.starts_on, c.campaign_id limit $2"""


async def add_campaign(
    conn: Connection, tenant: Tenant, order: OrderRow, fields: CampaignFields, *, now: dt.datetime
) -> CampaignRow:
    """Add a campaign to an order, as a draft.

    Args:
        conn: In a transaction of the tenant that holds the order.
        tenant: Whose it is.
        order: Gives it its sponsor and its currency.
        fields: What is said of it.
        now: Aware instant.
    """
    campaign_id = new_id()
    await conn.execute(
        _ADD,
        tenant.tenant_id,
        campaign_id,
        order.sponsor_id,
        order.insertion_order_id,
        order.currency,
        fields.name,
        fields.starts_on,
        fields.ends_on,
        fields.pricing.value,
        fields.budget_amount,
        fields.model.value,
        fields.window_days,
        fields.excludes_prior_customers,
        fields.utm,
        now,
    )
    return await find_campaign(conn, campaign_id)


async def find_campaign(conn: Connection, campaign_id: UUID) -> CampaignRow:
    """Read one campaign that the transaction sees.

    Raises:
        NotFound: It sees none of this id.
    """
    row = await conn.fetchrow(_FIND, campaign_id)
    if row is None:
        raise NotFound("campaign")
    return msgspec.convert(row, CampaignRow)


async def list_campaigns(
    conn: Connection,
    *,
    after: tuple[dt.datetime, UUID] | None,
    limit: int,
    sponsor_id: UUID | None = None,
    insertion_order_id: UUID | None = None,
    status: CampaignStatus | None = None,
) -> list[CampaignRow]:
    """List the campaigns that the transaction sees in the order in which they were made, behind *after*.

    Args:
        conn: In a transaction of the tenant.
        after: The row behind which the list begins.
        limit: How many at most.
        sponsor_id: Only of this sponsor.
        insertion_order_id: Only of this order.
        status: Only in this state.
    """
    at, campaign_id = after if after is not None else (None, None)
    rows = await conn.fetch(
        _LIST, at, campaign_id, limit, sponsor_id, insertion_order_id, None if status is None else status.value
    )
    return [msgspec.convert(row, CampaignRow) for row in rows]


async def hold_campaign(conn: Connection, campaign_id: UUID, *, version: int | None = None) -> CampaignRow:
    """Read a campaign that nobody else changes until the transaction ends.

    Raises:
        NotFound: The tenant has none of this id.
        Outdated: There is another version than the one that is expected.
    """
    found: int | None = await conn.fetchval(_LOCK, campaign_id)
    if found is None:
        raise NotFound("campaign")
    if version is not None and version != found:
        raise Outdated("campaign", version=found)
    return await find_campaign(conn, campaign_id)


async def use_campaign(conn: Connection, campaign_id: UUID) -> CampaignRow:
    """Read a campaign for something that comes under it, so that it is not changed meanwhile.

    Raises:
        NotFound: The tenant has none of this id.
    """
    if await conn.fetchval(_USE, campaign_id) is None:
        raise NotFound("campaign")
    return await find_campaign(conn, campaign_id)


async def change_campaign(conn: Connection, held: CampaignRow, fields: CampaignFields) -> CampaignRow:
    """Say something else of a campaign that is held: all of it, also what stays as it was."""
    await conn.execute(
        _CHANGE,
        held.campaign_id,
        fields.name,
        fields.starts_on,
        fields.ends_on,
        fields.pricing.value,
        fields.budget_amount,
        fields.model.value,
        fields.window_days,
        fields.excludes_prior_customers,
        fields.utm,
    )
    return await find_campaign(conn, held.campaign_id)


async def set_campaign_status(conn: Connection, campaign_id: UUID, status: CampaignStatus, *, now: dt.datetime) -> None:
    """Move a campaign that is held to another state; its flights are the caller's to move."""
    await conn.execute(_SET_STATUS, campaign_id, status.value, now)


async def count_trackable(conn: Connection, campaign_id: UUID) -> Trackable:
    """Count by what a campaign's effect can be seen."""
    return msgspec.convert(await conn.fetchrow(_TRACKABLE, campaign_id), Trackable)


async def list_due_campaigns(conn: Connection, *, today: dt.date, limit: int) -> list[DueCampaign]:
    """List campaigns of all tenants that the calendar has passed, as ingest."""
    return [msgspec.convert(row, DueCampaign) for row in await conn.fetch(_DUE, today, limit)]
