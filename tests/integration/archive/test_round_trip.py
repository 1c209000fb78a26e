"""Export, import into another installation, export again: equal files, and equal answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from analytics_core.archives.files import read_rows
from analytics_core.archives.manifest import MANIFEST, Encoding, read_manifest
from analytics_core.archives.tables import TABLES
from analytics_core.db.pool import connect
from analytics_core.db.segments import advance_cutoff
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.archive_import import import_archive
from castledger_server.archive_progress import Progress
from tests.archives import SLUG, ask_everything, contents, export, occupy, owner_key
from tests.factories import MadePodcast, make_tenant

pytestmark = pytest.mark.anyio


def rows_of(folder: Path, name: str, encoding: Encoding) -> list[dict[str, object]]:
    table = next(table for table in TABLES if table.name == name)
    entry = next(entry for entry in read_manifest(folder).tables if entry.name == name)
    return [
        dict(zip(chunk.columns, row, strict=True))
        for file in entry.files
        for chunk in read_rows(folder, file.path, table, encoding, rows=file.rows)
        for row in zip(*chunk.columns.values(), strict=True)
    ]


@pytest.mark.parametrize("encoding", list(Encoding))
async def test_what_was_imported_answers_and_is_exported_as_it_was(
    encoding: Encoding,
    database: DatabaseSettings,
    second_database: DatabaseSettings,
    podcast: MadePodcast,
    tmp_path: Path,
) -> None:
    manifest = await export(database, tmp_path / "one", encoding=encoding)
    rows = {table.name: sum(file.rows for file in table.files) for table in manifest.tables}
    assert [name for name, count in rows.items() if not count] == []
    await occupy(second_database, tmp_path / "resident")
    imported = await import_archive(second_database, tmp_path / "one", slug=None, progress=Progress())
    assert imported.key is not None
    conn = await connect(second_database, Role.INGEST, application_name="test")
    assert manifest.cutoff is not None
    await advance_cutoff(conn, source="spool", at=manifest.cutoff)
    await conn.close()
    there = await ask_everything(database, await owner_key(database, podcast), tmp_path)
    here = await ask_everything(second_database, imported.key, tmp_path)
    assert here == there
    assert len(there) > 80
    assert sum(len(re.findall(r"\"downloads\":[1-9]", said)) for said in there.values()) > 150
    await export(second_database, tmp_path / "two", encoding=encoding)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one.keys() == two.keys()
    days, pending = f"days{encoding.suffix}", f"pending_hits{encoding.suffix}"
    assert {name for name in one if one[name] != two[name]} == {MANIFEST, days, pending}
    # Open days are marked as rekeyed, and keys of hits that wait are hashed once more.
    before, after = (rows_of(tmp_path / folder, "days", encoding) for folder in ("one", "two"))
    assert [{**day, "rekeyed": day["rekeyed"] or day["final_at"] is None} for day in before] == after
    assert {day["rekeyed"] for day in after} == {False, True}
    before, after = (rows_of(tmp_path / folder, "pending_hits", encoding) for folder in ("one", "two"))
    assert [{**hit, "k0": None} for hit in before] == [{**hit, "k0": None} for hit in after]


@pytest.mark.parametrize("encoding", list(Encoding))
async def test_a_ledger_in_which_nothing_has_happened_goes_as_well(
    encoding: Encoding, database: DatabaseSettings, second_database: DatabaseSettings, tmp_path: Path
) -> None:
    await make_tenant(database, SLUG)
    manifest = await export(database, tmp_path / "one", encoding=encoding)
    assert manifest.cutoff is None
    assert sum(file.rows for table in manifest.tables for file in table.files) == 0
    # The tenant is there already, and its key as well.
    await make_tenant(second_database, SLUG)
    imported = await import_archive(second_database, tmp_path / "one", slug=None, progress=Progress())
    assert imported.key is None
    await export(second_database, tmp_path / "two", encoding=encoding)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one == two
