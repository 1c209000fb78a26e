"""Erasures that were asked for: a record of each, which names nobody, and while it is not done whom it is about.

The tenant asks, as the role of the API; ingest does it. A request that is not done is one with the next that is about
the same, so that what was stopped goes on when it is asked for again, or when ingest comes to it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Mapping
from typing import Final, Literal, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.pool import CONNECTION_LOST, Connection, Tenant
from analytics_core.erasures import ErasureRecord, is_about, record_digest, subject_hash
from analytics_core.errors import Conflict
from analytics_core.ids import new_id

__all__ = (
    "ErasureRequest",
    "StoredErasure",
    "ask_for_customer",
    "ask_for_listener",
    "ask_for_podcast",
    "end_erasure",
    "erasing",
    "find_asked_podcast",
    "find_erasure",
    "find_listener",
    "list_erasures",
    "list_requests",
    "note_removed",
)


class StoredErasure(msgspec.Struct, frozen=True):
    """A record with the digest that was stored beside it; ``None`` while it is not done."""

    record: ErasureRecord
    digest: bytes | None

    @property
    def is_whole(self) -> bool:
        """Whether the record is done, left nothing, and is what was written."""
        remaining = self.record.remaining
        return remaining is not None and not any(remaining.values()) and self.digest == record_digest(self.record)


class ErasureRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure that is not done.

    Attributes:
        listener_key: The listener's; ``None`` where it is about something else.
        month: The first day of the UTC month in which the listener has its key.
        podcast_id: The podcast's, which may be gone already; ``None`` where it is about somebody.
        podcast_no: The number under which it has hits.
        customer_key: The customer's; ``None`` where it is about something else.
    """

    erasure_id: UUID
    tenant: Tenant
    listener_key: UUID | None
    month: dt.date | None
    podcast_id: UUID | None
    podcast_no: int | None
    customer_key: UUID | None = None


_ADD: Final[LiteralString] = """/* erasures.add */
insert into app.erasures (tenant_no, erasure_id, kind, subject_hash, month, started_at)
values ($1, $2, $3, $4, $5, $6)"""

_ASK: Final[LiteralString] = """/* erasure_requests.add */
insert into app.erasure_requests (tenant_no, erasure_id, listener_key, month, podcast_id, podcast_no, customer_key)
values ($1, $2, $3, $4, $5, $6, $7)"""

_LIST: Final[LiteralString] = """/* erasures.list */
select erasure_id, kind, subject_hash, month, started_at, removed, finished_at, remaining, digest from app.erasures
where tenant_no = $1 and ($2::uuid is null or erasure_id = $2)
    and ($3::timestamptz is null or (started_at, erasure_id) > ($3, $4::uuid))
order by started_at, erasure_id limit $5"""

_ASKED_LISTENER: Final[LiteralString] = """/* erasure_requests.listener */
select erasure_id from app.erasure_requests where tenant_no = $1 and listener_key = $2 and month = $3"""

_ASKED_PODCAST: Final[LiteralString] = """/* erasure_requests.podcast */
select erasure_id from app.erasure_requests where tenant_no = $1 and podcast_id = $2"""

_ASKED_CUSTOMER: Final[LiteralString] = """/* erasure_requests.customer */
select erasure_id from app.erasure_requests where tenant_no = $1 and customer_key = $2"""

_REQUESTS: Final[LiteralString] = """/* erasure_requests.list */
select r.erasure_id, t.tenant_id, t.tenant_no, r.listener_key, r.month, r.podcast_id, r.podcast_no,
    r.customer_key
from app.erasure_requests r join app.tenants t using (tenant_no)
where $1::uuid is null or r.erasure_id = $1 order by r.erasure_id"""

# Two who ask for the same are one after the other.
_ONE_BY_ONE: Final[LiteralString] = """/* erasure_requests.one_by_one */
select pg_advisory_xact_lock(hashtext('castledger.erasure_requests'), $1)"""

_NOTE: Final[LiteralString] = """/* erasures.note */
update app.erasures set removed = $3 where tenant_no = $1 and erasure_id = $2"""

_FINISH: Final[LiteralString] = """/* erasures.finish */
update app.erasures set finished_at = $3, remaining = $4, digest = $5 where tenant_no = $1 and erasure_id = $2"""

_FORGET: Final[LiteralString] = """/* erasure_requests.delete */
delete from app.erasure_requests where tenant_no = $1 and erasure_id = $2"""

# One at a time a tenant: they would enter what they took away one over the other.
_LOCK: Final[LiteralString] = """/* erasures.lock */
select pg_try_advisory_lock(hashtext('castledger.listener_erasure'), $1)"""

_UNLOCK: Final[LiteralString] = """/* erasures.unlock */
select pg_advisory_unlock(hashtext('castledger.listener_erasure'), $1)"""

_FIND: Final[LiteralString] = """/* erasures.find_listener */
select e.listener_key, date_trunc('month', e.occurred_at, 'UTC') as month
from api.segments s join api.listener_events e
    on e.occurred_at >= s.first_hit_at and e.occurred_at <= s.last_hit_at and e.segment_no = s.segment_no
where s.segment_no = $1 and e.ordinal = $2"""


async def list_erasures(
    conn: Connection, tenant: Tenant, *, after: tuple[dt.datetime, UUID] | None = None, limit: int | None = None
) -> list[StoredErasure]:
    """List a tenant's erasures, oldest first, behind *after*; in a transaction of it."""
    return await _read(conn, tenant, None, after, limit)


async def find_erasure(conn: Connection, tenant: Tenant, erasure_id: UUID) -> StoredErasure | None:
    """Find one of a tenant's erasures, in a transaction of it."""
    found = await _read(conn, tenant, erasure_id, None, 1)
    return found[0] if found else None


async def _read(
    conn: Connection, tenant: Tenant, erasure_id: UUID | None, after: tuple[dt.datetime, UUID] | None, limit: int | None
) -> list[StoredErasure]:
    rows = await conn.fetch(_LIST, tenant.tenant_no, erasure_id, *(after or (None, None)), limit)
    return [StoredErasure(msgspec.convert(row, ErasureRecord), row["digest"]) for row in rows]


async def find_listener(conn: Connection, segment_no: int, ordinal: int) -> tuple[UUID, dt.date] | None:
    """Name the key of the listener of a hit that has landed, and its month; as the API, in a tenant's transaction."""
    row = await conn.fetchrow(_FIND, segment_no, ordinal)
    return None if row is None else (UUID(int=row["listener_key"].int), row["month"].date())


async def _known(conn: Connection, tenant: Tenant, erasure_id: UUID) -> StoredErasure:
    stored = await find_erasure(conn, tenant, erasure_id)
    if stored is None:
        raise AssertionError("an erasure has a record")
    return stored


async def _ask(
    conn: Connection,
    tenant: Tenant,
    kind: Literal["listener", "podcast", "customer"],
    subject: UUID,
    *,
    month: dt.date | None = None,
    podcast_no: int | None = None,
    now: dt.datetime,
) -> StoredErasure:
    erasure_id = new_id()
    hashed = subject_hash(erasure_id, kind, subject.bytes)
    await conn.execute(_ADD, tenant.tenant_no, erasure_id, kind, hashed, month, now)
    about = {kind: subject}
    await conn.execute(
        _ASK,
        tenant.tenant_no,
        erasure_id,
        about.get("listener"),
        month,
        about.get("podcast"),
        podcast_no,
        about.get("customer"),
    )
    return await _known(conn, tenant, erasure_id)


async def ask_for_listener(
    conn: Connection, tenant: Tenant, key: UUID, month: dt.date, *, now: dt.datetime
) -> StoredErasure:
    """Ask for the erasure of a listener, or find the one that was asked for and is not done.

    Args:
        conn: As the API, in a transaction of the tenant.
        tenant: Whose listener it is; keys of other tenants are others.
        key: Of the listener.
        month: The first day of the UTC month in which it has that key.
        now: Aware instant.
    """
    await conn.execute(_ONE_BY_ONE, tenant.tenant_no)
    asked: UUID | None = await conn.fetchval(_ASKED_LISTENER, tenant.tenant_no, key, month)
    if asked is not None:
        return await _known(conn, tenant, asked)
    return await _ask(conn, tenant, "listener", key, month=month, now=now)


async def ask_for_customer(conn: Connection, tenant: Tenant, key: UUID, *, now: dt.datetime) -> StoredErasure:
    """Ask for the erasure of a customer, or find the one that was asked for and is not done.

    Args:
        conn: As the API, in a transaction of the tenant.
        tenant: Whose customer it is.
        key: As :func:`analytics_core.event_pages.customer_key` makes it.
        now: Aware instant.
    """
    await conn.execute(_ONE_BY_ONE, tenant.tenant_no)
    asked: UUID | None = await conn.fetchval(_ASKED_CUSTOMER, tenant.tenant_no, key)
    if asked is not None:
        return await _known(conn, tenant, asked)
    return await _ask(conn, tenant, "customer", key, now=now)


async def ask_for_podcast(
    conn: Connection, tenant: Tenant, podcast_id: UUID, podcast_no: int, *, now: dt.datetime
) -> StoredErasure:
    """Ask for the erasure of a podcast that is there, or find the one that was asked for.

    Args:
        conn: As the API, in a transaction of the tenant.
        tenant: Whose podcast it is.
        podcast_id: The podcast.
        podcast_no: Its number.
        now: Aware instant.
    """
    await conn.execute(_ONE_BY_ONE, tenant.tenant_no)
    asked = await find_asked_podcast(conn, tenant, podcast_id)
    return asked or await _ask(conn, tenant, "podcast", podcast_id, podcast_no=podcast_no, now=now)


async def find_asked_podcast(conn: Connection, tenant: Tenant, podcast_id: UUID) -> StoredErasure | None:
    """Find the erasure of a podcast that was asked for, done or not, in a transaction of the tenant."""
    asked: UUID | None = await conn.fetchval(_ASKED_PODCAST, tenant.tenant_no, podcast_id)
    if asked is not None:
        return await _known(conn, tenant, asked)
    for stored in await list_erasures(conn, tenant):
        if stored.record.kind == "podcast" and is_about(stored.record, podcast_id.bytes):
            return stored
    return None


async def list_requests(conn: Connection, *, erasure_id: UUID | None = None) -> list[ErasureRequest]:
    """List erasures that are not done, of all tenants, or one of them; oldest first, as ingest."""
    return [
        ErasureRequest(
            erasure_id=row["erasure_id"],
            tenant=Tenant(row["tenant_id"], row["tenant_no"]),
            listener_key=row["listener_key"],
            month=row["month"],
            podcast_id=row["podcast_id"],
            podcast_no=row["podcast_no"],
            customer_key=row["customer_key"],
        )
        for row in await conn.fetch(_REQUESTS, erasure_id)
    ]


@contextlib.asynccontextmanager
async def erasing(conn: Connection, tenant: Tenant) -> AsyncIterator[None]:
    """Be the only one who erases for a tenant.

    Args:
        conn: As ingest, outside a transaction; it is needed until the end.
        tenant: Whose erasures.

    Raises:
        Conflict: ``in_use``: somebody else is at it.
    """
    if not await conn.fetchval(_LOCK, tenant.tenant_no):
        raise Conflict("in_use", "another erasure is at work for this tenant; wait until it has ended")
    try:
        yield
    finally:
        with contextlib.suppress(*CONNECTION_LOST):
            await conn.execute(_UNLOCK, tenant.tenant_no)


async def note_removed(
    conn: Connection, tenant: Tenant, record: ErasureRecord, removed: Mapping[str, int]
) -> ErasureRecord:
    """Enter what a transaction took away, as ingest; the record that is returned holds once that is committed."""
    total = {**record.removed, **{what: record.removed.get(what, 0) + count for what, count in removed.items()}}
    await conn.execute(_NOTE, tenant.tenant_no, record.erasure_id, total)
    return msgspec.structs.replace(record, removed=total)


async def end_erasure(
    conn: Connection, tenant: Tenant, record: ErasureRecord, remaining: Mapping[str, int], *, now: dt.datetime
) -> ErasureRecord:
    """Note that an erasure is done, as ingest, and forget whom it was about.

    Args:
        conn: In the tenant's transaction that has counted what is left.
        tenant: Whose erasure.
        record: As it was noted last.
        remaining: What is left, by table.
        now: Aware instant.
    """
    done = msgspec.structs.replace(record, finished_at=now, remaining=dict(remaining))
    await conn.execute(_FINISH, tenant.tenant_no, done.erasure_id, now, done.remaining, record_digest(done))
    await conn.execute(_FORGET, tenant.tenant_no, done.erasure_id)
    return done
