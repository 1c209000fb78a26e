"""Pacing: what a flight was to have delivered by now, what it owes in the end, and what came of what it cost.

Every figure that has no meaning yet, or none at all, is ``None``: nothing was expected before a start, nothing is owed
while it is still counted, and nothing can be divided by a cost of nothing.

Source: the even pacing of ad servers; an index under 0.9 or over 1.1 is told as such.
"""

from __future__ import annotations

import datetime as dt
import enum
from fractions import Fraction
from typing import Final

import msgspec

from analytics_core.money import divide_half_up

__all__ = (
    "OVER",
    "UNDER",
    "Pace",
    "PaceState",
    "Phase",
    "cost_per_conversion",
    "makegood_owed",
    "measured_until",
    "pace_of",
    "phase_of",
    "return_on_cost",
    "return_on_investment",
)

UNDER: Final = Fraction(9, 10)
"""An index below it is under-delivery."""
OVER: Final = Fraction(11, 10)
"""An index above it is over-delivery."""

_PLACES: Final = 4
_A_MILLION: Final = 1_000_000


class PaceState(enum.StrEnum):
    """How delivery stands beside what was expected by now."""

    UNDER = "under"
    ON_PACE = "on_pace"
    OVER = "over"


class Phase(enum.StrEnum):
    """Where a flight is: before its start, in it, after its end while its downloads still count, or past that."""

    NOT_STARTED = "not_started"
    RUNNING = "running"
    MEASURING = "measuring"
    MEASURED = "measured"


class Pace(msgspec.Struct, frozen=True):
    """Delivery beside an even one, at some instant after the start.

    Attributes:
        delivered: Impressions so far.
        exact: What was expected by now, not rounded; more than nothing.
    """

    delivered: int
    exact: Fraction

    @property
    def expected(self) -> int:
        """Round what was expected to whole impressions."""
        return divide_half_up(self.exact.numerator, self.exact.denominator)

    @property
    def index(self) -> Fraction:
        """Divide what was delivered by what was expected."""
        return self.delivered / self.exact

    @property
    def state(self) -> PaceState:
        """Name what the index means."""
        if self.index < UNDER:
            return PaceState.UNDER
        return PaceState.OVER if self.index > OVER else PaceState.ON_PACE


def measured_until(ends_at: dt.datetime, measurement_days: int) -> dt.datetime:
    """Tell until when downloads still count for a flight."""
    return ends_at + dt.timedelta(days=measurement_days)


def phase_of(*, starts_at: dt.datetime, ends_at: dt.datetime, measurement_days: int, now: dt.datetime) -> Phase:
    """Tell where a flight is; starts and ends are half-open, as all ranges are."""
    if now < starts_at:
        return Phase.NOT_STARTED
    if now < ends_at:
        return Phase.RUNNING
    return Phase.MEASURING if now < measured_until(ends_at, measurement_days) else Phase.MEASURED


def pace_of(
    delivered: int, *, booked: int, starts_at: dt.datetime, ends_at: dt.datetime, now: dt.datetime
) -> Pace | None:
    """Compare what was delivered with the part of the booking that belongs to the time gone by.

    >>> day = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
    >>> end = day + dt.timedelta(days=10)
    >>> pace = pace_of(400, booked=1_000, starts_at=day, ends_at=end, now=day + dt.timedelta(days=5))
    >>> pace.expected, float(pace.index), str(pace.state)
    (500, 0.8, 'under')

    Args:
        delivered: Impressions so far, 0 or more.
        booked: Impressions, 1 or more.
        starts_at: Aware instant.
        ends_at: Aware instant, later; all of the booking is expected from then on.
        now: Aware instant.

    Returns:
        ``None`` up to the start, when nothing was expected.
    """
    elapsed = min(now, ends_at) - starts_at
    if elapsed <= dt.timedelta():
        return None
    microsecond = dt.timedelta(microseconds=1)
    return Pace(delivered, Fraction(booked * (elapsed // microsecond), (ends_at - starts_at) // microsecond))


def makegood_owed(
    delivered: int, *, booked: int, ends_at: dt.datetime, measurement_days: int, now: dt.datetime
) -> int | None:
    """Tell how many impressions a flight failed to deliver; ``None`` while they may still come.

    Args:
        delivered: Impressions so far.
        booked: Impressions.
        ends_at: Aware instant at which the flight ends.
        measurement_days: How long downloads count after that.
        now: Aware instant.
    """
    if now < measured_until(ends_at, measurement_days):
        return None
    return max(0, booked - delivered)


def _rounded(value: Fraction) -> float:
    return float(round(value, _PLACES))


def return_on_cost(value_amount: int, *, cost_amount: int) -> float | None:
    """Divide what conversions were worth by what they cost (ROAS), to four decimals; ``None`` where nothing was paid.

    >>> return_on_cost(30_000, cost_amount=20_000)
    1.5

    Args:
        value_amount: Minor units of the currency of the cost.
        cost_amount: Minor units.
    """
    return _rounded(Fraction(value_amount, cost_amount)) if cost_amount else None


def return_on_investment(value_amount: int, *, cost_amount: int) -> float | None:
    """Divide what was gained by what it cost (ROI), to four decimals; ``None`` where nothing was paid.

    >>> return_on_investment(15_000, cost_amount=20_000)
    -0.25
    """
    return _rounded(Fraction(value_amount - cost_amount, cost_amount)) if cost_amount else None


def cost_per_conversion(cost_amount: int, *, conversions_ppm: int) -> int | None:
    """Divide what was paid by conversions (CPA), in minor units rounded half up; ``None`` without a conversion.

    >>> cost_per_conversion(10_000, conversions_ppm=1_500_000)
    6667

    Args:
        cost_amount: Minor units.
        conversions_ppm: Millionths of conversions, as several flights may share one.
    """
    return divide_half_up(cost_amount * _A_MILLION, conversions_ppm) if conversions_ppm else None
