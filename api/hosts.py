"""Accepting a host for a podcast: the part that the API and the page share."""

from __future__ import annotations

from urllib.parse import urlsplit
from uuid import UUID

from analytics_core.db.unknown_hosts import UnknownHostRow, accept_host
from analytics_core.errors import Conflict, InvalidInput
from analytics_core.hosts import parse_host_name
from api.callers import Caller
from api.resources import Resources
from api.scopes import find_podcast

__all__ = ("accept",)


async def accept(text: str, podcast_id: UUID, *, caller: Caller, resources: Resources) -> UnknownHostRow:
    """Make a host known to the installation's trackers.

    Args:
        text: Its name, as somebody wrote it.
        podcast_id: The podcast under whose prefix it is asked for.
        caller: Whose podcast it has to be.
        resources: Of the application.

    Raises:
        NotFound: There is no such podcast, or it is another tenant's.
        Conflict: ``podcast_moved``, or ``too_many_hosts``.
        InvalidInput: On ``host``: it is no host of the public Internet, or our own.
    """
    async with resources.database.tenant(caller.tenant, readonly=False) as conn:
        podcast = await find_podcast(conn, podcast_id)
        if podcast.transferred_at is not None:
            raise Conflict("podcast_moved", "this podcast's feed belongs to somebody else now")
        host = parse_host_name(text)
        if host == urlsplit(resources.settings.tracker.public_url).hostname:
            raise InvalidInput("host", "is a tracker of ours, and no place to send players to", code="host_not_public")
        return await accept_host(conn, caller.tenant, podcast.podcast_no, host, now=resources.clock.now())
