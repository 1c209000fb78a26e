"""The answers of writes that named an `Idempotency-Key`: kept for a day, so that what is sent twice is done once."""

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.pool import Connection, Tenant

__all__ = (
    "KEPT",
    "MAX_ANSWER_BYTES",
    "StoredAnswer",
    "drop_answers",
    "find_answer",
    "find_own_answer",
    "keep_answer",
    "keep_own_answer",
    "take_key",
    "take_own_key",
)

KEPT: Final = dt.timedelta(hours=24)
MAX_ANSWER_BYTES: Final = 65_536


class StoredAnswer(msgspec.Struct, frozen=True):
    """What a request was answered.

    Attributes:
        request_hash: Of the request, 32 bytes.
        resource_id: What it made or changed.
        answer: The body; ``None`` when it was too long to keep, or was to be seen only once.
        etag: Of the header of that name.
    """

    request_hash: bytes
    status_code: int
    resource_id: str | None
    answer: bytes | None
    etag: str | None


# Whoever comes while another has the key and has not committed waits here. One whose time is over is taken anew.
_TAKE: Final[LiteralString] = """/* idempotency_keys.take */
insert into app.idempotency_keys as k (tenant_id, caller_id, key, request_hash, created_at) values ($1, $2, $3, $4, $5)
on conflict (tenant_id, caller_id, key) do update set request_hash = excluded.request_hash,
    created_at = excluded.created_at, status_code = null, resource_id = null, answer = null, etag = null
    where k.created_at <= $6
returning true"""

_FIND: Final[LiteralString] = """/* idempotency_keys.find */
select request_hash, status_code, resource_id, answer, etag from app.idempotency_keys
where tenant_id = $1 and caller_id = $2 and key = $3 and created_at > $4"""

_KEEP: Final[LiteralString] = """/* idempotency_keys.keep */
update app.idempotency_keys set status_code = $4, resource_id = $5, answer = $6, etag = $7
where tenant_id = $1 and caller_id = $2 and key = $3"""

_DROP: Final[LiteralString] = """/* idempotency_keys.drop */ delete from app.idempotency_keys where created_at <= $1"""

# The same of what people change of themselves, which no tenant owns.
_TAKE_OWN: Final[LiteralString] = """/* own_idempotency_keys.take */
insert into app.own_idempotency_keys as k (user_id, key, request_hash, created_at) values ($1, $2, $3, $4)
on conflict (user_id, key) do update set request_hash = excluded.request_hash, created_at = excluded.created_at,
    status_code = null, answer = null
    where k.created_at <= $5
returning true"""

_FIND_OWN: Final[LiteralString] = """/* own_idempotency_keys.find */
select request_hash, status_code, null as resource_id, answer, null as etag from app.own_idempotency_keys
where user_id = $1 and key = $2 and created_at > $3"""

_KEEP_OWN: Final[LiteralString] = """/* own_idempotency_keys.keep */
update app.own_idempotency_keys set status_code = $3, answer = $4 where user_id = $1 and key = $2"""

_DROP_OWN: Final[LiteralString] = """/* own_idempotency_keys.drop */
delete from app.own_idempotency_keys where created_at <= $1"""


async def take_key(
    conn: Connection, tenant: Tenant, caller_id: UUID, key: str, *, request_hash: bytes, now: dt.datetime
) -> bool:
    """Take a key for a request, in the transaction of what it does; ``False`` when it has its answer already.

    Args:
        conn: In a transaction of the tenant, with READ COMMITTED isolation.
        tenant: The caller's.
        caller_id: The API key or the person that asks: keys of others are others.
        key: 1 to 255 visible ASCII characters.
        request_hash: Of all that makes the request, 32 bytes.
        now: Aware instant.
    """
    taken = await conn.fetchval(_TAKE, tenant.tenant_id, caller_id, key, request_hash, now, now - KEPT)
    return taken is not None


async def find_answer(
    conn: Connection, tenant: Tenant, caller_id: UUID, key: str, *, now: dt.datetime
) -> StoredAnswer | None:
    """Find what a key's request was answered; in a transaction of the tenant."""
    row = await conn.fetchrow(_FIND, tenant.tenant_id, caller_id, key, now - KEPT)
    return None if row is None else msgspec.convert(row, StoredAnswer)


async def keep_answer(
    conn: Connection,
    tenant: Tenant,
    caller_id: UUID,
    key: str,
    *,
    status_code: int,
    resource_id: str | None,
    answer: bytes | None,
    etag: str | None = None,
) -> None:
    """Keep the answer of the request that has taken a key, in the same transaction; none that is too long."""
    await conn.execute(_KEEP, tenant.tenant_id, caller_id, key, status_code, resource_id, _kept(answer), etag)


async def take_own_key(conn: Connection, user_id: UUID, key: str, *, request_hash: bytes, now: dt.datetime) -> bool:
    """Take a key for what somebody changes of themselves, as :func:`take_key` does; as the role that authenticates.

    Args:
        conn: In the transaction of what is done, with READ COMMITTED isolation.
        user_id: Whose key it is.
        key: 1 to 255 visible ASCII characters.
        request_hash: Of all that makes the request, 32 bytes; a keyed one, as a password may be in it.
        now: Aware instant.
    """
    taken = await conn.fetchval(_TAKE_OWN, user_id, key, request_hash, now, now - KEPT)
    return taken is not None


async def find_own_answer(conn: Connection, user_id: UUID, key: str, *, now: dt.datetime) -> StoredAnswer | None:
    """Find what somebody's request about themselves was answered; as the role that authenticates."""
    row = await conn.fetchrow(_FIND_OWN, user_id, key, now - KEPT)
    return None if row is None else msgspec.convert(row, StoredAnswer)


async def keep_own_answer(conn: Connection, user_id: UUID, key: str, *, status_code: int, answer: bytes | None) -> None:
    """Keep the answer of the request that has taken a key, in the same transaction; none that is too long."""
    await conn.execute(_KEEP_OWN, user_id, key, status_code, _kept(answer))


def _kept(answer: bytes | None) -> bytes | None:
    return None if answer is None or len(answer) > MAX_ANSWER_BYTES else answer


async def drop_answers(conn: Connection, *, now: dt.datetime) -> int:
    """Drop what has been kept for its time, of all tenants and people; as ingest. Returns how many there were."""
    dropped = [str(await conn.execute(statement, now - KEPT)) for statement in (_DROP, _DROP_OWN)]
    return sum(int(tag.rpartition(" ")[2]) for tag in dropped)
