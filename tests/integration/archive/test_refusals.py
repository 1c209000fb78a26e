"""What cannot be imported is refused with a reason, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from analytics_core.archives.manifest import MANIFEST, Encoding
from analytics_core.db.pool import connect
from analytics_core.db.tenants import create_tenant
from analytics_core.errors import CastledgerError, Conflict, InvalidInput
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.archive_import import import_archive
from castledger_server.archive_progress import Progress
from tests.archives import SLUG, contents, export
from tests.factories import MadePodcast, make_episode, make_podcast, make_tenant

pytestmark = pytest.mark.anyio

TABLES = """
select format('select %L, count(*) from %I.%I', n.nspname || '.' || c.relname, n.nspname, c.relname) as query
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('app', 'ops', 'ts') and c.relkind in ('r', 'p') and not c.relispartition
    -- Words that no hit has come to use, as ingest leaves them behind as well.
    and c.relname not in ('agents', 'terms', 'places')
"""


async def count_rows(database: DatabaseSettings) -> dict[str, int]:
    """Count all rows of all tables, as who is bound by no row security."""
    conn = await asyncpg.connect(re.sub("//castledger(:[^@]*)?@", "//postgres@", str(database.url)))
    counts = {name: rows for query in await conn.fetch(TABLES) for name, rows in await conn.fetch(query["query"])}
    await conn.close()
    return counts


async def read_in(database: DatabaseSettings, folder: Path, *, slug: str | None = None) -> None:
    await import_archive(database, folder, slug=slug, progress=Progress())


async def refused(database: DatabaseSettings, folder: Path, *, slug: str | None = None) -> CastledgerError:
    """Import what cannot be, and check that nothing was written."""
    before = await count_rows(database)
    with pytest.raises((InvalidInput, Conflict)) as caught:
        await read_in(database, folder, slug=slug)
    assert await count_rows(database) == before
    return caught.value


def edit_manifest(folder: Path, edit: Callable[[Any], object]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    edit(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def edit_lines(folder: Path, path: str, edit: Callable[[list[bytes]], object]) -> None:
    """Change a file's lines as somebody would who knows how to make the checksum right again."""
    lines = gzip.decompress((folder / path).read_bytes()).splitlines(keepends=True)
    edit(lines)
    data = gzip.compress(b"".join(lines))
    (folder / path).write_bytes(data)

    def agree(manifest: Any) -> None:
        (entry,) = (file for table in manifest["tables"] for file in table["files"] if file["path"] == path)
        entry.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    edit_manifest(folder, agree)


def change(lines: list[bytes], row: int, **values: object) -> None:
    lines[row] = json.dumps({**json.loads(lines[row]), **values}).encode() + b"\n"


HITS = "hits/2026-11-02.ndjson.gz"


@pytest.fixture
async def archive(database: DatabaseSettings, podcast: MadePodcast, tmp_path: Path) -> Path:
    await export(database, tmp_path / "archive", encoding=Encoding.NDJSON)
    return tmp_path / "archive"


async def test_damage_is_named_and_nothing_is_written(archive: Path, second_database: DatabaseSettings) -> None:
    whole = {archive / name: data for name, data in contents(archive).items()}

    async def fault(damage: Callable[[], object]) -> str:
        damage()
        said = str(await refused(second_database, archive))
        for path, data in whole.items():
            path.write_bytes(data)
        return said

    hits = archive / HITS
    flipped = bytearray(whole[hits])
    flipped[len(flipped) // 2] ^= 1
    assert await fault(lambda: hits.write_bytes(flipped)) == (
        f"{HITS}: is damaged: its SHA-256 is not the one of the manifest"
    )
    assert (await fault(lambda: hits.write_bytes(whole[hits][:-1]))).startswith(f"{HITS}: has ")
    assert await fault(hits.unlink) == f"{HITS}: cannot be read (No such file or directory)"
    assert (await fault((archive / MANIFEST).unlink)).startswith("manifest.json: cannot be read (No such file")
    assert (await fault(lambda: (archive / MANIFEST).write_text("{"))).startswith("manifest.json: is damaged")

    def newer(manifest: Any) -> None:
        manifest.update(format_version=2, more=1)

    assert "reads castledger-archive 1" in await fault(lambda: edit_manifest(archive, newer))

    def unknown(manifest: Any) -> None:
        manifest["tables"][2]["columns"].append({"name": "colour", "type": "text", "nullable": True})

    assert "podcasts: column 'colour' is unknown" in await fault(lambda: edit_manifest(archive, unknown))
    assert "has no table 'segments'" in await fault(lambda: edit_manifest(archive, lambda m: m["tables"].pop(0)))

    def twice(manifest: Any) -> None:
        manifest["tables"][2]["files"] *= 2

    assert "names a table or a file twice" in await fault(lambda: edit_manifest(archive, twice))

    def outside(manifest: Any) -> None:
        manifest["tables"][0]["files"][0]["path"] = "../segments.ndjson.gz"

    assert "no name of a file of this table" in await fault(lambda: edit_manifest(archive, outside))


ROWS: tuple[tuple[str, Callable[[list[bytes]], object], str], ...] = (
    (HITS, lambda lines: lines.append(lines[-1]), f"{HITS}:29: is a row more than the manifest says, which is 28"),
    (HITS, lambda lines: lines.pop(), f"{HITS}: has 27 rows, and the manifest says 28"),
    (HITS, lambda lines: change(lines, 4, verdict=13), f"{HITS}:5: verdict is not from -1 to 12: 13"),
    (HITS, lambda lines: change(lines, 4, colour=1), f"{HITS}:5: column 'colour' is unknown"),
    (
        HITS,
        lambda lines: change(lines, 4, occurred_at="2026-11-03T00:00:00Z"),
        f"{HITS}:5: occurred_at is not of the day that the file is named after",
    ),
    (
        HITS,
        lambda lines: change(lines, 4, episode_id="019abc00-0000-7000-8000-000000000000"),
        f"{HITS}:5: episode_id 019abc00-0000-7000-8000-000000000000 is not among the archive's episodes",
    ),
    (
        "metrics_daily/2026-10-03.ndjson.gz",
        lambda lines: change(lines, 0, quarters=[1]),
        "metrics_daily/2026-10-03.ndjson.gz:1-",
    ),
    (
        "metrics_daily/2026-10-03.ndjson.gz",
        lambda lines: change(lines, 1, dimension="colour"),
        "metrics_daily/2026-10-03.ndjson.gz:1-",
    ),
    (
        "metrics_daily/2026-10-03.ndjson.gz",
        lambda lines: change(lines, 0, downloads=7),
        "metrics_daily: the database refuses a row: new row for relation",
    ),
    (
        "downloads/2026-11-01.ndjson.gz",
        lambda lines: change(lines, 2, country=256),
        "downloads/2026-11-01.ndjson.gz:3: country: is no country of two letters",
    ),
    (
        "hits/2026-11-01.ndjson.gz",
        lambda lines: change(lines, 2, place="Paris"),
        "hits/2026-11-01.ndjson.gz:3: place: is no place such as US/CA/San Francisco: 'Paris'",
    ),
    (
        "links.ndjson.gz",
        lambda lines: change(lines, 0, target="javascript:alert(1)"),
        "links.ndjson.gz:1: target: url: ",
    ),
    (
        "enclosures.ndjson.gz",
        lambda lines: change(lines, 0, hosts=["a.example\nb.example"]),
        "enclosures.ndjson.gz:1: hosts: 'a.example\\nb.example' is no name of a host",
    ),
    (
        "episodes.ndjson.gz",
        lambda lines: change(lines, 1, guid=json.loads(lines[0])["guid"]),
        "episodes.ndjson.gz:2: episode 'Episode b' is in the archive twice; nothing was imported",
    ),
)


async def test_rows_that_are_wrong_are_named(archive: Path, second_database: DatabaseSettings) -> None:
    whole = {archive / name: data for name, data in contents(archive).items()}
    for path, edit, fault in ROWS:
        edit_lines(archive, path, edit)
        assert str(await refused(second_database, archive)).startswith(fault)
        for file, data in whole.items():
            file.write_bytes(data)
    await read_in(second_database, archive)


async def test_an_archive_goes_into_an_empty_tenant_and_once(archive: Path, second_database: DatabaseSettings) -> None:
    busy = await make_tenant(second_database, "busy")
    await make_podcast(second_database, busy, make_episode("z", "https://z.example.net/z.mp3"))
    assert "busy has podcasts, links, sponsors, hits or events already" in str(
        await refused(second_database, archive, slug="busy")
    )
    await read_in(second_database, archive)
    error = await refused(second_database, archive)
    assert (error.code, str(error)) == (
        "already_imported",
        f"this archive is already imported: its podcasts are {SLUG}'s",
    )


async def test_two_imports_at_once_are_one(archive: Path, second_database: DatabaseSettings) -> None:
    await make_tenant(second_database, SLUG)
    ended = await asyncio.gather(*(read_in(second_database, archive) for _ in range(2)), return_exceptions=True)
    (error,) = (one for one in ended if one is not None)
    assert isinstance(error, Conflict)
    assert error.code == "already_imported"


async def test_what_another_tenant_owns_stays_theirs(
    archive: Path, database: DatabaseSettings, second_database: DatabaseSettings, podcast: MadePodcast
) -> None:
    assert "is another tenant's here, by its guid or its feed" in str(await refused(database, archive, slug="new"))
    owner = await make_tenant(second_database, "owner")
    await make_podcast(second_database, owner, make_episode("mine", "https://cdn.example.com/a.mp3"))
    assert "('a.mp3') is of another tenant's podcast here" in str(await refused(second_database, archive))


async def test_an_import_that_is_stopped_leaves_nothing(archive: Path, second_database: DatabaseSettings) -> None:
    """It is killed behind most of its work, where somebody else holds a lock that it needs."""
    conn = await connect(second_database, Role.AUTH, application_name="test")
    await create_tenant(conn, slug=SLUG, name="Studio")
    await conn.close()
    before = await count_rows(second_database)
    holder = await asyncpg.connect(str(second_database.url))
    try:
        async with holder.transaction():
            await holder.execute("set local role castledger_owner")
            await holder.execute("lock table app.podcast_months in exclusive mode")
            await holder.execute("set local role none")
            working = asyncio.create_task(read_in(second_database, archive))
            async with asyncio.timeout(20):
                while not await holder.fetchval("select count(*) from pg_locks where not granted"):
                    await holder.execute("select pg_sleep(0.01)")
            await holder.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock'"
                " and application_name = 'castledger import' and datname = current_database()"
            )
            with pytest.raises(CastledgerError, match="the database does not answer"):
                await working
    finally:
        await holder.close()
    assert await count_rows(second_database) == before
    await read_in(second_database, archive)
