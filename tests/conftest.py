"""Fixtures: a real PostgreSQL with a database of its own for each test, and the real data where they lie."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from analytics_core.settings import DatabaseSettings, Secret, Storage
from migrations.runner import migrate_up
from tests.postgres import TestServer

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every account can reach, which pytest's own is not."""
    path = Path(tempfile.mkdtemp(prefix="castledger-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real feeds, user agents and lists; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("CASTLEDGER_TEST_DATA") or Path(__file__).parents[1] / ".." / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no real data: set CASTLEDGER_TEST_DATA to their folder")
    return folder.resolve()


@pytest.fixture(scope="session")
def postgres() -> Iterator[TestServer]:
    """The server, with the login that migrates and serves: it owns its databases and is no superuser."""
    server = TestServer()
    try:
        server.start()

        async def prepare() -> None:
            conn = await asyncpg.connect(server.url("postgres", user="postgres"))
            await conn.execute("create role castledger login nosuperuser createrole createdb")
            await conn.close()

        asyncio.run(prepare())
        yield server
    finally:
        server.stop()


async def _admin(server: TestServer, *statements: str) -> None:
    conn = await asyncpg.connect(server.url("postgres"))
    try:
        for statement in statements:
            await conn.execute(statement)
    finally:
        await conn.close()


@pytest.fixture(scope="session")
def template(postgres: TestServer) -> str:
    """A migrated database from which each test's own is cloned."""
    asyncio.run(_admin(postgres, "create database template_native"))
    settings = DatabaseSettings(url=Secret(postgres.url("template_native")), storage=Storage.NATIVE)
    asyncio.run(migrate_up(settings))
    return "template_native"


def _lend(server: TestServer, template: str | None) -> Iterator[DatabaseSettings]:
    name = f"t_{next(_numbers)}"
    suffix = f" template {template}" if template else ""
    asyncio.run(_admin(server, f"create database {name}{suffix}"))
    yield DatabaseSettings(url=Secret(server.url(name)), storage=Storage.NATIVE)
    asyncio.run(_admin(server, f"drop database if exists {name} with (force)"))


@pytest.fixture
def empty_database(postgres: TestServer) -> Iterator[DatabaseSettings]:
    """A database of its own that was never migrated."""
    yield from _lend(postgres, None)


@pytest.fixture
def database(postgres: TestServer, template: str) -> Iterator[DatabaseSettings]:
    """A migrated database of its own."""
    yield from _lend(postgres, template)
