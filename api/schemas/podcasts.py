"""The forms of podcasts and episodes."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from analytics_core.db.episodes import EpisodeRow
from analytics_core.db.podcasts import PodcastRow

__all__ = ("AddPodcast", "AddedPodcast", "Enclosure", "Episode", "Podcast")


class AddPodcast(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which podcast to add.

    `feed_url` is fetched once, at most as large and as long as the settings allow, and polled from then on.
    """

    feed_url: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


class Podcast(msgspec.Struct, frozen=True, kw_only=True):
    """A podcast.

    `prefix` is what stands in front of its enclosures' URLs (behind it host, path and query, or the whole URL),
    null while the installation has no public URL. `episodes` counts those that the feed lists. `verified` says that
    the feed was proven to be its owner's. `transferred_at` says since when its feed belongs to somebody else, who
    proved a claim: then its figures up to that moment are all that it will have.
    """

    podcast_id: UUID
    title: str
    feed_url: str | None
    podcast_guid: UUID
    link: str | None
    language: str | None
    verified: bool
    episodes: int
    prefix: str | None
    feed_error: str | None
    feed_checked_at: dt.datetime | None
    created_at: dt.datetime
    archived_at: dt.datetime | None
    transferred_at: dt.datetime | None

    @classmethod
    def of(cls, row: PodcastRow, *, public_url: str) -> Podcast:
        """Show a stored podcast."""
        return cls(
            podcast_id=row.podcast_id,
            title=row.title,
            feed_url=row.feed_url,
            podcast_guid=row.podcast_guid,
            link=row.link,
            language=row.language,
            verified=row.verified_at is not None,
            episodes=row.episodes,
            prefix=f"{public_url}/e,pg={row.podcast_guid}/" if public_url and row.transferred_at is None else None,
            feed_error=row.feed_error,
            feed_checked_at=row.feed_checked_at,
            created_at=row.created_at,
            archived_at=row.archived_at,
            transferred_at=row.transferred_at,
        )


class AddedPodcast(Podcast, frozen=True, kw_only=True):
    """A podcast that was just added, with what its feed could do better."""

    warnings: list[str]

    @classmethod
    def with_warnings(cls, podcast: Podcast, warnings: tuple[str, ...]) -> AddedPodcast:
        """Show a podcast that was just added."""
        return cls(**msgspec.structs.asdict(podcast), warnings=list(warnings))


class Enclosure(msgspec.Struct, frozen=True):
    """A file of an episode, as the feed lists it."""

    url: str
    type: str | None
    length_bytes: int | None
    kind: Literal["enclosure", "alternate"]


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """An episode; `removed_at` says since when the feed does not list it any more."""

    episode_id: UUID
    podcast_id: UUID
    guid: str
    title: str
    published_at: dt.datetime | None
    duration_s: int | None
    live: bool
    removed_at: dt.datetime | None
    enclosures: list[Enclosure]

    @classmethod
    def of(cls, row: EpisodeRow) -> Episode:
        """Show a stored episode."""
        return cls(
            episode_id=row.episode_id,
            podcast_id=row.podcast_id,
            guid=row.guid,
            title=row.title,
            published_at=row.published_at,
            duration_s=row.duration_s,
            live=row.live,
            removed_at=row.removed_at,
            enclosures=[
                Enclosure(
                    item.url,
                    item.media_type,
                    item.length_bytes,
                    "alternate" if item.kind == "alternate" else "enclosure",
                )
                for item in row.enclosures
            ],
        )
