"""Tenants as the installation and they themselves see them: made, renamed, suspended, closed and opened again.

As the API, in a transaction of the tenant itself or of the installation's own, which row security lets see all tenants
and nothing of what they own. Which way a state may go is guarded by the database as well.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator
from typing import Final, Literal, LiteralString, TypeAlias
from uuid import UUID

import msgspec

from analytics_core.db.memberships import add_membership, list_memberships
from analytics_core.db.pool import Connection, Tenant, set_tenant
from analytics_core.errors import Conflict, Forbidden, NotFound
from analytics_core.ids import TenantId, TenantNo, new_id
from analytics_core.permissions import RoleName
from analytics_core.tenants import TenantStatus

__all__ = (
    "Closer",
    "TenantState",
    "adding_tenant",
    "close_tenant",
    "find_installation",
    "found_tenant",
    "list_tenants",
    "read_state",
    "rename_tenant",
    "reopen_tenant",
    "suspend_tenant",
)

Closer: TypeAlias = Literal["tenant", "installation"]
"""Who closes a tenant: itself, or the installation's owner."""


class TenantState(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant.

    Attributes:
        closing_at: When it was closed; ``None`` while it is not.
        closes_at: Until when that can be taken back; then it is erased.
        closed_by: Who closed it, and alone may open it again.
        is_going: Whether its erasure has begun.
    """

    tenant_id: TenantId
    tenant_no: TenantNo
    slug: str
    name: str
    is_installation: bool
    status: TenantStatus
    created_at: dt.datetime
    closing_at: dt.datetime | None
    closes_at: dt.datetime | None
    closed_by: Closer | None
    is_going: bool

    @property
    def tenant(self) -> Tenant:
        """The tenant as a transaction names it."""
        return Tenant(self.tenant_id, self.tenant_no)


_ADD: Final[LiteralString] = """/* tenant_states.add */
insert into app.tenants (tenant_id, slug, name) values ($1, $2, $3) on conflict (slug) do nothing
returning tenant_id, tenant_no, slug, name, is_installation, status, created_at, closing_at, closes_at, closed_by,
    erasure_id is not null as is_going"""

_HOLD_FOUNDER: Final[LiteralString] = """/* tenant_states.hold_founder */
select user_id from app.users where user_id = $1 and status = 'active' for update"""

_GET: Final[LiteralString] = """/* tenant_states.get */
select tenant_id, tenant_no, slug, name, is_installation, status, created_at, closing_at, closes_at, closed_by,
    erasure_id is not null as is_going
from app.tenants where tenant_id = $1"""

_LOCK: Final[LiteralString] = """/* tenant_states.lock */
select tenant_id, tenant_no, slug, name, is_installation, status, created_at, closing_at, closes_at, closed_by,
    erasure_id is not null as is_going
from app.tenants where tenant_id = $1 for no key update"""

_INSTALLATION: Final[LiteralString] = """/* tenant_states.installation */
select tenant_id, tenant_no from app.tenants where is_installation"""

_LIST: Final[LiteralString] = """/* tenant_states.list */
select tenant_id, tenant_no, slug, name, is_installation, status, created_at, closing_at, closes_at, closed_by,
    erasure_id is not null as is_going
from app.tenants
where ($1::timestamptz is null or (created_at, tenant_id) > ($1, $2::uuid)) and ($4::text is null or slug = $4)
order by created_at, tenant_id limit $3"""

_RENAME: Final[LiteralString] = """/* tenant_states.rename */ update app.tenants set name = $2 where tenant_id = $1"""

_SET: Final[LiteralString] = """/* tenant_states.set */
update app.tenants set status = $2, closing_at = $3, closes_at = $4, closed_by = $5 where tenant_id = $1"""


async def _add(conn: Connection, slug: str, name: str) -> TenantState:
    row = await conn.fetchrow(_ADD, new_id(), slug, name)
    if row is None:
        raise Conflict("slug_taken", f"there is a tenant {slug!r} already; choose another slug")
    return msgspec.convert(row, TenantState)


async def found_tenant(conn: Connection, user_id: UUID, *, slug: str, name: str, now: dt.datetime) -> TenantState:
    """Make a tenant whose owner is somebody who belongs to none, inside a transaction.

    Args:
        conn: As the role that authenticates.
        user_id: Who: somebody who has proven their address.
        slug: As :func:`analytics_core.tenants.parse_slug` writes it.
        name: As :func:`analytics_core.tenants.parse_tenant_name` writes it.
        now: Aware instant.

    Raises:
        NotFound: There is no such person.
        Conflict: ``has_tenant`` or ``slug_taken``.
    """
    # Held, so that two at once do not both belong to none.
    if await conn.fetchval(_HOLD_FOUNDER, user_id) is None:
        raise NotFound("person")
    if await list_memberships(conn, user_id):
        raise Conflict("has_tenant", "you belong to a tenant already; the operator makes further ones")
    state = await _add(conn, slug, name)
    await add_membership(conn, state.tenant_id, user_id, role=RoleName.OWNER, now=now)
    return state


@contextlib.asynccontextmanager
async def adding_tenant(conn: Connection, installation: Tenant, *, slug: str, name: str) -> AsyncIterator[TenantState]:
    """Make a tenant, and lend the transaction as its own for what it has from the beginning.

    Args:
        conn: As the API, in a transaction of the installation's own, which it is again afterwards.
        installation: The installation's own tenant.
        slug: As :func:`analytics_core.tenants.parse_slug` writes it.
        name: As :func:`analytics_core.tenants.parse_tenant_name` writes it.

    Raises:
        Conflict: ``slug_taken``.
    """
    state = await _add(conn, slug, name)
    await set_tenant(conn, state.tenant)
    yield state
    await set_tenant(conn, installation)


async def read_state(conn: Connection, tenant_id: UUID) -> TenantState | None:
    """Read a tenant that the transaction may see."""
    row = await conn.fetchrow(_GET, tenant_id)
    return None if row is None else msgspec.convert(row, TenantState)


async def find_installation(conn: Connection) -> Tenant | None:
    """Find the installation's own tenant, as the role that authenticates or as ingest; ``None`` before there is one."""
    row = await conn.fetchrow(_INSTALLATION)
    return None if row is None else Tenant(row["tenant_id"], row["tenant_no"])


async def list_tenants(
    conn: Connection, *, slug: str | None = None, after: tuple[dt.datetime, UUID] | None, limit: int
) -> list[TenantState]:
    """List tenants in the order in which they were made, in a transaction of the installation's own.

    Args:
        conn: As the API.
        slug: Only the one that is named so, if any.
        after: Behind which one.
        limit: How many at most.
    """
    at, tenant_id = after if after is not None else (None, None)
    return [msgspec.convert(row, TenantState) for row in await conn.fetch(_LIST, at, tenant_id, limit, slug)]


async def rename_tenant(conn: Connection, tenant_id: UUID, name: str) -> None:
    """Give a tenant another name."""
    await conn.execute(_RENAME, tenant_id, name)


async def _lock(conn: Connection, tenant_id: UUID) -> TenantState | None:
    row = await conn.fetchrow(_LOCK, tenant_id)
    return None if row is None else msgspec.convert(row, TenantState)


async def _set(
    conn: Connection,
    tenant_id: UUID,
    status: TenantStatus,
    *,
    closing_at: dt.datetime | None = None,
    closes_at: dt.datetime | None = None,
    closed_by: Closer | None = None,
) -> TenantState | None:
    await conn.execute(_SET, tenant_id, status.value, closing_at, closes_at, closed_by)
    return await read_state(conn, tenant_id)


def _refuse_installation(state: TenantState) -> None:
    if state.is_installation:
        raise Conflict("installation", "the installation's own tenant can neither be suspended nor closed")


def _refuse_going(state: TenantState, now: dt.datetime) -> None:
    if state.is_going or (state.closes_at is not None and state.closes_at <= now):
        raise Conflict("tenant_closed", "its time is over: the tenant is being erased and cannot be had back")


async def suspend_tenant(conn: Connection, tenant_id: UUID) -> TenantState | None:
    """Let a tenant be read alone; ``None`` when there is none. Its links and prefixes go on, and hits are recorded.

    Args:
        conn: In a transaction of the installation's own.
        tenant_id: Which; nothing changes when it is suspended already.

    Raises:
        Conflict: It is the installation's own (``installation``), or is closing (``tenant_closing``).
    """
    state = await _lock(conn, tenant_id)
    if state is None or state.status is TenantStatus.SUSPENDED:
        return state
    _refuse_installation(state)
    if state.status is not TenantStatus.ACTIVE:
        raise Conflict("tenant_closing", "the tenant is closing: it can be read alone already")
    return await _set(conn, tenant_id, TenantStatus.SUSPENDED)


async def close_tenant(
    conn: Connection, tenant_id: UUID, *, by: Closer, now: dt.datetime, grace: dt.timedelta
) -> TenantState | None:
    """Close a tenant: it can be read and exported until it is erased; ``None`` when there is none.

    Args:
        conn: In a transaction of the tenant, or of the installation's own.
        tenant_id: Which.
        by: Who closes it. A tenant that is closing already stays as it is; the installation sets anew when it ends.
        now: Aware instant.
        grace: For how long it can be opened again.

    Raises:
        Conflict: It is the installation's own (``installation``), or its erasure has begun (``tenant_closed``).
    """
    state = await _lock(conn, tenant_id)
    if state is None:
        return None
    _refuse_installation(state)
    if state.status is TenantStatus.CLOSING and by == "tenant":
        return state
    _refuse_going(state, now)
    since = state.closing_at or now
    return await _set(conn, tenant_id, TenantStatus.CLOSING, closing_at=since, closes_at=now + grace, closed_by=by)


async def reopen_tenant(conn: Connection, tenant_id: UUID, *, by: Closer, now: dt.datetime) -> TenantState | None:
    """Have a tenant be as it was, whether it was suspended or closed; ``None`` when there is none.

    Args:
        conn: In a transaction of the tenant, or of the installation's own.
        tenant_id: Which; nothing changes when it is active.
        by: Who opens it: a tenant only what it closed itself.
        now: Aware instant.

    Raises:
        Conflict: ``tenant_closed``: its time is over.
        Forbidden: ``tenant_closing`` or ``tenant_suspended``: the installation did it, and alone takes it back.
    """
    state = await _lock(conn, tenant_id)
    if state is None or state.status is TenantStatus.ACTIVE:
        return state
    if by == "tenant" and state.closed_by != by:
        raise Forbidden("the installation's owner did this, and takes it back", code=f"tenant_{state.status.value}")
    _refuse_going(state, now)
    return await _set(conn, tenant_id, TenantStatus.ACTIVE)
