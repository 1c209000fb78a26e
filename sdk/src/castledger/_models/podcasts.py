"""Podcasts and their episodes."""

from __future__ import annotations

from uuid import UUID

import msgspec

from castledger._models.common import Instant

__all__ = ("Enclosure", "Episode", "Podcast", "UnknownHost")


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
