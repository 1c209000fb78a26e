"""Fixtures of ingest's tests: a ledger, and a podcast with the episodes a and b."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from analytics_core.db.pool import connect, open_pool
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from tests.factories import MadePodcast, make_episode, make_podcast, make_tenant
from tests.integration.ingest.erasing import Eraser
from tests.ledgers import Ledger


@pytest.fixture
async def ledger(database: DatabaseSettings, tmp_path: Path) -> AsyncIterator[Ledger]:
    pool = await open_pool(database, Role.INGEST, application_name="test", max_size=3)
    conn = await connect(database, Role.INGEST, application_name="test")
    yield Ledger(pool, conn, tmp_path / "spool")
    await conn.close()
    await pool.close()


@pytest.fixture
async def podcast(database: DatabaseSettings) -> MadePodcast:
    tenant = await make_tenant(database)
    return await make_podcast(database, tenant, make_episode("a"), make_episode("b"))


@pytest.fixture
async def eraser(database: DatabaseSettings) -> AsyncIterator[Eraser]:
    api = await open_pool(database, Role.API, application_name="test", max_size=2)
    ingest = await open_pool(database, Role.INGEST, application_name="test", max_size=6)
    yield Eraser(api, ingest)
    api.terminate()
    ingest.terminate()
