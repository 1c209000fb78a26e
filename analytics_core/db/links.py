"""Links and clicks on them."""

# Pieces of statements are put together from constants alone.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.podcasts import CATALOGUE_CHANNEL
from analytics_core.db.pool import Connection, Tenant
from analytics_core.db.tracked_flights import TrackedFlight, find_tracked_flight
from analytics_core.errors import Conflict, InvalidInput
from analytics_core.ids import new_id
from analytics_core.links import link_target
from analytics_core.registry import Link

__all__ = (
    "MAX_LINKS",
    "Click",
    "LinkOwner",
    "LinkRow",
    "add_clicks",
    "add_link",
    "archive_link",
    "change_link",
    "find_links",
    "get_link",
    "hold_link",
    "list_links",
    "read_registry_links",
    "refill_links",
)

MAX_LINKS: Final = 10_000
"""Links a tenant."""


class LinkRow(msgspec.Struct, frozen=True):
    """A link.

    Attributes:
        url: Where it leads, as it was given.
        target: The same with its campaign parameters.
        utm: Campaign parameters by name, without ``utm_``.
        click_id: Whether the target is told an id of each click.
        clicks: How often it was followed by anyone but bots, as far as hits have landed.
        bots: How often by bots.
        sponsor_id: Whose it is; ``None`` for nobody's.
        campaign_id: Of its flight.
        flight_id: Which it is a link of; ``None`` for no flight's.
    """

    link_id: UUID
    slug: str
    url: str
    target: str
    utm: dict[str, str]
    click_id: bool
    created_at: dt.datetime
    archived_at: dt.datetime | None
    clicks: int
    bots: int
    sponsor_id: UUID | None
    campaign_id: UUID | None = None
    flight_id: UUID | None = None


class LinkOwner(msgspec.Struct, frozen=True):
    """Whose link a slug is; archived ones have an owner too."""

    slug: str
    link_no: int
    tenant_no: int


class Click(msgspec.Struct, frozen=True):
    """A click on a known link."""

    tenant_no: int
    link_no: int
    occurred_at: dt.datetime
    segment_no: int
    ordinal: int
    is_bot: bool
    click_id: UUID | None


_OF_CAMPAIGN: Final[LiteralString] = """/* links.of_campaign */
select link_id, slug, url, utm, target, flight_id from app.links where campaign_id = $1 and archived_at is null
order by link_id for update"""

_REFILL: Final[LiteralString] = """/* links.refill */
update app.links l set target = n.target from unnest($1::uuid[], $2::text[]) as n(link_id, target)
where l.link_id = n.link_id"""

_COUNT: Final[LiteralString] = """/* links.count */ select count(*) from app.links where archived_at is null"""

_ADD: Final[LiteralString] = """/* links.add */
insert into app.links (tenant_id, link_id, tenant_no, slug, url, target, utm, click_id, sponsor_id, created_at,
    campaign_id, flight_id)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict (slug) do nothing returning link_id"""

_CHANGE: Final[LiteralString] = """/* links.change */
update app.links set url = $2, target = $3, utm = $4, click_id = $5, sponsor_id = $6, campaign_id = $7, flight_id = $8
where link_id = $1 and archived_at is null returning link_id"""

_ARCHIVE: Final[LiteralString] = """/* links.archive */
update app.links set archived_at = $2 where link_id = $1 and archived_at is null returning link_id"""

_COLUMNS: Final[LiteralString] = """l.link_id, l.slug, l.url, l.target, l.utm, l.click_id, l.created_at, l.archived_at,
    (select count(*) from app.clicks c where c.link_no = l.link_no and not c.is_bot) + l.clicks_dropped as clicks,
    (select count(*) from app.clicks c where c.link_no = l.link_no and c.is_bot) + l.bots_dropped as bots,
    l.sponsor_id, l.campaign_id, l.flight_id"""

_GET: Final[LiteralString] = "/* links.get */ select " + _COLUMNS + " from app.links l where l.link_id = $1"

_HOLD: Final[LiteralString] = """/* links.hold */ select 1 from app.links where link_id = $1 for update"""

_LIST: Final[LiteralString] = (
    "/* links.list */ select "
    + _COLUMNS
    + """ from app.links l
where ($1::timestamptz is null or (l.created_at, l.link_id) > ($1, $2::uuid))
    and ($4::uuid is null or l.sponsor_id = $4) and ($5::uuid is null or l.flight_id = $5)
    and ($6::uuid is null or l.campaign_id = $6)
order by l.created_at, l.link_id limit $3"""
)

_FIND: Final[LiteralString] = """/* links.find */
select slug, link_no, tenant_no from app.links where slug = any($1::text[])"""

_REGISTRY: Final[LiteralString] = """/* links.registry */
select slug, target, click_id from app.links where archived_at is null"""

_ADD_CLICKS: Final[LiteralString] = """/* clicks.add */
insert into app.clicks (tenant_no, link_no, occurred_at, segment_no, ordinal, is_bot, click_id)
select n.tenant_no, n.link_no, n.occurred_at, n.segment_no, n.ordinal, n.is_bot, n.click_id
from unnest($1::integer[], $2::integer[], $3::timestamptz[], $4::integer[], $5::integer[], $6::boolean[], $7::uuid[])
    as n(tenant_no, link_no, occurred_at, segment_no, ordinal, is_bot, click_id)
on conflict do nothing"""

_NOTIFY: Final[LiteralString] = """/* links.notify */ select pg_notify($1, '')"""


async def add_link(
    conn: Connection,
    tenant: Tenant,
    *,
    slug: str,
    url: str,
    utm: Mapping[str, str],
    click_id: bool,
    now: dt.datetime,
    sponsor_id: UUID | None = None,
    flight: TrackedFlight | None = None,
) -> UUID:
    """Add a link; trackers hear of it at once.

    Args:
        conn: In a transaction of the tenant.
        tenant: Whose it is.
        slug: As :func:`analytics_core.links.parse_slug` writes it.
        url: As :func:`analytics_core.links.parse_target_url` writes it.
        utm: Campaign parameters by name, without ``utm_``.
        click_id: Whether the target is told an id of each click.
        now: Aware instant.
        sponsor_id: Whose it is; locked by :func:`analytics_core.db.sponsors.lock_sponsor`.
        flight: Which it is a link of, held by :func:`analytics_core.db.tracked_flights.hold_flight`; it is then of this
            one's sponsor, and gets those of its campaign's parameters that are not its own.

    Raises:
        Conflict: ``slug_taken``, or ``too_many_links``.
        InvalidInput: ``target_too_long``.
    """
    if await conn.fetchval(_COUNT) >= MAX_LINKS:
        raise Conflict("too_many_links", f"there are {MAX_LINKS} links already; delete those that are not needed")
    link_id = new_id()
    added = await conn.fetchval(
        _ADD,
        tenant.tenant_id,
        link_id,
        tenant.tenant_no,
        slug,
        url,
        _target(url, utm, flight),
        dict(utm),
        click_id,
        sponsor_id if flight is None else flight.sponsor_id,
        now,
        None if flight is None else flight.campaign_id,
        None if flight is None else flight.flight_id,
    )
    if added is None:
        raise Conflict("slug_taken", f"the slug {slug!r} is taken, or was; choose another")
    await conn.execute(_NOTIFY, CATALOGUE_CHANNEL)
    return link_id


def _target(url: str, utm: Mapping[str, str], flight: TrackedFlight | None) -> str:
    return link_target(url, utm if flight is None else {**flight.fill_utm(), **utm})


async def change_link(
    conn: Connection,
    link_id: UUID,
    *,
    url: str,
    utm: Mapping[str, str],
    click_id: bool,
    sponsor_id: UUID | None,
    flight: TrackedFlight | None = None,
) -> bool:
    """Have a link lead elsewhere, or be somebody else's; ``False`` when the tenant has no such link that is in use.

    All of it is given, as for :func:`add_link`.

    Raises:
        InvalidInput: ``target_too_long``.
    """
    changed = await conn.fetchval(
        _CHANGE,
        link_id,
        url,
        _target(url, utm, flight),
        dict(utm),
        click_id,
        sponsor_id if flight is None else flight.sponsor_id,
        None if flight is None else flight.campaign_id,
        None if flight is None else flight.flight_id,
    )
    await conn.execute(_NOTIFY, CATALOGUE_CHANNEL)
    return changed is not None


async def refill_links(conn: Connection, campaign_id: UUID) -> None:
    """Fill the campaign parameters of a campaign's links anew: its template has changed, or a name in it.

    Raises:
        InvalidInput: ``target_too_long``: it would make a link's target longer than one is redirected to.
    """
    changed: dict[UUID, str] = {}
    flights: dict[UUID, TrackedFlight] = {}
    for row in await conn.fetch(_OF_CAMPAIGN, campaign_id):
        flight_id = row["flight_id"]
        if flight_id not in flights:
            flights[flight_id] = await find_tracked_flight(conn, flight_id)
        try:
            target = _target(row["url"], row["utm"], flights[flight_id])
        except InvalidInput as error:
            raise InvalidInput(
                "/utm", f"makes the link {row['slug']} too long: {error.reason}", code=error.code
            ) from error
        if target != row["target"]:
            changed[row["link_id"]] = target
    if changed:
        await conn.execute(_REFILL, list(changed), list(changed.values()))
        await conn.execute(_NOTIFY, CATALOGUE_CHANNEL)


async def archive_link(conn: Connection, link_id: UUID, *, now: dt.datetime) -> bool:
    """Take a link away, its slug stays its own; ``False`` when the tenant has no such link that is in use."""
    archived = await conn.fetchval(_ARCHIVE, link_id, now)
    await conn.execute(_NOTIFY, CATALOGUE_CHANNEL)
    return archived is not None


async def get_link(conn: Connection, link_id: UUID) -> LinkRow | None:
    """Read one link of the transaction's tenant."""
    row = await conn.fetchrow(_GET, link_id)
    return None if row is None else msgspec.convert(row, LinkRow)


async def hold_link(conn: Connection, link_id: UUID) -> LinkRow | None:
    """Read one link that nobody else changes until the transaction ends."""
    await conn.execute(_HOLD, link_id)
    return await get_link(conn, link_id)


async def list_links(
    conn: Connection,
    *,
    after: tuple[dt.datetime, UUID] | None,
    limit: int,
    sponsor_id: UUID | None = None,
    flight_id: UUID | None = None,
    campaign_id: UUID | None = None,
) -> list[LinkRow]:
    """List links, or a sponsor's, a flight's, a campaign's, in the order in which they were made, archived ones too."""
    at, link_id = after if after is not None else (None, None)
    rows = await conn.fetch(_LIST, at, link_id, limit, sponsor_id, flight_id, campaign_id)
    return [msgspec.convert(row, LinkRow) for row in rows]


async def find_links(conn: Connection, slugs: Sequence[str]) -> dict[str, LinkOwner]:
    """Find whose links some slugs are; as ingest, over all tenants."""
    return {row["slug"]: LinkOwner(*row) for row in await conn.fetch(_FIND, list(slugs))}


async def read_registry_links(conn: Connection) -> dict[str, Link]:
    """Read the links that lead somewhere, by slug; as ingest, over all tenants."""
    return {row["slug"]: Link(row["target"], row["click_id"]) for row in await conn.fetch(_REGISTRY)}


async def add_clicks(conn: Connection, clicks: Sequence[Click]) -> None:
    """Add clicks; as ingest, in the transaction that lands their hits. A click's id is noted once, whoever sends it."""
    if not clicks:
        return
    await conn.execute(
        _ADD_CLICKS,
        [click.tenant_no for click in clicks],
        [click.link_no for click in clicks],
        [click.occurred_at for click in clicks],
        [click.segment_no for click in clicks],
        [click.ordinal for click in clicks],
        [click.is_bot for click in clicks],
        [click.click_id for click in clicks],
    )
