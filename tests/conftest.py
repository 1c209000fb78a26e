"""Fixtures: a real PostgreSQL with a database of its own for each test, and the real data where they lie."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import asyncpg
import hypothesis
import pytest

from analytics_core.settings import DatabaseSettings, Secret, Storage
from migrations.runner import migrate_up
from tests.postgres import LOGIN, GivenServer, Server, TestServer

_numbers = itertools.count(1)

# On a busy machine an example may take any time.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while tests are collected, nor later among them: they all stay, and are many."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


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
def storage() -> Storage:
    """The branch under test: TimescaleDB when a server of it is given, which all tests then run on."""
    return Storage.TIMESCALE if os.environ.get("CASTLEDGER_TEST_TIMESCALE_URL") else Storage.NATIVE


@pytest.fixture
def native(storage: Storage) -> None:
    """For tests of what only plain PostgreSQL has."""
    if storage is not Storage.NATIVE:
        pytest.skip("tests the native branch")


@pytest.fixture
def timescale(storage: Storage) -> None:
    """For tests of what only TimescaleDB has."""
    if storage is not Storage.TIMESCALE:
        pytest.skip("no TimescaleDB: set CASTLEDGER_TEST_TIMESCALE_URL to its superuser's URL")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The server: one of our own, or the one that is given."""
    given = os.environ.get("CASTLEDGER_TEST_TIMESCALE_URL")
    login = f"{LOGIN} login nosuperuser createrole createdb"
    if given:
        server = GivenServer(given)
        made = f"do $$ begin create role {login}; exception when duplicate_object then null; end $$"
        # Several processes come at once; PostgreSQL refuses two that change one role at the same time.
        alone = "select pg_advisory_lock(hashtext('the login of tests'))"
        asyncio.run(_admin(server, alone, made, f"alter role {LOGIN} password '{server.password}'", user="postgres"))
        yield server
        return
    own = TestServer()
    try:
        own.start()
        asyncio.run(_admin(own, f"create role {login}", user="postgres"))
        yield own
    finally:
        own.stop()


_END = """
do $$ begin
    loop
        perform pg_terminate_backend(pid) from pg_stat_activity where datname = '{}';
        exit when not found;
        perform pg_sleep(0.05);
        perform pg_stat_clear_snapshot();
    end loop;
end $$"""


async def _admin(server: Server, *statements: str, user: str = LOGIN, database: str = "postgres") -> None:
    conn = await asyncpg.connect(server.url(database, user=user))
    try:
        for statement in statements:
            await conn.execute(statement)
    finally:
        await conn.close()


@pytest.fixture(scope="session")
def template(postgres: Server, storage: Storage) -> Iterator[str]:
    """A migrated database from which each test's own is cloned."""
    name = f"template_{os.getpid()}"
    asyncio.run(_admin(postgres, f"create database {name}"))
    asyncio.run(migrate_up(DatabaseSettings(url=Secret(postgres.url(name)), storage=storage)))
    # A database that somebody is in cannot be copied, and TimescaleDB's own workers come into each that lets them.
    asyncio.run(
        _admin(postgres, f"alter database {name} with allow_connections false", _END.format(name), user="postgres")
    )
    yield name
    asyncio.run(_admin(postgres, f"drop database {name} with (force)", user="postgres"))


def _lend(server: Server, template: str | None, storage: Storage) -> Iterator[DatabaseSettings]:
    name = f"t_{os.getpid()}_{next(_numbers)}"
    # Copied as files: half the time of writing every page to the log, where nothing is synced.
    suffix = f" template {template} strategy file_copy" if template else ""
    asyncio.run(_admin(server, f"create database {name}{suffix}"))
    yield DatabaseSettings(url=Secret(server.url(name)), storage=storage)
    # Whose processes may be in there: TimescaleDB's are not the login's to end.
    asyncio.run(_admin(server, f"drop database if exists {name} with (force)", user="postgres"))


@pytest.fixture
def empty_database(postgres: Server, storage: Storage) -> Iterator[DatabaseSettings]:
    """A database of its own that was never migrated."""
    yield from _lend(postgres, None, storage)


@pytest.fixture
def database(postgres: Server, template: str, storage: Storage) -> Iterator[DatabaseSettings]:
    """A migrated database of its own."""
    yield from _lend(postgres, template, storage)


@pytest.fixture(scope="module")
def untouched_database(postgres: Server, template: str, storage: Storage) -> Iterator[DatabaseSettings]:
    """A migrated database for those tests of a module that change nothing in it."""
    yield from _lend(postgres, template, storage)


@pytest.fixture
def second_database(postgres: Server, template: str, storage: Storage) -> Iterator[DatabaseSettings]:
    """Another one, for what goes from one installation to another."""
    yield from _lend(postgres, template, storage)
