"""Erasures asked for as a tenant does, and done as ingest does."""

from __future__ import annotations

import datetime as dt
from uuid import UUID

from analytics_core.db.erasure_requests import (
    ErasureRequest,
    StoredErasure,
    ask_for_listener,
    ask_for_podcast,
    erasing,
    find_erasure,
    list_erasures,
    list_requests,
)
from analytics_core.db.pool import Pool, Tenant, connection, tenant_transaction
from analytics_core.erasures import ErasureRecord
from ingest.erasures import perform
from tests.factories import MadePodcast

__all__ = ("Eraser",)


class Eraser:
    """One who asks and does, with pools of its own."""

    def __init__(self, api: Pool, ingest: Pool) -> None:
        self.api = api
        self.ingest = ingest

    async def ask_for_listener(self, tenant: Tenant, key: UUID, month: dt.date, *, now: dt.datetime) -> ErasureRequest:
        async with tenant_transaction(self.api, tenant) as conn:
            stored = await ask_for_listener(conn, tenant, key, month, now=now)
        return await self.request(stored.record.erasure_id)

    async def ask_for_podcast(self, podcast: MadePodcast, *, now: dt.datetime) -> ErasureRequest:
        async with tenant_transaction(self.api, podcast.tenant) as conn:
            stored = await ask_for_podcast(conn, podcast.tenant, podcast.podcast_id, podcast.podcast_no, now=now)
        return await self.request(stored.record.erasure_id)

    async def request(self, erasure_id: UUID) -> ErasureRequest:
        async with connection(self.ingest) as conn:
            [request] = await list_requests(conn, erasure_id=erasure_id)
        return request

    async def requests(self) -> list[ErasureRequest]:
        async with connection(self.ingest) as conn:
            return await list_requests(conn)

    async def perform(self, request: ErasureRequest, *, now: dt.datetime) -> ErasureRecord:
        async with connection(self.ingest) as guard, erasing(guard, request.tenant):
            return await perform(self.ingest, request, now=now)

    async def erase_listener(self, tenant: Tenant, key: UUID, month: dt.date, *, now: dt.datetime) -> ErasureRecord:
        return await self.perform(await self.ask_for_listener(tenant, key, month, now=now), now=now)

    async def erase_podcast(self, podcast: MadePodcast, *, now: dt.datetime) -> ErasureRecord:
        return await self.perform(await self.ask_for_podcast(podcast, now=now), now=now)

    async def stored(self, tenant: Tenant, erasure_id: UUID) -> StoredErasure:
        async with tenant_transaction(self.api, tenant, readonly=True) as conn:
            found = await find_erasure(conn, tenant, erasure_id)
        assert found is not None
        return found

    async def all_of(self, tenant: Tenant, *, seen_by: Tenant | None = None) -> list[StoredErasure]:
        async with tenant_transaction(self.api, seen_by or tenant, readonly=True) as conn:
            return await list_erasures(conn, tenant)

    async def somebody_waits(self) -> None:
        """Return once somebody waits for a lock."""
        async with connection(self.ingest) as conn:
            for _ in range(2000):
                if await conn.fetchval(
                    "select count(*) from pg_locks l join pg_stat_activity a using (pid)"
                    " where not l.granted and a.datname = current_database()"
                ):
                    return
                await conn.execute("select pg_sleep(0.01)")
        raise AssertionError("nobody waits")
