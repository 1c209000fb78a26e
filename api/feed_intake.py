"""How a podcast comes in by its feed: fetched from an address or sent, then stored with its episodes."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import msgspec
from litestar import Request

from analytics_core.db.claims import find_taken, start_claim
from analytics_core.db.podcasts import add_podcast
from analytics_core.errors import Conflict, InvalidInput
from analytics_core.feeds import Feed
from analytics_core.roles import Role
from api.auth import caller_of
from api.errors import PodcastTaken
from api.resources import Resources, resources_of
from api.schemas.claims import what_to_do
from api.schemas.podcasts import AddedPodcast, Podcast
from api.writing import writing

__all__ = ("ReadFeed", "fetch_bytes", "fetch_podcast_feed", "read_sent_feed", "store_podcast")


class ReadFeed(msgspec.Struct, frozen=True):
    """A feed with what its host said of it; ``url`` is ``None`` for one that was sent."""

    feed: Feed
    url: str | None = None
    etag: str | None = None
    last_modified: str | None = None


async def fetch_bytes(url: str, resources: Resources) -> tuple[bytes, str | None, str | None]:
    """Fetch a feed's bytes, with its etag and its date.

    Raises:
        InvalidInput: On ``feed_url``: it cannot be fetched.
    """
    # Imported on first use: an API that never fetches a feed does without an HTTP client.
    from analytics_core.feed_fetch import Fetched, fetch_feed

    fetched = await fetch_feed(url, settings=resources.settings.feed)
    if not isinstance(fetched, Fetched):
        raise InvalidInput("feed_url", "the feed's host says that nothing changed", code="feed_status")
    return fetched.data, fetched.etag, fetched.last_modified


async def fetch_podcast_feed(url: str, resources: Resources) -> ReadFeed:
    """Fetch a feed and read it.

    Raises:
        InvalidInput: On ``feed_url``: it cannot be fetched, or is no feed.
    """
    from analytics_core.feeds import parse_feed

    data, etag, last_modified = await fetch_bytes(url, resources)
    return ReadFeed(await asyncio.to_thread(parse_feed, data, feed_url=url), url, etag, last_modified)


async def read_sent_feed(data: bytes) -> ReadFeed:
    """Read a feed that was sent.

    Raises:
        InvalidInput: On ``feed_url``: it is no feed.
    """
    from analytics_core.feeds import parse_feed

    return ReadFeed(await asyncio.to_thread(parse_feed, data))


async def store_podcast(read: ReadFeed, *, request: Request[Any, Any, Any]) -> AddedPodcast:
    """Store a podcast for the tenant of whoever asks; what the installation's own adds is verified.

    Raises:
        PodcastTaken: With the claim by which it can be had, unless it is the tenant's own and verified.
    """
    resources = resources_of(request)
    own_host = urlsplit(resources.settings.tracker.public_url).hostname
    own_hosts = (own_host,) if own_host else ()
    try:
        async with writing(request, "podcast.create") as work:
            row = await add_podcast(
                work.conn,
                work.tenant,
                read.feed,
                feed_url=read.url,
                verified=work.caller.is_installation,
                now=resources.clock.now(),
                etag=read.etag,
                last_modified=read.last_modified,
                own_hosts=own_hosts,
            )
            podcast = Podcast.of(row, public_url=resources.settings.tracker.public_url)
            # Its title and address go when it is erased, and so are not put on record.
            after = {"episodes": row.episodes, "verified": podcast.verified}
            answer = AddedPodcast.with_warnings(podcast, read.feed.warnings)
            return work.done(answer, resource=row.podcast_id, after=after)
    except Conflict as error:
        raise await _refuse_taken(read, error, request=request, own_hosts=own_hosts) from error


async def _refuse_taken(
    read: ReadFeed, error: Conflict, *, request: Request[Any, Any, Any], own_hosts: tuple[str, ...]
) -> PodcastTaken:
    """Say that a feed is taken, and start the claim by which it can be had; never whose it is."""
    caller, resources = caller_of(request), resources_of(request)
    async with resources.database.auth() as conn:
        taken = await find_taken(conn, caller.tenant, read.feed, feed_url=read.url, own_hosts=own_hosts)
        if taken is None:
            # Its owner let go of it in this very moment.
            return PodcastTaken(f"{error}; try again")
        if taken.tenant_id == caller.tenant.tenant_id and taken.verified_at is not None:
            return PodcastTaken("you have added this podcast already")
        if taken.feed_url is None:
            return PodcastTaken(
                f"{error}; it was added without a feed's address, so nobody can prove anything: ask the operator"
            )
    async with writing(request, "claim.start", role=Role.AUTH, is_answer=False) as work:
        claim = await start_claim(
            work.conn, caller.tenant, taken, title=read.feed.title, feed_url=read.url, now=resources.clock.now()
        )
        work.done(None, resource=claim.claim_id)
    return PodcastTaken(f"{error}; if it is yours: {what_to_do(claim)}", claim)
