"""Transfers: a proven claim verifies its claimer's own podcast, or moves another tenant's to them.

What moves is the podcast's future: its guid and feed, its episodes, the keys of its enclosures, and what has not been
counted yet. Its past stays whole with its former owner, under the old numbers: hits and downloads carry listener
keys of the former owner's, which must not become comparable with another tenant's, and figures that were reported
and invoiced do not change.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString
from uuid import UUID

import asyncpg
import msgspec

from analytics_core.db.hits import lock_finality
from analytics_core.db.ownership import lock_ownership
from analytics_core.db.podcasts import CATALOGUE_CHANNEL
from analytics_core.db.pool import Connection
from analytics_core.errors import Unavailable
from analytics_core.ids import PodcastId, new_id

__all__ = ("settle_claims",)

_LOCK_TIMEOUT: Final[LiteralString] = """/* transfers.lock_timeout */ set local lock_timeout = '10s'"""

_PROVEN: Final[LiteralString] = """/* claims.proven */
select c.tenant_id, c.claim_id, c.podcast_no from app.podcast_claims c join app.tenants t using (tenant_id)
where c.proof is not null and c.closed_at is null and t.status = 'active' order by c.proven_at, c.claim_id"""

_CLAIM: Final[LiteralString] = """/* claims.lock */
select tenant_id, tenant_no, claim_id, podcast_no, proof, feed_digest from app.podcast_claims
where tenant_id = $1 and claim_id = $2 and closed_at is null for update"""

_PODCAST: Final[LiteralString] = """/* podcasts.lock */
select tenant_id, tenant_no, podcast_id, podcast_guid, feed_url, transferred_at from app.podcasts
where podcast_no = $1 for update"""

_CLOSE: Final[LiteralString] = """/* claims.close */
update app.podcast_claims set outcome = $3, closed_at = $4, podcast_id = $5, check_fault = null
where tenant_id = $1 and claim_id = $2"""

_SUPERSEDE: Final[LiteralString] = """/* claims.supersede */
update app.podcast_claims set outcome = 'superseded', closed_at = $2 where podcast_no = $1 and closed_at is null"""

_VERIFY: Final[LiteralString] = """/* podcasts.verify */
update app.podcasts set verified_at = coalesce(verified_at, $2) where podcast_no = $1"""

_RELEASE: Final[LiteralString] = """/* podcasts.release */
update app.podcasts set transferred_at = $2, archived_at = coalesce(archived_at, $2), verified_at = null,
    next_poll_at = null, feed_error = 'moved to another owner, who proved that the feed is theirs'
where podcast_no = $1"""

_COPY: Final[LiteralString] = """/* podcasts.move */
insert into app.podcasts (tenant_id, podcast_id, tenant_no, podcast_guid, feed_key, feed_url, title, link, language,
    guid_declared, verified_at, next_poll_at, created_at)
select $2, $3, $4, podcast_guid, feed_key, feed_url, title, link, language, guid_declared, $5, $5, $5
from app.podcasts where podcast_no = $1
returning podcast_no"""

_EPISODE_IDS: Final[LiteralString] = """/* episodes.ids */
select episode_id from app.episodes where tenant_id = $1 and podcast_id = $2"""

_COPY_EPISODES: Final[LiteralString] = """/* episodes.move */
insert into app.episodes (tenant_id, episode_id, podcast_id, podcast_no, tenant_no, guid, guid_from_feed, title,
    published_at, duration_s, live, first_seen_at, removed_at)
select $2, n.new_id, $3, $4, $5, e.guid, e.guid_from_feed, e.title, e.published_at, e.duration_s, e.live,
    e.first_seen_at, e.removed_at
from unnest($6::uuid[], $7::uuid[]) as n(old_id, new_id)
join app.episodes e on e.tenant_id = $1 and e.episode_id = n.old_id"""

_COPY_ENCLOSURES: Final[LiteralString] = """/* enclosures.move */
insert into app.enclosures (tenant_id, episode_id, enclosure_key, place, kind, url, hosts, media_type, length_bytes,
    first_seen_at, gone_at)
select $2, n.new_id, c.enclosure_key, c.place, c.kind, c.url, c.hosts, c.media_type, c.length_bytes, c.first_seen_at,
    c.gone_at
from unnest($3::uuid[], $4::uuid[]) as n(old_id, new_id)
join app.enclosures c on c.tenant_id = $1 and c.episode_id = n.old_id"""

_RETIRE_ENCLOSURES: Final[LiteralString] = """/* enclosures.release */
update app.enclosures set gone_at = $3 where tenant_id = $1 and episode_id = any($2::uuid[]) and gone_at is null"""

_MOVE_OWNERS: Final[LiteralString] = """/* enclosure_owners.move */
update app.enclosure_owners o set tenant_no = $3, podcast_no = $2, episode_no = new.episode_no
from app.episodes old join app.episodes new on new.tenant_id = $4 and new.podcast_id = $5 and new.guid = old.guid
where o.podcast_no = $1 and old.episode_no = o.episode_no"""

_NOTE_DAYS: Final[LiteralString] = """/* days.of_pending */
insert into ops.days (tenant_no, day)
select distinct $2::integer, (occurred_at at time zone 'UTC')::date from ops.pending_hits where podcast_no = $1
order by 2 on conflict do nothing"""

_MOVE_PENDING: Final[LiteralString] = """/* pending.move */
update ops.pending_hits set tenant_no = $3, podcast_no = $2 where podcast_no = $1"""

_MOVE_HOSTS: Final[LiteralString] = """/* unknown_hosts.move */
update app.unknown_hosts set tenant_no = $3, podcast_no = $2 where podcast_no = $1"""

_RECORD: Final[LiteralString] = """/* transfers.insert */
insert into app.podcast_transfers (transferred_at, claim_id, podcast_guid, from_tenant_id, from_podcast_no,
    to_tenant_id, to_podcast_no, proof, feed_url, feed_digest)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"""

_NOTIFY: Final[LiteralString] = """/* transfers.notify */ select pg_notify($1, '')"""


class _Claim(msgspec.Struct, frozen=True):
    tenant_id: UUID
    tenant_no: int
    claim_id: UUID
    podcast_no: int
    proof: str
    feed_digest: bytes


class _Podcast(msgspec.Struct, frozen=True):
    tenant_id: UUID
    tenant_no: int
    podcast_id: UUID
    podcast_guid: UUID
    feed_url: str
    transferred_at: dt.datetime | None


async def settle_claims(conn: Connection, *, now: dt.datetime) -> int:
    """See to the claims that are proven, the one that was proven first first, each in a transaction of its own.

    When a podcast moves, its other claims are superseded: their claimers would have to prove themselves against the
    new owner.

    Args:
        conn: As ingest.
        now: When podcasts move, or are verified.

    Returns:
        How many claims ended well.

    Raises:
        Unavailable: Somebody kept a podcast or the landing of hits locked; the claim stays proven.
    """
    settled = 0
    for row in await conn.fetch(_PROVEN):
        try:
            async with conn.transaction():
                await conn.execute(_LOCK_TIMEOUT)
                settled += await _settle(conn, row["podcast_no"], row["tenant_id"], row["claim_id"], now=now)
        except asyncpg.LockNotAvailableError as error:
            raise Unavailable("a podcast could not be moved: its rows are locked") from error
    return settled


async def _settle(conn: Connection, podcast_no: int, tenant_id: UUID, claim_id: UUID, *, now: dt.datetime) -> bool:
    # The podcast before its claims, as a poll does.
    podcast = msgspec.convert(await conn.fetchrow(_PODCAST, podcast_no), _Podcast)
    row = await conn.fetchrow(_CLAIM, tenant_id, claim_id)
    if row is None:
        return False
    claim = msgspec.convert(row, _Claim)
    if podcast.transferred_at is not None:
        await conn.execute(_CLOSE, tenant_id, claim_id, "superseded", now, None)
        return False
    if podcast.tenant_id == claim.tenant_id:
        await conn.execute(_VERIFY, podcast_no, now)
        await conn.execute(_CLOSE, tenant_id, claim_id, "verified", now, podcast.podcast_id)
    else:
        podcast_id = await _move(conn, claim, podcast, now=now)
        await conn.execute(_CLOSE, tenant_id, claim_id, "moved", now, podcast_id)
        await conn.execute(_SUPERSEDE, podcast_no, now)
    await conn.execute(_NOTIFY, CATALOGUE_CHANNEL)
    return True


async def _move(conn: Connection, claim: _Claim, podcast: _Podcast, *, now: dt.datetime) -> PodcastId:
    """Give the claimer a podcast of their own that everything to come belongs to."""
    old_no = claim.podcast_no
    # Whoever lands hits from here on waits, and then finds a newer generation than it was judged under.
    await lock_ownership(conn, exclusive=True)
    await conn.execute(_RELEASE, old_no, now)
    podcast_id = PodcastId(new_id())
    new_no = await conn.fetchval(_COPY, old_no, claim.tenant_id, podcast_id, claim.tenant_no, now)
    old_ids = [row["episode_id"] for row in await conn.fetch(_EPISODE_IDS, podcast.tenant_id, podcast.podcast_id)]
    new_ids = [new_id() for _ in old_ids]
    await conn.execute(
        _COPY_EPISODES, podcast.tenant_id, claim.tenant_id, podcast_id, new_no, claim.tenant_no, old_ids, new_ids
    )
    await conn.execute(_COPY_ENCLOSURES, podcast.tenant_id, claim.tenant_id, old_ids, new_ids)
    await conn.execute(_RETIRE_ENCLOSURES, podcast.tenant_id, old_ids, now)
    await conn.execute(_MOVE_OWNERS, old_no, new_no, claim.tenant_no, claim.tenant_id, podcast_id)
    # Before waiting hits, as everywhere: a day that becomes final must know of the tenant's hits.
    await lock_finality(conn)
    await conn.execute(_NOTE_DAYS, old_no, claim.tenant_no)
    await conn.execute(_MOVE_PENDING, old_no, new_no, claim.tenant_no)
    await conn.execute(_MOVE_HOSTS, old_no, new_no, claim.tenant_no)
    await conn.execute(
        _RECORD,
        now,
        claim.claim_id,
        podcast.podcast_guid,
        podcast.tenant_id,
        old_no,
        claim.tenant_id,
        new_no,
        claim.proof,
        podcast.feed_url,
        claim.feed_digest,
    )
    return podcast_id
