"""The forms of insertion orders, campaigns and flights."""

from __future__ import annotations

import datetime as dt
from typing import Annotated
from uuid import UUID

import msgspec

from analytics_core.campaigns import CampaignStatus, FlightStatus, Model, OrderStatus, Pricing
from analytics_core.db.campaigns import CampaignRow
from analytics_core.db.flights import FlightRow
from analytics_core.db.insertion_orders import OrderRow
from analytics_core.money import MAX_AMOUNT
from analytics_core.sponsors import MAX_NAME
from api.schemas.links import Utm

__all__ = (
    "AddCampaign",
    "AddFlight",
    "AddOrder",
    "Campaign",
    "ChangeCampaign",
    "ChangeFlight",
    "ChangeOrder",
    "DuplicateCampaign",
    "Flight",
    "InsertionOrder",
)

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
_Reference = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
_Currency = Annotated[str, msgspec.Meta(min_length=3, max_length=3)]
_Amount = Annotated[int, msgspec.Meta(ge=0, le=MAX_AMOUNT)]
_Window = Annotated[int, msgspec.Meta(ge=1, le=90)]
_Impressions = Annotated[int, msgspec.Meta(ge=1, le=10**12)]
_Measurement = Annotated[int, msgspec.Meta(ge=0, le=365)]
_Instant = Annotated[dt.datetime, msgspec.Meta(tz=True)]


class AddOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order of a sponsor's. `reference` is the sponsor's own number; all money under it is of one `currency`."""

    sponsor_id: UUID
    name: _Name
    reference: _Reference | None = None
    currency: _Currency


class ChangeOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different; what is left out stays as it is. Sponsor and currency stay what they are."""

    name: _Name | msgspec.UnsetType = msgspec.UNSET
    reference: _Reference | msgspec.UnsetType | None = msgspec.UNSET


class InsertionOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a sponsor has ordered. `number` is the tenant's own; `version` rises with every change: the `ETag`."""

    insertion_order_id: UUID
    sponsor_id: UUID
    number: int
    name: str
    reference: str | None
    currency: str
    status: OrderStatus
    campaigns: int
    version: int
    created_at: dt.datetime

    @classmethod
    def of(cls, row: OrderRow) -> InsertionOrder:
        """Show a stored order."""
        return cls(**{name: getattr(row, name) for name in cls.__struct_fields__})


class AddCampaign(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A campaign, under an order, or with `sponsor_id` and `currency` under one that is made with it.

    Days are of UTC, both of them in it. `utm` is what the links of its flights carry where they have
    none of their own; `{campaign}`, `{flight}`, `{podcast}` and `{sponsor}` in it stand for these names.
    """

    insertion_order_id: UUID | None = None
    sponsor_id: UUID | None = None
    currency: _Currency | None = None
    name: _Name
    starts_on: dt.date
    ends_on: dt.date
    pricing: Pricing
    budget_amount: _Amount
    model: Model
    window_days: _Window
    excludes_prior_customers: bool = False
    utm: Utm = Utm()


class ChangeCampaign(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different; what is left out stays as it is. `utm` is replaced as a whole."""

    name: _Name | msgspec.UnsetType = msgspec.UNSET
    starts_on: dt.date | msgspec.UnsetType = msgspec.UNSET
    ends_on: dt.date | msgspec.UnsetType = msgspec.UNSET
    pricing: Pricing | msgspec.UnsetType = msgspec.UNSET
    budget_amount: _Amount | msgspec.UnsetType = msgspec.UNSET
    model: Model | msgspec.UnsetType = msgspec.UNSET
    window_days: _Window | msgspec.UnsetType = msgspec.UNSET
    excludes_prior_customers: bool | msgspec.UnsetType = msgspec.UNSET
    utm: Utm | msgspec.UnsetType = msgspec.UNSET


class DuplicateCampaign(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the copy is called; without a name as the one that is copied, with `(copy)` behind it."""

    name: _Name | None = None


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """What a sponsor was promised in some time.

    `flights` are those that are not cancelled, `placements` those that were not missed or pulled.
    """

    campaign_id: UUID
    insertion_order_id: UUID
    sponsor_id: UUID
    name: str
    status: CampaignStatus
    starts_on: dt.date
    ends_on: dt.date
    pricing: Pricing
    budget_amount: int
    currency: str
    model: Model
    window_days: int
    excludes_prior_customers: bool
    utm: dict[str, str]
    flights: int
    placements: int
    version: int
    created_at: dt.datetime
    activated_at: dt.datetime | None
    ended_at: dt.datetime | None

    @classmethod
    def of(cls, row: CampaignRow) -> Campaign:
        """Show a stored campaign."""
        return cls(**{name: getattr(row, name) for name in cls.__struct_fields__})


class AddFlight(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A flight: from one quarter hour to before another, inside its campaign.

    `price_amount` is for a thousand impressions, for all of it, or for a conversion, as the campaign is priced.
    `measurement_days` is how long after its end downloads of what is baked in still count. With `makegood_of` it makes
    good what another flight of the campaign fell short of, and may be after the campaign's end.
    """

    name: _Name
    starts_at: _Instant
    ends_at: _Instant
    booked_impressions: _Impressions | None = None
    price_amount: _Amount
    window_days: _Window | None = None
    measurement_days: _Measurement = 30
    makegood_of: UUID | None = None


class ChangeFlight(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different; what is left out stays as it is, and so do the times of its placements."""

    name: _Name | msgspec.UnsetType = msgspec.UNSET
    starts_at: _Instant | msgspec.UnsetType = msgspec.UNSET
    ends_at: _Instant | msgspec.UnsetType = msgspec.UNSET
    booked_impressions: _Impressions | msgspec.UnsetType | None = msgspec.UNSET
    price_amount: _Amount | msgspec.UnsetType = msgspec.UNSET
    window_days: _Window | msgspec.UnsetType | None = msgspec.UNSET
    measurement_days: _Measurement | msgspec.UnsetType = msgspec.UNSET


class Flight(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a campaign with its own time and price. Its state follows the campaign's and the clock."""

    flight_id: UUID
    campaign_id: UUID
    sponsor_id: UUID
    name: str
    status: FlightStatus
    starts_at: dt.datetime
    ends_at: dt.datetime
    booked_impressions: int | None
    price_amount: int
    currency: str
    window_days: int | None
    measurement_days: int
    makegood_of: UUID | None
    placements: int
    version: int
    created_at: dt.datetime

    @classmethod
    def of(cls, row: FlightRow) -> Flight:
        """Show a stored flight."""
        return cls(**{name: getattr(row, name) for name in cls.__struct_fields__})
