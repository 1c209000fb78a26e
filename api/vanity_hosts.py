"""What the API and the page do to vanity hosts alike."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from litestar import Request

from analytics_core.db.vanity_hosts import add_vanity_host, archive_vanity_host, refuse_enclosure_host
from analytics_core.errors import InvalidInput, NotFound
from analytics_core.links import parse_vanity_host
from api.errors import Fault, InvalidRequest
from api.resources import Resources, resources_of
from api.schemas.vanity_hosts import AddVanityHost, VanityHost
from api.writing import writing

__all__ = ("create", "take_away")


def _own_hosts(resources: Resources) -> set[str]:
    """Name the hosts under which something of the installation answers."""
    ledger = urlsplit(resources.settings.people.public_url).hostname
    return {*resources.own_hosts, *((ledger,) if ledger else ())}


async def create(request: Request[Any, Any, Any], wanted: AddVanityHost) -> VanityHost:
    """Have a host lead to a link, live on the trackers within two seconds.

    Raises:
        InvalidRequest: It is no host that may lead anywhere.
        NotFound: There is no such link that is in use.
        Conflict: As :func:`analytics_core.db.vanity_hosts.add_vanity_host`.
    """
    resources = resources_of(request)
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


async def take_away(request: Request[Any, Any, Any], vanity_host_id: UUID) -> None:
    """Take a host away: trackers then answer 404 under it, and it may lead to another link.

    Raises:
        NotFound: There is none of this id that is in use.
    """
    async with writing(request, "vanity_host.delete") as work:
        if not await archive_vanity_host(work.conn, vanity_host_id, now=resources_of(request).clock.now()):
            raise NotFound("vanity host")
        work.done(None, resource=vanity_host_id)
