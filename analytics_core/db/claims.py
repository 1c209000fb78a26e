"""Claims of podcasts: started when a feed is taken, checked by its token, proven once."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Collection
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.claims import CHECK_EVERY, LIFETIME, ClaimStatus, Proof, find_proof, new_token
from analytics_core.db.podcasts import CATALOGUE_CHANNEL, feed_key
from analytics_core.db.pool import Connection, Tenant
from analytics_core.enclosures import identify
from analytics_core.errors import InvalidInput
from analytics_core.feeds import Feed
from analytics_core.ids import PodcastId, PodcastNo, TenantId, new_id

__all__ = (
    "ClaimRow",
    "StartedCheck",
    "TakenPodcast",
    "begin_check",
    "find_own",
    "find_taken",
    "get_claim",
    "list_claims",
    "note_check",
    "prove_claims",
    "start_claim",
)


class TakenPodcast(msgspec.Struct, frozen=True):
    """A podcast that owns what somebody else wants to add; nothing of it may be told to them."""

    tenant_id: TenantId
    podcast_id: PodcastId
    podcast_no: PodcastNo
    feed_url: str | None
    verified_at: dt.datetime | None


class ClaimRow(msgspec.Struct, frozen=True, kw_only=True):
    """A claim as its claimer sees it.

    Attributes:
        feed_url: Where the token is looked for, when the claimer named that very address; else ``None``, since a
            feed's address may be a secret of its owner.
        check_fault: Why the last check found no proof, as a stable word; ``None`` before one, and after a good one.
        podcast_id: The claimer's podcast once the claim has ended well.
    """

    claim_id: UUID
    title: str
    feed_url: str | None
    token: str
    created_at: dt.datetime
    expires_at: dt.datetime
    checks: int
    checked_at: dt.datetime | None
    check_fault: str | None
    proof: Proof | None
    proven_at: dt.datetime | None
    outcome: str | None
    closed_at: dt.datetime | None
    podcast_id: UUID | None

    def status(self, now: dt.datetime) -> ClaimStatus:
        """Tell how the claim stands; one that nobody closed has expired all the same once its time is over."""
        if self.outcome is not None:
            return ClaimStatus(self.outcome)
        if self.proof is not None:
            return ClaimStatus.PROVEN
        return ClaimStatus.OPEN if now < self.expires_at else ClaimStatus.EXPIRED


class StartedCheck(msgspec.Struct, frozen=True):
    """A check that may fetch the feed now: from the address at which it is registered, and no other."""

    token: str
    feed_url: str | None


_TAKEN: Final[LiteralString] = """/* podcasts.taken */
select tenant_id, podcast_id, podcast_no, feed_url, verified_at from app.podcasts
where transferred_at is null and (feed_key = $1 or podcast_guid = $2)
order by coalesce(feed_key = $1, false) desc limit 1"""

_TAKEN_BY_KEYS: Final[LiteralString] = """/* podcasts.taken_by_keys */
select p.tenant_id, p.podcast_id, p.podcast_no, p.feed_url, p.verified_at
from app.enclosure_owners o join app.podcasts p using (podcast_no)
where o.enclosure_key = any($1::uuid[]) and p.tenant_id <> $2
group by p.tenant_id, p.podcast_id, p.podcast_no, p.feed_url, p.verified_at
order by count(*) desc, p.podcast_no limit 1"""

_OWN: Final[LiteralString] = """/* podcasts.own */
select tenant_id, podcast_id, podcast_no, feed_url, verified_at from app.podcasts
where tenant_id = $1 and podcast_id = $2 and transferred_at is null"""

_EXPIRE: Final[LiteralString] = """/* claims.expire */
update app.podcast_claims set outcome = 'expired', closed_at = $3
where tenant_id = $1 and podcast_no = $2 and closed_at is null and proof is null and expires_at <= $3"""

_INSERT: Final[LiteralString] = """/* claims.insert */
insert into app.podcast_claims (tenant_id, claim_id, tenant_no, podcast_no, title, feed_url, token, created_at,
    expires_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (tenant_id, podcast_no) where closed_at is null do nothing"""

_OPEN_ONE: Final[LiteralString] = """/* claims.open_one */
select claim_id, title, feed_url, token, created_at, expires_at, checks, checked_at, check_fault, proof, proven_at,
    outcome, closed_at, podcast_id
from app.podcast_claims where tenant_id = $1 and podcast_no = $2 and closed_at is null"""

_GET: Final[LiteralString] = """/* claims.get */
select claim_id, title, feed_url, token, created_at, expires_at, checks, checked_at, check_fault, proof, proven_at,
    outcome, closed_at, podcast_id
from app.podcast_claims where claim_id = $1"""

_LIST: Final[LiteralString] = """/* claims.list */
select claim_id, title, feed_url, token, created_at, expires_at, checks, checked_at, check_fault, proof, proven_at,
    outcome, closed_at, podcast_id
from app.podcast_claims
where $1::timestamptz is null or (created_at, claim_id) > ($1, $2::uuid)
order by created_at, claim_id limit $3"""

_BEGIN_CHECK: Final[LiteralString] = """/* claims.begin_check */
update app.podcast_claims c set checks = c.checks + 1, checked_at = $3, check_fault = 'not_finished'
from app.podcasts p
where c.tenant_id = $1 and c.claim_id = $2 and p.podcast_no = c.podcast_no and c.closed_at is null and c.proof is null
    and c.expires_at > $3 and (c.checked_at is null or c.checked_at <= $3::timestamptz - $4::interval)
returning c.token, p.feed_url"""

_NOTE_CHECK: Final[LiteralString] = """/* claims.note_check */
update app.podcast_claims set check_fault = $4, proof = $5, feed_digest = $6,
    proven_at = case when $5::text is null then null else $3 end
where tenant_id = $1 and claim_id = $2 and closed_at is null and proof is null and expires_at > $3::timestamptz"""

_OF_PODCAST: Final[LiteralString] = """/* claims.of_podcast */
select tenant_id, claim_id, token from app.podcast_claims
where podcast_no = $1 and closed_at is null and proof is null and expires_at > $2 order by created_at, claim_id"""

_NOTIFY: Final[LiteralString] = """/* claims.notify */ select pg_notify($1, '')"""


async def find_taken(
    conn: Connection, tenant: Tenant, feed: Feed, *, feed_url: str | None, own_hosts: Collection[str] = ()
) -> TakenPodcast | None:
    """Find the podcast, of any tenant, for which a feed cannot be added.

    By the feed's address first, since that is where a claim is proven; else by its guid; else it is another tenant's
    that owns most of its enclosures.

    Args:
        conn: As the role that authenticates.
        tenant: Who wanted to add it.
        feed: What they wanted to add.
        feed_url: Where it was read.
        own_hosts: Host names of our trackers, which are no part of an enclosure's identity.
    """
    row = await conn.fetchrow(_TAKEN, None if feed_url is None else feed_key(feed_url), feed.podcast_guid)
    if row is None:
        keys = set()
        for enclosure in (enclosure for episode in feed.episodes for enclosure in episode.enclosures):
            try:
                keys.add(identify(enclosure.url, own_hosts=own_hosts).key)
            except InvalidInput:
                continue
        row = await conn.fetchrow(_TAKEN_BY_KEYS, list(keys), tenant.tenant_id)
    return None if row is None else msgspec.convert(row, TakenPodcast)


async def find_own(conn: Connection, tenant: Tenant, podcast_id: UUID) -> TakenPodcast | None:
    """Find a podcast of the tenant that has not moved away, as a claim of it needs it; as who authenticates."""
    row = await conn.fetchrow(_OWN, tenant.tenant_id, podcast_id)
    return None if row is None else msgspec.convert(row, TakenPodcast)


async def start_claim(
    conn: Connection, tenant: Tenant, taken: TakenPodcast, *, title: str, feed_url: str | None, now: dt.datetime
) -> ClaimRow:
    """Start a claim of a podcast, or return the one that the tenant has begun.

    Args:
        conn: As the role that authenticates.
        tenant: The claimer.
        taken: What is claimed; it has a feed's address.
        title: What the claimer calls it.
        feed_url: The address that the claimer named.
        now: Aware instant.
    """
    shown = feed_url if feed_url and taken.feed_url and feed_key(feed_url) == feed_key(taken.feed_url) else None
    async with conn.transaction():
        await conn.execute(_EXPIRE, tenant.tenant_id, taken.podcast_no, now)
        await conn.execute(
            _INSERT,
            tenant.tenant_id,
            new_id(),
            tenant.tenant_no,
            taken.podcast_no,
            title,
            shown,
            new_token(),
            now,
            now + LIFETIME,
        )
        return msgspec.convert(await conn.fetchrow(_OPEN_ONE, tenant.tenant_id, taken.podcast_no), ClaimRow)


async def get_claim(conn: Connection, claim_id: UUID) -> ClaimRow | None:
    """Read one claim of the transaction's tenant."""
    row = await conn.fetchrow(_GET, claim_id)
    return None if row is None else msgspec.convert(row, ClaimRow)


async def list_claims(conn: Connection, *, after: tuple[dt.datetime, UUID] | None, limit: int) -> list[ClaimRow]:
    """List the tenant's claims in the order in which they were started, behind *after*."""
    at, claim_id = after if after is not None else (None, None)
    return [msgspec.convert(row, ClaimRow) for row in await conn.fetch(_LIST, at, claim_id, limit)]


async def begin_check(conn: Connection, tenant: Tenant, claim_id: UUID, *, now: dt.datetime) -> StartedCheck | None:
    """Begin a check, as the role that authenticates; ``None`` when the claim is not open or was checked just now.

    Of several who begin at the same moment one may.
    """
    row = await conn.fetchrow(_BEGIN_CHECK, tenant.tenant_id, claim_id, now, CHECK_EVERY)
    return None if row is None else msgspec.convert(row, StartedCheck)


async def note_check(
    conn: Connection,
    tenant: Tenant,
    claim_id: UUID,
    *,
    now: dt.datetime,
    fault: str | None = None,
    proof: Proof | None = None,
    digest: bytes | None = None,
) -> None:
    """Note what a check found: a proof with the feed's digest, or a fault; ingest hears of a proof at once.

    A claim that ended meanwhile stays as it is.
    """
    await conn.execute(
        _NOTE_CHECK, tenant.tenant_id, claim_id, now, fault, None if proof is None else proof.value, digest
    )
    if proof is not None:
        await conn.execute(_NOTIFY, CATALOGUE_CHANNEL)


async def prove_claims(conn: Connection, podcast_no: int, feed: Feed, data: bytes, *, now: dt.datetime) -> int:
    """Look for the tokens of a podcast's open claims in its feed as it was just polled.

    Args:
        conn: As ingest, in the transaction that stores the poll: a poll that is kept is not looked at again.
        podcast_no: The polled podcast's.
        feed: What the feed says.
        data: Its bytes.
        now: Aware instant.

    Returns:
        How many claims were proven.
    """
    proven = 0
    for row in await conn.fetch(_OF_PODCAST, podcast_no, now):
        proof = find_proof(feed, row["token"])
        if proof is not None:
            proven += 1
            digest = hashlib.sha256(data).digest()
            tenant_id, claim_id = row["tenant_id"], row["claim_id"]
            await conn.execute(_NOTE_CHECK, tenant_id, claim_id, now, None, proof.value, digest)
    if proven:
        await conn.execute(_NOTIFY, CATALOGUE_CHANNEL)
    return proven
