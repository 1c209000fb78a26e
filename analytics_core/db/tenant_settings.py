"""What tenants have set, key by key, under one version that grows with every change."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final, LiteralString

import msgspec

from analytics_core.db.pool import Connection, Tenant
from analytics_core.errors import Outdated
from analytics_core.tenant_settings import Value, effective

__all__ = ("StoredSetting", "change_settings", "read_effective", "read_settings", "version_of")


class StoredSetting(msgspec.Struct, frozen=True):
    """A key that a tenant has set at some time; ``value`` is ``None`` since it was taken back."""

    key: str
    value: str | int | None
    version: int
    updated_at: dt.datetime
    updated_by: str


_READ: Final[LiteralString] = """/* tenant_settings.read */
select key, value, version, updated_at, updated_by from app.tenant_settings order by key"""

_VALUES: Final[LiteralString] = """/* tenant_settings.values */
select key, value from app.tenant_settings where value is not null"""

# Two who change settings are one after the other.
_LOCK: Final[LiteralString] = """/* tenant_settings.lock */
select tenant_id from app.tenants where tenant_id = $1 for no key update"""

_SET: Final[LiteralString] = """/* tenant_settings.set */
insert into app.tenant_settings (tenant_id, key, value, version, updated_at, updated_by)
values ($1, $2, $3, $4, $5, $6)
on conflict (tenant_id, key) do update set value = excluded.value, version = excluded.version,
    updated_at = excluded.updated_at, updated_by = excluded.updated_by"""


async def read_settings(conn: Connection) -> dict[str, StoredSetting]:
    """Read what the transaction's tenant has set, by key."""
    return {row["key"]: msgspec.convert(row, StoredSetting) for row in await conn.fetch(_READ)}


def version_of(stored: Mapping[str, StoredSetting]) -> int:
    """Tell the version of all settings together: 1 while nothing was ever set, and one more with every change."""
    return 1 + max((setting.version for setting in stored.values()), default=0)


async def read_effective(conn: Connection) -> dict[str, Value]:
    """Read what holds for the transaction's tenant, by key: its own values, else the defaults."""
    return effective({row["key"]: row["value"] for row in await conn.fetch(_VALUES)})


async def change_settings(
    conn: Connection,
    tenant: Tenant,
    changes: Mapping[str, Value | None],
    *,
    expected: int | None,
    now: dt.datetime,
    by: str,
) -> None:
    """Set some keys, or take them back with ``None``.

    Args:
        conn: As the API, in a transaction of the tenant.
        tenant: Whose settings.
        changes: Values as :func:`analytics_core.tenant_settings.parse_setting` returns them.
        expected: The version that they have to have; ``None`` for any.
        now: Aware instant.
        by: Who does it.

    Raises:
        Outdated: They have another version; nothing was changed.
    """
    await conn.fetchval(_LOCK, tenant.tenant_id)
    version = version_of(await read_settings(conn))
    if expected not in (None, version):
        raise Outdated("tenant's settings", version=version)
    for key, value in changes.items():
        await conn.execute(_SET, tenant.tenant_id, key, value, version, now, by)
