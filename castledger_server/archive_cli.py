"""``castledger export`` and ``castledger import``: a tenant's ledger as a folder of files, and back."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID

from analytics_core.errors import InvalidInput
from castledger_server.retention_cli import add_data_dir, find_settings

if TYPE_CHECKING:
    from analytics_core.archives.manifest import Filters, Manifest
    from analytics_core.db.pool import Tenant
    from analytics_core.settings import DatabaseSettings

__all__ = ("add_archive",)

_NAME: Final = "castledger export"


def add_archive(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``export`` and ``import`` to the command line."""
    export = commands.add_parser(
        "export",
        help="write a tenant's ledger, or a part of it, into a folder of files",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Write everything that is a tenant's (podcasts, episodes, links, hits with their verdicts, downloads,\n"
            "figures, listeners) into a new folder, all as of one instant: Parquet where pyarrow is installed, else\n"
            "compressed lines of JSON. Keys, sessions, secrets and addresses are never among it. Hits that wait in a\n"
            "spool are not in the ledger yet. manifest.json is written last: a folder without it did not end."
        ),
        epilog=(
            "examples:\n"
            "  castledger export --out ./archive\n"
            "  castledger export --out ./november --from 2026-11-01 --to 2026-12-01 --format ndjson\n"
        ),
    )
    export.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder to make; has to be empty if there"
    )
    export.add_argument("--tenant", metavar="TENANT", help="whose; can be left out when there is only one")
    export.add_argument(
        "--podcast", action="append", metavar="ID", help="only of this podcast; may be repeated; leaves links out"
    )
    export.add_argument("--from", dest="first", metavar="YYYY-MM-DD", help="the first UTC day of hits and figures")
    export.add_argument("--to", dest="until", metavar="YYYY-MM-DD", help="the first UTC day that is left out")
    export.add_argument("--format", choices=("parquet", "ndjson"), help="of the files; Parquet needs pyarrow")
    add_data_dir(export)
    export.set_defaults(run=_export)
    reading = commands.add_parser(
        "import",
        help="read an exported folder into an empty tenant",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Read what `castledger export` wrote into a tenant that has nothing yet, here or in another installation.\n"
            "Everything is checked; all of it is imported, or nothing. A tenant that is not there is made, and its\n"
            "API key printed. Import only what you trust: verified podcasts stay verified."
        ),
        epilog="examples:\n  castledger import ./archive\n  castledger import ./archive --tenant studio\n",
    )
    reading.add_argument("folder", type=Path, metavar="DIR")
    reading.add_argument("--tenant", metavar="TENANT", help="into which; by default one of the name that it had")
    add_data_dir(reading)
    reading.set_defaults(run=_import)


def _podcast_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidInput("--podcast", f"{text!r} is no id of a podcast") from None


def _day(text: str | None, name: str) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(name, f"{text!r} is no date such as 2026-11-01") from None


def _filters(options: argparse.Namespace) -> Filters:
    from analytics_core.archives.manifest import Filters

    podcasts = None if options.podcast is None else sorted({_podcast_id(text) for text in options.podcast})
    first, until = _day(options.first, "--from"), _day(options.until, "--to")
    if first is not None and until is not None and first >= until:
        raise InvalidInput("--to", f"{until} has to be later than --from, which is {first}")
    return Filters(podcasts, first, until)


def _tell(manifest: Manifest) -> str:
    files = [file for table in manifest.tables for file in table.files]
    rows = {table.name: sum(file.rows for file in table.files) for table in manifest.tables}
    counts = ", ".join(f"{rows[name]:,} {name}" for name in ("podcasts", "episodes", "hits", "downloads"))
    size = sum(file.bytes for file in files) / 1_000_000
    return f"{counts}; {len(files):,} files, {size:,.1f} MB, {manifest.encoding.value}"


def _export(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from analytics_core.archives.manifest import Encoding
    from analytics_core.clock import SystemClock
    from castledger_server.archive_export import export_tenant
    from castledger_server.archive_progress import Progress

    wanted = _filters(options)
    has_parquet = importlib.util.find_spec("pyarrow") is not None
    encoding = Encoding(options.format or ("parquet" if has_parquet else "ndjson"))
    database = find_settings(options, environ).require_database()

    async def run() -> Manifest:
        tenant = await _find_tenant(database, options.tenant)
        return await export_tenant(
            database,
            tenant,
            options.out,
            wanted=wanted,
            encoding=encoding,
            now=SystemClock().now,
            progress=Progress(),
        )

    manifest = asyncio.run(run())
    sys.stdout.write(f"exported {manifest.tenant.slug} to {options.out}: {_tell(manifest)}\n")
    return 0


async def _find_tenant(database: DatabaseSettings, slug: str | None) -> Tenant:
    from analytics_core.db.pool import connect
    from analytics_core.db.retention import list_retention
    from analytics_core.db.tenants import find_tenant
    from analytics_core.roles import Role

    conn = await connect(database, Role.AUTH, application_name=_NAME)
    try:
        slugs = [row.slug for row in await list_retention(conn)]
        if slug is None and len(slugs) == 1:
            slug = slugs[0]
        found = None if slug is None else await find_tenant(conn, slug)
    finally:
        await conn.close()
    if found is None:
        there = ", ".join(slugs) or "none"
        wrong = "say which with --tenant" if slug is None else f"there is no tenant {slug!r}"
        raise InvalidInput("--tenant", f"{wrong}; there are: {there}")
    return found.tenant


def _import(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.archive_import import import_archive
    from castledger_server.archive_progress import Progress

    database = find_settings(options, environ).require_database()
    imported = asyncio.run(import_archive(database, options.folder, slug=options.tenant, progress=Progress()))
    sys.stdout.write(f"imported {options.folder} into {imported.slug}: {_tell(imported.manifest)}\n")
    if imported.key is not None:
        sys.stdout.write(f"api_key: {imported.key}\n")
    return 0
