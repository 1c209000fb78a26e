"""What a sponsor orders, and the rules of its states and times: orders, campaigns, flights and placements."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from analytics_core.errors import Conflict, InvalidInput
from analytics_core.reports import EARLIEST, LATEST, is_quarter_hour

__all__ = (
    "CAMPAIGN_MOVES",
    "MAX_DAYS",
    "ORDER_MOVES",
    "PLACEMENT_MOVES",
    "QUARTER",
    "CampaignStatus",
    "Delivery",
    "FlightStatus",
    "Model",
    "Move",
    "OrderStatus",
    "PlacementStatus",
    "Position",
    "Pricing",
    "allowed",
    "check_campaign_days",
    "check_flight_times",
    "check_live_range",
    "default_live_range",
    "flight_status",
    "floor_quarter",
    "live_limit",
    "move",
    "next_quarter",
)

QUARTER: Final = dt.timedelta(minutes=15)
MAX_DAYS: Final = 1_100
"""Days of a campaign: three years and a little."""


class OrderStatus(enum.StrEnum):
    """Of an insertion order."""

    DRAFT = "draft"
    OPEN = "open"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class CampaignStatus(enum.StrEnum):
    """Of a campaign."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    ACTIVE = "active"
    PAUSED = "paused"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class FlightStatus(enum.StrEnum):
    """Of a flight, which follows its campaign and its own times."""

    PLANNED = "planned"
    ACTIVE = "active"
    PAUSED = "paused"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class PlacementStatus(enum.StrEnum):
    """Of a placement: `verified` was heard by somebody, `missed` never ran, `pulled` was taken out again."""

    PLANNED = "planned"
    LIVE = "live"
    VERIFIED = "verified"
    MISSED = "missed"
    PULLED = "pulled"


class Pricing(enum.StrEnum):
    """What a flight's price is for: a thousand impressions, the whole flight, or a conversion."""

    CPM = "cpm"
    FLAT = "flat"
    CPA = "cpa"


class Model(enum.StrEnum):
    """How credit for a conversion is divided."""

    FIRST = "first"
    LAST = "last"
    LINEAR = "linear"
    POSITION = "position"
    TIME_DECAY = "time_decay"
    SHAPLEY = "shapley"
    MARKOV = "markov"


class Position(enum.StrEnum):
    """Where in an episode."""

    PRE = "pre"
    MID = "mid"
    POST = "post"


class Delivery(enum.StrEnum):
    """Whether it is a part of the file for ever, or put in at each download."""

    BAKED_IN = "baked_in"
    DYNAMIC = "dynamic"


class Move(NamedTuple):
    """A step from one state to another.

    Attributes:
        sources: From which states.
        target: To which.
    """

    sources: frozenset[str]
    target: str


def _moves(**moves: tuple[str, str]) -> Mapping[str, Move]:
    return MappingProxyType(
        {name.replace("_", "-"): Move(frozenset(sources.split()), target) for name, (sources, target) in moves.items()}
    )


ORDER_MOVES: Final = _moves(
    open=("draft", "open"),
    close=("open", "closed"),
    cancel=("draft open", "cancelled"),
)
CAMPAIGN_MOVES: Final = _moves(
    schedule=("draft", "scheduled"),
    activate=("draft scheduled", "active"),
    pause=("active", "paused"),
    resume=("paused", "active"),
    complete=("active paused", "completed"),
    cancel=("draft scheduled active paused", "cancelled"),
)
PLACEMENT_MOVES: Final = _moves(
    go_live=("planned", "live"),
    verify=("planned live", "verified"),
    miss=("planned live", "missed"),
    pull=("live verified", "pulled"),
)


def allowed(moves: Mapping[str, Move], status: str) -> list[str]:
    """List the steps that lead on from a state.

    >>> allowed(CAMPAIGN_MOVES, "active")
    ['pause', 'complete', 'cancel']
    >>> allowed(ORDER_MOVES, "closed")
    []
    """
    return [name for name, step in moves.items() if status in step.sources]


def move(moves: Mapping[str, Move], status: str, step: str, *, what: str) -> str:
    """Take a step.

    Args:
        moves: Of the kind of thing.
        status: In which it is.
        step: Its name.
        what: What the thing is called.

    Returns:
        The state behind it.

    Raises:
        Conflict: ``illegal_transition``, naming what is possible.
    """
    found = moves[step]
    if status not in found.sources:
        possible = ", ".join(allowed(moves, status))
        raise Conflict(
            "illegal_transition",
            f"the {what} is {status}: it can {possible}" if possible else f"the {what} is {status}, which is its end",
        )
    return found.target


def flight_status(
    campaign: CampaignStatus,
    starts_at: dt.datetime,
    ends_at: dt.datetime,
    *,
    now: dt.datetime,
    is_makegood: bool = False,
) -> FlightStatus:
    """Tell the state of a flight that was not cancelled itself.

    A makegood goes by its own times once its campaign is over, as it makes good what that owes.

    Args:
        campaign: The state of its campaign.
        starts_at: Its first instant.
        ends_at: The instant behind its last.
        now: Aware instant.
        is_makegood: Whether it stands for another flight that fell short.
    """
    if campaign is CampaignStatus.CANCELLED:
        return FlightStatus.CANCELLED
    if campaign in (CampaignStatus.DRAFT, CampaignStatus.SCHEDULED):
        return FlightStatus.PLANNED
    if now >= ends_at or (campaign is CampaignStatus.COMPLETED and not is_makegood):
        return FlightStatus.COMPLETED
    if now < starts_at:
        return FlightStatus.PLANNED
    return FlightStatus.PAUSED if campaign is CampaignStatus.PAUSED else FlightStatus.ACTIVE


def floor_quarter(at: dt.datetime) -> dt.datetime:
    """Return the beginning of the quarter hour that an instant is in.

    >>> floor_quarter(dt.datetime(2026, 11, 2, 12, 14, 59, tzinfo=dt.UTC)).minute
    0
    """
    return at - dt.timedelta(seconds=at.timestamp() % QUARTER.total_seconds())


def next_quarter(at: dt.datetime) -> dt.datetime:
    """Return the first beginning of a quarter hour that is not before an instant.

    >>> next_quarter(dt.datetime(2026, 11, 2, 12, 14, 59, tzinfo=dt.UTC)).minute
    15
    >>> next_quarter(dt.datetime(2026, 11, 2, 12, 15, tzinfo=dt.UTC)).minute
    15
    """
    begins = floor_quarter(at)
    return begins if begins == at else begins + QUARTER


def check_campaign_days(starts_on: dt.date, ends_on: dt.date) -> None:
    """Make sure that a campaign ends after it starts.

    Raises:
        InvalidInput: It does not, or lasts too long.
    """
    if not EARLIEST < starts_on < LATEST:
        raise InvalidInput("/starts_on", f"has to be between {EARLIEST} and {LATEST}")
    if ends_on < starts_on:
        raise InvalidInput("/ends_on", "has to be on starts_on or after it", code="ends_before_start")
    if (ends_on - starts_on).days >= MAX_DAYS or ends_on >= LATEST:
        raise InvalidInput("/ends_on", f"a campaign has at most {MAX_DAYS} days")


def _check_quarter(at: dt.datetime, path: str) -> None:
    # First: what lies at an end of the calendar is no time of UTC.
    if not EARLIEST < at.date() < LATEST:
        raise InvalidInput(path, f"has to be later than {EARLIEST} and before {LATEST}", code="out_of_range")
    if at.tzinfo is None or not is_quarter_hour(at.astimezone(dt.UTC)):
        raise InvalidInput(path, "has to be an instant on a quarter hour, with an offset", code="not_a_quarter_hour")


def check_flight_times(
    starts_at: dt.datetime, ends_at: dt.datetime, *, starts_on: dt.date, ends_on: dt.date, is_makegood: bool
) -> None:
    """Make sure that a flight is on quarter hours, ends after it starts, and inside its campaign.

    A makegood may be after it.

    Raises:
        InvalidInput: It is not.
    """
    _check_quarter(starts_at, "/starts_at")
    _check_quarter(ends_at, "/ends_at")
    if ends_at <= starts_at:
        raise InvalidInput("/ends_at", "has to be after starts_at", code="ends_before_start")
    first = dt.datetime.combine(starts_on, dt.time(), dt.UTC)
    until = dt.datetime.combine(ends_on, dt.time(), dt.UTC) + dt.timedelta(days=1)
    if starts_at < first:
        raise InvalidInput("/starts_at", f"is before the campaign starts, on {starts_on}", code="outside_campaign")
    if ends_at > until and not is_makegood:
        raise InvalidInput("/ends_at", f"is after the campaign ends, on {ends_on}", code="outside_campaign")
    if ends_at - starts_at > dt.timedelta(days=MAX_DAYS):
        raise InvalidInput("/ends_at", f"a flight has at most {MAX_DAYS} days")


def live_limit(ends_at: dt.datetime, measurement_days: int, delivery: Delivery) -> dt.datetime:
    """Return the instant from which downloads do not count for a flight; what is baked in is heard after its end."""
    return ends_at + dt.timedelta(days=measurement_days) if delivery is Delivery.BAKED_IN else ends_at


def default_live_range(
    delivery: Delivery,
    *,
    starts_at: dt.datetime,
    ends_at: dt.datetime,
    measurement_days: int,
    published_at: dt.datetime | None,
) -> tuple[dt.datetime, dt.datetime]:
    """Tell when a placement is live where nobody says it.

    From the start of its flight, or from the quarter hour in which its episode was published where that is later;
    until its flight ends, and what is baked in for as long as that is measured after it.

    Raises:
        InvalidInput: The episode was published when all that was over.
    """
    begins = starts_at if published_at is None else max(starts_at, floor_quarter(published_at))
    until = live_limit(ends_at, measurement_days, delivery)
    if begins >= until:
        raise InvalidInput("/episode_id", "was published when the flight was over", code="outside_flight")
    return begins, until


def check_live_range(
    live_from: dt.datetime,
    live_until: dt.datetime,
    *,
    delivery: Delivery,
    starts_at: dt.datetime,
    ends_at: dt.datetime,
    measurement_days: int,
) -> None:
    """Make sure that a placement is live on quarter hours, and while its flight counts.

    Raises:
        InvalidInput: It is not.
    """
    _check_quarter(live_from, "/live_from")
    _check_quarter(live_until, "/live_until")
    if live_until <= live_from:
        raise InvalidInput("/live_until", "has to be after live_from", code="ends_before_start")
    if live_from < starts_at:
        raise InvalidInput(
            "/live_from", f"is before the flight starts, at {starts_at.isoformat()}", code="outside_flight"
        )
    limit = live_limit(ends_at, measurement_days, delivery)
    if live_until > limit:
        raise InvalidInput(
            "/live_until", f"is after downloads count for the flight, until {limit.isoformat()}", code="outside_flight"
        )
