"""What the routes work with: the database in its two roles, the settings, the clock, and how feeds are read."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import msgspec
from litestar import Request

from analytics_core.clock import Clock, SystemClock
from analytics_core.db.pool import (
    Connection,
    Pool,
    Tenant,
    check_role,
    connect,
    connection,
    open_pool,
    set_tenant,
    tenant_reading,
    tenant_transaction,
)
from analytics_core.errors import ConfigError, Unavailable
from analytics_core.own_profiles import load_profiles
from analytics_core.passwords import PasswordHasher
from analytics_core.profiles import Profile
from analytics_core.rate_limits import Limiter, MemoryLimiter
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, Settings
from analytics_core.token_secrets import load_token_keys
from analytics_core.tokens import TokenKeys
from api.key_uses import KeyUses
from api.known_keys import KnownKeys
from api.lists import ListVersions

__all__ = ("Database", "Resources", "open_resources", "resources_of")

_MAX_API_CONNECTIONS = 8
_MAX_AUTH_CONNECTIONS = 4
_MAX_READING_CONNECTIONS = 8

_NOT_OURS = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidParameterValueError,
    asyncpg.UndefinedTableError,
    asyncpg.InvalidSchemaNameError,
)
"""What a database says that is not (yet) ours: a wrong login, no such database or role, nothing migrated."""


_FOREIGN = (*_NOT_OURS, ConfigError)


def _told(error: Exception) -> Unavailable:
    """Say who mends a database that is not (yet) ours."""
    if isinstance(error, ConfigError):
        return Unavailable("the database's roles are not set up as they have to be")
    return Unavailable("the database is not set up for us; the operator runs `castledger migrate up`")


class _Reading:
    """A connection for reading, in a role that is checked before its first use."""

    __slots__ = ("_check", "_lent")

    def __init__(
        self, lent: AbstractAsyncContextManager[Connection], check: Callable[[], Awaitable[None]] | None
    ) -> None:
        self._lent = lent
        self._check = check

    async def __aenter__(self) -> Connection:
        try:
            if self._check is not None:
                await self._check()
            return await self._lent.__aenter__()
        except _FOREIGN as error:
            raise _told(error) from error

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._lent.__aexit__(kind, error, trace)
        if isinstance(error, _FOREIGN):
            raise _told(error) from error


class Database:
    """The database in the roles that authenticate and that read for a tenant.

    It opens without a database and finds one as soon as it answers. Each role is checked before its first use.
    """

    def __init__(self, *, api: Pool, auth: Pool, reading: Pool) -> None:
        self._pools = {Role.API: api, Role.AUTH: auth}
        self._reading = reading
        self._checked: set[Role] = set()

    async def _check(self, role: Role) -> None:
        if role in self._checked:
            return
        try:
            async with connection(self._pools[role]) as conn:
                await check_role(conn, role)
        except (*_NOT_OURS, asyncpg.InsufficientPrivilegeError) as error:
            raise Unavailable("the database does not let us in; the operator runs `castledger migrate up`") from error
        self._checked.add(role)

    @contextlib.asynccontextmanager
    async def _usable(self, role: Role) -> AsyncIterator[Pool]:
        try:
            await self._check(role)
            yield self._pools[role]
        except _FOREIGN as error:
            raise _told(error) from error

    @contextlib.asynccontextmanager
    async def auth(self) -> AsyncIterator[Connection]:
        """Lend a connection that sees keys and tenants.

        Raises:
            Unavailable: The database does not answer, or not in the role it has to.
        """
        async with self._usable(Role.AUTH) as pool, connection(pool) as conn:
            yield conn

    @contextlib.asynccontextmanager
    async def tenant(self, tenant: Tenant, *, snapshot: bool = False) -> AsyncIterator[Connection]:
        """Lend a transaction that reads one tenant's rows, with *snapshot* all as of the same instant.

        Raises:
            Unavailable: The database does not answer, or not in the role it has to.
        """
        async with (
            self._usable(Role.API) as pool,
            tenant_transaction(pool, tenant, readonly=True, snapshot=snapshot) as conn,
        ):
            yield conn

    def reading(self, tenant: Tenant) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection that reads one tenant's rows, each statement by itself: for what one statement answers.

        Raises:
            Unavailable: The database does not answer, or not in the role it has to.
        """
        checked = None if Role.API in self._checked else functools.partial(self._check, Role.API)
        return _Reading(tenant_reading(self._reading, tenant), checked)

    @contextlib.asynccontextmanager
    async def writing(self, tenant: Tenant, *, role: Role = Role.API) -> AsyncIterator[Connection]:
        """Lend a transaction that writes a tenant's rows; for :func:`api.writing.writing` alone.

        Who authenticates writes what is about the person, whichever sponsors they are held to.

        Raises:
            Unavailable: The database does not answer, or not in the role it has to.
        """
        if role is Role.AUTH:
            tenant = msgspec.structs.replace(tenant, sponsor_ids=None)
        async with self._usable(role) as pool, tenant_transaction(pool, tenant) as conn:
            yield conn

    async def turn_to(self, conn: Connection, tenant: Tenant) -> None:
        """Have the rest of a transaction that writes be one of a tenant, or of another one."""
        await set_tenant(conn, tenant)

    async def check(self) -> None:
        """Make sure that both roles are what they have to be.

        Raises:
            ConfigError: One acts as someone else, or past row security.
            Unavailable: The database does not answer, or is not set up yet.
        """
        for role in self._pools:
            await self._check(role)

    async def ping(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            Unavailable: There is none.
        """
        async with self.auth() as conn:
            await conn.execute("select 1")


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """All that a request may need.

    Attributes:
        feed_slots: Bounds how many feeds are fetched and read at the same time; each may take a feed's size thrice.
        limiter: Knows what clients have asked for before.
        comparing: Lets one comparison through at a time: each takes a processor while it runs.
        passwords: Hashes and compares them.
        tokens: Signs access tokens, and reads them.
        profiles: All that can be compared, by name: ours and the installation's own.
        known_keys: Keys that were looked up lately.
        key_uses: When keys were used last.
    """

    settings: Settings
    database: Database
    clock: Clock
    feed_slots: asyncio.Semaphore
    comparing: asyncio.Semaphore
    limiter: Limiter
    passwords: PasswordHasher
    tokens: TokenKeys
    profiles: Mapping[str, Profile]
    lists: ListVersions
    known_keys: KnownKeys
    key_uses: KeyUses

    @property
    def own_hosts(self) -> tuple[str, ...]:
        """Host names under which our trackers answer."""
        host = urlsplit(self.settings.tracker.public_url).hostname
        return (host,) if host else ()


@contextlib.asynccontextmanager
async def open_resources(
    settings: Settings, *, database: DatabaseSettings | None = None, clock: Clock | None = None
) -> AsyncIterator[Resources]:
    """Open what the API works with, and close it in reverse.

    Args:
        settings: Of the service.
        database: Wins over the one in *settings*.
        clock: The system's when ``None``.

    Raises:
        ConfigError: There is no database in the settings, the installation's own profiles cannot be used, or there is
            no secret to sign access tokens with.
    """
    where = database or settings.require_database()
    clock = clock or SystemClock()
    profiles = load_profiles(settings.api.profiles)
    tokens = load_token_keys(settings.people.jwt_secrets, settings.data_dir)
    async with contextlib.AsyncExitStack() as stack:
        pools = {}
        for role, size in ((Role.API, _MAX_API_CONNECTIONS), (Role.AUTH, _MAX_AUTH_CONNECTIONS)):
            pool = await open_pool(where, role, application_name="castledger-api", max_size=size)
            stack.push_async_callback(_close, pool)
            pools[role] = pool
        reading = await open_pool(
            where, Role.API, application_name="castledger-api", max_size=_MAX_READING_CONNECTIONS, only_reads=True
        )
        stack.push_async_callback(_close, reading)
        ours = Database(api=pools[Role.API], auth=pools[Role.AUTH], reading=reading)
        reach = functools.partial(connect, where, Role.AUTH, application_name="castledger-api-access")
        known_keys = KnownKeys(reach, ours.auth, clock=clock)
        await stack.enter_async_context(known_keys.running())
        key_uses = KeyUses(ours.auth)
        await stack.enter_async_context(key_uses.running())
        limiter: Limiter = MemoryLimiter(clock.now_us)
        if settings.redis is not None:
            # Imported where there is one: most installations have none.
            from analytics_core.shared_limits import RedisLimiter, SharedLimiter, open_redis

            redis = open_redis(settings.redis)
            stack.push_async_callback(redis.aclose)
            limiter = SharedLimiter(RedisLimiter(redis), MemoryLimiter(clock.now_us))
        yield Resources(
            settings=settings,
            database=ours,
            clock=clock,
            feed_slots=asyncio.Semaphore(2),
            comparing=asyncio.Semaphore(1),
            limiter=limiter,
            passwords=PasswordHasher(settings.people.bcrypt_cost),
            tokens=tokens,
            profiles=profiles,
            lists=ListVersions(settings.ingest, clock=clock),
            known_keys=known_keys,
            key_uses=key_uses,
        )


async def _close(pool: Pool) -> None:
    """Close a pool; what is still running after a moment is cut off."""
    try:
        async with asyncio.timeout(3):
            await pool.close()
    except TimeoutError:
        pool.terminate()


def resources_of(request: Request[Any, Any, Any]) -> Resources:
    """Return what the application of a request works with."""
    resources: Resources = request.app.state.resources
    return resources
