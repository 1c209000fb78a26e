"""What the API reports, typed: downloads, comparisons, curves, and hits; fields that a newer API adds are ignored."""

from __future__ import annotations

import datetime as dt
from uuid import UUID

import msgspec

from castledger._models import Instant, Table, Tabular

__all__ = (
    "ByteRange",
    "ComparedDay",
    "ComparedDownloads",
    "ComparedPair",
    "ComparedProfile",
    "Comparison",
    "Curve",
    "CurvePoint",
    "Difference",
    "DownloadReport",
    "DownloadRow",
    "Explanation",
    "FormerRange",
    "Hit",
    "Lists",
    "Overview",
    "Ranked",
    "Ranking",
    "VerdictCount",
)


class DownloadRow(msgspec.Struct, frozen=True, kw_only=True):
    """Downloads of one interval, and of one key when the report is broken down.

    Attributes:
        key: An episode's id, a name, a code of a place or a host; empty where unknown.
        listeners: Distinct ones; ``None`` when the report is broken down, and where they cannot be known.
        values: Of the row ``other``, how many values it holds together.
    """

    start: Instant
    downloads: int
    downloads_strict: int
    key: str | None = None
    listeners: int | None = None
    values: int | None = None


class Lists(msgspec.Struct, frozen=True, kw_only=True):
    """The versions of the lists by which hits are judged; ``none`` where there is no list."""

    agents: str
    networks: str
    countries: str
    places: str = "none"
    asns: str = "none"


class DownloadReport(Tabular, frozen=True, kw_only=True):
    """Downloads over time.

    Attributes:
        start: Where the range begins that was taken, in the report's time zone; the API's ``from``.
        end: Where it ends, itself excluded; the API's ``to``.
        tz: Whose days and clocks decide.
        interval: How long a row's time is.
        profile: The rules that were used.
        rules: Their version.
        lists: The lists that were used.
        state: ``live``, ``provisional`` or ``final``.
        partial: Whether downloads of the range may be missing, such as where it reaches beyond *cutoff*.
        cutoff: Everything before this instant has been counted; ``None`` while nothing has.
        listeners_reason: Why some rows have no listeners.
        restated: How many UTC days of the range were restated after they were final.
    """

    data: tuple[DownloadRow, ...]
    start: Instant = msgspec.field(name="from")
    end: Instant = msgspec.field(name="to")
    tz: str
    interval: str
    profile: str
    rules: str
    lists: Lists
    state: str
    partial: bool
    cutoff: Instant | None = None
    listeners_reason: str | None = None
    restated: int = 0

    def as_table(self) -> Table:
        """Give the rows, in the report's time zone."""
        return Table(DownloadRow, self.data, self.tz)

    @property
    def total(self) -> int:
        """All downloads of the report."""
        return sum(row.downloads for row in self.data)


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """One value among those with the most downloads.

    Attributes:
        key: An id, a name or a country's code; empty where unknown.
        title: Of an episode or a podcast.
        share: The part of all downloads, from 0 to 1.
    """

    key: str
    downloads: int
    downloads_strict: int
    share: float
    title: str | None = None


class Ranking(Tabular, frozen=True, kw_only=True):
    """The values with the most downloads, and all others together: how many they are, and their downloads."""

    data: tuple[Ranked, ...]
    other_values: int
    other_downloads: int
    other_downloads_strict: int

    def as_table(self) -> Table:
        """Give the values that are named."""
        return Table(Ranked, self.data)


class FormerRange(msgspec.Struct, frozen=True, kw_only=True):
    """As many days right before a range; ``change`` against them is a share of theirs, ``None`` where they had none."""

    start: Instant = msgspec.field(name="from")
    end: Instant = msgspec.field(name="to")
    downloads: int
    downloads_strict: int
    change: float | None = None


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """A range at a glance; what is not explained here is as in :class:`DownloadReport`.

    Attributes:
        former: The range before; ``None`` when counting began later than that.
        podcasts: ``None`` for one podcast.
    """

    start: Instant = msgspec.field(name="from")
    end: Instant = msgspec.field(name="to")
    tz: str
    downloads: int
    downloads_strict: int
    episodes: Ranking
    apps: Ranking
    countries: Ranking
    profile: str
    rules: str
    lists: Lists
    state: str
    partial: bool
    podcasts: Ranking | None = None
    former: FormerRange | None = None
    listeners: int | None = None
    listeners_reason: str | None = None
    cutoff: Instant | None = None
    restated: int = 0


class ComparedProfile(msgspec.Struct, frozen=True, kw_only=True):
    """A profile, and what it counts over all days whose hits are kept.

    Attributes:
        differences: Of a profile that stands for somebody else's rules, where its figures may not be theirs.
    """

    profile: str
    rules: str
    summary: str
    window: str
    downloads: int
    differences: tuple[str, ...] = ()


class ComparedDay(msgspec.Struct, frozen=True, kw_only=True):
    """A UTC day.

    Attributes:
        downloads: By profile; ``None`` with a ``reason`` where no hits are left to judge again.
        counted: Those that reports show.
        late: Hits that came when the day was final: judged here, and in no report.
    """

    day: dt.date
    counted: int
    hits: int
    late: int
    downloads: dict[str, int] | None = None
    reason: str | None = None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Downloads that ``counted_by`` counts and the other profile of the pair does not, for one reason.

    Attributes:
        why: The reason in words.
        hits: The first 20 at most.
    """

    counted_by: str
    reason: str
    why: str
    downloads: int
    hits: tuple[str, ...] = ()


class ComparedPair(msgspec.Struct, frozen=True, kw_only=True):
    """Two profiles, and how many more downloads ``one`` counts than ``other``."""

    one: str
    other: str
    difference: int
    reasons: tuple[Difference, ...] = ()


class ComparedDownloads(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a comparison's frame: a day under one profile."""

    day: dt.date
    profile: str
    downloads: int


class Comparison(Tabular, frozen=True, kw_only=True):
    """An episode's stored hits, judged again under several profiles."""

    episode_id: UUID
    start: dt.date = msgspec.field(name="from")
    end: dt.date = msgspec.field(name="to")
    profiles: tuple[ComparedProfile, ...]
    data: tuple[ComparedDay, ...]
    pairs: tuple[ComparedPair, ...]
    state: str
    partial: bool
    cutoff: Instant | None = None

    def as_table(self) -> Table:
        """Give a row a day and profile; none of days whose hits are gone."""
        rows = [
            ComparedDownloads(day=day.day, profile=profile, downloads=downloads)
            for day in self.data
            for profile, downloads in (day.downloads or {}).items()
        ]
        return Table(ComparedDownloads, rows)


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """The downloads of an episode's first ``day`` times 24 hours.

    Attributes:
        downloads: ``None`` with a ``reason``.
        reason: ``not_over`` while these hours run, ``counted_later`` when the podcast was added after the episode came
            out, ``no_publish_date`` or ``no_downloads`` when nobody knows where they begin.
    """

    day: int
    downloads: int | None = None
    downloads_strict: int | None = None
    ends_at: Instant | None = None
    reason: str | None = None


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """What an episode had after 1, 3, 7, 14, 28, 30, 60 and 90 days from ``starts_at`` on."""

    episode_id: UUID
    title: str
    points: tuple[CurvePoint, ...]
    published_at: Instant | None = None
    starts_at: Instant | None = None

    def after(self, days: int) -> int | None:
        """Downloads of the first *days* days; ``None`` where that is not known, or no point of the curve."""
        return next((point.downloads for point in self.points if point.day == days), None)


class VerdictCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many hits have one verdict, and how many downloads they won."""

    verdict: str
    hits: int
    downloads: int
    evidence: str | None = None


class Explanation(Tabular, frozen=True, kw_only=True):
    """A day taken apart: the verdicts' hits add up to all hits, the eligible ones to downloads, repeats and
    those that are left out: of accepted spikes, or because another source counts for the day.

    Hits are not kept for ever: then ``hits`` and ``repeats`` are ``None``, and ``hits_reason`` says why.
    """

    podcast_id: UUID
    day: dt.date
    hits: int | None
    downloads: int
    downloads_strict: int
    repeats: int | None
    verdicts: tuple[VerdictCount, ...]
    profile: str
    rules: str
    state: str
    partial: bool
    restated: int = 0
    left_out: int | None = None
    hits_reason: str | None = None
    episode_id: UUID | None = None
    cutoff: Instant | None = None

    def as_table(self) -> Table:
        """Give the verdicts."""
        return Table(VerdictCount, self.verdicts)


class ByteRange(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes that a hit asked for."""

    kind: str
    first: int | None = None
    last: int | None = None


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One hit and why it counts or does not."""

    hit_id: str
    at: Instant
    verdict: str
    verdicts: tuple[str, ...]
    method: str
    agent: str
    agent_kind: str
    app: str
    device: str
    counted: bool
    why: str
    podcast_id: UUID | None = None
    episode_id: UUID | None = None
    evidence: str | None = None
    os: str | None = None
    country: str | None = None
    region: str | None = None
    city: str | None = None
    referrer: str | None = None
    range: ByteRange | None = None
    target: str | None = None
    networks: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    spike_id: UUID | None = None
    profile: str | None = None
