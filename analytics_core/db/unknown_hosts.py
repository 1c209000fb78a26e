"""Hosts that players asked for under a podcast's prefix and that no feed has registered: listed, counted, accepted."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, LiteralString

import msgspec

from analytics_core.db.podcasts import CATALOGUE_CHANNEL, KNOWN_HOST_DAYS
from analytics_core.db.pool import Connection, Tenant
from analytics_core.errors import Conflict
from analytics_core.hosts import MAX_UNKNOWN_HOSTS, HostSighting, bound_sightings

__all__ = ("UnknownHostRow", "accept_host", "list_unknown_hosts", "note_sightings")


class UnknownHostRow(msgspec.Struct, frozen=True):
    """A host of a podcast's list.

    Attributes:
        first_seen_at: ``None`` when it was accepted before anybody asked for it.
        hits: How often it was asked for while it was unknown.
        accepted_at: Since when trackers know it.
    """

    host: str
    first_seen_at: dt.datetime | None
    last_seen_at: dt.datetime | None
    hits: int
    accepted_at: dt.datetime | None


_LISTED: Final[LiteralString] = """/* unknown_hosts.listed */
select podcast_no, array_agg(host) as hosts from app.unknown_hosts where podcast_no = any($1::integer[]) group by 1"""

_NOTE: Final[LiteralString] = """/* unknown_hosts.note */
insert into app.unknown_hosts as old (tenant_no, podcast_no, host, first_seen_at, last_seen_at, hits)
select n.tenant_no, n.podcast_no, n.host, n.first_seen_at, n.last_seen_at, n.hits
from unnest($1::integer[], $2::integer[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::bigint[])
    as n(tenant_no, podcast_no, host, first_seen_at, last_seen_at, hits)
order by n.podcast_no, n.host
on conflict (podcast_no, host) do update set first_seen_at = least(old.first_seen_at, excluded.first_seen_at),
    last_seen_at = greatest(old.last_seen_at, excluded.last_seen_at), hits = old.hits + excluded.hits"""

# What one of the tenant's feeds has registered meanwhile is not unknown any more.
_LIST: Final[LiteralString] = """/* unknown_hosts.list */
select u.host, u.first_seen_at, u.last_seen_at, u.hits, u.accepted_at
from app.unknown_hosts u
where u.podcast_no = $1 and (u.accepted_at is not null or not exists (select from app.enclosures c
    where u.host = any(c.hosts) and (c.gone_at is null or c.gone_at > now() - make_interval(days => $2))))
order by u.accepted_at is not null, u.hits desc, u.host"""

_ACCEPTED: Final[LiteralString] = """/* unknown_hosts.accepted */
select count(*) from app.unknown_hosts where podcast_no = $1 and accepted_at is not null and host <> $2"""

_ACCEPT: Final[LiteralString] = """/* unknown_hosts.accept */
insert into app.unknown_hosts as old (tenant_no, podcast_no, host, accepted_at) values ($1, $2, $3, $4)
on conflict (podcast_no, host) do update set accepted_at = coalesce(old.accepted_at, excluded.accepted_at)
returning host, first_seen_at, last_seen_at, hits, accepted_at"""

_NOTIFY: Final[LiteralString] = """/* unknown_hosts.notify */ select pg_notify($1, '')"""


async def note_sightings(conn: Connection, sightings: Sequence[HostSighting]) -> None:
    """Add sightings to the lists of their podcasts; as ingest, in the transaction that lands their hits."""
    if not sightings:
        return
    podcast_nos = sorted({one.podcast_no for one in sightings})
    listed = {row["podcast_no"]: row["hosts"] for row in await conn.fetch(_LISTED, podcast_nos)}
    bounded = bound_sightings(sightings, listed)
    await conn.execute(
        _NOTE,
        [one.tenant_no for one in bounded],
        [one.podcast_no for one in bounded],
        [one.host for one in bounded],
        [one.first_seen_at for one in bounded],
        [one.last_seen_at for one in bounded],
        [one.hits for one in bounded],
    )


async def list_unknown_hosts(conn: Connection, podcast_no: int) -> list[UnknownHostRow]:
    """List a podcast's unknown hosts, the most wanted first, and behind them those that were accepted."""
    rows = await conn.fetch(_LIST, podcast_no, KNOWN_HOST_DAYS)
    return [msgspec.convert(row, UnknownHostRow) for row in rows]


async def accept_host(
    conn: Connection, tenant: Tenant, podcast_no: int, host: str, *, now: dt.datetime
) -> UnknownHostRow:
    """Make a host known to the trackers of the installation, whether it was seen or not; ingest hears of it at once.

    Args:
        conn: In a transaction of the podcast's tenant.
        tenant: The podcast's.
        podcast_no: Of a podcast that has not moved away.
        host: As :func:`analytics_core.hosts.parse_host_name` writes it.
        now: Aware instant.

    Raises:
        Conflict: ``too_many_hosts``: the podcast has as many as it may have.
    """
    if await conn.fetchval(_ACCEPTED, podcast_no, host) >= MAX_UNKNOWN_HOSTS:
        raise Conflict("too_many_hosts", f"a podcast accepts {MAX_UNKNOWN_HOSTS} hosts at most; add their feed instead")
    row = await conn.fetchrow(_ACCEPT, tenant.tenant_no, podcast_no, host, now)
    await conn.execute(_NOTIFY, CATALOGUE_CHANNEL)
    return msgspec.convert(row, UnknownHostRow)
