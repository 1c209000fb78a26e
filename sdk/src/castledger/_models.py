"""What the API answers, typed; fields that a newer API adds are ignored."""

from __future__ import annotations

import datetime as dt
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


class Podcast(msgspec.Struct, frozen=True, kw_only=True):
    """A podcast; ``prefix`` goes in front of its enclosures' addresses."""

    podcast_id: UUID
    title: str
    podcast_guid: UUID
    verified: bool
    episodes: int
    created_at: dt.datetime
    feed_url: str | None = None
    link: str | None = None
    language: str | None = None
    prefix: str | None = None
    feed_error: str | None = None
    feed_checked_at: dt.datetime | None = None
    archived_at: dt.datetime | None = None
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
    published_at: dt.datetime | None = None
    duration_s: int | None = None
    removed_at: dt.datetime | None = None
    enclosures: tuple[Enclosure, ...] = ()


class DownloadRow(msgspec.Struct, frozen=True, kw_only=True):
    """Downloads of one interval, and of one key when the report is broken down."""

    start: dt.datetime
    downloads: int
    downloads_strict: int
    key: str | None = None
    listeners: int | None = None


class Lists(msgspec.Struct, frozen=True, kw_only=True):
    """Which lists were used for counting."""

    agents: str | None = None
    networks: str | None = None
    countries: str | None = None


class DownloadReport(msgspec.Struct, frozen=True, kw_only=True):
    """Downloads over time.

    Attributes:
        cutoff: Everything before this instant has been counted.
        profile: The rules that were used.
        state: ``live``, ``provisional`` or ``final``.
        partial: Whether the report reaches beyond what has been counted.
    """

    data: tuple[DownloadRow, ...]
    profile: str
    state: str
    partial: bool
    rules: str | None = None
    lists: Lists = Lists()
    cutoff: dt.datetime | None = None
    tz: str | None = None
    interval: str | None = None
    listeners_reason: str | None = None

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
    """A day taken apart: the verdicts' hits add up to all hits, the eligible ones to downloads and repeats."""

    podcast_id: UUID
    day: dt.date
    hits: int
    downloads: int
    downloads_strict: int
    repeats: int
    verdicts: tuple[VerdictCount, ...]
    profile: str
    state: str
    partial: bool
    episode_id: UUID | None = None
    rules: str | None = None
    cutoff: dt.datetime | None = None


class ByteRange(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes that a hit asked for."""

    kind: str
    first: int | None = None
    last: int | None = None


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One hit and why it counts or does not."""

    hit_id: str
    at: dt.datetime
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
    country: str | None = None
    referrer: str | None = None
    range: ByteRange | None = None
    target: str | None = None
    flags: tuple[str, ...] = ()
