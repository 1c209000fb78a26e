"""The form of reach, month by month."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec

from analytics_core.db.deliveries import CampaignHead
from analytics_core.deliveries import FlightTerms
from analytics_core.reach import MonthReach, NoReach, frequency_of, reach_of

__all__ = ("FlightReach", "MonthFigures", "ReachAnswer", "ReachFigures")


class MonthFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A UTC month: impressions by now, and the listeners when they were counted.

    `frequency` is `impressions` by `reach`. `reach` is null with a `reason`: `not_counted`, as it was not yet or as the
    downloads have gone, or `changed_since` where a final month has other impressions than were counted.
    """

    month: dt.date
    delivered: int
    reach: int | None
    impressions: int | None
    frequency: float | None
    reason: NoReach | None
    is_final: bool
    computed_at: dt.datetime | None

    @classmethod
    def of(cls, row: MonthReach) -> MonthFigures:
        """Show a month."""
        is_known = row.reason is None
        return cls(
            month=row.month,
            delivered=row.delivered,
            reach=row.reach if is_known else None,
            impressions=row.impressions if is_known else None,
            frequency=frequency_of(row.impressions, row.reach) if is_known else None,
            reason=row.reason,
            is_final=row.is_final,
            computed_at=row.computed_at,
        )


class ReachFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How many listeners there were in all, which is known where all impressions lie in one UTC month, and by month.

    `reach` is null with a `reason`: `no_impressions`, `across_months`, or that of the only month.
    """

    reach: int | None
    frequency: float | None
    reason: NoReach | None
    months: Sequence[MonthFigures]


def _reach(months: Sequence[MonthReach]) -> dict[str, Any]:
    whole = reach_of(months)
    return {
        "reach": whole.reach,
        "frequency": whole.frequency,
        "reason": whole.reason,
        "months": [MonthFigures.of(month) for month in months],
    }


class FlightReach(ReachFigures, frozen=True, kw_only=True):
    """The reach of a flight."""

    flight_id: UUID
    name: str


class ReachAnswer(ReachFigures, frozen=True, kw_only=True):
    """The reach of a campaign, and of each flight: a listener of two flights is one of the campaign's.

    `reach` is null with a `reason`: `no_impressions`, `across_months` as listeners can be told apart within a UTC month
    alone, or that of the only month.
    """

    campaign_id: UUID
    sponsor_id: UUID
    name: str
    flights: Sequence[FlightReach]

    @classmethod
    def of(
        cls,
        head: CampaignHead,
        months: Sequence[MonthReach],
        flights: Iterable[tuple[FlightTerms, Sequence[MonthReach]]],
    ) -> ReachAnswer:
        """Show the reach of a campaign."""
        return cls(
            campaign_id=head.campaign_id,
            sponsor_id=head.sponsor_id,
            name=head.name,
            **_reach(months),
            flights=[
                FlightReach(flight_id=terms.flight_id, name=terms.name, **_reach(rows)) for terms, rows in flights
            ],
        )
