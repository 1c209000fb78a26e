"""Podcasts and their episodes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import msgspec

from castledger._models import Episode, Podcast
from castledger._nouns import AsyncNoun, Noun
from castledger._requests import Call, Page, Paged

__all__ = ("AsyncPodcasts", "Podcasts")


def _create(feed_url: str) -> Call[Podcast]:
    """Add a podcast by its feed's address."""
    content = msgspec.json.encode({"feed_url": feed_url})
    return Call(Podcast, "POST", "/podcasts", content=content, content_type="application/json")


def _create_from_feed(feed: bytes) -> Call[Podcast]:
    """Add a podcast by its feed itself."""
    return Call(Podcast, "POST", "/podcasts", content=feed, content_type="application/rss+xml")


def _list() -> Paged[Podcast]:
    """List podcasts."""
    return Paged(Page[Podcast], "/podcasts")


def _get(podcast_id: UUID | str) -> Call[Podcast]:
    """Read a podcast."""
    return Call(Podcast, "GET", f"/podcasts/{UUID(str(podcast_id))}")


def _episodes(podcast_id: UUID | str) -> Paged[Episode]:
    """List a podcast's episodes."""
    return Paged(Page[Episode], f"/podcasts/{UUID(str(podcast_id))}/episodes")


class Podcasts(Noun):
    """Podcasts, asked for in turn."""

    def create(self, *, feed_url: str) -> Podcast:
        """Add a podcast by its feed's address.

        Raises:
            Conflict: ``podcast_taken``: the feed has an owner.
            ValidationError: The feed cannot be fetched or is none; ``errors`` says why.
        """
        return self._client.send(_create(feed_url))

    def create_from_feed(self, feed: bytes) -> Podcast:
        """Add a podcast by its feed's bytes, for one that the server cannot fetch; it will not be polled."""
        return self._client.send(_create_from_feed(feed))

    def list(self) -> Iterator[Podcast]:
        """Go through all podcasts, page by page."""
        return self._client.pages(_list())

    def get(self, podcast_id: UUID | str) -> Podcast:
        """Read one podcast."""
        return self._client.send(_get(podcast_id))

    def episodes(self, podcast_id: UUID | str) -> Iterator[Episode]:
        """Go through a podcast's episodes, newest first."""
        return self._client.pages(_episodes(podcast_id))


class AsyncPodcasts(AsyncNoun):
    """The same, awaited."""

    async def create(self, *, feed_url: str) -> Podcast:
        """Add a podcast by its feed's address.

        Raises:
            Conflict: ``podcast_taken``: the feed has an owner.
            ValidationError: The feed cannot be fetched or is none; ``errors`` says why.
        """
        return await self._client.send(_create(feed_url))

    async def create_from_feed(self, feed: bytes) -> Podcast:
        """Add a podcast by its feed's bytes, for one that the server cannot fetch; it will not be polled."""
        return await self._client.send(_create_from_feed(feed))

    def list(self) -> AsyncIterator[Podcast]:
        """Go through all podcasts, page by page."""
        return self._client.pages(_list())

    async def get(self, podcast_id: UUID | str) -> Podcast:
        """Read one podcast."""
        return await self._client.send(_get(podcast_id))

    def episodes(self, podcast_id: UUID | str) -> AsyncIterator[Episode]:
        """Go through a podcast's episodes, newest first."""
        return self._client.pages(_episodes(podcast_id))
