"""Podcasts as the API and the poller see them: who owns a feed, and when it is looked at next."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Final, LiteralString
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import msgspec

from analytics_core.db.episodes import store_episodes
from analytics_core.db.pool import Connection, Tenant
from analytics_core.errors import Conflict
from analytics_core.feeds import Feed
from analytics_core.ids import PodcastId, PodcastNo, TenantId, TenantNo, new_id

__all__ = (
    "CATALOGUE_CHANNEL",
    "KNOWN_HOST_DAYS",
    "DuePodcast",
    "PodcastRow",
    "PodcastTitle",
    "RegistryParts",
    "add_podcast",
    "due_podcasts",
    "feed_key",
    "get_number",
    "get_podcast",
    "get_titles",
    "list_podcasts",
    "note_poll",
    "read_known_hosts",
    "read_registry_parts",
    "refresh_podcast",
    "request_poll",
)

CATALOGUE_CHANNEL: Final = "castledger_catalogue"
"""Notified whenever podcasts, episodes or enclosures have changed."""

KNOWN_HOST_DAYS: Final = 400
"""Days for which a host stays known after it has gone from every feed."""


class PodcastRow(msgspec.Struct, frozen=True):
    """A podcast of one tenant; ``episodes`` counts those that the feed still lists."""

    podcast_id: PodcastId
    podcast_no: PodcastNo
    title: str
    feed_url: str | None
    podcast_guid: UUID
    link: str | None
    language: str | None
    verified_at: dt.datetime | None
    episodes: int
    feed_error: str | None
    feed_checked_at: dt.datetime | None
    created_at: dt.datetime
    archived_at: dt.datetime | None
    transferred_at: dt.datetime | None


class PodcastTitle(msgspec.Struct, frozen=True):
    """A podcast by name."""

    podcast_no: PodcastNo
    podcast_id: PodcastId
    title: str


class DuePodcast(msgspec.Struct, frozen=True):
    """A podcast whose feed is to be polled."""

    tenant_id: TenantId
    tenant_no: TenantNo
    podcast_id: PodcastId
    podcast_no: PodcastNo
    feed_url: str
    feed_etag: str | None
    feed_last_modified: str | None
    feed_failures: int

    @property
    def tenant(self) -> Tenant:
        """The podcast's owner as a transaction names it."""
        return Tenant(self.tenant_id, self.tenant_no)


class RegistryParts(msgspec.Struct, frozen=True):
    """What the ledger contributes to the registry snapshot."""

    hosts: frozenset[str]
    click_keys: frozenset[str]


_INSERT: Final[LiteralString] = """/* podcasts.insert */
insert into app.podcasts (tenant_id, podcast_id, tenant_no, podcast_guid, feed_key, feed_url, title, link, language,
    guid_declared, verified_at, feed_etag, feed_last_modified, feed_checked_at, next_poll_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
returning podcast_no"""

_GET: Final[LiteralString] = """/* podcasts.get */
select p.podcast_id, p.podcast_no, p.title, p.feed_url, p.podcast_guid, p.link, p.language, p.verified_at,
    (select count(*) from app.episodes e
        where e.tenant_id = p.tenant_id and e.podcast_id = p.podcast_id and e.removed_at is null) as episodes,
    p.feed_error, p.feed_checked_at, p.created_at, p.archived_at, p.transferred_at
from app.podcasts p where p.podcast_id = $1"""

_GET_NUMBER: Final[LiteralString] = """/* podcasts.get_number */
select podcast_no from app.podcasts where podcast_id = $1"""

_GET_TITLES: Final[LiteralString] = """/* podcasts.get_titles */
select podcast_no, podcast_id, title from app.podcasts where podcast_no = any($1::integer[])"""

_LIST: Final[LiteralString] = """/* podcasts.list */
select p.podcast_id, p.podcast_no, p.title, p.feed_url, p.podcast_guid, p.link, p.language, p.verified_at,
    (select count(*) from app.episodes e
        where e.tenant_id = p.tenant_id and e.podcast_id = p.podcast_id and e.removed_at is null) as episodes,
    p.feed_error, p.feed_checked_at, p.created_at, p.archived_at, p.transferred_at
from app.podcasts p
where $1::timestamptz is null or (p.created_at, p.podcast_id) > ($1, $2::uuid)
order by p.created_at, p.podcast_id limit $3"""

_DUE: Final[LiteralString] = """/* podcasts.due */
select tenant_id, tenant_no, podcast_id, podcast_no, feed_url, feed_etag, feed_last_modified, feed_failures
from app.podcasts
where feed_url is not null and archived_at is null and next_poll_at <= $1
order by next_poll_at, podcast_no limit $2"""

_REFRESH: Final[LiteralString] = """/* podcasts.refresh */
update app.podcasts set title = $3, link = $4, language = $5, feed_etag = $6, feed_last_modified = $7,
    feed_checked_at = $8, next_poll_at = $9, feed_error = null, feed_failures = 0
where tenant_id = $1 and podcast_id = $2 and transferred_at is null"""

_NOTE: Final[LiteralString] = """/* podcasts.note_poll */
update app.podcasts set feed_checked_at = $3, next_poll_at = $4, feed_error = $5,
    feed_failures = case when $5::text is null then 0 else feed_failures + 1 end
where tenant_id = $1 and podcast_id = $2 and transferred_at is null"""

_REQUEST: Final[LiteralString] = """/* podcasts.request_poll */
update app.podcasts set next_poll_at = $2
where podcast_no = any($1) and feed_url is not null and archived_at is null and next_poll_at > $2
    and feed_failures = 0 and (feed_checked_at is null or feed_checked_at < $2::timestamptz - interval '60 seconds')"""

_HOSTS: Final[LiteralString] = """/* podcasts.known_hosts */
select distinct host from app.enclosures, unnest(hosts) as host
where gone_at is null or gone_at > now() - make_interval(days => $1)
union select host from app.unknown_hosts where accepted_at is not null
union select host from ops.released_hosts where released_at > now() - make_interval(days => $1)"""

_CLICK_KEYS: Final[LiteralString] = """/* podcasts.click_keys */
select replace(o.enclosure_key::text, '-', '') as key
from app.enclosure_owners o join app.podcasts p using (podcast_no) where p.verified_at is not null"""

_NOTIFY: Final[LiteralString] = """/* podcasts.notify */ select pg_notify($1, '')"""

_TAKEN: Final = (
    "this feed, or one of its enclosures, already belongs to a podcast on this installation: a feed has one owner"
)


def feed_key(url: str) -> str:
    """Write a feed's URL so that one feed has one key: without scheme, trailing slashes and the host's case.

    >>> feed_key("HTTPS://Example.com/Feed/?a=1")
    'example.com/Feed?a=1'
    """
    parts = urlsplit(url.strip())
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.netloc.lower()}{parts.path.rstrip('/')}{query}"


async def add_podcast(
    conn: Connection,
    tenant: Tenant,
    feed: Feed,
    *,
    feed_url: str | None,
    verified: bool,
    now: dt.datetime,
    next_poll_at: dt.datetime | None = None,
    etag: str | None = None,
    last_modified: str | None = None,
    own_hosts: Collection[str] = (),
) -> PodcastRow:
    """Store a podcast with its episodes, inside a transaction of its tenant.

    Args:
        conn: In :func:`analytics_core.db.pool.tenant_transaction`.
        tenant: The owner to be.
        feed: What the feed says.
        feed_url: Where it was read and will be polled; ``None`` for one that was sent.
        verified: Whether browsers may be redirected to its enclosures.
        now: Aware instant of the reading.
        next_poll_at: When it is polled first; *now* when ``None``.
        etag: Of the answer, for the next poll.
        last_modified: Of the answer, for the next poll.
        own_hosts: Host names of our trackers, which are no part of an enclosure's identity.

    Raises:
        Conflict: ``podcast_taken``: its guid, its URL or one of its enclosures has an owner.
    """
    podcast_id = PodcastId(new_id())
    try:
        podcast_no = await conn.fetchval(
            _INSERT,
            tenant.tenant_id,
            podcast_id,
            tenant.tenant_no,
            feed.podcast_guid,
            None if feed_url is None else feed_key(feed_url),
            feed_url,
            feed.title,
            feed.link,
            feed.language,
            feed.guid_declared,
            now if verified else None,
            etag,
            last_modified,
            now,
            next_poll_at or now,
        )
    except asyncpg.UniqueViolationError as error:
        raise Conflict("podcast_taken", _TAKEN) from error
    stored = await store_episodes(
        conn, tenant, podcast_id, PodcastNo(podcast_no), feed.episodes, now=now, own_hosts=own_hosts
    )
    if stored.taken_by_others:
        raise Conflict("podcast_taken", _TAKEN)
    await conn.execute(_NOTIFY, CATALOGUE_CHANNEL)
    row = await get_podcast(conn, podcast_id)
    if row is None:
        raise AssertionError("a podcast that was just stored is there")
    return row


async def get_podcast(conn: Connection, podcast_id: UUID) -> PodcastRow | None:
    """Read one podcast of the transaction's tenant."""
    row = await conn.fetchrow(_GET, podcast_id)
    return None if row is None else msgspec.convert(row, PodcastRow)


async def get_number(conn: Connection, podcast_id: UUID) -> PodcastNo | None:
    """Tell the number of a podcast of the transaction's tenant: all that figures need of it."""
    number: int | None = await conn.fetchval(_GET_NUMBER, podcast_id)
    return None if number is None else PodcastNo(number)


async def get_titles(conn: Connection, podcast_nos: Sequence[PodcastNo]) -> list[PodcastTitle]:
    """Read the names of podcasts of the transaction's tenant, in no order; what is not there is left out."""
    return [PodcastTitle(*row) for row in await conn.fetch(_GET_TITLES, list(podcast_nos))]


async def list_podcasts(conn: Connection, *, after: tuple[dt.datetime, UUID] | None, limit: int) -> list[PodcastRow]:
    """List the tenant's podcasts in the order in which they were added, behind *after*."""
    at, podcast_id = after if after is not None else (None, None)
    return [msgspec.convert(row, PodcastRow) for row in await conn.fetch(_LIST, at, podcast_id, limit)]


async def due_podcasts(conn: Connection, *, now: dt.datetime, limit: int) -> list[DuePodcast]:
    """List the feeds that are to be polled, longest waiting first; as ingest, over all tenants."""
    return [msgspec.convert(row, DuePodcast) for row in await conn.fetch(_DUE, now, limit)]


async def refresh_podcast(
    conn: Connection,
    due: DuePodcast,
    feed: Feed,
    *,
    now: dt.datetime,
    etag: str | None,
    last_modified: str | None,
    next_poll_at: dt.datetime,
    own_hosts: Collection[str] = (),
) -> bool:
    """Bring a podcast to what its feed says now, inside a transaction; its guid stays what it was.

    One that has moved to another tenant since it was due is left alone.

    Returns:
        Whether episodes or enclosures changed; then the catalogue's channel is notified.
    """
    status = await conn.execute(
        _REFRESH,
        due.tenant_id,
        due.podcast_id,
        feed.title,
        feed.link,
        feed.language,
        etag,
        last_modified,
        now,
        next_poll_at,
    )
    if str(status) != "UPDATE 1":
        return False
    stored = await store_episodes(
        conn, due.tenant, due.podcast_id, due.podcast_no, feed.episodes, now=now, own_hosts=own_hosts
    )
    if stored.changed:
        await conn.execute(_NOTIFY, CATALOGUE_CHANNEL)
    return stored.changed


async def note_poll(
    conn: Connection, due: DuePodcast, *, now: dt.datetime, error: str | None, next_poll_at: dt.datetime
) -> None:
    """Remember a poll that brought nothing new (*error* ``None``) or failed."""
    await conn.execute(_NOTE, due.tenant_id, due.podcast_id, now, next_poll_at, error)


async def request_poll(conn: Connection, podcast_nos: Sequence[int], *, now: dt.datetime) -> int:
    """Have feeds polled at once, unless they fail or were looked at within the last minute.

    Returns:
        How many will be.
    """
    return int(str(await conn.execute(_REQUEST, list(podcast_nos), now)).split()[-1])


async def read_known_hosts(conn: Connection) -> frozenset[str]:
    """Read the hosts of every registered enclosure's chain, of erased tenants too, and those accepted; as ingest."""
    return frozenset(row["host"] for row in await conn.fetch(_HOSTS, KNOWN_HOST_DAYS))


async def read_registry_parts(conn: Connection) -> RegistryParts:
    """Read known hosts and what browsers may be redirected to; as ingest, over all tenants."""
    hosts = await read_known_hosts(conn)
    return RegistryParts(hosts, frozenset(row["key"] for row in await conn.fetch(_CLICK_KEYS)))
