"""From the ids of a request to the numbers by which figures and hits are kept; what is not one's own is not there."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request

from analytics_core.db.analytics import Scope, podcast_numbers
from analytics_core.db.episodes import EpisodeRow, get_episode
from analytics_core.db.podcasts import PodcastRow, get_number, get_podcast
from analytics_core.db.pool import Connection
from analytics_core.errors import NotFound
from api.queries import Parameter, Refusal, identifier

__all__ = (
    "CAMPAIGN_ID",
    "EPISODE_ID",
    "FLIGHT_ID",
    "INSERTION_ORDER_ID",
    "LINK_ID",
    "PODCAST_ID",
    "SPONSOR_ID",
    "find_podcast",
    "find_scope",
    "path_id",
)

_ID = {"type": "string", "format": "uuid"}
PODCAST_ID: Parameter[UUID | None] = Parameter("podcast_id", identifier, None, "Only of this podcast.", _ID)
EPISODE_ID: Parameter[UUID | None] = Parameter("episode_id", identifier, None, "Only of this episode.", _ID)
CAMPAIGN_ID: Parameter[UUID | None] = Parameter("campaign_id", identifier, None, "Only of this campaign.", _ID)
FLIGHT_ID: Parameter[UUID | None] = Parameter("flight_id", identifier, None, "Only of this flight.", _ID)
LINK_ID: Parameter[UUID | None] = Parameter("link_id", identifier, None, "Only of this link.", _ID)
SPONSOR_ID: Parameter[UUID | None] = Parameter("sponsor_id", identifier, None, "Only of this sponsor.", _ID)
INSERTION_ORDER_ID: Parameter[UUID | None] = Parameter(
    "insertion_order_id", identifier, None, "Only of this order.", _ID
)


def path_id(request: Request[Any, Any, Any], name: str, *, what: str) -> UUID:
    """Read an id from a request's path; what is none names nothing.

    Raises:
        NotFound: It is no id.
    """
    try:
        return identifier(str(request.path_params[name]))
    except Refusal:
        raise NotFound(what) from None


async def find_podcast(conn: Connection, podcast_id: UUID) -> PodcastRow:
    """Read one podcast of the tenant.

    Raises:
        NotFound: There is none, or it is another tenant's.
    """
    row = await get_podcast(conn, podcast_id)
    if row is None:
        raise NotFound("podcast")
    return row


async def _find_episode(conn: Connection, episode_id: UUID, podcast_id: UUID | None) -> EpisodeRow:
    row = await get_episode(conn, episode_id)
    if row is None or podcast_id not in (None, row.podcast_id):
        raise NotFound("episode")
    return row


async def find_scope(
    conn: Connection, *, podcast_id: UUID | None, episode_id: UUID | None
) -> tuple[Scope, UUID | None]:
    """Find what a report is about: an episode, a podcast, or all podcasts of the tenant.

    Returns:
        The scope, and the podcast's id unless it is about all of them.

    Raises:
        NotFound: An id names nothing of the tenant, or an episode of another podcast than the one named.
    """
    if episode_id is not None:
        episode = await _find_episode(conn, episode_id, podcast_id)
        return Scope((episode.podcast_no,), episode.episode_no), episode.podcast_id
    if podcast_id is not None:
        # Not the podcast itself, whose episodes would be counted each time.
        number = await get_number(conn, podcast_id)
        if number is None:
            raise NotFound("podcast")
        return Scope((number,)), podcast_id
    return Scope(await podcast_numbers(conn)), None
