"""Podcasts: ``client.podcasts``."""

from __future__ import annotations

from urllib.parse import quote
from uuid import UUID

from castledger._models import Episode, Podcast, UnknownHost
from castledger._nouns import AsyncNoun, Noun, pages, sends
from castledger._requests import Call, Paged, path_id

__all__ = ("AsyncPodcasts", "Podcasts")


class Podcasts(Noun):
    """The tenant's podcasts."""

    @sends
    def create(self, *, feed_url: str) -> Call[Podcast]:
        """Add a podcast by its feed's address.

        Raises:
            Conflict: ``podcast_taken``: the feed has an owner.
            ValidationError: The feed cannot be fetched or is none; ``errors`` says why.
        """
        return Call(Podcast, "POST", "/podcasts", json={"feed_url": feed_url})

    @sends
    def create_from_feed(self, feed: bytes) -> Call[Podcast]:
        """Add a podcast by its feed's bytes, for one that the server cannot fetch; it will not be polled."""
        return Call(Podcast, "POST", "/podcasts", content=feed, content_type="application/rss+xml")

    @pages
    def list(self) -> Paged[Podcast]:
        """Go through all podcasts, in the order in which they were added."""
        return Paged(Podcast, "/podcasts")

    @sends
    def get(self, podcast_id: UUID | str) -> Call[Podcast]:
        """Read one podcast."""
        return Call(Podcast, "GET", f"/podcasts/{path_id(podcast_id)}")

    @pages
    def episodes(self, podcast_id: UUID | str) -> Paged[Episode]:
        """Go through a podcast's episodes, newest first."""
        return Paged(Episode, f"/podcasts/{path_id(podcast_id)}/episodes")

    @pages
    def unknown_hosts(self, podcast_id: UUID | str) -> Paged[UnknownHost]:
        """Go through the hosts that players asked for under the podcast's prefix though no feed has registered them."""
        return Paged(UnknownHost, f"/podcasts/{path_id(podcast_id)}/unknown-hosts", limit=None)

    @sends
    def accept_host(self, podcast_id: UUID | str, host: str) -> Call[UnknownHost]:
        """Make a host known to the trackers, within two seconds.

        Raises:
            ValidationError: It is an address, a reserved name or the installation's own.
        """
        path = f"/podcasts/{path_id(podcast_id)}/unknown-hosts/{quote(host, safe='')}/accept"
        return Call(UnknownHost, "POST", path)


class AsyncPodcasts(AsyncNoun, Podcasts):
    """:class:`Podcasts`, awaited."""
