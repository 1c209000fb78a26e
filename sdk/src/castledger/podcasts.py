"""Podcasts: ``client.podcasts``."""

from __future__ import annotations

from urllib.parse import quote
from uuid import UUID

from castledger._models import Episode, Podcast, UnknownHost
from castledger._nouns import AsyncNoun, Noun
from castledger._paging import AsyncItems, Items
from castledger._requests import Call, Paged, path_id

__all__ = ("AsyncPodcasts", "Podcasts")


def _create(feed_url: str) -> Call[Podcast]:
    return Call(Podcast, "POST", "/podcasts", json={"feed_url": feed_url})


def _create_from_feed(feed: bytes) -> Call[Podcast]:
    return Call(Podcast, "POST", "/podcasts", content=feed, content_type="application/rss+xml")


def _list() -> Paged[Podcast]:
    return Paged(Podcast, "/podcasts")


def _get(podcast_id: UUID | str) -> Call[Podcast]:
    return Call(Podcast, "GET", f"/podcasts/{path_id(podcast_id)}")


def _episodes(podcast_id: UUID | str) -> Paged[Episode]:
    return Paged(Episode, f"/podcasts/{path_id(podcast_id)}/episodes")


def _unknown_hosts(podcast_id: UUID | str) -> Paged[UnknownHost]:
    return Paged(UnknownHost, f"/podcasts/{path_id(podcast_id)}/unknown-hosts", limit=None)


def _accept_host(podcast_id: UUID | str, host: str) -> Call[UnknownHost]:
    path = f"/podcasts/{path_id(podcast_id)}/unknown-hosts/{quote(host, safe='')}/accept"
    return Call(UnknownHost, "POST", path)


class Podcasts(Noun):
    """The tenant's podcasts."""

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

    def list(self) -> Items[Podcast]:
        """Go through all podcasts, in the order in which they were added."""
        return self._client.pages(_list())

    def get(self, podcast_id: UUID | str) -> Podcast:
        """Read one podcast."""
        return self._client.send(_get(podcast_id))

    def episodes(self, podcast_id: UUID | str) -> Items[Episode]:
        """Go through a podcast's episodes, newest first."""
        return self._client.pages(_episodes(podcast_id))

    def unknown_hosts(self, podcast_id: UUID | str) -> Items[UnknownHost]:
        """Go through the hosts that players asked for under the podcast's prefix though no feed has registered them."""
        return self._client.pages(_unknown_hosts(podcast_id))

    def accept_host(self, podcast_id: UUID | str, host: str) -> UnknownHost:
        """Make a host known to the trackers, within two seconds.

        Raises:
            ValidationError: It is an address, a reserved name or the installation's own.
        """
        return self._client.send(_accept_host(podcast_id, host))


class AsyncPodcasts(AsyncNoun):
    """:class:`Podcasts`, awaited."""

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

    def list(self) -> AsyncItems[Podcast]:
        """Go through all podcasts, in the order in which they were added."""
        return self._client.pages(_list())

    async def get(self, podcast_id: UUID | str) -> Podcast:
        """Read one podcast."""
        return await self._client.send(_get(podcast_id))

    def episodes(self, podcast_id: UUID | str) -> AsyncItems[Episode]:
        """Go through a podcast's episodes, newest first."""
        return self._client.pages(_episodes(podcast_id))

    def unknown_hosts(self, podcast_id: UUID | str) -> AsyncItems[UnknownHost]:
        """Go through the hosts that players asked for under the podcast's prefix though no feed has registered them."""
        return self._client.pages(_unknown_hosts(podcast_id))

    async def accept_host(self, podcast_id: UUID | str, host: str) -> UnknownHost:
        """Make a host known to the trackers, within two seconds.

        Raises:
            ValidationError: It is an address, a reserved name or the installation's own.
        """
        return await self._client.send(_accept_host(podcast_id, host))
