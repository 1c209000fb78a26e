"""``castledger restore``: all rows of all tenants come back, or nothing does and the reason is said."""

from __future__ import annotations

import asyncio
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from analytics_core.api_keys import hash_key
from analytics_core.db.backups import SECRET_TABLES
from analytics_core.settings import DatabaseSettings, Secret, Storage
from castledger_server.backup_files import Manifest, manifest_path, read_manifest
from castledger_server.embedded import EmbeddedPostgres
from migrations.runner import verify
from tests.factories import make_tenant
from tests.integration.backup.command import (
    Command,
    MadeLedger,
    change_manifest,
    fetch,
    name_of,
    scratch_databases,
    ship,
    url_as_superuser,
)
from tests.postgres import Server
from tests.timescale.answers import ask_everything


@pytest.mark.parametrize("secrets", [False, True], ids=["without secrets", "with secrets"])
def test_a_restored_ledger_answers_as_its_source_and_goes_on(
    secrets: bool,
    source: DatabaseSettings,
    target: DatabaseSettings,
    ledger: MadeLedger,
    postgres: Server,
    castledger: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    out = tmp_path / "ledger.dump"
    said = castledger("backup", "--out", out, *(["--with-secrets"] if secrets else []))
    assert said.code == 0, said.err
    assert "verified: restored and compared" in said.out
    assert scratch_databases(postgres, source) == []
    assert sorted(path.name for path in tmp_path.glob("*ledger*")) == ["ledger.dump", "ledger.dump.json"]
    for path in (out, manifest_path(out)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    manifest = read_manifest(out)
    rows = {table.name: table.rows for table in manifest.tables}
    assert (rows["ts.listener_events"], rows["app.tenants"]) == (6020, 4)
    assert manifest.verified
    assert manifest.left_out == ([] if secrets else list(SECRET_TABLES))

    said = castledger("restore", out, "--into", target.url)
    assert said.code == 0, said.err
    assert said.out.startswith(f"restored and compared: {sum(rows.values())} rows of {len(rows)} tables")
    assert asyncio.run(verify(target)).pending == ()
    for made in ledger.filled:
        assert asyncio.run(ask_everything(target, made)) == asyncio.run(ask_everything(source, made))

    # Who had a key has it still, or not; either way the owner gets one.
    keys = asyncio.run(fetch(str(url_as_superuser(postgres, target)), "select key_hash from app.api_keys"))
    assert keys == ([(hash_key(ledger.key),)] if secrets else [])
    days = asyncio.run(fetch(str(target.url), "select distinct day, rekeyed from ops.days order by 1"))
    assert {rekeyed for day, rekeyed in days if day.month == 11} == {not secrets}

    # The same listeners once more, and the same hits: numbers go on where they stopped.
    before = asyncio.run(fetch(str(target.url), "select segment_no, ordinal from ts.listener_events"))
    hits = asyncio.run(ship(target, tmp_path / "spool", 1))
    assert len(hits) == 6040
    fresh = {row[0] for row in hits} - {row[0] for row in before}
    assert len(fresh) == 1
    assert min(fresh) > max(row[0] for row in before)
    listeners = "select count(distinct listener_key) from ts.downloads where episode_no = $1"
    (number,) = asyncio.run(fetch(str(target.url), listeners, ledger.landed.episodes["a"]))
    assert number == ((20,) if secrets else (40,))
    again = asyncio.run(make_tenant(target, "four"))
    assert int(again.tenant_no) > int(ledger.landed.tenant.tenant_no)

    # What backups need came back as well, for days to come too.
    asyncio.run(fetch(str(target.url), "select ops.ensure_partitions(array['2027-01-01']::date[])"))
    monkeypatch.setenv("DATABASE_URL", str(target.url))
    assert castledger("backup", "--out", tmp_path / "next.dump").code == 0


def _flip(dump: Path) -> None:
    content = bytearray(dump.read_bytes())
    content[len(content) // 2] ^= 1
    dump.write_bytes(content)


def _cut(dump: Path) -> None:
    dump.write_bytes(dump.read_bytes()[:-1])


def _newer(dump: Path) -> None:
    change_manifest(dump, migrations=[*read_manifest(dump).migrations, "9999"])


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (_flip, "is damaged: its SHA-256 is"),
        (_cut, "and its manifest says"),
        (Path.unlink, "there is no file"),
        (lambda dump: manifest_path(dump).unlink(), "its manifest"),
        (lambda dump: manifest_path(dump).write_text("{}"), "its format is 0"),
        (lambda dump: manifest_path(dump).write_text("x"), "is no manifest of a backup"),
        (lambda dump: change_manifest(dump, bytes="many"), "`$.bytes`"),
        (lambda dump: change_manifest(dump, storage="tape"), "names the storage 'tape'"),
        (lambda dump: change_manifest(dump, format=2), "reads format 1"),
        (lambda dump: change_manifest(dump, postgres_major=99, postgres="99.1"), "the backup is of PostgreSQL 99.1"),
        (_newer, "migrations that this version does not have (9999)"),
    ],
)
def test_what_cannot_be_restored_is_refused_and_nothing_is_touched(
    damage: Any, complaint: str, dump: Path, target: DatabaseSettings, castledger: Command
) -> None:
    damage(dump)
    said = castledger("restore", dump, "--into", target.url)
    assert said.code in (1, 2)
    assert complaint in said.err
    assert asyncio.run(fetch(str(target.url), "select from pg_namespace where nspname = 'app'")) == []


def test_who_restores_with_a_newer_version_is_told_to_migrate(
    dump: Path, target: DatabaseSettings, castledger: Command
) -> None:
    change_manifest(dump, migrations=read_manifest(dump).migrations[:-1])
    said = castledger("restore", dump, "--into", target.url)
    assert said.code == 0, said.err
    assert "next: `castledger migrate up`, since this version has more migrations than the backup (1)" in said.out


def test_a_database_that_is_not_empty_is_refused(
    dump: Path, source: DatabaseSettings, target: DatabaseSettings, castledger: Command
) -> None:
    said = castledger("restore", dump)
    assert said.code == 2
    assert f"the database {name_of(source)} is not empty (there is " in said.err
    asyncio.run(fetch(str(target.url), "create table public.mine (a integer)"))
    assert "not empty (there is public.mine)" in castledger("restore", dump, "--into", target.url).err
    nowhere = str(target.url).replace(name_of(target), "nowhere_at_all")
    said = castledger("restore", dump, "--into", nowhere)
    assert (said.code, said.err) == (1, 'castledger: the database refuses: database "nowhere_at_all" does not exist\n')


@pytest.mark.usefixtures("native")
def test_a_restore_that_fails_leaves_the_database_empty(
    dump: Path, target: DatabaseSettings, postgres: Server, castledger: Command, tmp_path: Path
) -> None:
    # A truncated dump whose manifest was made to fit: pg_restore comes far before it notices.
    content = dump.read_bytes()
    dump.write_bytes(content[: len(content) - 100])
    done = subprocess.run(["sha256sum", str(dump)], capture_output=True, text=True, check=True)
    change_manifest(dump, bytes=len(content) - 100, sha256=done.stdout.split()[0])
    said = castledger("restore", dump, "--into", target.url)
    assert said.code == 1
    assert "pg_restore failed" in said.err
    assert asyncio.run(fetch(str(target.url), "select from pg_namespace where nspname = 'app'")) == []


@pytest.mark.usefixtures("native")
def test_the_embedded_database_is_backed_up_and_restored(
    dump: Path, folder: Path, castledger: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    said = castledger("restore", dump, "--data-dir", folder / "ledger")
    assert said.code == 0, said.err
    assert said.out.endswith(f"next: `castledger up --data-dir {folder / 'ledger'}`\n")
    postgres = EmbeddedPostgres(folder / "ledger")
    url = postgres.start()
    try:
        assert asyncio.run(verify(DatabaseSettings(url=Secret(url)))).storage is Storage.NATIVE
        # Its login may make a scratch database.
        monkeypatch.setenv("DATABASE_URL", url)
        said = castledger("backup", "--out", dump.with_name("again.dump"))
        assert said.code == 0, said.err
    finally:
        postgres.stop()
    assert _counts(read_manifest(dump.with_name("again.dump"))) == _counts(read_manifest(dump))


def _counts(manifest: Manifest) -> Sequence[object]:
    return [msgspec.to_builtins(table) for table in manifest.tables]
