"""Flight alerts: which flights somebody has to be told of, and when.

A flight is behind from when it has delivered too little by now and is not projected to make up for it, until it has
caught up: some way apart from one another, so that one that goes up and down with the weekday is told of once. Nothing
is told of it while its campaign is paused. One that ends short is told of once more when all of it is counted.

All is a function of what is remembered of a flight and of how it stands: it does not matter who looks how often.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from analytics_core.deliveries import FlightDelivery
from analytics_core.pacing import PaceState, Phase

__all__ = (
    "AT_MOST_EVERY",
    "MAX_TOLD",
    "FlightAlert",
    "News",
    "NewsKind",
    "choose_news",
    "find_news",
    "follow",
    "is_behind",
    "note_told",
)

AT_MOST_EVERY: Final = dt.timedelta(days=1)
"""A tenant's people are written to no more often."""
MAX_TOLD: Final = 20
"""Flights that one mail tells of."""

_ACTIVE: Final = "active"
_COMPLETED: Final = "completed"


class FlightAlert(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a flight.

    Attributes:
        behind_since: ``None`` while it is not behind.
        told_at: When it was last told of.
        last_word_at: When it was told that it ended short, after which there is nothing more to tell.
    """

    behind_since: dt.datetime | None = None
    told_at: dt.datetime | None = None
    last_word_at: dt.datetime | None = None

    @property
    def is_told(self) -> bool:
        """Tell whether it was told of since it is behind."""
        return self.behind_since is not None and self.told_at is not None and self.told_at >= self.behind_since


class NewsKind(enum.StrEnum):
    """What there is to tell of a flight."""

    BEHIND = "behind"
    ENDED_SHORT = "ended_short"


class News(NamedTuple):
    """What there is to tell of a flight, and how it stands."""

    kind: NewsKind
    delivery: FlightDelivery

    @property
    def owed(self) -> int:
        """Impressions that are owed, or will be in the end if it goes on as projected."""
        delivery = self.delivery
        if delivery.makegood_owed is not None:
            return delivery.makegood_owed
        to_come = delivery.delivered if delivery.projected is None else delivery.projected.mid
        return max(0, (delivery.terms.booked_impressions or 0) - to_come)


def is_behind(delivery: FlightDelivery) -> bool:
    """Tell whether a flight has delivered too little by now, and is not projected to make up for it.

    Before a placement was live for half a day nobody can say, and it is not.
    """
    if delivery.pace is None or delivery.pace.state is not PaceState.UNDER or delivery.projected_reason == "too_early":
        return False
    return delivery.projected is None or delivery.projected.mid < (delivery.terms.booked_impressions or 0)


def _has_caught_up(delivery: FlightDelivery) -> bool:
    """Tell whether a flight has delivered what was due, or is all but sure to in the end."""
    if delivery.pace is None:
        return True
    is_sure = delivery.projected is not None and delivery.projected.low >= (delivery.terms.booked_impressions or 0)
    return delivery.pace.index >= 1 or is_sure


def _is_watched(delivery: FlightDelivery) -> bool:
    status = delivery.terms.status
    return status == _ACTIVE or (status == _COMPLETED and delivery.phase is Phase.MEASURING)


def follow(alert: FlightAlert, delivery: FlightDelivery, *, now: dt.datetime) -> FlightAlert:
    """Bring what is remembered of a flight up to how it stands.

    Args:
        alert: What is remembered.
        delivery: How it stands by what is known at *now*, or at an instant before it.
        now: Aware instant.
    """
    if delivery.pace is None or delivery.phase is Phase.MEASURED:
        return msgspec.structs.replace(alert, behind_since=None)
    if not _is_watched(delivery):
        return alert
    if alert.behind_since is None:
        return msgspec.structs.replace(alert, behind_since=now) if is_behind(delivery) else alert
    return msgspec.structs.replace(alert, behind_since=None) if _has_caught_up(delivery) else alert


def find_news(alert: FlightAlert, delivery: FlightDelivery) -> News | None:
    """Find what is to be told of a flight that was not; ``None`` for nothing."""
    if delivery.makegood_owed:
        is_new = alert.last_word_at is None and delivery.terms.status == _COMPLETED
        return News(NewsKind.ENDED_SHORT, delivery) if is_new else None
    is_new = alert.behind_since is not None and not alert.is_told
    return News(NewsKind.BEHIND, delivery) if is_new and _is_watched(delivery) else None


def choose_news(news: Iterable[News], *, told_at: dt.datetime | None, now: dt.datetime) -> list[News]:
    """Choose what a mail tells: nothing within a day of the one before, else what has ended first, and most owed first.

    Args:
        news: All that there is of a tenant.
        told_at: When its people were last written to.
        now: Aware instant.

    Returns:
        As much as one mail tells; the others have their turn in the next one.
    """
    if told_at is not None and now < told_at + AT_MOST_EVERY:
        return []
    ranked = sorted(
        news, key=lambda one: (one.kind is not NewsKind.ENDED_SHORT, -one.owed, one.delivery.terms.flight_id)
    )
    return ranked[:MAX_TOLD]


def note_told(alert: FlightAlert, kind: NewsKind, *, now: dt.datetime) -> FlightAlert:
    """Remember that a flight was told of."""
    last_word_at = now if kind is NewsKind.ENDED_SHORT else alert.last_word_at
    return msgspec.structs.replace(alert, told_at=now, last_word_at=last_word_at)
