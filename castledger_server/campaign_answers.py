"""What the API answers about campaigns, as far as commands tell of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from uuid import UUID

import msgspec

from castledger_server.api_access import Api
from castledger_server.choosing import choose

__all__ = (
    "Campaign",
    "CampaignDelivery",
    "Code",
    "Flight",
    "Link",
    "Model",
    "Month",
    "Owing",
    "Paced",
    "Performance",
    "Placement",
    "Projection",
    "Run",
    "Sponsor",
    "Standing",
    "Value",
    "find_campaign",
    "find_sponsor",
    "list_campaigns",
    "list_codes",
    "list_links",
    "read_delivery",
    "read_months",
    "read_performance",
    "read_sponsor",
)


class Sponsor(msgspec.Struct, frozen=True):
    """Who pays."""

    sponsor_id: UUID
    name: str


class Campaign(msgspec.Struct, frozen=True):
    """A campaign of the list."""

    campaign_id: UUID
    sponsor_id: UUID
    name: str
    status: str
    pricing: str
    currency: str
    starts_on: dt.date
    ends_on: dt.date


class Projection(msgspec.Struct, frozen=True):
    """What there will be in the end."""

    low: int
    mid: int
    high: int


class Paced(msgspec.Struct, frozen=True, kw_only=True):
    """How something stands that was to deliver impressions; what is null has no meaning yet."""

    booked: int | None
    delivered: int
    expected: int | None
    index: float | None
    state: str | None
    pace_reason: str | None


class Standing(Paced, frozen=True, kw_only=True):
    """A campaign in a list of how they stand."""

    campaign_id: UUID
    sponsor_name: str
    name: str
    status: str
    currency: str
    conversions: float | None
    cpa_amount: int | None


class Owing(Paced, frozen=True, kw_only=True):
    """How something stands, and what is owed where it fell short."""

    makegood_owed: int | None
    makegood_booked: int


class Flight(Owing, frozen=True, kw_only=True):
    """A flight of a campaign."""

    flight_id: UUID
    name: str
    starts_at: dt.datetime
    ends_at: dt.datetime
    makegood_of: UUID | None


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """An episode in which a campaign is heard; titles are null to whoever may not read them."""

    podcast_title: str | None
    episode_title: str | None
    position: str
    status: str
    live_from: dt.datetime
    live_until: dt.datetime
    delivered: int


class CampaignDelivery(Owing, frozen=True, kw_only=True):
    """How a campaign stands."""

    sponsor_id: UUID
    name: str
    status: str
    starts_on: dt.date
    ends_on: dt.date
    projected: Projection | None
    flights: tuple[Flight, ...]
    placements: tuple[Placement, ...]
    cutoff: dt.datetime | None


class Value(msgspec.Struct, frozen=True):
    """What conversions were worth in one currency."""

    value_amount: int
    currency: str


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What one model gives a campaign."""

    model: str
    conversions: float
    new_customers: float
    values: tuple[Value, ...]
    cpa_amount: int | None
    roas: float | None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The attribution run that conversions are taken from."""

    start: dt.datetime = msgspec.field(name="from")
    end: dt.datetime = msgspec.field(name="to")
    cutoff: dt.datetime


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a campaign beside what it costs."""

    model: str
    budget_amount: int
    currency: str
    reach: int | None
    frequency: float | None
    reach_reason: str | None
    clicks: int
    cost_amount: int | None
    models: tuple[Model, ...]
    run: Run | None

    @property
    def sure(self) -> Model | None:
        """What came with a sign of the campaign; ``None`` without a run."""
        return next((one for one in self.models if one.model == "deterministic"), None)


class Month(msgspec.Struct, frozen=True):
    """The listeners of a UTC month; null where they are not known."""

    month: dt.date
    delivered: int
    reach: int | None


class _Months(msgspec.Struct):
    months: list[Month]


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """A promo code."""

    code: str
    valid_until: dt.datetime | None
    redemptions: int
    late_redemptions: int
    over_limit_redemptions: int
    archived_at: dt.datetime | None


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A link; its short address is null while the installation has no public URL."""

    slug: str
    short_url: str | None
    clicks: int
    archived_at: dt.datetime | None


def find_sponsor(api: Api, text: str, *, option: str = "--sponsor") -> Sponsor:
    """Find a sponsor by its id, or by its name without regard to case.

    Args:
        api: Is asked.
        text: What somebody wrote,
        option: and where, for the error.

    Raises:
        ApiRefusal: The API refused.
        InvalidInput: There is none; the message names some that there are.
    """
    return choose(
        api.get_all("/sponsors", Sponsor),
        text,
        option=option,
        what="sponsor",
        title=lambda one: one.name,
        keys=lambda one: (str(one.sponsor_id),),
    )


def find_campaign(api: Api, text: str) -> Campaign:
    """Find a campaign by its id, or by its name without regard to case.

    Raises:
        ApiRefusal: The API refused.
        InvalidInput: There is none, or there are several; the message names some.
    """
    try:
        campaign_id = UUID(text.strip())
    except ValueError:
        return choose(
            list_campaigns(api, sponsor_id=None),
            text,
            option="CAMPAIGN",
            what="campaign",
            title=lambda one: one.name,
            keys=lambda one: (str(one.campaign_id),),
        )
    return msgspec.json.decode(api.get(f"/campaigns/{campaign_id}", {}), type=Campaign)


def read_sponsor(api: Api, sponsor_id: UUID) -> Sponsor:
    """Read a sponsor.

    Raises:
        ApiRefusal: The API refused.
    """
    return msgspec.json.decode(api.get(f"/sponsors/{sponsor_id}", {}), type=Sponsor)


def list_campaigns(api: Api, *, sponsor_id: UUID | None) -> Iterator[Campaign]:
    """List campaigns in the order in which they were made.

    Raises:
        ApiRefusal: The API refused.
    """
    chosen = {} if sponsor_id is None else {"sponsor_id": str(sponsor_id)}
    return api.get_all("/campaigns", Campaign, **chosen)


def read_delivery(api: Api, campaign_id: UUID) -> CampaignDelivery:
    """Read how a campaign stands.

    Raises:
        ApiRefusal: The API refused.
    """
    return msgspec.json.decode(api.get(f"/campaigns/{campaign_id}/delivery", {}), type=CampaignDelivery)


def read_performance(api: Api, campaign_id: UUID) -> Performance:
    """Read what came of a campaign.

    Raises:
        ApiRefusal: The API refused.
    """
    return msgspec.json.decode(api.get(f"/campaigns/{campaign_id}/performance", {}), type=Performance)


def read_months(api: Api, campaign_id: UUID) -> list[Month]:
    """Read the listeners of a campaign month by month.

    Raises:
        ApiRefusal: The API refused.
    """
    return msgspec.json.decode(api.get(f"/campaigns/{campaign_id}/reach", {}), type=_Months).months


def list_codes(api: Api, campaign_id: UUID) -> Iterator[Code]:
    """List the promo codes of a campaign.

    Raises:
        ApiRefusal: The API refused.
    """
    return api.get_all("/promo-codes", Code, campaign_id=str(campaign_id))


def list_links(api: Api, flight_id: UUID) -> Iterator[Link]:
    """List the links of a flight.

    Raises:
        ApiRefusal: The API refused.
    """
    return api.get_all("/links", Link, flight_id=str(flight_id))
