"""What is in an export, and what is not."""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest

from analytics_core.archives.manifest import Encoding
from analytics_core.db.pool import connect
from analytics_core.db.retention import drop_day
from analytics_core.errors import ConfigError
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.archive_import import import_archive
from castledger_server.archive_progress import Progress
from tests.archives import OLD, contents, export, open_ledger
from tests.factories import MadePodcast, make_hit, write_segment
from tests.ledgers import NOW, minute

pytestmark = pytest.mark.anyio


def texts(folder: Path) -> dict[str, str]:
    return {
        name: (gzip.decompress(data) if name.endswith(".gz") else data).decode()
        for name, data in contents(folder).items()
    }


async def test_nobody_elses_rows_and_no_address_are_in_it(
    database: DatabaseSettings, podcast: MadePodcast, tmp_path: Path
) -> None:
    await export(database, tmp_path / "archive")
    conn = await asyncpg.connect(str(database.url))
    await conn.execute("set role castledger_ingest")
    secrets = [row["secret"].hex() for row in await conn.fetch("select secret from ops.listener_secrets")]
    keys = [str(row["k0"]) for row in await conn.fetch("select k0 from ops.pending_hits")]
    await conn.close()
    assert secrets
    assert keys
    said = texts(tmp_path / "archive")
    assert "cdn.example.com" in said["enclosures.ndjson.gz"]
    for word in ("s.example.net", "stranger", "192.0.2.", "cl_live_", *secrets, *keys):
        assert [name for name, text in said.items() if word in text] == [], word


async def test_it_is_all_of_one_instant(database: DatabaseSettings, podcast: MadePodcast, tmp_path: Path) -> None:
    async def land() -> None:
        ledger, pool = await open_ledger(database, tmp_path / "spool-2")
        write_segment(ledger.folder, [make_hit(minute(50), "cdn.example.com/a.mp3", agent=b"Meanwhile/1")])
        await ledger.ship_all()
        await ledger.refresh()
        await ledger.conn.close()
        await pool.close()

    def land_and_tell() -> dt.datetime:
        # Asked for when the snapshot is taken and nothing is read yet.
        with ThreadPoolExecutor() as thread:
            thread.submit(asyncio.run, land()).result()
        return NOW

    await export(database, tmp_path / "one", now=land_and_tell)
    assert [name for name, text in texts(tmp_path / "one").items() if "Meanwhile" in text] == []
    await export(database, tmp_path / "two")
    before, after = (texts(tmp_path / name)["hits/2026-11-02.ndjson.gz"].count("\n") for name in ("one", "two"))
    assert after == before + 1
    assert "Meanwhile" in texts(tmp_path / "two")["agents.ndjson.gz"]


async def test_no_day_goes_while_it_is_read(database: DatabaseSettings, podcast: MadePodcast, tmp_path: Path) -> None:
    years_later = NOW + dt.timedelta(days=1000)

    async def drop() -> bool:
        conn = await connect(database, Role.INGEST, application_name="test")
        try:
            return await drop_day(conn, "listener_events", OLD, before=years_later, now=years_later)
        finally:
            await conn.close()

    def drop_and_tell() -> dt.datetime:
        with ThreadPoolExecutor() as thread, pytest.raises(asyncpg.LockNotAvailableError):
            thread.submit(asyncio.run, drop()).result()
        return NOW

    await export(database, tmp_path / "archive", now=drop_and_tell)
    assert f"hits/{OLD}.ndjson.gz" in contents(tmp_path / "archive")
    assert await drop()
    await export(database, tmp_path / "later")
    assert f"hits/{OLD}.ndjson.gz" not in contents(tmp_path / "later")


async def test_the_manifest_tells_what_the_files_are(
    database: DatabaseSettings, podcast: MadePodcast, tmp_path: Path
) -> None:
    await export(database, tmp_path / "archive")
    said = texts(tmp_path / "archive")
    manifest = json.loads(said.pop("manifest.json"))
    files = {file["path"]: file for table in manifest["tables"] for file in table["files"]}
    assert files.keys() == said.keys()
    assert {path: file["rows"] for path, file in files.items()} == {
        path: text.count("\n") for path, text in said.items()
    }


async def test_a_schema_of_another_version_is_told(
    empty_database: DatabaseSettings, database: DatabaseSettings, podcast: MadePodcast, tmp_path: Path
) -> None:
    await export(database, tmp_path / "archive", encoding=Encoding.PARQUET)
    with pytest.raises(ConfigError, match="run `castledger migrate up`"):
        await import_archive(empty_database, tmp_path / "archive", slug=None, progress=Progress())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_told_how_far_it_is() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        progress = Progress(stream)
        for _ in range(3):
            progress.add("hits", 30_000)
        progress.close()
    assert terminal.getvalue() == "\r\x1b[Kcastledger: hits, 60,000 rows\r\x1b[K"
    assert file.getvalue() == ""
