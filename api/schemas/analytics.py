"""The forms of figures and of what explains them."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Literal
from uuid import UUID

import msgspec

from analytics_core.db.audience import NoListeners
from analytics_core.db.states import State

__all__ = (
    "ByteRangeAnswer",
    "DayExplanation",
    "Dimension",
    "DownloadsAnswer",
    "Envelope",
    "Figure",
    "HitAnswer",
    "HitPage",
    "Lists",
    "NoHits",
    "VerdictFigure",
)


NoHits = Literal["hits_not_kept"]


class Dimension(enum.Enum):
    """What figures can be broken down by."""

    EPISODE = "episode"
    APP = "app"
    DEVICE = "device"
    OS = "os"
    COUNTRY = "country"
    REGION = "region"
    CITY = "city"
    REFERRER = "referrer"
    FEED_APP = "feed_app"
    SOURCE = "source"


class Lists(msgspec.Struct, frozen=True):
    """The versions of the lists by which hits are judged now; `none` where there is no list.

    `places` is what is told of an address beside its country: `none`, `regions` or `cities`.
    """

    agents: str
    networks: str
    countries: str
    places: str
    asns: str


class Figure(msgspec.Struct, frozen=True):
    """The downloads of one bucket, or of one key in it.

    `start` carries the offset of the time zone asked for. `listeners` are distinct listener keys, null under `by`
    and where they cannot be known. Under `by`, the row `other` has as `values` how many values of the range it holds
    together; it is null for a value of its own, be it called `other` or not.
    """

    start: dt.datetime
    key: str | None
    downloads: int
    downloads_strict: int
    listeners: int | None
    values: int | None = None


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """How figures were counted, and how complete and settled they are.

    Every hit from before `cutoff` has landed. `partial` is true while hits that belong to the figures may be missing.
    `restated` is how many of the range's UTC days were counted anew: `/restatements` says why. `profile` and `rules`
    say by what hits are judged; where days of the range differ they name all, with commas between them.
    """

    cutoff: dt.datetime | None
    profile: str
    rules: str
    lists: Lists
    state: State
    partial: bool
    restated: int


class DownloadsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Downloads by time.

    Every bucket of the range is there, with 0 where nothing was counted; under `by` only values with downloads are, and
    those beyond the limit together as `other`. `from` and `to` say which range was taken. `partial` is true while hits
    of the range may be missing: it reaches beyond `cutoff`, before which every hit has landed, or landed hits are not
    summed up yet. `listeners_reason` says why some `listeners` are null: `by`, `across_months`, `downloads_not_kept`,
    or `too_many_downloads` where listeners of a range that is none of whole UTC days would have to be counted anew.
    `restated` is how many of the range's UTC days were counted anew: `/restatements` says why. `profile` and `rules`
    say by what hits are judged; where days of the range differ they name all, with commas between them.
    """

    data: list[Figure]
    cutoff: dt.datetime | None
    profile: str
    rules: str
    lists: Lists
    state: State
    partial: bool
    restated: int
    tz: str
    interval: str
    start: dt.datetime = msgspec.field(name="from")
    end: dt.datetime = msgspec.field(name="to")
    listeners_reason: NoListeners | None


class VerdictFigure(msgspec.Struct, frozen=True):
    """How many hits had a verdict, and how many downloads they made."""

    verdict: str
    evidence: str | None
    hits: int
    downloads: int


class DayExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """A UTC day, complete: the hits of all verdicts add up to `hits`, and eligible ones are downloads, repeats, or
    `left_out`, since an imported log counts instead of trackers on that day, or they instead of it.

    Those of spikes that were accepted are in `left_out` as well. Once hits are not kept any more the downloads are all
    that is known: `hits`, `repeats` and `left_out` are null, `verdicts` are empty, and `hits_reason` says
    `hits_not_kept`. `restated` is 1 when the day was restated.
    """

    podcast_id: UUID
    episode_id: UUID | None
    day: dt.date
    hits: int | None
    hits_reason: NoHits | None
    downloads: int
    downloads_strict: int
    repeats: int | None
    left_out: int | None
    verdicts: list[VerdictFigure]
    cutoff: dt.datetime | None
    profile: str
    rules: str
    partial: bool
    state: State
    restated: int


class ByteRangeAnswer(msgspec.Struct, frozen=True):
    """What a hit's `Range` asked for; `first` and `last` are null where the kind has none."""

    kind: str
    first: int | None
    last: int | None


class HitAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One request, and why it counts or does not.

    `verdicts` are all that speak against it by the default profile; `verdict` is what decides under `profile`, which
    its day is judged by: the first of them by precedence that does, or `eligible`. `counted` is true for the one hit
    that its listener's download of that episode and day is taken from. `target` is kept only while a hit waits for its
    episode. `networks` are the lists that its address was in: `datacenter`, `vpn`, `relay`, `blocked`, and `shared` by
    many people, of whom the first two say nothing. `os`, `region` (such as `US-CA`) and `city` (such as
    `US-CA/San Francisco`) are null where nobody told. `spike_id` names the accepted spike that leaves it out.
    """

    hit_id: str
    at: dt.datetime
    podcast_id: UUID | None
    episode_id: UUID | None
    verdict: str
    verdicts: list[str]
    evidence: str | None
    method: str
    agent: str
    agent_kind: str
    app: str
    device: str
    os: str | None
    country: str | None
    region: str | None
    city: str | None
    referrer: str | None
    range: ByteRangeAnswer | None
    target: str | None
    networks: list[str]
    flags: list[str]
    counted: bool
    spike_id: UUID | None
    why: str
    profile: str


class HitPage(msgspec.Struct, frozen=True):
    """One page of hits; `next_cursor` is null on the last one.

    `hits_not_kept` are the UTC days of the range whose hits are not kept any more.
    """

    data: list[HitAnswer]
    next_cursor: str | None
    hits_not_kept: list[dt.date]
