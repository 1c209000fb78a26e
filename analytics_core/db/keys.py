"""A tenant's own API keys, as the tenant sees them."""

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.api_keys import hash_key, key_hint, new_key
from analytics_core.db.pool import Connection, Tenant
from analytics_core.ids import KeyId, new_id

__all__ = ("ListedKey", "add_key", "list_keys")


class ListedKey(msgspec.Struct, frozen=True):
    """An API key without its text."""

    key_id: KeyId
    name: str
    hint: str
    created_at: dt.datetime
    last_used_at: dt.datetime | None
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None


_ADD: Final[LiteralString] = """/* api_keys.add */
insert into app.api_keys (tenant_id, key_id, name, hint, key_hash) values ($1, $2, $3, $4, $5)
returning key_id, name, hint, created_at, last_used_at, expires_at, revoked_at"""

_LIST: Final[LiteralString] = """/* api_keys.list */
select key_id, name, hint, created_at, last_used_at, expires_at, revoked_at from app.api_keys
where $1::timestamptz is null or (created_at, key_id) > ($1, $2::uuid)
order by created_at, key_id limit $3"""


async def add_key(conn: Connection, tenant: Tenant, *, name: str) -> tuple[ListedKey, str]:
    """Make an API key inside a transaction of its tenant; its text is returned this once and stored nowhere."""
    key = new_key()
    row = await conn.fetchrow(_ADD, tenant.tenant_id, new_id(), name, key_hint(key), hash_key(key))
    return msgspec.convert(row, ListedKey), key


async def list_keys(conn: Connection, *, after: tuple[dt.datetime, UUID] | None, limit: int) -> list[ListedKey]:
    """List the tenant's keys in the order in which they were made, revoked ones too, behind *after*."""
    at, key_id = after if after is not None else (None, None)
    return [msgspec.convert(row, ListedKey) for row in await conn.fetch(_LIST, at, key_id, limit)]
