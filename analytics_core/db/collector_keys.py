"""Which API keys may send events: what collectors are told of them by the registry."""

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString

from analytics_core.api_keys import KeyKind
from analytics_core.db.pool import Connection
from analytics_core.permissions import Permission
from analytics_core.registry import CollectorKey

__all__ = ("KEYS_CHANNEL", "read_collector_keys")

KEYS_CHANNEL: Final = "castledger_keys"
"""Triggers tell on it that a key, or the state of a tenant, has changed."""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)

_REGISTRY: Final[LiteralString] = """/* api_keys.registry */
select k.key_hash, t.tenant_no, k.kind, k.origins, k.expires_at, t.status
from app.api_keys k join app.tenants t using (tenant_id)
where k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
    and (k.scopes is null or $1 = any(k.scopes))"""


async def read_collector_keys(conn: Connection) -> dict[bytes, CollectorKey]:
    """Read the keys that may send events, by their hash; as ingest, over all tenants."""
    return {
        row["key_hash"]: CollectorKey(
            tenant_no=row["tenant_no"],
            kind=KeyKind(row["kind"]),
            origins=tuple(row["origins"]),
            expires_us=None if row["expires_at"] is None else (row["expires_at"] - _EPOCH) // _MICROSECOND,
            status=row["status"],
        )
        for row in await conn.fetch(_REGISTRY, Permission.EVENTS_WRITE.value)
    }
