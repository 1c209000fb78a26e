"""Tenants and their API keys."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final, LiteralString

import msgspec

from analytics_core.api_keys import KeyKind, hash_key, is_well_formed, key_hint, new_key
from analytics_core.db.pool import Connection, Tenant
from analytics_core.ids import KeyId, TenantId, TenantNo, new_id

__all__ = (
    "KeyRow",
    "TenantRow",
    "create_key",
    "create_tenant",
    "ensure_owner_key",
    "find_key",
    "find_tenant",
    "find_tenant_name",
    "list_slugs",
    "note_uses",
    "revoke_key",
)


class TenantRow(msgspec.Struct, frozen=True):
    """A tenant."""

    tenant_id: TenantId
    tenant_no: TenantNo
    slug: str
    name: str
    is_installation: bool

    @property
    def tenant(self) -> Tenant:
        """The tenant as a transaction names it."""
        return Tenant(self.tenant_id, self.tenant_no)


class KeyRow(msgspec.Struct, frozen=True):
    """A valid API key with the tenant it stands for.

    Attributes:
        scopes: What it may do; ``None`` is everything.
        origins: On whose pages it may be used, for a publishable one.
        expires_at: From when on it is no longer valid.
    """

    key_id: KeyId
    tenant_id: TenantId
    tenant_no: TenantNo
    is_installation: bool
    status: str
    kind: KeyKind
    scopes: tuple[str, ...] | None
    origins: tuple[str, ...]
    expires_at: dt.datetime | None

    @property
    def tenant(self) -> Tenant:
        """The tenant as a transaction names it."""
        return Tenant(self.tenant_id, self.tenant_no)


_CREATE_TENANT: Final[LiteralString] = """/* tenants.create */
insert into app.tenants (tenant_id, slug, name, is_installation) values ($1, $2, $3, $4)
returning tenant_id, tenant_no, slug, name, is_installation"""

_INSTALLATION: Final[LiteralString] = """/* tenants.installation */
select tenant_id, tenant_no, slug, name, is_installation from app.tenants where is_installation"""

_FIND_TENANT: Final[LiteralString] = """/* tenants.find */
select tenant_id, tenant_no, slug, name, is_installation from app.tenants where slug = $1"""

_NAME: Final[LiteralString] = """/* tenants.name */ select name from app.tenants where tenant_id = $1"""

_SLUGS: Final[LiteralString] = """/* tenants.slugs */ select tenant_no, slug from app.tenants order by slug"""

_CREATE_KEY: Final[LiteralString] = """/* api_keys.create */
insert into app.api_keys (tenant_id, key_id, name, hint, key_hash) values ($1, $2, $3, $4, $5)"""

_FIND_KEY: Final[LiteralString] = """/* api_keys.find */
select k.key_id, k.tenant_id, t.tenant_no, t.is_installation, t.status, k.kind, k.scopes, k.origins, k.expires_at
from app.api_keys k join app.tenants t using (tenant_id)
where k.key_hash = $1 and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
    and t.status <> 'closed'"""

# A row that somebody else is writing is left out: another process has used the key within the same minute, or it is
# being revoked.
_NOTE_USES: Final[LiteralString] = """/* api_keys.note_uses */
with used as materialized (
    select k.tenant_id, k.key_id, u.used_at
    from unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) as u(tenant_id, key_id, used_at)
    join app.api_keys k using (tenant_id, key_id)
    where k.last_used_at is null or k.last_used_at < u.used_at
    for update of k skip locked)
update app.api_keys k set last_used_at = used.used_at
from used where k.tenant_id = used.tenant_id and k.key_id = used.key_id"""

_REVOKE_KEY: Final[LiteralString] = """/* api_keys.revoke */
update app.api_keys set revoked_at = now() where tenant_id = $1 and key_id = $2 and revoked_at is null"""


async def create_tenant(
    conn: Connection, *, slug: str, name: str, is_installation: bool = False, tenant_id: TenantId | None = None
) -> TenantRow:
    """Make a tenant; as the role that authenticates, or as the owner in a transaction of *tenant_id*."""
    row = await conn.fetchrow(_CREATE_TENANT, tenant_id or new_id(), slug, name, is_installation)
    return msgspec.convert(row, TenantRow)


async def find_tenant(conn: Connection, slug: str) -> TenantRow | None:
    """Find a tenant by its short name; as the role that authenticates."""
    row = await conn.fetchrow(_FIND_TENANT, slug)
    return None if row is None else msgspec.convert(row, TenantRow)


async def find_tenant_name(conn: Connection, tenant: Tenant) -> str:
    """Read how a tenant is called, in a transaction of it."""
    return str(await conn.fetchval(_NAME, tenant.tenant_id))


async def list_slugs(conn: Connection) -> dict[int, str]:
    """List the short names of all tenants by number; as ingest."""
    return {row["tenant_no"]: row["slug"] for row in await conn.fetch(_SLUGS)}


async def create_key(conn: Connection, tenant: Tenant, *, name: str) -> str:
    """Make a secret key that may do everything for a tenant, and return its text, which is stored nowhere.

    As the role that authenticates: this is the operator's way. Tenants make theirs in ``analytics_core/db/keys.py``.
    """
    key = new_key()
    await conn.execute(_CREATE_KEY, tenant.tenant_id, new_id(), name, key_hint(key), hash_key(key))
    return key


async def find_key(conn: Connection, key: str) -> KeyRow | None:
    """Look a key up: ``None`` for one that is unknown, malformed, expired, revoked, or of a closed tenant.

    The look-up is by hash, so its time tells nothing about how much of a guessed key was right.
    """
    if not is_well_formed(key):
        return None
    row = await conn.fetchrow(_FIND_KEY, hash_key(key))
    return None if row is None else msgspec.convert(row, KeyRow)


async def note_uses(conn: Connection, uses: Mapping[tuple[TenantId, KeyId], dt.datetime]) -> None:
    """Note when keys were used last, many at once; as the role that authenticates."""
    await conn.execute(
        _NOTE_USES, [tenant_id for tenant_id, _ in uses], [key_id for _, key_id in uses], list(uses.values())
    )


async def revoke_key(conn: Connection, tenant: Tenant, key_id: KeyId) -> bool:
    """Revoke a key at once; ``False`` when the tenant has no such valid key."""
    return str(await conn.execute(_REVOKE_KEY, tenant.tenant_id, key_id)) == "UPDATE 1"


async def ensure_owner_key(conn: Connection, existing: str | None) -> str:
    """Return a valid key of the installation's own tenant, making tenant and key when there are none.

    Args:
        conn: Acting as the role that authenticates.
        existing: The key of an earlier start; it is returned when it is still valid and the installation's.
    """
    async with conn.transaction():
        row = await conn.fetchrow(_INSTALLATION)
        if row is None:
            tenant = await create_tenant(conn, slug="home", name="Home", is_installation=True)
        else:
            tenant = msgspec.convert(row, TenantRow)
        if existing is not None:
            found = await find_key(conn, existing)
            if found is not None and found.tenant_id == tenant.tenant_id:
                return existing
        return await create_key(conn, tenant.tenant, name="owner")
