"""A tenant's own API keys, as the tenant sees them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.api_keys import KeyKind, hash_key, key_hint, new_key
from analytics_core.db.pool import Connection, Tenant
from analytics_core.errors import Conflict, NotFound
from analytics_core.ids import KeyId, new_id

__all__ = ("MAX_KEYS", "ListedKey", "add_key", "change_key", "get_key", "list_keys", "lock_key", "replace_key")

MAX_KEYS: Final = 1_000
"""Keys a tenant that are neither revoked nor expired."""


class ListedKey(msgspec.Struct, frozen=True):
    """An API key without its text.

    Attributes:
        scopes: What it may do; ``None`` is everything.
        origins: On whose pages it may be used, for a publishable one.
        replaces: The key whose place it took.
        replaced_by: The key that took its place.
    """

    key_id: KeyId
    kind: KeyKind
    name: str
    hint: str
    scopes: tuple[str, ...] | None
    origins: tuple[str, ...]
    created_at: dt.datetime
    last_used_at: dt.datetime | None
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    replaces: KeyId | None
    replaced_by: KeyId | None


_COUNT: Final[LiteralString] = """/* api_keys.count */
select count(*) from app.api_keys where revoked_at is null and (expires_at is null or expires_at > now())"""

_ADD: Final[LiteralString] = """/* api_keys.add */
insert into app.api_keys (tenant_id, key_id, kind, name, hint, key_hash, scopes, origins, expires_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)"""

_GET: Final[LiteralString] = """/* api_keys.get */
select k.key_id, k.kind, k.name, k.hint, k.scopes, k.origins, k.created_at, k.last_used_at, k.expires_at, k.revoked_at,
    k.replaces, n.key_id as replaced_by
from app.api_keys k left join app.api_keys n on n.tenant_id = k.tenant_id and n.replaces = k.key_id
where k.key_id = $1"""

_LIST: Final[LiteralString] = """/* api_keys.list */
select k.key_id, k.kind, k.name, k.hint, k.scopes, k.origins, k.created_at, k.last_used_at, k.expires_at, k.revoked_at,
    k.replaces, n.key_id as replaced_by
from app.api_keys k left join app.api_keys n on n.tenant_id = k.tenant_id and n.replaces = k.key_id
where $1::timestamptz is null or (k.created_at, k.key_id) > ($1, $2::uuid)
order by k.created_at, k.key_id limit $3"""

_LOCK: Final[LiteralString] = """/* api_keys.lock */
select key_id from app.api_keys where key_id = $1 and revoked_at is null for update"""

_CHANGE: Final[LiteralString] = """/* api_keys.change */
update app.api_keys set name = $2, origins = $3 where key_id = $1"""

# The new key is made to last as long as the old one was.
_REPLACE: Final[LiteralString] = """/* api_keys.replace */
insert into app.api_keys (tenant_id, key_id, kind, name, hint, key_hash, scopes, origins, expires_at, replaces)
select tenant_id, $2, kind, name, $3, $4, scopes, origins, now() + (expires_at - created_at), key_id
from app.api_keys where key_id = $1 and (expires_at is null or expires_at > now())
returning key_id"""

_END_SOON: Final[LiteralString] = """/* api_keys.end_soon */
update app.api_keys set expires_at = least(expires_at, now() + make_interval(secs => $2::integer)) where key_id = $1"""


async def _check_room(conn: Connection) -> None:
    if await conn.fetchval(_COUNT) >= MAX_KEYS:
        raise Conflict("too_many_keys", f"there are {MAX_KEYS:,} keys already: revoke those that nobody uses")


async def _read(conn: Connection, key_id: KeyId) -> ListedKey:
    row = await get_key(conn, key_id)
    if row is None:
        raise NotFound("API key")
    return row


async def add_key(
    conn: Connection,
    tenant: Tenant,
    *,
    name: str,
    scopes: Sequence[str] | None,
    kind: KeyKind = KeyKind.SECRET,
    origins: Sequence[str] = (),
    expires_at: dt.datetime | None = None,
) -> tuple[ListedKey, str]:
    """Make an API key inside a transaction of its tenant; its text is returned this once and stored nowhere.

    Args:
        conn: In a transaction of the tenant.
        tenant: Whose key it is.
        name: What it is for.
        scopes: What it may do; ``None`` is everything, for whoever may hand that out.
        kind: A publishable one needs origins, and may do nothing but send events.
        origins: On whose pages a publishable one may be used.
        expires_at: When it ends.

    Raises:
        Conflict: ``too_many_keys``.
    """
    await _check_room(conn)
    key, key_id = new_key(kind), KeyId(new_id())
    await conn.execute(
        _ADD, tenant.tenant_id, key_id, kind, name, key_hint(key), hash_key(key), scopes, origins, expires_at
    )
    return await _read(conn, key_id), key


async def get_key(conn: Connection, key_id: KeyId) -> ListedKey | None:
    """Read one key of the transaction's tenant, a revoked one too."""
    row = await conn.fetchrow(_GET, key_id)
    return None if row is None else msgspec.convert(row, ListedKey)


async def list_keys(conn: Connection, *, after: tuple[dt.datetime, UUID] | None, limit: int) -> list[ListedKey]:
    """List the tenant's keys in the order in which they were made, revoked ones too, behind *after*."""
    at, key_id = after if after is not None else (None, None)
    return [msgspec.convert(row, ListedKey) for row in await conn.fetch(_LIST, at, key_id, limit)]


async def lock_key(conn: Connection, key_id: KeyId) -> ListedKey:
    """Read one key that is not revoked, and keep others from changing it until the transaction ends.

    Raises:
        NotFound: The tenant has no such key, or it is revoked.
    """
    if await conn.fetchval(_LOCK, key_id) is None:
        raise NotFound("API key")
    return await _read(conn, key_id)


async def change_key(conn: Connection, key_id: KeyId, *, name: str, origins: Sequence[str]) -> ListedKey:
    """Change a key's name and origins.

    Raises:
        NotFound: The tenant has no such key.
    """
    await conn.execute(_CHANGE, key_id, name, origins)
    return await _read(conn, key_id)


async def replace_key(conn: Connection, old: ListedKey, *, overlap_s: int) -> tuple[ListedKey, str]:
    """Make a key in the place of one that :func:`lock_key` returned: the same but for its text and its time.

    Args:
        conn: In a transaction of the tenant.
        old: Ends after *overlap_s*, or when it would have anyway.
        overlap_s: Seconds for which both are good; with 0 the old one ends at once.

    Raises:
        Conflict: ``already_replaced``, ``key_expired`` or ``too_many_keys``.
    """
    if old.replaced_by is not None:
        raise Conflict("already_replaced", f"the key {old.replaced_by} has taken its place already: rotate that one")
    await _check_room(conn)
    key, key_id = new_key(old.kind), KeyId(new_id())
    if await conn.fetchval(_REPLACE, old.key_id, key_id, key_hint(key), hash_key(key)) is None:
        raise Conflict("key_expired", "this key has expired: make a new one")
    await conn.execute(_END_SOON, old.key_id, overlap_s)
    return await _read(conn, key_id), key
