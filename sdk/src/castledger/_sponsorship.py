"""What the API answers about sponsorship, typed; amounts are whole minor units of their currency."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal, TypeAlias
from uuid import UUID

import msgspec

from castledger._errors import FieldError
from castledger._models import Instant

__all__ = (
    "AdSlot",
    "AttributionResult",
    "AttributionRun",
    "Campaign",
    "CampaignCredit",
    "CampaignStanding",
    "Contact",
    "Conversion",
    "ConversionAction",
    "ConversionAdjustment",
    "ConversionVerdict",
    "ConversionVerdicts",
    "Credited",
    "Flight",
    "FlightCredit",
    "InsertionOrder",
    "MadePromoCodes",
    "MergedSponsors",
    "Model",
    "ModelCredit",
    "NewShare",
    "Placement",
    "Pricing",
    "PromoCode",
    "Report",
    "Share",
    "SlotPlaces",
    "Sponsor",
    "SurveyOption",
    "TakenRedemptions",
    "Targeting",
)

Pricing: TypeAlias = Literal["cpm", "flat", "cpa"]
"""What is paid for: a thousand impressions, the whole, or a conversion."""
Model: TypeAlias = Literal["first", "last", "linear", "position", "time_decay", "shapley", "markov"]
"""How a conversion is shared among what led to it."""


class Contact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody to ask at a sponsor's."""

    name: str
    email: str | None = None
    phone: str | None = None
    role: str | None = None


class Targeting(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sponsor wants to be heard: countries of listeners, categories of shows, and none of these."""

    countries: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    exclusions: tuple[str, ...] = ()


class Sponsor(msgspec.Struct, frozen=True, kw_only=True):
    """Who pays; ``links`` are those in use."""

    sponsor_id: UUID
    name: str
    links: int
    version: int
    created_at: Instant
    domain: str | None = None
    category: str | None = None
    contacts: tuple[Contact, ...] = ()
    targeting: Targeting = Targeting()
    archived_at: Instant | None = None


class MergedSponsors(msgspec.Struct, frozen=True, kw_only=True):
    """The sponsor that is left, and how many links it got."""

    sponsor: Sponsor
    links_moved: int


class InsertionOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a sponsor ordered; ``status`` is ``draft``, ``open``, ``closed`` or ``cancelled``."""

    insertion_order_id: UUID
    sponsor_id: UUID
    number: int
    name: str
    currency: str
    status: str
    campaigns: int
    version: int
    created_at: Instant
    reference: str | None = None


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """A campaign; ``status`` is ``draft``, ``scheduled``, ``active``, ``paused``, ``completed`` or ``cancelled``."""

    campaign_id: UUID
    sponsor_id: UUID
    insertion_order_id: UUID
    name: str
    status: str
    starts_on: dt.date
    ends_on: dt.date
    pricing: str
    budget_amount: int
    currency: str
    model: str
    window_days: int
    excludes_prior_customers: bool
    flights: int
    placements: int
    version: int
    created_at: Instant
    utm: dict[str, str] = {}
    activated_at: Instant | None = None
    ended_at: Instant | None = None


class CampaignStanding(msgspec.Struct, frozen=True, kw_only=True):
    """How a campaign stands.

    Attributes:
        conversions: Known for sure by the attribution run ``run_id``; ``None`` without one.
        cpa_amount: ``cost_amount`` by them.
    """

    campaign_id: UUID
    sponsor_id: UUID
    sponsor_name: str
    name: str
    status: str
    starts_on: dt.date
    ends_on: dt.date
    currency: str
    delivered: int
    booked: int | None = None
    expected: int | None = None
    index: float | None = None
    state: str | None = None
    pace_reason: str | None = None
    cost_amount: int | None = None
    run_id: UUID | None = None
    conversions: float | None = None
    cpa_amount: int | None = None


class Flight(msgspec.Struct, frozen=True, kw_only=True):
    """A flight of a campaign.

    Attributes:
        status: ``planned``, ``active``, ``paused``, ``completed`` or ``cancelled``.
        price_amount: For a thousand impressions, for the whole, or for a conversion, as the campaign is priced.
        window_days: ``None`` is the campaign's.
        measurement_days: How long after its end downloads still count for it.
        makegood_of: The flight whose missing impressions it brings.
    """

    flight_id: UUID
    campaign_id: UUID
    sponsor_id: UUID
    name: str
    status: str
    starts_at: Instant
    ends_at: Instant
    price_amount: int
    currency: str
    measurement_days: int
    placements: int
    version: int
    created_at: Instant
    booked_impressions: int | None = None
    window_days: int | None = None
    makegood_of: UUID | None = None


class AdSlot(msgspec.Struct, frozen=True, kw_only=True):
    """Room in each episode of a podcast, for ``per_episode`` placements at a time."""

    ad_slot_id: UUID
    podcast_id: UUID
    name: str
    position: str
    per_episode: int
    version: int
    created_at: Instant
    max_seconds: int | None = None
    archived_at: Instant | None = None


class SlotPlaces(msgspec.Struct, frozen=True, kw_only=True):
    """The places of a slot in some episodes: all, those that a placement has, and the others."""

    ad_slot_id: UUID
    name: str
    position: str
    total: int
    taken: int
    free: int


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """A flight in an episode; ``status`` is ``planned``, ``live``, ``verified``, ``missed`` or ``pulled``.

    Attributes:
        downloads: Of the episode, that counted from ``live_from`` to before ``live_until``.
    """

    placement_id: UUID
    flight_id: UUID
    campaign_id: UUID
    sponsor_id: UUID
    podcast_id: UUID
    podcast_title: str
    episode_id: UUID
    episode_title: str
    slot_no: int
    position: str
    delivery: str
    host_read: bool
    status: str
    live_from: Instant
    live_until: Instant
    downloads: int
    version: int
    created_at: Instant
    ad_slot_id: UUID | None = None
    offset_s: int | None = None
    aircheck_url: str | None = None


class PromoCode(msgspec.Struct, frozen=True, kw_only=True):
    """A promo code of a flight.

    Attributes:
        grace_days: How long after its end a redemption counts, as a late one.
        redemptions: Conversions with it that were not retracted, late ones among them.
        over_limit_redemptions: Those of them that are more than *max_redemptions*.
    """

    promo_code_id: UUID
    sponsor_id: UUID
    campaign_id: UUID
    flight_id: UUID
    code: str
    valid_from: Instant
    grace_days: int
    redemptions: int
    late_redemptions: int
    created_at: Instant
    valid_until: Instant | None = None
    max_redemptions: int | None = None
    archived_at: Instant | None = None
    over_limit_redemptions: int = 0


class MadePromoCodes(msgspec.Struct, frozen=True, kw_only=True):
    """The codes that a flight was given."""

    data: tuple[PromoCode, ...]


class ConversionAction(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a sponsor wants to happen."""

    action_id: UUID
    sponsor_id: UUID
    name: str
    category: str
    counting: str
    version: int
    created_at: Instant
    event_type: str | None = None
    default_value_amount: int | None = None
    currency: str | None = None
    archived_at: Instant | None = None


class ConversionAdjustment(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of a conversion later; ``kind`` is ``retract`` or ``restate``."""

    adjustment_id: UUID
    kind: str
    adjusted_at: Instant
    received_at: Instant
    value_amount: int | None = None
    external_id: str | None = None
    reason: str | None = None


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """A conversion as it was said first, and what was said of it later.

    Attributes:
        source: ``api``, ``event`` or ``csv``.
        customer_key: Stands for the customer: the same for all that is known of one, and nobody's name.
        effective_value_amount: What it is worth after its adjustments: 0 when it was retracted.
    """

    conversion_id: UUID
    action_id: UUID
    sponsor_id: UUID
    external_id: str
    source: str
    occurred_at: Instant
    received_at: Instant
    is_retracted: bool
    adjustments: tuple[ConversionAdjustment, ...] = ()
    effective_value_amount: int | None = None
    value_amount: int | None = None
    currency: str | None = None
    click_id: UUID | None = None
    link: str | None = None
    promo_code: str | None = None
    survey_answer: str | None = None
    customer_key: UUID | None = None
    new_customer: bool | None = None
    referrer_host: str | None = None


class ConversionVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one conversion of several: 201 for a new one, 200 for one that was there, else why not."""

    status: int
    external_id: str | None = None
    conversion_id: UUID | None = None
    code: str | None = None
    errors: tuple[FieldError, ...] = ()


class ConversionVerdicts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of several conversions, in their order."""

    results: tuple[ConversionVerdict, ...]
    created: int
    repeated: int
    refused: int


class SurveyOption(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that stands for a flight; once it is archived, for none."""

    survey_option_id: UUID
    sponsor_id: UUID
    campaign_id: UUID
    flight_id: UUID
    answer: str
    created_at: Instant
    archived_at: Instant | None = None


class TakenRedemptions(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a list of orders; ``warnings`` name what was not read."""

    rows: int
    created: int
    repeated: int
    is_dry_run: bool
    warnings: tuple[str, ...] = ()


class AttributionRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run, which never changes once it is over.

    Attributes:
        start: The API's ``from``.
        end: The API's ``to``.
        status: ``queued``, ``running``, ``ready``, or ``failed`` for the reason in ``error``.
        done_ppm: How far it is, in millionths.
        cutoff_at: What was received before is in it.
        code_version: The rules and the software.
        summary: What was counted beside the credit, once it is ready.
    """

    run_id: UUID
    sponsor_id: UUID
    start: Instant = msgspec.field(name="from")
    end: Instant = msgspec.field(name="to")
    models: tuple[str, ...]
    params: dict[str, Any]
    params_hash: str
    status: str
    done_ppm: int
    cutoff_at: Instant
    code_version: str
    created_at: Instant
    error: str | None = None
    summary: dict[str, Any] | None = None
    finished_at: Instant | None = None


class Credited(msgspec.Struct, frozen=True, kw_only=True):
    """Credit in one currency, ``None`` of conversions without a value; these are in millionths."""

    conversions_ppm: int
    new_customers_ppm: int
    value_amount: int
    currency: str | None = None


class ModelCredit(msgspec.Struct, frozen=True, kw_only=True):
    """What one model gave, and how it shares a conversion."""

    model: str
    method: str
    credited: tuple[Credited, ...]


class FlightCredit(msgspec.Struct, frozen=True, kw_only=True):
    """What a flight was given."""

    flight_id: UUID
    name: str
    deterministic: tuple[Credited, ...]
    models: tuple[ModelCredit, ...]


class CampaignCredit(msgspec.Struct, frozen=True, kw_only=True):
    """What a campaign was given: the sums of its flights."""

    campaign_id: UUID
    name: str
    deterministic: tuple[Credited, ...]
    models: tuple[ModelCredit, ...]
    flights: tuple[FlightCredit, ...]


class AttributionResult(msgspec.Struct, frozen=True, kw_only=True):
    """A run with what it found; ``None`` until it is ready.

    Models share the same conversions: one is held against another and never added to it. ``deterministic`` gives each
    conversion whole to the flight that its own surest signal names.
    """

    run: AttributionRun
    deterministic: tuple[Credited, ...] | None = None
    models: tuple[ModelCredit, ...] | None = None
    campaigns: tuple[CampaignCredit, ...] | None = None

    @property
    def status(self) -> str:
        """The run's."""
        return self.run.status


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A report, and how far it is.

    Attributes:
        status: ``queued``, ``running``, ``ready``, or ``failed`` for the reason in ``error``.
        done_ppm: How much of it is made, in millionths.
        cutoff: What was received before this instant is in it.
        sha256: Of its file, which is kept until ``expires_at``.
        size_bytes: Of that file.
    """

    report_id: UUID
    kind: str
    format: str
    params: dict[str, Any]
    status: str
    done_ppm: int
    has_file: bool
    created_at: Instant
    expires_at: Instant
    sponsor_id: UUID | None = None
    error: str | None = None
    cutoff: Instant | None = None
    sha256: str | None = None
    size_bytes: int | None = None
    finished_at: Instant | None = None


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A link to a report; its ``state`` is ``open``, ``expired``, ``used_up`` or ``revoked``."""

    share_id: UUID
    report_id: UUID
    state: str
    has_password: bool
    expires_at: Instant
    views: int
    created_at: Instant
    max_views: int | None = None
    revoked_at: Instant | None = None


class NewShare(msgspec.Struct, frozen=True, kw_only=True):
    """A link that was just made; its ``token`` is told this once, and left out where the object is printed."""

    share: Share
    token: str
    url: str | None = None

    def __repr__(self) -> str:
        return f"NewShare(share={self.share!r})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("share", self.share)]
