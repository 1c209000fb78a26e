"""What the API answers, typed; fields that a newer API adds are ignored."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, TypeAlias
from uuid import UUID

import msgspec

__all__ = (
    "ByteRange",
    "DownloadReport",
    "DownloadRow",
    "Enclosure",
    "Episode",
    "Explanation",
    "Hit",
    "Lists",
    "Podcast",
    "VerdictCount",
)

# Without an offset nobody knows when it was: such an answer is refused while it is read.
Instant: TypeAlias = Annotated[dt.datetime, msgspec.Meta(tz=True)]


class Podcast(msgspec.Struct, frozen=True, kw_only=True):
    """A podcast; ``prefix`` goes in front of its enclosures' addresses."""

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


class DownloadRow(msgspec.Struct, frozen=True, kw_only=True):
    """Downloads of one interval, and of one key when the report is broken down."""

    start: Instant
    downloads: int
    downloads_strict: int
    key: str | None = None
    listeners: int | None = None


class Lists(msgspec.Struct, frozen=True, kw_only=True):
    """The versions of the lists by which hits are judged; ``none`` where there is no list."""

    agents: str
    networks: str
    countries: str
    places: str = "none"
    asns: str = "none"


class DownloadReport(msgspec.Struct, frozen=True, kw_only=True):
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

    @property
    def total(self) -> int:
        """All downloads of the report."""
        return sum(row.downloads for row in self.data)


class VerdictCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many hits have one verdict, and how many downloads they won."""

    verdict: str
    hits: int
    downloads: int
    evidence: str | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
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
