"""Unknown hosts: seen by whoever owns the podcast, and accepted by one call."""

from __future__ import annotations

from typing import Any

from litestar import Request, get, post

from analytics_core.db.unknown_hosts import list_unknown_hosts
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.hosts import accept
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.unknown_hosts import UnknownHost
from api.scopes import find_podcast, path_id

__all__ = ("accept_unknown_host", "get_unknown_hosts")


@get("/podcasts/{podcast_id:str}/unknown-hosts", tags=["podcasts"], opt={"permission": Permission.PODCASTS_READ})
async def get_unknown_hosts(request: Request[Any, Any, Any]) -> Page[UnknownHost]:
    """List the hosts that players asked for under a podcast's prefix though no feed has registered them.

    The most wanted first, and behind them those that you have accepted; all on one page. Only requests that were
    redirected are seen: those that `TRACKER_HOSTS` refused are counted by the tracker, without their hosts.
    """
    wanted = path_id(request, "podcast_id", what="podcast")
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        podcast = await find_podcast(conn, wanted)
        rows = await list_unknown_hosts(conn, podcast.podcast_no)
    return Page([UnknownHost.of(row) for row in rows], None)


@post(
    "/podcasts/{podcast_id:str}/unknown-hosts/{host:str}/accept",
    tags=["podcasts"],
    status_code=200,
    opt={"permission": Permission.PODCASTS_WRITE, "refusals": (409,)},
)
async def accept_unknown_host(request: Request[Any, Any, Any]) -> UnknownHost:
    """Make a host known to the installation's trackers, within two seconds.

    Players are then sent on to it whatever their target looks like; browsers are not, and a deny list still wins. The
    host need not be on the list. Addresses, reserved names and our own are never accepted.
    """
    wanted = path_id(request, "podcast_id", what="podcast")
    return await accept(str(request.path_params["host"]), wanted, request=request)
