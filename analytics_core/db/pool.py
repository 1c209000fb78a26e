"""Connections: opened in one role, and lent for a tenant only once it is named, to a transaction or to a reader."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Final, LiteralString, TypeAlias, cast
from uuid import UUID

import asyncpg
import msgspec
from asyncpg.pool import PoolConnectionProxy

from analytics_core.db.send_buffers import WritingConnection
from analytics_core.errors import ConfigError, Unavailable
from analytics_core.ids import TenantId, TenantNo
from analytics_core.quotas import quota_exceeded
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings

__all__ = (
    "CONNECTION_LOST",
    "Connection",
    "Pool",
    "ReadingConnection",
    "Tenant",
    "check_role",
    "connect",
    "connection",
    "open_pool",
    "set_tenant",
    "tenant_reading",
    "tenant_transaction",
)

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

CONNECTION_LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # What asyncpg raises when the server ended the session and the next query meets its farewell.
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.OperatorInterventionError,
)
"""What the driver raises when the database is not there, goes away, or has no place for us."""

_TIMEOUT_S: Final = 10.0
_QUOTA: Final = "CLQTA"
_NO_SERVICE: Final = (Role.OWNER, Role.DUMP)

_WHO: Final[LiteralString] = """/* pool.who */
select current_user::text as name, r.rolsuper as is_super, r.rolbypassrls as bypasses
from pg_roles r where r.rolname = current_user"""

_SET_TENANT: Final[LiteralString] = """/* pool.set_tenant */
select set_config('app.tenant_id', $1::text, $4::boolean), set_config('app.tenant_no', $2::text, $4::boolean),
    set_config('app.sponsor_ids', $3::text, $4::boolean)"""


class Tenant(msgspec.Struct, frozen=True):
    """Whose rows a transaction may see: taken from the credential, never from a request.

    Attributes:
        sponsor_ids: The sponsors whose rows alone it sees, to read; none at all when there are none. ``None`` for
            everything of the tenant.
    """

    tenant_id: TenantId
    tenant_no: TenantNo
    sponsor_ids: frozenset[UUID] | None = None


class ReadingConnection(asyncpg.Connection):
    """One of a pool that only reads, which knows whose rows it sees from one lending to the next."""

    __slots__ = ("_tenant",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tenant: Tenant | None = None

    async def turn_to(self, tenant: Tenant) -> None:
        """See a tenant's rows from now on, and nobody's where that fails."""
        if self._tenant == tenant:
            return
        self._tenant = None
        await set_tenant(self, tenant, is_local=False)
        self._tenant = tenant


def _session_settings(role: Role, application_name: str) -> dict[str, str]:
    """Name what a session starts with.

    TimescaleDB refuses to change more than 100,000 compressed rows in a transaction unless it is told otherwise, which
    a batch of late hits may well do; where it is not, PostgreSQL takes the name as one of an extension to come.
    """
    return {
        "role": role.value,
        "application_name": application_name,
        "timezone": "UTC",
        "timescaledb.max_tuples_decompressed_per_dml_transaction": "0",
    }


async def _init(conn: Connection) -> None:
    await conn.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: b"\x01" + msgspec.json.encode(value),
        decoder=lambda data: msgspec.json.decode(data[1:]),
        format="binary",
    )


async def _keep(_: Connection) -> None:
    """Lend a connection again as it is, without asking the server to forget what nobody told it.

    Nothing outlives a transaction here: tenants, time limits and locks are set for one, notifications are listened to
    on connections outside of pools. Only a :class:`ReadingConnection` keeps its tenant, and knows which one.
    """


async def check_role(conn: Connection, role: Role) -> None:
    """Make sure that the connection acts in *role* and that row security binds it.

    Raises:
        ConfigError: It acts as someone else, as a superuser, or past row security.
    """
    row = await conn.fetchrow(_WHO)
    if row is None or row["name"] != role.value or row["is_super"] or row["bypasses"] or role in _NO_SERVICE:
        name = row["name"] if row is not None else "nobody"
        raise ConfigError([f"DATABASE_URL: the connection acts as {name}; a service runs as {role.value} only"])


async def connect(
    settings: DatabaseSettings, role: Role, *, application_name: str
) -> asyncpg.Connection[asyncpg.Record]:
    """Open one connection in a role.

    Raises:
        ConfigError: The login may not take the role.
        Unavailable: The database does not answer.
    """
    try:
        conn: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
            str(settings.url),
            server_settings=_session_settings(role, application_name),
            timeout=_TIMEOUT_S,
            connection_class=WritingConnection,
        )
        try:
            await _init(conn)
        except BaseException:
            conn.terminate()
            raise
    except (asyncpg.InvalidParameterValueError, asyncpg.InsufficientPrivilegeError) as error:
        raise ConfigError(
            [f"DATABASE_URL: the login cannot take the role {role.value}; run `castledger migrate up`"]
        ) from error
    except CONNECTION_LOST as error:
        raise Unavailable("the database does not answer") from error
    return conn


async def open_pool(
    settings: DatabaseSettings,
    role: Role,
    *,
    application_name: str,
    min_size: int = 0,
    max_size: int = 8,
    only_reads: bool = False,
) -> Pool:
    """Open a pool whose connections all act in one role; with ``min_size=0`` it opens without a database.

    With *only_reads* the server refuses to write over any of them; they are for :func:`tenant_reading`.

    Raises:
        ConfigError: The login may not take the role.
        Unavailable: The database does not answer (only with a *min_size* above 0).
    """
    try:
        return await asyncpg.create_pool(
            str(settings.url),
            min_size=min_size,
            max_size=max_size,
            max_inactive_connection_lifetime=60.0,
            server_settings=_session_settings(role, application_name)
            | ({"default_transaction_read_only": "on"} if only_reads else {}),
            timeout=_TIMEOUT_S,
            connection_class=ReadingConnection if only_reads else WritingConnection,
            init=_init,
            reset=_keep,
        )
    except (asyncpg.InvalidParameterValueError, asyncpg.InsufficientPrivilegeError) as error:
        raise ConfigError(
            [f"DATABASE_URL: the login cannot take the role {role.value}; run `castledger migrate up`"]
        ) from error
    except CONNECTION_LOST as error:
        raise Unavailable("the database does not answer") from error


def _known(error: BaseException) -> Exception | None:
    """Say what an error of the driver is to us; ``None`` for what it is to nobody."""
    if isinstance(error, CONNECTION_LOST):
        return Unavailable("the database does not answer")
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate == _QUOTA and error.detail is not None:
        return quota_exceeded(error.detail)
    return None


class _Lent:
    """A connection of a pool while it is lent; with a tenant, one that reads this tenant's rows.

    By hand: two generators would cost a request that reads one row as much as finding out who asks.
    """

    __slots__ = ("_conn", "_pool", "_tenant")

    _conn: PoolConnectionProxy[asyncpg.Record]

    def __init__(self, pool: Pool, tenant: Tenant | None = None) -> None:
        self._pool = pool
        self._tenant = tenant

    async def __aenter__(self) -> Connection:
        pool = self._pool
        try:
            # Only who may have to wait for another's connection pays for the clock.
            conn = await pool.acquire(timeout=None if pool.get_idle_size() else _TIMEOUT_S)
            try:
                if self._tenant is not None:
                    await cast(ReadingConnection, conn).turn_to(self._tenant)
            except BaseException:
                await pool.release(conn)
                raise
        except Exception as error:
            known = _known(error)
            if known is None:
                raise
            raise known from error
        self._conn = conn
        return conn

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._pool.release(self._conn)
        except CONNECTION_LOST as lost:
            error = lost if error is None else error
        known = None if error is None else _known(error)
        if known is not None:
            raise known from error


def connection(pool: Pool) -> AbstractAsyncContextManager[Connection]:
    """Lend a connection of the pool; a lost database is :class:`Unavailable`, whenever it is noticed.

    Raises:
        QuotaExceeded: The database refused what would have been one too many.
        Unavailable: The database does not answer, or went away.
    """
    return _Lent(pool)


async def set_tenant(conn: Connection, tenant: Tenant, *, is_local: bool = True) -> None:
    """Have the rest of a transaction see a tenant's rows; who makes a tenant says so once it has a number.

    Otherwise than for the rest of a transaction it is set by :class:`ReadingConnection` alone.
    """
    sponsors = ""
    if tenant.sponsor_ids is not None:
        # As PostgreSQL writes an array; what is empty is not what is not set.
        sponsors = f"{{{','.join(sorted(str(UUID(int=one.int)) for one in tenant.sponsor_ids))}}}"
    await conn.execute(_SET_TENANT, str(tenant.tenant_id), str(tenant.tenant_no), sponsors, is_local)


@contextlib.asynccontextmanager
async def tenant_transaction(
    pool: Pool, tenant: Tenant, *, readonly: bool = False, snapshot: bool = False
) -> AsyncIterator[Connection]:
    """Lend a connection inside a transaction that sees one tenant's rows: the only way to them.

    Args:
        pool: In the role of the API.
        tenant: Whose rows.
        readonly: Whether writing is an error.
        snapshot: Whether all statements see the same instant, so that their figures fit one another.

    Raises:
        Unavailable: The database does not answer, or went away.
    """
    async with (
        connection(pool) as conn,
        conn.transaction(isolation="repeatable_read" if snapshot else None, readonly=readonly),
    ):
        await set_tenant(conn, tenant)
        yield conn


def tenant_reading(pool: Pool, tenant: Tenant) -> AbstractAsyncContextManager[Connection]:
    """Lend a connection that reads one tenant's rows, each statement by itself.

    For requests that one statement answers: beginning a transaction, naming the tenant and ending it are three more
    ways to the server and back. Here it is named once, as long as the same tenant asks, and always before anybody gets
    the connection.

    Args:
        pool: In the role of the API, opened to read only.
        tenant: Whose rows.

    Raises:
        Unavailable: The database does not answer, or went away.
    """
    return _Lent(pool, tenant)
