"""What a world of sponsors is made of, and what is true of it."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from castledger_server.demo.podcast import Episode

__all__ = (
    "COUNTING",
    "GRACE",
    "MEASURED",
    "REMEMBERED",
    "SIZES",
    "Campaign",
    "Click",
    "Conversion",
    "Download",
    "Event",
    "Fate",
    "Leak",
    "Placed",
    "Podcast",
    "Signal",
    "Size",
    "World",
    "counts_once",
    "currency_of",
    "is_listed",
)

GRACE: Final = dt.timedelta(days=7)
"""For how long a code that is over is taken as a late one."""

MEASURED: Final = dt.timedelta(days=30)
"""For how long after its flight downloads of what is baked in count."""

COUNTING: Final = dt.timedelta(days=30)
"""For how long a conversion keeps others from counting, where an action counts once a customer."""

REMEMBERED: Final = dt.timedelta(days=140)
"""How far back customers have left signals beside their purchases, which are kept for 180 days."""


class Size(NamedTuple):
    """How large a world is.

    Attributes:
        days: UTC days, of which the last is yesterday.
        every_days: Days from one episode of a podcast to the next.
        listeners: In all.
        audience: Downloads of an episode, in the mean.
        buys: The chance that somebody who heard a spot buys.
    """

    podcasts: int
    sponsors: int
    campaigns: int
    days: int
    every_days: int
    listeners: int
    audience: int
    buys: float


SIZES: Final[Mapping[str, Size]] = {
    "full": Size(
        podcasts=20, sponsors=12, campaigns=40, days=364, every_days=21, listeners=6_000, audience=190, buys=0.11
    ),
    "small": Size(podcasts=2, sponsors=2, campaigns=4, days=30, every_days=5, listeners=300, audience=60, buys=0.35),
}
"""A year, and a month."""


def counts_once(sponsor: int) -> bool:
    """Tell whether a sponsor counts a customer once, rather than each purchase."""
    return sponsor % 3 == 0


def currency_of(sponsor: int) -> str:
    """Say in what a sponsor pays."""
    return "USD" if sponsor % 2 else "EUR"


class Signal(enum.StrEnum):
    """What names a campaign."""

    CLICK = "click"
    VANITY = "vanity"
    CODE = "code"
    SURVEY = "survey"


class Fate(enum.StrEnum):
    """What becomes of a conversion, whoever it is credited to."""

    COUNTED = "counted"
    NOT_COUNTED = "not_counted"
    RETRACTED = "retracted"


class Leak(enum.StrEnum):
    """How a code came to somebody who heard nothing."""

    COUPON_REFERRER = "coupon_referrer"
    NO_EXPOSURE = "no_exposure"


class Podcast(NamedTuple):
    """A podcast with its episodes, which are numbered through all podcasts from *first* on."""

    title: str
    guid: UUID
    first: int
    episodes: Sequence[Episode]


class Placed(NamedTuple):
    """A placement: an episode, and from when to before when its downloads count."""

    episode: int
    is_baked_in: bool
    live_from: dt.datetime
    live_until: dt.datetime


class Campaign(NamedTuple):
    """A campaign with its one flight, by which it is recognised.

    Attributes:
        ends_at: The midnight after its last day.
        code: Valid while the flight runs.
        answer: To the question where somebody heard of the sponsor.
    """

    number: int
    sponsor: int
    starts_at: dt.datetime
    ends_at: dt.datetime
    window: dt.timedelta
    code: str
    answer: str
    placements: Sequence[Placed]

    @property
    def name(self) -> str:
        """By which it is found again."""
        return f"Campaign {self.number + 1:02d}"

    @property
    def vanity_host(self) -> str | None:
        """A name that is said in the episode and typed in, which every other campaign has."""
        return None if self.number % 2 else f"tide-{self.number + 1:02d}.example.net"

    def knows_code(self, at: dt.datetime) -> bool:
        """Tell whether its code is taken, if only as a late one."""
        return self.starts_at <= at < self.ends_at + GRACE


class Download(NamedTuple):
    """A request of an episode as a whole."""

    at: dt.datetime
    episode: int
    address: str
    agent: str


class Click(NamedTuple):
    """A click on a campaign's link, or on its vanity host."""

    at: dt.datetime
    campaign: int
    address: str
    is_typed: bool = False


class Event(NamedTuple):
    """An event as a shop tells it.

    Attributes:
        told_at: When it is told, which decides in what order events come in.
        at: When it happened.
        click: The click that led there, by its place.
        link: The campaign whose link is named.
    """

    told_at: dt.datetime
    at: dt.datetime
    event_id: UUID
    type: str
    sponsor: int
    customer: str | None = None
    external_id: str | None = None
    value_amount: int | None = None
    click: int | None = None
    link: int | None = None
    promo_code: str | None = None
    survey_answer: str | None = None
    referrer: str | None = None
    refund_id: str | None = None


def is_listed(event: Event) -> bool:
    """Tell whether a shop tells of a purchase in a list of redemptions: some do, of all their codes."""
    return event.type == "purchase" and event.promo_code is not None and event.sponsor % 4 == 1


class Conversion(NamedTuple):
    """A purchase, and what is true of it.

    Attributes:
        value_amount: What it was worth in the end; nothing where all of it was sent back.
        named: The campaign that it names itself by what it brought, or that nobody can be said to have named.
        signal: By what.
        is_late: Whether by a code that was over.
        leak: How its code came to somebody who heard nothing.
        cause: The campaign that made somebody buy; ``None`` where no campaign of ours did.
        is_weighed: Whether models are held up to it: it is one of the time of which signals are kept.
    """

    external_id: str
    sponsor: int
    at: dt.datetime
    fate: Fate
    value_amount: int
    named: int | None
    signal: Signal | None
    is_late: bool
    leak: Leak | None
    cause: int | None
    is_weighed: bool


class World(NamedTuple):
    """A world.

    Attributes:
        downloads: In order of time, and clicks and events likewise, the latter in that in which they are told.
        delivered: Downloads that count for a placement, by campaign and episode.
    """

    size: Size
    begin: dt.datetime
    podcasts: Sequence[Podcast]
    campaigns: Sequence[Campaign]
    downloads: Sequence[Download]
    clicks: Sequence[Click]
    events: Sequence[Event]
    conversions: Sequence[Conversion]
    delivered: Mapping[tuple[int, int], int]

    @property
    def end(self) -> dt.datetime:
        """The midnight after its last day."""
        return self.begin + dt.timedelta(days=self.size.days)
