"""Fixtures: a source with everything in it, an empty target, and the command with the source in its environment."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from analytics_core.settings import DatabaseSettings, Secret, Storage
from tests.integration.backup.command import Command, MadeLedger, make_ledger, name_of
from tests.postgres import Server


@pytest.fixture
def source(database: DatabaseSettings, postgres: Server, storage: Storage) -> DatabaseSettings:
    """The database to back up; on TimescaleDB by a superuser, who alone may restore it."""
    if storage is Storage.NATIVE:
        return database
    return DatabaseSettings(url=Secret(postgres.url(name_of(database), user="postgres")), storage=storage)


@pytest.fixture
def target(empty_database: DatabaseSettings, postgres: Server, storage: Storage) -> DatabaseSettings:
    """An empty database to restore into."""
    if storage is Storage.NATIVE:
        return empty_database
    return DatabaseSettings(url=Secret(postgres.url(name_of(empty_database), user="postgres")), storage=storage)


@pytest.fixture
def castledger(
    source: DatabaseSettings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    monkeypatch.setenv("DATABASE_URL", str(source.url))
    monkeypatch.setenv("CASTLEDGER_DATA_DIR", str(tmp_path / "data"))
    return Command(capsys)


@pytest.fixture
def ledger(source: DatabaseSettings, tmp_path: Path) -> MadeLedger:
    """Three tenants and the installation's own, with hits, downloads, rollups, keys and secrets."""
    return asyncio.run(make_ledger(source, tmp_path / "spool"))


@pytest.fixture
def dump(castledger: Command, tmp_path: Path) -> Path:
    """A backup of an empty ledger, not verified."""
    path = tmp_path / "x.dump"
    said = castledger("backup", "--out", path, "--no-verify")
    assert (said.code, said.out.splitlines()[-1]) == (0, "not verified, as asked")
    return path
