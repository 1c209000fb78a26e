"""``castledger backup``, ``restore`` and ``upgrade``: their arguments, and what they print."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from analytics_core.errors import Unavailable
from analytics_core.settings import load_settings
from castledger_server.retention_cli import add_data_dir, find_settings

if TYPE_CHECKING:
    from analytics_core.settings import DatabaseSettings

__all__ = ("UNVERIFIED", "add_backup")

UNVERIFIED: Final = 3
"""Exit code of a backup that was written and could not be verified."""

_T = TypeVar("_T")


def add_backup(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``backup``, ``restore`` and ``upgrade`` to the command line."""
    backup = commands.add_parser(
        "backup",
        help="write the whole ledger into a file, and prove that it can be restored",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Write all tenants' rows as they are at one instant into FILE, and what has to be in it into FILE.json.\n"
            "Services go on meanwhile. The file is restored into a scratch database on the same server, which is\n"
            "compared table by table and dropped. Without secrets a restored ledger has no API keys. Ends with 3 when\n"
            "the file was written and could not be verified."
        ),
        epilog="example:\n  castledger backup --out /backups/ledger-2026-11-28.dump\n",
    )
    backup.add_argument("--out", type=Path, required=True, metavar="FILE", help="to write; never over a file")
    backup.add_argument(
        "--with-secrets",
        action="store_true",
        help="with hashes of API keys, sessions and listener secrets; keep such a file like a password",
    )
    backup.add_argument("--no-verify", action="store_true", help="do not restore it into a scratch database")
    _add_programs(backup)
    add_data_dir(backup)
    backup.set_defaults(run=_backup)
    restore = commands.add_parser(
        "restore",
        help="bring a backup into an empty database",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Restore FILE, with FILE.json beside it, into an empty database: that of --into, else of DATABASE_URL,\n"
            "else the one that `castledger up` would make in the data folder. Whole or not at all; afterwards every\n"
            "table is compared with what was backed up."
        ),
        epilog="example:\n  castledger restore /backups/ledger-2026-11-28.dump --data-dir ./ledger\n",
    )
    restore.add_argument("file", type=Path, metavar="FILE")
    restore.add_argument("--into", metavar="URL", help="an empty database; its password may be in ~/.pgpass")
    _add_programs(restore)
    add_data_dir(restore)
    restore.set_defaults(run=_restore)
    upgrade = commands.add_parser(
        "upgrade",
        help="bring the embedded database to the newest PostgreSQL that is here",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Bring the database that `castledger up` has in its data folder to the newest PostgreSQL that is here, by\n"
            "dump and restore. Stop `up` before. Needs the programs of the old version once more, and room for the\n"
            "database twice more. The old one is kept beside it."
        ),
        epilog="example:\n  castledger upgrade --data-dir ./ledger\n",
    )
    upgrade.add_argument(
        "--postgres-bin", type=Path, metavar="DIR", help="folder of the PostgreSQL to go to, when not the newest here"
    )
    upgrade.add_argument("--data-dir", type=Path, metavar="DIR", help="where the database is (CASTLEDGER_DATA_DIR)")
    upgrade.set_defaults(run=_upgrade)


def _add_programs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--postgres-bin", type=Path, metavar="DIR", help="folder of pg_dump and pg_restore, when not found by itself"
    )


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"castledger: {line}\n")
        sys.stderr.flush()


def _run_to_its_end(work: Coroutine[Any, Any, _T]) -> _T:
    """Run something that has to clear up after itself; SIGTERM stops it as Ctrl-C does.

    Raises:
        Unavailable: A database is not there, goes away, or refuses something that no step of ours expects.
        KeyboardInterrupt: It was stopped.
    """
    import asyncpg

    from analytics_core.db.pool import CONNECTION_LOST

    async def stoppable() -> _T:
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("a coroutine runs in a task")
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(stoppable())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    except CONNECTION_LOST as error:
        raise Unavailable(f"the database does not answer: {error}") from error
    except asyncpg.PostgresError as error:
        raise Unavailable(f"the database refuses: {error}") from error


def _backup(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.backup import make_backup

    database = find_settings(options, environ).require_database()
    made = _run_to_its_end(
        make_backup(
            database,
            options.out,
            with_secrets=options.with_secrets,
            check=not options.no_verify,
            bin_dir=options.postgres_bin,
            say=_progress,
        )
    )
    manifest = made.manifest
    rows = sum(table.rows for table in manifest.tables)
    sys.stdout.write(f"{options.out}: {rows} rows of {len(manifest.tables)} tables, {manifest.bytes} bytes\n")
    if manifest.left_out:
        sys.stdout.write(f"left out: {', '.join(manifest.left_out)} (--with-secrets)\n")
    if made.unverified:
        sys.stdout.flush()
        sys.stderr.write(f"castledger: written, but not verified: {made.unverified}\n")
        return UNVERIFIED
    sys.stdout.write("verified: restored and compared\n" if manifest.verified else "not verified, as asked\n")
    return 0


def _restore(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.restore import restore_backup

    with _target(options, environ) as (target, then):
        lines = _run_to_its_end(restore_backup(target, options.file, bin_dir=options.postgres_bin, say=_progress))
    for line in (*lines, f"next: {then}"):
        sys.stdout.write(f"{line}\n")
    return 0


def _upgrade(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.upgrade import upgrade_embedded

    data_dir: Path | None = options.data_dir
    settings = load_settings(environ, data_dir=data_dir.absolute() if data_dir else None)
    lines = upgrade_embedded(settings.data_dir, bin_dir=options.postgres_bin, run=_run_to_its_end, say=_progress)
    for line in lines:
        sys.stdout.write(f"{line}\n")
    return 0


@contextlib.contextmanager
def _target(options: argparse.Namespace, environ: Mapping[str, str]) -> Iterator[tuple[DatabaseSettings, str]]:
    """Find the database to restore into, and what to do next; the embedded one is started for it, and stopped again."""
    then = "name this database in DATABASE_URL, run `castledger doctor`, and start the services"
    if options.into is not None:
        yield load_settings({**environ, "DATABASE_URL": options.into}).require_database(), then
        return
    settings = find_settings(options, environ)
    if settings.database is not None:
        yield settings.database, then
        return
    from castledger_server.backup_files import read_manifest
    from castledger_server.embedded import EmbeddedPostgres

    # Before a data folder is made for nothing.
    read_manifest(options.file)
    postgres = EmbeddedPostgres(settings.data_dir, say=_progress)
    url = postgres.start()
    try:
        then = f"`castledger up --data-dir {settings.data_dir}`"
        yield load_settings({**environ, "DATABASE_URL": url}).require_database(), then
    finally:
        postgres.stop()
