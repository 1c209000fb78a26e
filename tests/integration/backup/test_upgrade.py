"""``castledger upgrade``: the embedded database goes to a newer PostgreSQL with every row, or stays as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from analytics_core.db.pool import connect
from analytics_core.errors import Conflict
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, Secret, Storage
from castledger_server.embedded import EmbeddedPostgres
from castledger_server.postgres_programs import find_programs
from castledger_server.upgrade import upgrade_embedded
from migrations.runner import migrate_up, verify
from tests.integration.backup.command import Command, MadeLedger, fetch, make_ledger
from tests.timescale.answers import ask_everything

_FOUND = sorted(find_programs(), key=lambda programs: programs.major)

pytestmark = [
    pytest.mark.usefixtures("native"),
    pytest.mark.skipif(
        len({programs.major for programs in _FOUND}) < 2, reason="only one version of PostgreSQL is here"
    ),
]


def _settings(url: str) -> DatabaseSettings:
    return DatabaseSettings(url=Secret(url), storage=Storage.NATIVE)


@pytest.fixture
def data_dir(folder: Path) -> Path:
    """A data folder with an empty ledger in a database of the oldest version that is here."""
    path = folder / "ledger"
    postgres = EmbeddedPostgres(path, bin_dir=_FOUND[0].bin_dir)
    url = postgres.start()
    try:
        asyncio.run(migrate_up(_settings(url)))
    finally:
        postgres.stop()
    return path


def _files(data_dir: Path) -> set[str]:
    return {path.name for path in (data_dir / "postgres").iterdir()}


def test_all_rows_come_along(data_dir: Path, castledger: Command, tmp_path: Path) -> None:
    async def make(url: str) -> tuple[MadeLedger, list[dict[str, Any]]]:
        made = await make_ledger(_settings(url), tmp_path / "spool")
        return made, [await ask_everything(_settings(url), podcast) for podcast in made.filled]

    postgres = EmbeddedPostgres(data_dir)
    url = postgres.start()
    try:
        made, answers = asyncio.run(make(url))
        keys = asyncio.run(_read_keys(url))
    finally:
        postgres.stop()
    newest = find_programs()[0]
    said = castledger("upgrade", "--data-dir", data_dir)
    assert said.code == 0, said.err
    old = f"data-{_FOUND[0].major}"
    assert said.out.startswith(
        f"upgraded from PostgreSQL {_FOUND[0].major} to {newest.version}: all rows were compared"
    )
    assert f"{data_dir / 'postgres' / old} may be deleted" in said.out
    assert (data_dir / "postgres" / old / "PG_VERSION").read_text().strip() == str(_FOUND[0].major)
    assert not _files(data_dir) & {"next", "upgrade"}

    postgres = EmbeddedPostgres(data_dir)
    url = postgres.start()
    try:
        assert postgres.version == newest.version
        assert asyncio.run(verify(_settings(url))).pending == ()
        assert [asyncio.run(ask_everything(_settings(url), podcast)) for podcast in made.filled] == answers
        # Keys are as good as before.
        assert asyncio.run(_read_keys(url)) == keys != []
    finally:
        postgres.stop()
    said = castledger("upgrade", "--data-dir", data_dir)
    assert (said.code, said.out.partition(":")[0]) == (0, "nothing to do")


async def _read_keys(url: str) -> list[bytes]:
    conn = await connect(_settings(url), Role.DUMP, application_name="test")
    try:
        return [row["key_hash"] for row in await conn.fetch("select key_hash from app.api_keys")]
    finally:
        await conn.close()


def test_an_upgrade_that_fails_leaves_the_old_database(data_dir: Path) -> None:
    class BrokenOffError(Exception):
        pass

    def break_off(work: Coroutine[Any, Any, None]) -> None:
        work.close()
        raise BrokenOffError

    before = _files(data_dir)
    with pytest.raises(BrokenOffError):
        upgrade_embedded(data_dir, run=break_off)
    assert _files(data_dir) == before
    postgres = EmbeddedPostgres(data_dir)
    try:
        asyncio.run(verify(_settings(postgres.start())))
        assert postgres.made_with == _FOUND[0].major
        # Nor is one begun while somebody has the database.
        with pytest.raises(Conflict, match="in use by process"):
            upgrade_embedded(data_dir, run=break_off)
    finally:
        postgres.stop()


@pytest.mark.parametrize("is_aside", [False, True], ids=["before", "after"])
def test_an_exchange_that_was_cut_off_is_ended_by_the_next_start(data_dir: Path, is_aside: bool) -> None:
    home = data_dir / "postgres"
    other = EmbeddedPostgres(data_dir.with_name("other"))
    other.prepare()
    other.release()
    (data_dir.with_name("other") / "postgres" / "data").rename(home / "next")
    (home / "password").unlink()
    if is_aside:
        (home / "data").rename(home / "data-old")
    postgres = EmbeddedPostgres(data_dir)
    try:
        url = postgres.start()
        assert postgres.made_with == (find_programs()[0].major if is_aside else _FOUND[0].major)
        there = asyncio.run(fetch(url, "select to_regclass('migrations.applied') is not null"))
        assert there == [(not is_aside,)]
    finally:
        postgres.stop()
    assert "next" not in _files(data_dir)


def test_what_cannot_be_upgraded_is_named(data_dir: Path, castledger: Command, tmp_path: Path) -> None:
    said = castledger("upgrade", "--data-dir", tmp_path)
    assert (said.code, said.err) == (2, f"castledger: --data-dir: there is no embedded database in {tmp_path}\n")
    said = castledger("upgrade", "--data-dir", data_dir, "--postgres-bin", tmp_path)
    assert (said.code, said.err.partition(" holds")[0]) == (2, f"castledger: --postgres-bin: {tmp_path}")
    (data_dir / "postgres" / f"data-{_FOUND[0].major}").mkdir()
    said = castledger("upgrade", "--data-dir", data_dir)
    assert said.code == 2
    assert "is there already, from an upgrade before" in said.err
