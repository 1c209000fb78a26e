"""Hosts of their own for links."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, LiteralString
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import msgspec

from analytics_core.db.links import get_link
from analytics_core.db.podcasts import CATALOGUE_CHANNEL, KNOWN_HOST_DAYS
from analytics_core.db.pool import Connection, Tenant
from analytics_core.errors import Conflict, InvalidInput, NotFound
from analytics_core.ids import new_id

__all__ = (
    "MAX_VANITY_HOSTS",
    "VanityHostRow",
    "add_vanity_host",
    "archive_vanity_host",
    "find_vanity_host",
    "list_hosts_of_links",
    "list_vanity_hosts",
    "read_registry_vanity_hosts",
    "refuse_enclosure_host",
    "refuse_vanity_target",
    "require_vanity_host",
)

MAX_VANITY_HOSTS: Final = 1000
"""Hosts a tenant."""


class VanityHostRow(msgspec.Struct, frozen=True):
    """A host that leads to a link, or led to one until it was taken away."""

    vanity_host_id: UUID
    host: str
    link_id: UUID
    slug: str
    created_at: dt.datetime
    archived_at: dt.datetime | None


_COUNT: Final[LiteralString] = """/* vanity_hosts.count */
select count(*) from app.vanity_hosts where archived_at is null"""

_ADD: Final[LiteralString] = """/* vanity_hosts.add */
insert into app.vanity_hosts (tenant_id, vanity_host_id, tenant_no, host, link_id, created_at)
values ($1, $2, $3, $4, $5, $6)"""

_ARCHIVE: Final[LiteralString] = """/* vanity_hosts.archive */
update app.vanity_hosts set archived_at = $2 where vanity_host_id = $1 and archived_at is null
returning vanity_host_id"""

_COLUMNS: Final[LiteralString] = """v.vanity_host_id, v.host, v.link_id, l.slug, v.created_at, v.archived_at
from app.vanity_hosts v join app.links l using (tenant_id, link_id)"""

_FIND: Final[LiteralString] = "/* vanity_hosts.find */ select " + _COLUMNS + " where v.vanity_host_id = $1"

_LIST: Final[LiteralString] = (
    "/* vanity_hosts.list */ select "
    + _COLUMNS
    + """
where ($1::timestamptz is null or (v.created_at, v.vanity_host_id) > ($1, $2::uuid))
    and ($4::uuid is null or v.link_id = $4)
order by v.created_at, v.vanity_host_id limit $3"""
)

_IS_OURS: Final[LiteralString] = """/* vanity_hosts.is_ours */
select exists (select from app.vanity_hosts where host = $1 and archived_at is null)"""

_OF_LINK: Final[LiteralString] = """/* vanity_hosts.of_link */
select exists (select from app.vanity_hosts where link_id = $1 and host = $2 and archived_at is null)"""

_OF_LINKS: Final[LiteralString] = (
    "/* vanity_hosts.of_links */ select "
    + _COLUMNS
    + " where v.link_id = any($1::uuid[]) and v.archived_at is null order by v.host"
)

_REGISTRY: Final[LiteralString] = """/* vanity_hosts.registry */
select v.host, l.slug from app.vanity_hosts v join app.links l using (tenant_id, link_id)
where v.archived_at is null and l.archived_at is null"""

_IS_ENCLOSURES: Final[LiteralString] = """/* vanity_hosts.is_enclosures */
select exists (
    select from app.enclosures
    where $1 = any(hosts) and (gone_at is null or gone_at > now() - make_interval(days => $2))
)"""

_NOTIFY: Final[LiteralString] = """/* vanity_hosts.notify */ select pg_notify($1, '')"""


async def refuse_enclosure_host(conn: Connection, host: str) -> None:
    """Refuse a host from which somebody's episodes are fetched.

    Args:
        conn: As the role that authenticates, over all tenants: whose episodes they are is not told.
        host: As :func:`analytics_core.links.parse_vanity_host` writes it.

    Raises:
        InvalidInput: ``host_of_enclosures``.
    """
    if await conn.fetchval(_IS_ENCLOSURES, host, KNOWN_HOST_DAYS):
        raise InvalidInput(
            "host", "is where a podcast's episodes are, or a service in front of them", code="host_of_enclosures"
        )


async def refuse_vanity_target(conn: Connection, url: str) -> None:
    """Refuse a link that leads to one of the tenant's own vanity hosts, and from there on, or round in a circle.

    Raises:
        InvalidInput: ``url_own_host``.
    """
    if await conn.fetchval(_IS_OURS, _host_of(url)):
        raise InvalidInput(
            "url", "leads back to this tracker by a vanity host; name where it is to end", code="url_own_host"
        )


def _host_of(url: str) -> str:
    return (urlsplit(url).hostname or "").removesuffix(".")


async def add_vanity_host(
    conn: Connection, tenant: Tenant, *, host: str, link_id: UUID, now: dt.datetime
) -> VanityHostRow:
    """Have a host lead to a link; trackers hear of it at once.

    Args:
        conn: In a transaction of the tenant.
        tenant: Whose it is.
        host: As :func:`analytics_core.links.parse_vanity_host` writes it.
        link_id: One that was not taken away.
        now: Aware instant.

    Raises:
        NotFound: The tenant has no such link that is in use.
        InvalidInput: ``host_leads_round``: it is where the link leads.
        Conflict: ``vanity_host_taken``, or ``too_many_vanity_hosts``.
    """
    link = await get_link(conn, link_id)
    if link is None or link.archived_at is not None:
        raise NotFound("link")
    if _host_of(link.url) == host:
        raise InvalidInput("host", "is where the link leads: it would lead round in a circle", code="host_leads_round")
    if await conn.fetchval(_COUNT) >= MAX_VANITY_HOSTS:
        raise Conflict(
            "too_many_vanity_hosts",
            f"there are {MAX_VANITY_HOSTS} vanity hosts already; delete those that are not needed",
        )
    vanity_host_id = new_id()
    try:
        await conn.execute(_ADD, tenant.tenant_id, vanity_host_id, tenant.tenant_no, host, link_id, now)
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != "vanity_hosts_host":
            raise
        raise Conflict(
            "vanity_host_taken", f"{host} leads to a link already; where it is yours, delete it there first"
        ) from error
    await conn.execute(_NOTIFY, CATALOGUE_CHANNEL)
    return await find_vanity_host(conn, vanity_host_id)


async def archive_vanity_host(conn: Connection, vanity_host_id: UUID, *, now: dt.datetime) -> bool:
    """Take a host away, which may lead elsewhere then; ``False`` when the tenant has no such host that is in use."""
    archived = await conn.fetchval(_ARCHIVE, vanity_host_id, now)
    await conn.execute(_NOTIFY, CATALOGUE_CHANNEL)
    return archived is not None


async def find_vanity_host(conn: Connection, vanity_host_id: UUID) -> VanityHostRow:
    """Read one host that the transaction sees.

    Raises:
        NotFound: It sees none of this id.
    """
    row = await conn.fetchrow(_FIND, vanity_host_id)
    if row is None:
        raise NotFound("vanity host")
    return msgspec.convert(row, VanityHostRow)


async def list_vanity_hosts(
    conn: Connection, *, after: tuple[dt.datetime, UUID] | None, limit: int, link_id: UUID | None = None
) -> list[VanityHostRow]:
    """List the hosts that the transaction sees in the order in which they were added, those taken away too."""
    at, vanity_host_id = after if after is not None else (None, None)
    return [msgspec.convert(row, VanityHostRow) for row in await conn.fetch(_LIST, at, vanity_host_id, limit, link_id)]


async def list_hosts_of_links(conn: Connection, link_ids: Sequence[UUID]) -> dict[UUID, list[VanityHostRow]]:
    """List the hosts in use that lead to each of some links; links without any are left out."""
    found: dict[UUID, list[VanityHostRow]] = {}
    for row in await conn.fetch(_OF_LINKS, link_ids) if link_ids else ():
        found.setdefault(row["link_id"], []).append(msgspec.convert(row, VanityHostRow))
    return found


async def require_vanity_host(conn: Connection, link_id: UUID, host: str) -> None:
    """Make sure that a host leads to a link.

    Raises:
        NotFound: It does not.
    """
    if not await conn.fetchval(_OF_LINK, link_id, host):
        raise NotFound("vanity host")


async def read_registry_vanity_hosts(conn: Connection) -> dict[str, str]:
    """Read the slugs of links that lead somewhere, by their hosts; as ingest, over all tenants."""
    return {row["host"]: row["slug"] for row in await conn.fetch(_REGISTRY)}
