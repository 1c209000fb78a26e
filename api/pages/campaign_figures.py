"""A campaign as its page tells it: how delivery went beside what was due, and what came of it by each model."""

from __future__ import annotations

import datetime as dt
import heapq
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

import msgspec

from analytics_core.deliveries import CampaignDelivery, DayDelivery, FlightDelivery, PlacementDelivery, sold_flights
from analytics_core.money import Money, format_money
from analytics_core.pacing import Pace, PaceState, measured_until
from analytics_core.performances import A_WHOLE, DETERMINISTIC, ModelFigures
from api.pages.charts import LineChart, draw_progress
from api.pages.words import percent

__all__ = ("METHODS", "Method", "ModelLine", "Progress", "model_lines", "most_heard", "pace_words", "read_progress")

_DAY: Final = dt.timedelta(days=1)
_SECOND: Final = dt.timedelta(seconds=1)
_MAX_DAYS: Final = 731


class Method(msgspec.Struct, frozen=True):
    """How a model is called, and what it does in plain words."""

    name: str
    words: str


METHODS: Final = {
    DETERMINISTIC: Method(
        "Known for sure", "Each conversion whole to the surest sign it came with: a click, a link, a code, an answer."
    ),
    "first": Method("First touch", "All of it to the first thing that the customer did."),
    "last": Method("Last touch", "All of it to the last thing that the customer did before."),
    "linear": Method("Shared equally", "As much to each touch as to any other."),
    "position": Method("First and last most", "40 % each to the first and the last touch, 20 % to those between."),
    "time_decay": Method("Newer counts more", "A touch counts half as much as one that is a half-life nearer."),
    "shapley": Method("Shapley", "As much to each campaign as it adds on average, whoever came first."),
    "markov": Method("Markov", "By how many conversions would be lost if a campaign had not been there."),
}
"""Each model by its name in the API."""


class ModelLine(msgspec.Struct, frozen=True, kw_only=True):
    """What a model gives, as it is read.

    Attributes:
        values: A sum a currency; empty without any.
        cost_per: Of a conversion; ``None`` where it has no meaning.
        is_agreed: Whether it is the model that was agreed on.
    """

    method: Method
    is_sure: bool
    is_agreed: bool
    conversions: str
    new_customers: str
    values: str
    cost_per: str | None
    roas: str | None


class ProgressRow(msgspec.Struct, frozen=True):
    """A day of a campaign: what was delivered on it, and until its end, and what was due by then."""

    day: dt.date
    delivered: int
    running: int
    due: int | None


class Progress(msgspec.Struct, frozen=True):
    """A campaign's delivery day by day."""

    chart: LineChart
    rows: Sequence[ProgressRow]
    has_due: bool


def _parts(ppm: int) -> str:
    """Write a number of conversions, with a digit where a model shares them.

    >>> _parts(3_000_000), _parts(1_250_000_000), _parts(333_333)
    ('3', '1,250', '0.3')
    """
    return f"{ppm // A_WHOLE:,}" if ppm % A_WHOLE == 0 else f"{ppm / A_WHOLE:,.1f}"


def model_lines(models: Sequence[ModelFigures], *, agreed: str, currency: str) -> list[ModelLine]:
    """Put what each model gives into words, in their order.

    Args:
        models: Of one run.
        agreed: The model that was agreed on with the sponsor.
        currency: Of the campaign's cost.
    """
    return [
        ModelLine(
            method=METHODS[one.model],
            is_sure=one.model == DETERMINISTIC,
            is_agreed=one.model == agreed,
            conversions=_parts(one.conversions_ppm),
            new_customers=_parts(one.new_customers_ppm),
            values=" + ".join(format_money(value) for value in one.values),
            cost_per=None if one.cpa_amount is None else format_money(Money(one.cpa_amount, currency)),
            roas=None if one.roas is None else f"{one.roas:.2f}",
        )
        for one in models
    ]


def pace_words(pace: Pace | None, *, is_measured: bool) -> str:
    """Say how delivery stands beside what was due by now, or was booked where it is over; empty where nothing was."""
    if pace is None:
        return ""
    share = percent(float(pace.index))
    if is_measured:
        return f"{share} of what was booked"
    match pace.state:
        case PaceState.UNDER:
            return f"behind: {share} of what was due by now"
        case PaceState.OVER:
            return f"ahead: {share} of what was due by now"
    return "on pace"


def most_heard(placements: Sequence[PlacementDelivery], count: int) -> Sequence[PlacementDelivery]:
    """Choose the placements that delivered most where there are more than can be shown; else all in their order."""
    if len(placements) <= count:
        return placements
    return heapq.nlargest(count, placements, key=lambda one: one.delivered)


def _due(flights: Sequence[FlightDelivery], end: dt.datetime) -> int:
    due = Fraction()
    for one in flights:
        terms = one.terms
        gone = min(max(end - terms.starts_at, dt.timedelta()), terms.ends_at - terms.starts_at)
        due += (terms.booked_impressions or 0) * Fraction(gone // _SECOND, (terms.ends_at - terms.starts_at) // _SECOND)
    return round(due)


def read_progress(delivery: CampaignDelivery, days: Sequence[DayDelivery], *, now: dt.datetime) -> Progress | None:
    """Tell a campaign's delivery day by day, from its start until nothing more counts, as far as it is known.

    Args:
        delivery: The campaign.
        days: Those with an impression, in order.
        now: Aware instant.

    Returns:
        ``None`` while it has no flight.
    """
    flights = [one for one in delivery.flights if not one.terms.is_cancelled]
    if not flights:
        return None
    first = min(one.terms.starts_at for one in flights).astimezone(dt.UTC).date()
    end = max(measured_until(one.terms.ends_at, one.terms.measurement_days) for one in flights)
    count = min(max(((end - _SECOND).astimezone(dt.UTC).date() - first).days + 1, 1), _MAX_DAYS)
    today = now.astimezone(dt.UTC).date()
    promised = sold_flights(flights)
    delivered = {row.day: row.delivered for row in days}
    # What was delivered before the first flight began, by placements that were live already.
    running = sum(found for day, found in delivered.items() if day < first)
    rows, known, due = [], [], []
    for at in range(count):
        day = first + at * _DAY
        midnight = dt.datetime.combine(day + _DAY, dt.time(), tzinfo=dt.UTC)
        if promised:
            due.append(_due(promised, midnight))
        if day <= today:
            running += delivered.get(day, 0)
            known.append(running)
            rows.append(ProgressRow(day, delivered.get(day, 0), running, due[-1] if due else None))
    series = [("delivered", known), *([("due", due)] if due else [])]
    return Progress(draw_progress(series, first=first, days=count), rows[::-1], bool(due))
