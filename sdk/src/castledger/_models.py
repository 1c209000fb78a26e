"""What the API answers, typed; fields that a newer API adds are ignored."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import polars as pl

__all__ = (
    "ApiKey",
    "ByteRange",
    "ClickReport",
    "ClickRow",
    "ClickTotals",
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
    "Enclosure",
    "Episode",
    "EventBrowser",
    "Explanation",
    "FormerRange",
    "Hit",
    "Instant",
    "LandedEvent",
    "Link",
    "Lists",
    "NewApiKey",
    "Overview",
    "Podcast",
    "Ranked",
    "Ranking",
    "Table",
    "Tabular",
    "UnknownHost",
    "Utm",
    "VanityHost",
    "VerdictCount",
)

# Without an offset nobody knows when it was: such an answer is refused while it is read.
Instant: TypeAlias = Annotated[dt.datetime, msgspec.Meta(tz=True)]
_Property: TypeAlias = str | int | float | bool | None


class Table(NamedTuple):
    """The rows of a report, for a frame.

    Attributes:
        kind: What each row is.
        tz: In whose clocks instants are shown.
    """

    kind: type[msgspec.Struct]
    rows: Sequence[Any]
    tz: str = "UTC"


class Tabular(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that has rows."""

    def as_table(self) -> Table:
        """Give the rows for a frame."""
        raise NotImplementedError

    def to_polars(self) -> pl.DataFrame:
        """Make a frame of the rows; needs the extra ``polars``, see :mod:`castledger.frames`."""
        from castledger.frames import to_polars

        return to_polars(self)

    def to_pandas(self) -> pd.DataFrame:
        """Make a frame of the rows; needs the extra ``pandas``, see :mod:`castledger.frames`."""
        from castledger.frames import to_pandas

        return to_pandas(self)


class Podcast(msgspec.Struct, frozen=True, kw_only=True):
    """A podcast.

    Attributes:
        verified: Whether the feed was proven to be its owner's.
        episodes: How many the feed lists.
        prefix: What goes in front of its enclosures' addresses (:func:`castledger.urls.prefix_url`); ``None`` while
            the installation has no public URL.
        feed_error: Why the feed could not be read when it was last fetched.
        transferred_at: Since when the feed is somebody else's, who proved a claim.
        warnings: What the feed could do better; told when it is added.
    """

    podcast_id: UUID
    title: str
    podcast_guid: UUID
    verified: bool
    episodes: int
    created_at: Instant
    feed_url: str | None = None
    link: str | None = None
    language: str | None = None
    prefix: str | None = None
    feed_error: str | None = None
    feed_checked_at: Instant | None = None
    archived_at: Instant | None = None
    transferred_at: Instant | None = None
    warnings: tuple[str, ...] = ()


class Enclosure(msgspec.Struct, frozen=True, kw_only=True):
    """A media file of an episode; ``kind`` is ``enclosure`` or ``alternate``."""

    url: str
    kind: str
    type: str | None = None
    length_bytes: int | None = None


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """An episode as its feed describes it."""

    episode_id: UUID
    podcast_id: UUID
    guid: str
    title: str
    live: bool
    published_at: Instant | None = None
    duration_s: int | None = None
    removed_at: Instant | None = None
    enclosures: tuple[Enclosure, ...] = ()


class UnknownHost(msgspec.Struct, frozen=True, kw_only=True):
    """A host that players asked for under a podcast's prefix, though no feed has registered it.

    Attributes:
        host: Its name; ``other`` stands for all beyond the hundred that are listed.
        hits: How often it was asked for while it was unknown.
        accepted_at: Since when trackers know it.
    """

    host: str
    hits: int
    first_seen_at: Instant | None = None
    last_seen_at: Instant | None = None
    accepted_at: Instant | None = None


class Utm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Campaign parameters, without ``utm_``."""

    source: str | None = None
    medium: str | None = None
    campaign: str | None = None
    term: str | None = None
    content: str | None = None


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A short address that leads to a target.

    Attributes:
        short_url: What you hand out; ``None`` while the installation has no public URL.
        url: Where it leads, without campaign parameters.
        target: With them.
        click_id: Whether the target is given each click's id, as ``cl_click``.
        clicks: Of anyone but bots.
        archived_at: Since when it answers 404, as it was deleted.
    """

    link_id: UUID
    slug: str
    url: str
    target: str
    click_id: bool
    clicks: int
    bots: int
    created_at: Instant
    utm: Utm = Utm()
    short_url: str | None = None
    sponsor_id: UUID | None = None
    campaign_id: UUID | None = None
    flight_id: UUID | None = None
    archived_at: Instant | None = None


class VanityHost(msgspec.Struct, frozen=True, kw_only=True):
    """A host of its own for a link, whatever path is asked for; ``url`` is what you hand out."""

    vanity_host_id: UUID
    host: str
    url: str
    link_id: UUID
    slug: str
    created_at: Instant
    archived_at: Instant | None = None


class ClickRow(msgspec.Struct, frozen=True, kw_only=True):
    """The clicks of the interval that begins at ``start``."""

    start: Instant
    clicks: int
    bots: int


class ClickTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Clicks by anyone but bots, and by bots."""

    clicks: int
    bots: int


class ClickReport(Tabular, frozen=True, kw_only=True):
    """Clicks by time.

    Attributes:
        totals: The sum of ``data``.
        undated: Clicks of all times of which only the number is kept.
        cutoff: Clicks before this instant have all been counted; ``None`` while nothing has.
    """

    data: tuple[ClickRow, ...]
    start: Instant = msgspec.field(name="from")
    end: Instant = msgspec.field(name="to")
    tz: str
    interval: str
    totals: ClickTotals
    undated: ClickTotals
    cutoff: Instant | None = None

    def as_table(self) -> Table:
        """Give the rows, in the report's time zone."""
        return Table(ClickRow, self.data, self.tz)


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key without its text.

    Attributes:
        kind: ``secret`` or ``publishable``.
        hint: How its text begins.
        scopes: What it may do; ``None`` for one that may do everything.
        origins: On whose pages a publishable one may be used.
        last_used_at: Up to a minute late.
        replaces: The key in whose place this one was made.
        replaced_by: The key that was made in its place.
    """

    key_id: UUID
    kind: str
    name: str
    hint: str
    created_at: Instant
    scopes: tuple[str, ...] | None = None
    origins: tuple[str, ...] = ()
    last_used_at: Instant | None = None
    expires_at: Instant | None = None
    revoked_at: Instant | None = None
    replaces: UUID | None = None
    replaced_by: UUID | None = None


class NewApiKey(ApiKey, frozen=True, kw_only=True):
    """An API key that was just made; ``key`` is told this once, and left out where the object is printed."""

    key: str

    def __repr__(self) -> str:
        return f"NewApiKey(key_id={self.key_id!r}, name={self.name!r}, hint={self.hint!r})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("key_id", self.key_id), ("name", self.name), ("hint", self.hint)]


class EventBrowser(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of who sent an event from a page.

    Attributes:
        networks: The lists that the address was found in.
        bot: Whether its user agent is a program's.
    """

    bot: bool
    app: str | None = None
    device: str | None = None
    country: str | None = None
    networks: tuple[str, ...] = ()


class LandedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An attribution event as the ledger keeps it.

    Attributes:
        occurred_at: By the sender's clock, corrected.
        received_at: When a collector took it.
        source: ``server``, ``browser`` or ``pixel``.
        customer_key: Stands for the customer: the same for all events of one, and nobody's name.
        value_amount: In the minor unit of ``currency``.
        utm: Campaign parameters of the page, without ``utm_``.
        browser: ``None`` for an event that a server sent.
    """

    event_id: UUID
    type: str
    occurred_at: Instant
    received_at: Instant
    source: str
    click_id: UUID | None = None
    promo_code: str | None = None
    link: str | None = None
    customer_key: str | None = None
    external_id: str | None = None
    value_amount: int | None = None
    currency: str | None = None
    new_customer: bool | None = None
    page_host: str | None = None
    page_path: str | None = None
    referrer_host: str | None = None
    utm: dict[str, str] = {}
    properties: dict[str, _Property] = {}
    browser: EventBrowser | None = None


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
