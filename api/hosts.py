"""Accepting a host for a podcast: the part that the API and the page share."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from litestar import Request

from analytics_core.db.unknown_hosts import accept_host
from analytics_core.errors import Conflict, InvalidInput
from analytics_core.hosts import parse_host_name
from api.resources import resources_of
from api.schemas.unknown_hosts import UnknownHost
from api.scopes import find_podcast
from api.writing import writing

__all__ = ("accept",)


async def accept(text: str, podcast_id: UUID, *, request: Request[Any, Any, Any]) -> UnknownHost:
    """Make a host known to the installation's trackers.

    Args:
        text: Its name, as somebody wrote it.
        podcast_id: The podcast under whose prefix it is asked for.
        request: Of whose podcast it has to be.

    Raises:
        NotFound: There is no such podcast, or it is another tenant's.
        Conflict: ``podcast_moved``, or ``too_many_hosts``.
        InvalidInput: On ``host``: it is no host of the public Internet, or our own.
    """
    resources = resources_of(request)
    async with writing(request, "host.accept") as work:
        podcast = await find_podcast(work.conn, podcast_id)
        if podcast.transferred_at is not None:
            raise Conflict("podcast_moved", "this podcast's feed belongs to somebody else now")
        host = parse_host_name(text)
        if host == urlsplit(resources.settings.tracker.public_url).hostname:
            raise InvalidInput("host", "is a tracker of ours, and no place to send players to", code="host_not_public")
        row = await accept_host(work.conn, work.tenant, podcast.podcast_no, host, now=resources.clock.now())
        return work.done(UnknownHost.of(row), resource=podcast_id)
