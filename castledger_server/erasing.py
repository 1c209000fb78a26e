"""Erasures done by command: asked for as the tenant would, and done at once as ingest would."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, NamedTuple
from uuid import UUID

from analytics_core.audit import Actor
from analytics_core.clock import SystemClock
from analytics_core.db.audit import add_entry
from analytics_core.db.customer_erasure import count_customer, find_customer_secret
from analytics_core.db.erasure_requests import (
    StoredErasure,
    ask_for_customer,
    ask_for_listener,
    ask_for_podcast,
    erasing,
    find_asked_podcast,
    find_erasure,
    find_listener,
    list_erasures,
    list_requests,
)
from analytics_core.db.podcast_erasure import count_podcast
from analytics_core.db.podcasts import PodcastRow, get_podcast
from analytics_core.db.pool import Connection, Pool, Tenant, connect, connection, open_pool, tenant_transaction
from analytics_core.db.tenants import find_tenant
from analytics_core.errors import InvalidInput, NotFound
from analytics_core.event_pages import customer_key
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from ingest.erasures import perform

__all__ = (
    "PodcastToErase",
    "erase_customer",
    "erase_listener",
    "erase_podcast",
    "look_at_customer",
    "look_at_podcast",
    "read_erasures",
)

_NAME: Final = "castledger erase"


class PodcastToErase(NamedTuple):
    """A podcast before its erasure.

    Attributes:
        podcast: As it is; ``None`` when it is gone already.
        rows: What is kept of it, by table; empty when it is gone already.
        asked: Its erasure, if that was asked for.
    """

    podcast: PodcastRow | None
    rows: dict[str, int]
    asked: StoredErasure | None


class _Operator:
    """An operator's way to one tenant, in the roles of the services."""

    def __init__(self, tenant: Tenant, *, api: Pool, ingest: Pool) -> None:
        self.tenant = tenant
        self._api = api
        self._ingest = ingest

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, database: DatabaseSettings, slug: str) -> AsyncIterator[_Operator]:
        tenant = await _find_tenant(database, slug)
        async with contextlib.AsyncExitStack() as stack:
            api = await open_pool(database, Role.API, application_name=_NAME, max_size=1)
            stack.callback(api.terminate)
            ingest = await open_pool(database, Role.INGEST, application_name=_NAME, max_size=2)
            stack.callback(ingest.terminate)
            yield cls(tenant, api=api, ingest=ingest)

    async def ask(self, question: Callable[[Connection], Awaitable[StoredErasure]]) -> StoredErasure:
        """Ask for an erasure, and do it."""
        # Held first, so that an ingest that is up leaves it to us.
        async with connection(self._ingest) as guard, erasing(guard, self.tenant):
            async with tenant_transaction(self._api, self.tenant) as conn:
                stored = await question(conn)
                await add_entry(
                    conn,
                    self.tenant,
                    actor=Actor.COMMAND,
                    actor_id=None,
                    action="erasure.create",
                    resource_id=str(stored.record.erasure_id),
                    after={"kind": stored.record.kind},
                )
            for request in await list_requests(guard, erasure_id=stored.record.erasure_id):
                await perform(self._ingest, request, now=SystemClock().now())
            async with tenant_transaction(self._api, self.tenant, readonly=True) as conn:
                found = await find_erasure(conn, self.tenant, stored.record.erasure_id)
        if found is None:
            raise AssertionError("an erasure has a record")
        return found

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        async with tenant_transaction(self._api, self.tenant, readonly=True) as conn:
            yield conn

    async def count(self, podcast: PodcastRow) -> dict[str, int]:
        async with tenant_transaction(self._ingest, self.tenant, readonly=True) as conn:
            return await count_podcast(conn, self.tenant, podcast.podcast_id, podcast.podcast_no)

    async def find_customer(self, customer_id: str) -> tuple[UUID, dict[str, int]]:
        """Return a customer's key, and what is kept of it.

        Raises:
            NotFound: No customer of the tenant ever had a key.
        """
        async with tenant_transaction(self._ingest, self.tenant, readonly=True) as conn:
            secret = await find_customer_secret(conn, self.tenant.tenant_no)
            if secret is None:
                raise NotFound("customer of this tenant: no event of it has landed that named one")
            key = customer_key(customer_id, secret)
            return key, await count_customer(conn, self.tenant, key)


async def _find_tenant(database: DatabaseSettings, slug: str) -> Tenant:
    conn = await connect(database, Role.AUTH, application_name=_NAME)
    try:
        row = await find_tenant(conn, slug)
    finally:
        await conn.close()
    if row is None:
        raise InvalidInput("--tenant", f"there is no tenant {slug!r}; `castledger retention ls` names them")
    return row.tenant


async def erase_listener(
    database: DatabaseSettings, slug: str, *, hit: tuple[int, int] | None, named: tuple[UUID, dt.date] | None
) -> StoredErasure:
    """Erase a listener, named by one of its hits or by key and month.

    Raises:
        Conflict: ``in_use``: another erasure of this tenant's is at work.
        InvalidInput: There is no such tenant.
        NotFound: It has no such hit.
        Unavailable: The database does not answer; what was asked for goes on when it is asked for again.
    """
    async with _Operator.open(database, slug) as operator:
        if hit is not None:
            async with operator.reading() as conn:
                named = await find_listener(conn, *hit)
        if named is None:
            raise NotFound("hit of this tenant, or it has not landed")
        key, month = named
        now = SystemClock().now()
        return await operator.ask(lambda conn: ask_for_listener(conn, operator.tenant, key, month, now=now))


async def look_at_podcast(database: DatabaseSettings, slug: str, podcast_id: UUID) -> PodcastToErase:
    """Look what there is of a podcast; changes nothing.

    Raises:
        InvalidInput: There is no such tenant.
        NotFound: It has no such podcast, and never asked for the erasure of one.
        Unavailable: The database does not answer.
    """
    async with _Operator.open(database, slug) as operator:
        async with operator.reading() as conn:
            podcast = await get_podcast(conn, podcast_id)
            asked = await find_asked_podcast(conn, operator.tenant, podcast_id)
        if podcast is None and asked is None:
            raise NotFound("podcast of this tenant")
        return PodcastToErase(podcast, {} if podcast is None else await operator.count(podcast), asked)


async def erase_podcast(database: DatabaseSettings, slug: str, podcast_id: UUID) -> StoredErasure:
    """Erase a podcast, or go on with its erasure.

    Raises:
        Conflict: ``in_use``: another erasure of this tenant's is at work.
        InvalidInput: There is no such tenant.
        NotFound: It has no such podcast, and never asked for the erasure of one.
        Unavailable: The database does not answer, or rows were in use for too long; calling it again goes on.
    """
    async with _Operator.open(database, slug) as operator:

        async def question(conn: Connection) -> StoredErasure:
            podcast = await get_podcast(conn, podcast_id)
            if podcast is not None:
                now = SystemClock().now()
                return await ask_for_podcast(conn, operator.tenant, podcast_id, podcast.podcast_no, now=now)
            asked = await find_asked_podcast(conn, operator.tenant, podcast_id)
            if asked is None:
                raise NotFound("podcast of this tenant")
            return asked

        return await operator.ask(question)


async def look_at_customer(database: DatabaseSettings, slug: str, customer_id: str) -> tuple[UUID, dict[str, int]]:
    """Tell a customer's key, and what is kept of it; changes nothing.

    Raises:
        InvalidInput: There is no such tenant.
        NotFound: No customer of it ever had a key.
        Unavailable: The database does not answer.
    """
    async with _Operator.open(database, slug) as operator:
        return await operator.find_customer(customer_id)


async def erase_customer(database: DatabaseSettings, slug: str, customer_id: str) -> StoredErasure:
    """Erase a customer by the name that the tenant has for it.

    Raises:
        Conflict: ``in_use``: another erasure of this tenant's is at work.
        InvalidInput: There is no such tenant.
        NotFound: No customer of it ever had a key.
        Unavailable: The database does not answer; what was asked for goes on when it is asked for again.
    """
    async with _Operator.open(database, slug) as operator:
        key, _ = await operator.find_customer(customer_id)
        now = SystemClock().now()
        return await operator.ask(lambda conn: ask_for_customer(conn, operator.tenant, key, now=now))


async def read_erasures(database: DatabaseSettings, slug: str) -> list[StoredErasure]:
    """Read the records of a tenant's erasures, oldest first.

    Raises:
        InvalidInput: There is no such tenant.
        Unavailable: The database does not answer.
    """
    async with _Operator.open(database, slug) as operator, operator.reading() as conn:
        return await list_erasures(conn, operator.tenant)
