"""Vanity hosts: names of their own for links."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from litestar import Request, delete, get, post

from analytics_core.db.links import get_link
from analytics_core.db.pool import Connection
from analytics_core.db.vanity_hosts import add_vanity_host, archive_vanity_host, refuse_enclosure_host
from analytics_core.db.vanity_hosts import list_vanity_hosts as read_vanity_hosts
from analytics_core.errors import InvalidInput, NotFound
from analytics_core.links import parse_vanity_host
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.bodies import read_json
from api.errors import Fault, InvalidRequest
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Query
from api.resources import Resources, resources_of
from api.schemas.common import Page
from api.schemas.vanity_hosts import AddVanityHost, VanityHost
from api.scopes import LINK_ID, path_id
from api.writing import writing

__all__ = ("create_vanity_host", "delete_vanity_host", "list_vanity_hosts")

_LIST: Final = "vanity_hosts"
_CURSOR: Final = id_cursor(_LIST)


def _own_hosts(resources: Resources) -> set[str]:
    """Name the hosts under which something of the installation answers."""
    ledger = urlsplit(resources.settings.people.public_url).hostname
    return {*resources.own_hosts, *((ledger,) if ledger else ())}


@post(
    "/vanity-hosts",
    tags=["links"],
    opt={
        "permission": Permission.CAMPAIGNS_WRITE,
        "bodies": {"application/json": AddVanityHost},
        "refusals": (404, 409),
    },
)
async def create_vanity_host(request: Request[Any, Any, Any]) -> VanityHost:
    """Have a host lead to a link, live on the trackers within two seconds.

    Point its name at the tracker (a CNAME) first. Whatever path is asked for leads there, but for `/robots.txt` and
    what begins with `/e/`, `/e,` or `/go/`; each is a click on the link.
    """
    resources = resources_of(request)
    wanted = await read_json(request, AddVanityHost)
    try:
        host = parse_vanity_host(wanted.host, own_hosts=_own_hosts(resources))
        async with resources.database.auth() as conn:
            await refuse_enclosure_host(conn, host)
        async with writing(request, "vanity_host.create") as work:
            now = resources.clock.now()
            row = await add_vanity_host(work.conn, work.tenant, host=host, link_id=wanted.link_id, now=now)
            return work.done(VanityHost.of(row), resource=row.vanity_host_id)
    except InvalidInput as error:
        raise InvalidRequest([Fault(f"/{error.path}", error.code, error.reason)]) from error


async def _require_link(conn: Connection, link_id: UUID) -> None:
    if await get_link(conn, link_id) is None:
        raise NotFound("link")


@get(
    "/vanity-hosts",
    tags=["links"],
    opt={"permission": Permission.CAMPAIGNS_READ, "query": (LINK_ID, LIMIT, _CURSOR)},
)
async def list_vanity_hosts(request: Request[Any, Any, Any]) -> Page[VanityHost]:
    """List vanity hosts in the order in which they were added, deleted ones too."""
    query = Query.of(request)
    link_id, limit, after = query.get(LINK_ID), query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        if link_id is not None:
            await _require_link(conn, link_id)
        rows = await read_vanity_hosts(conn, after=after, limit=limit + 1, link_id=link_id)
    return page_of(rows, limit, VanityHost.of, _LIST, lambda row: (row.created_at, row.vanity_host_id))


@delete("/vanity-hosts/{vanity_host_id:str}", tags=["links"], opt={"permission": Permission.CAMPAIGNS_WRITE})
async def delete_vanity_host(request: Request[Any, Any, Any]) -> None:
    """Take a host away: trackers then answer 404 under it, and it may lead to another link."""
    wanted = path_id(request, "vanity_host_id", what="vanity host")
    async with writing(request, "vanity_host.delete") as work:
        if not await archive_vanity_host(work.conn, wanted, now=resources_of(request).clock.now()):
            raise NotFound("vanity host")
        work.done(None, resource=wanted)
