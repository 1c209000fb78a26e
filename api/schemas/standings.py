"""The form of a campaign's standing."""

from __future__ import annotations

import datetime as dt
from uuid import UUID

import msgspec

from analytics_core.db.standings import Standing
from analytics_core.deliveries import NoPace
from analytics_core.pacing import PaceState
from analytics_core.performances import A_WHOLE
from api.schemas.deliveries import pace_figures

__all__ = ("CampaignStanding",)


class CampaignStanding(msgspec.Struct, frozen=True, kw_only=True):
    """How a campaign stands, in a line; what it says it says as the campaign's delivery and performance do.

    `conversions` are those that are known for sure by `run_id`, the latest attribution run that tells of the campaign;
    null without one. `cpa_amount` is `cost_amount` by them, both null where the cost is not known.
    """

    campaign_id: UUID
    sponsor_id: UUID
    sponsor_name: str
    name: str
    status: str
    starts_on: dt.date
    ends_on: dt.date
    currency: str
    booked: int | None
    delivered: int
    expected: int | None
    index: float | None
    state: PaceState | None
    pace_reason: NoPace | None
    cost_amount: int | None
    run_id: UUID | None
    conversions: float | None
    cpa_amount: int | None

    @classmethod
    def of(cls, found: Standing) -> CampaignStanding:
        """Show how a campaign stands."""
        head, sure = found.head, found.sure
        return cls(
            campaign_id=head.campaign_id,
            sponsor_id=head.sponsor_id,
            sponsor_name=head.sponsor_name,
            name=head.name,
            status=head.status,
            starts_on=head.starts_on,
            ends_on=head.ends_on,
            currency=head.currency,
            booked=found.pace.booked,
            delivered=found.pace.delivered,
            **pace_figures(found.pace.pace, found.pace.pace_reason),
            cost_amount=None if found.cost is None else found.cost.amount,
            run_id=found.run_id,
            conversions=None if sure is None else sure.conversions_ppm / A_WHOLE,
            cpa_amount=None if sure is None else sure.cpa_amount,
        )
