"""The composition root of ingest: opens what it needs, runs its parts, stops them in time."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import asyncpg

from analytics_core.accounts import difference
from analytics_core.admin_server import AdminServer
from analytics_core.agent_lists import AgentLists
from analytics_core.clock import Clock, SystemClock
from analytics_core.db.audit_seals import seal_entries
from analytics_core.db.deliveries import count_flights_behind
from analytics_core.db.flight_alerts import count_flights_at_risk
from analytics_core.db.ledger import link_segments, read_accounts
from analytics_core.db.list_versions import note_list_versions
from analytics_core.db.podcasts import read_known_hosts
from analytics_core.db.pool import CONNECTION_LOST, Connection, Pool, check_role, connect, connection, open_pool
from analytics_core.db.retention import set_hits_policy
from analytics_core.db.rollups import count_marks
from analytics_core.db.transfers import settle_claims
from analytics_core.errors import ConfigError, Unavailable
from analytics_core.mailers import open_mailer
from analytics_core.memory import give_memory_back
from analytics_core.roles import Role
from analytics_core.settings import Settings
from analytics_core.shared_addresses import WARN_DAYS, describe_due
from analytics_core.spool import FrameKind
from ingest.catalogue_watch import CatalogueWatch
from ingest.chores import Chores
from ingest.event_conversions import BATCH_MARKS, convert_events
from ingest.events.shipper import EventShipper
from ingest.job_queue import JobQueue
from ingest.jobs import Health, backoff_s, run_job
from ingest.metrics import Metrics
from ingest.outbox import MailSender
from ingest.pending import rejudge_pending
from ingest.pipeline import Pipeline
from ingest.place_sources import PlaceSources, PlacesWatch, open_places
from ingest.polling import Poller, UnknownTargetPolls
from ingest.reach import count_due_reach
from ingest.registry_writer import RegistryWriter, own_hosts
from ingest.rollups import refresh_listeners, refresh_rollups
from ingest.secrets import SecretStore
from ingest.shipper import Shipper
from ingest.silence import SilenceWatch
from ingest.spool_reader import SpoolFolder

__all__ = ("Ingest", "run_ingest")

_NAME: Final = "castledger-ingest"
_WATCH: Final = "watch"
_TRACKERS: Final = "trackers"
_LISTS: Final = "lists"
_SHARED: Final = "shared addresses"
_AGENT_LISTS: Final = "lists of user agents"
_SCAN_S: Final = 0.25
_MARKS_S: Final = 0.5
_REFRESH_S: Final = 0.5
_POLL_S: Final = 2.0
_SEAL_S: Final = 1.0
_CHORES_S: Final = 600.0
_SILENCE_S: Final = 15.0
_BALANCE_S: Final = 60.0
_FLIGHTS_S: Final = 300.0
_LISTS_S: Final = 15.0
_STOP_S: Final = 6.0
_MANY_HITS: Final = 20_000
# In the middle of a backlog: a tenth of a second of some ten, and what is held does not climb.
_MANY_MORE_HITS: Final = 1_000_000
_NOT_MIGRATED: Final = "DATABASE_URL: the schema is not there; run `castledger migrate up`"

_log = logging.getLogger("castledger.ingest")


def _versions(places: PlaceSources) -> tuple[str, str, str]:
    return places.networks.version, places.asns.version, places.countries.version


class Ingest:
    """One ingest process: its resources, and one method for each of its loops.

    Args:
        settings: Everything it may be told.
        pool: As ingest.
        clock: The time.
        metrics: Counts.

    Raises:
        ConfigError: A list or database named by the settings cannot be used.
    """

    def __init__(self, settings: Settings, pool: Pool, *, clock: Clock, metrics: Metrics) -> None:
        self._settings = settings
        self._pool = pool
        self._clock = clock
        self._metrics = metrics
        hosts = own_hosts(settings.tracker.public_url)
        # Looks before it is opened: what is replaced in between is seen as newer.
        self._places = PlacesWatch(settings.ingest, clock=clock)
        self.agent_lists = AgentLists(
            settings.ingest.agent_lists,
            settings.ingest.agent_lists_mode,
            keep=settings.ingest.agent_lists_kept,
            writes=True,
        )
        self.secrets = SecretStore(pool, clock)
        self.pipeline = Pipeline(
            clock=clock,
            secrets=self.secrets,
            own_hosts=hosts,
            places=open_places(settings.ingest, clock=clock),
            metrics=metrics,
            agent_table=lambda: self.agent_lists.table,
        )
        self.chores = Chores(settings, pool, clock=clock, secrets=self.secrets, agents=self.pipeline.agents)
        self.poll_wanted = asyncio.Event()
        self.pending_wanted = asyncio.Event()
        self.registry_wanted = asyncio.Event()
        self.claims_wanted = asyncio.Event()
        self.shipper = Shipper(
            SpoolFolder(settings.tracker.spool_dir),
            self.pipeline,
            clock=clock,
            metrics=metrics,
            batch_hits=settings.ingest.batch_hits,
            on_unknown=UnknownTargetPolls(clock, self.poll_wanted),
            lend=lambda: connection(pool),
        )
        self.event_shipper = EventShipper(
            SpoolFolder(settings.collector.spool_dir, kind=FrameKind.EVENTS),
            agents=self.pipeline.agents,
            places=lambda: self.pipeline.places,
            clock=clock,
            metrics=metrics,
        )
        self.poller = Poller(pool, settings.feed, clock=clock, metrics=metrics, own_hosts=hosts)
        self._registry = RegistryWriter(settings.tracker)
        self._watch = CatalogueWatch(settings.require_database())
        for callback in (
            self.pipeline.catalogue.forget,
            self.pending_wanted.set,
            self.registry_wanted.set,
            self.claims_wanted.set,
            self.poll_wanted.set,
        ):
            self._watch.subscribe(callback)
        self._watch.subscribe_to_keys(self.registry_wanted.set)
        self._silence = SilenceWatch(metrics)
        self._conn: Connection | None = None
        self._events_conn: Connection | None = None
        self._landed = 0
        self._shared_due: str | None = None
        self._is_off_balance = False
        self._noted_lists: dict[str, str] = {}

    async def ship(self) -> float:
        """Land what is in the spool; one connection is kept for it."""
        if self._conn is None or self._conn.is_closed():
            self.shipper.forget()
            self._conn = await connect(self._settings.require_database(), Role.INGEST, application_name=_NAME)
            self.pipeline.unknown_hosts.know(await read_known_hosts(self._conn))
        shipped = await self.shipper.ship(self._conn)
        self._landed += shipped.hits
        is_idle = shipped.caught_up and not shipped.moved
        if self._landed >= (_MANY_HITS if is_idle else _MANY_MORE_HITS):
            self._landed = 0
            give_memory_back()
        return _SCAN_S if is_idle else 0.0

    async def ship_events(self) -> float:
        """Land what is in the spool of collectors; one connection is kept for it."""
        if self._events_conn is None or self._events_conn.is_closed():
            self.event_shipper.forget()
            self._events_conn = await connect(self._settings.require_database(), Role.INGEST, application_name=_NAME)
        shipped = await self.event_shipper.ship(self._events_conn)
        return _SCAN_S if shipped.caught_up and not shipped.moved else 0.0

    async def convert(self) -> float:
        """Make conversions of events that have landed."""
        async with connection(self._pool) as conn:
            outcomes = await convert_events(conn, clock=self._clock)
        for outcome, events in outcomes.items():
            self._metrics.marked_events.labels(outcome).inc(events)
        return 0.0 if outcomes.total() >= BATCH_MARKS else _MARKS_S

    async def refresh(self) -> float:
        """Recompute rollups and count listeners; never more than half of the time."""
        began = time.monotonic()
        async with connection(self._pool) as conn:
            days = await refresh_rollups(conn)
            self._metrics.marks.set(await count_marks(conn) if days else 0)
            counted = await refresh_listeners(conn)
        took_s = time.monotonic() - began
        return took_s if days or counted else _REFRESH_S

    async def rejudge(self) -> float:
        """Judge waiting hits again; the watch calls for it, at least once a minute."""
        async with connection(self._pool) as conn:
            moved = await rejudge_pending(conn, self.secrets)
        if moved:
            _log.info("%d waiting hits were judged again", moved)
        return _CHORES_S

    async def poll(self) -> float:
        """Start polling feeds that are due."""
        await self.poller.start_due()
        return _POLL_S

    async def write_registry(self) -> float:
        """Bring the snapshot of trackers and collectors up to date."""
        async with connection(self._pool) as conn:
            await self._registry.write(conn)
        self.pipeline.unknown_hosts.know(self._registry.hosts)
        return _CHORES_S

    async def settle_claims(self) -> float:
        """Verify and move podcasts whose claims are proven; the watch calls for it, at least once a minute."""
        async with connection(self._pool) as conn:
            settled = await settle_claims(conn, now=self._clock.now())
        if settled:
            _log.info("%d claims were settled", settled)
        return _CHORES_S

    async def listen(self, health: Health) -> float:
        """Hear of changes of the catalogue for as long as the connection lives."""
        await self._watch.listen(on_listening=lambda: health.say(_WATCH, None))
        return _SCAN_S

    async def watch_agent_lists(self, health: Health) -> float:
        """Take an operator's lists of user agents where they have changed; what cannot be used stays outside."""
        before = self.agent_lists.fault
        if await asyncio.to_thread(self.agent_lists.refresh):
            _log.info("lists of user agents are in force as version %s", self.agent_lists.table.version)
        fault = self.agent_lists.fault
        if fault is not None and fault != before:
            _log.warning("lists of user agents cannot be used, those before stay in force: %s", fault)
        health.say(_AGENT_LISTS, fault)
        return _LISTS_S

    async def listen_for_trackers(self, health: Health) -> float:
        """Look whether every tracker that did not stop is heard of."""
        async with connection(self._pool) as conn:
            await link_segments(conn)
            health.say(_TRACKERS, await self._silence.look(conn))
        return _SILENCE_S

    async def balance(self) -> float:
        """Hold what trackers answered yesterday and today against what became of it."""
        today = self._clock.now().astimezone(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        day = dt.timedelta(days=1)
        async with connection(self._pool) as conn:
            off = difference(await read_accounts(conn, start=today - day, end=today + day))
        if off and not self._is_off_balance:
            _log.error("the ledger of answers does not balance: %d answers are unaccounted for", off)
        self._is_off_balance = off != 0
        self._metrics.ledger_difference.set(off)
        return _BALANCE_S

    async def watch_flights(self) -> float:
        """Count the flights that are behind, and those of them that somebody is told of."""
        async with connection(self._pool) as conn:
            self._metrics.flights_behind.set(await count_flights_behind(conn, now=self._clock.now()))
            self._metrics.flights_at_risk.set(await count_flights_at_risk(conn))
        return _FLIGHTS_S

    async def watch_lists(self, health: Health) -> float:
        """Judge by lists and databases that have been replaced; damaged ones leave those before in force."""
        fault = self._places.fault
        found = await asyncio.to_thread(self._places.look)
        if found is not None:
            self.pipeline.places = found
            _log.info("the lists were read anew: networks %s, autonomous systems %s, countries %s", *_versions(found))
        if self._places.fault not in (None, fault):
            _log.error("%s", self._places.fault)
        health.say(_LISTS, self._places.fault)
        self._metrics.lists_damaged.set(self._places.fault is not None)
        self._warn_of_shared(health)
        await self._note_lists()
        return _LISTS_S

    async def _note_lists(self) -> None:
        """Write down from when on hits are looked up in other lists than before."""
        networks, asns, countries = _versions(self.pipeline.places)
        versions = {"networks": networks, "asns": asns, "countries": countries}
        if versions == self._noted_lists:
            return
        async with connection(self._pool) as conn:
            await note_list_versions(conn, versions, now=self._clock.now())
        self._noted_lists = versions

    def _warn_of_shared(self, health: Health) -> None:
        """Name shared addresses that have to be validated again, for as long as they have to be."""
        entries, today = self.pipeline.places.networks.shared_entries, self._clock.now().astimezone(dt.UTC).date()
        due = describe_due(entries, today)
        if due is not None and due != self._shared_due:
            _log.warning("shared addresses have to be validated again: %s", due)
        self._shared_due = due
        health.warn(_SHARED, due)
        self._metrics.shared_due.set(sum(entry.age_days(today) >= WARN_DAYS for entry in entries))

    async def seal(self) -> float:
        """Give entries of the record of changes their place and hash; return the seconds until the next look."""
        async with connection(self._pool) as conn:
            sealed = await seal_entries(conn)
        return 0.0 if sealed else _SEAL_S

    async def work_jobs(self, queue: JobQueue) -> float:
        """Run a job that is due; old secrets go from the memory of this process, whoever destroyed them."""
        self.secrets.forget_old()
        return await queue.run_due()

    async def drain(self) -> None:
        """Land all that is in the spools, judge waiting hits again, bring rollups, listeners and reach up to date.

        Raises:
            Unavailable: The database does not answer.
        """
        while await self.ship() == 0.0:
            continue
        while await self.ship_events() == 0.0:
            continue
        while await self.convert() == 0.0:
            continue
        await self.rejudge()
        async with connection(self._pool) as conn:
            while await refresh_rollups(conn):
                continue
            while await refresh_listeners(conn, at_most_every=None):
                continue
            await count_due_reach(
                conn,
                clock=self._clock,
                final_after_days=self._settings.ingest.final_after_days,
                at_most_every=dt.timedelta(),
            )

    async def run(self, stop: asyncio.Event, health: Health) -> None:
        """Run all jobs until told to stop; then let the work in hand end, and give up what takes too long."""
        queue = JobQueue(self._pool, self.chores.kinds(), health=health, metrics=self._metrics)
        erasing = JobQueue(self._pool, self.chores.erasure_kinds(), health=health, metrics=self._metrics)
        attributing = JobQueue(self._pool, self.chores.attribution_kinds(), health=health, metrics=self._metrics)
        reporting = JobQueue(self._pool, self.chores.report_kinds(), health=health, metrics=self._metrics)
        mailer = open_mailer(self._settings.mail, sys.stderr)
        mail = MailSender(self._pool, mailer, clock=self._clock, metrics=self._metrics, health=health)
        jobs = {
            "shipping": (self.ship, None),
            "shipping events": (self.ship_events, None),
            "conversions": (self.convert, None),
            "rollups": (self.refresh, None),
            "waiting hits": (self.rejudge, self.pending_wanted),
            "polling": (self.poll, self.poll_wanted),
            "registry": (self.write_registry, self.registry_wanted),
            "claims": (self.settle_claims, self.claims_wanted),
            "sealing": (self.seal, None),
            "silence": (lambda: self.listen_for_trackers(health), None),
            "balance": (self.balance, None),
            "flights": (self.watch_flights, None),
            "watching lists": (lambda: self.watch_lists(health), None),
            "agent files": (lambda: self.watch_agent_lists(health), None),
            "jobs": (lambda: self.work_jobs(queue), None),
            "erasures": (erasing.run_due, None),
            "attribution": (attributing.run_due, None),
            "reports": (reporting.run_due, None),
            "mail": (mail.send_due, None),
            "outbox": (mail.look, None),
        }
        tasks = [
            asyncio.create_task(run_job(name, work, stop=stop, health=health, wake=wake), name=name)
            for name, (work, wake) in jobs.items()
        ]
        listening = asyncio.create_task(
            run_job(_WATCH, lambda: self.listen(health), stop=stop, health=health), name=_WATCH
        )
        await stop.wait()
        listening.cancel()
        await asyncio.wait([*tasks, listening], timeout=_STOP_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, listening, return_exceptions=True)

    async def close(self) -> None:
        """Let go of connections and polls."""
        self.shipper.forget()
        await self.poller.close()
        for conn in (self._conn, self._events_conn):
            if conn is not None:
                conn.terminate()


@contextlib.asynccontextmanager
async def _open(settings: Settings, clock: Clock, metrics: Metrics) -> AsyncIterator[Ingest]:
    pool = await open_pool(settings.require_database(), Role.INGEST, application_name=_NAME, max_size=8)
    try:
        ingest = Ingest(settings, pool, clock=clock, metrics=metrics)
        try:
            yield ingest
        finally:
            await ingest.close()
    finally:
        pool.terminate()


async def _check(settings: Settings) -> None:
    """Make sure that we are who we should be, in a database that was migrated and keeps hits as long as it is to.

    Raises:
        ConfigError: We are not, or it was not.
        Unavailable: The database does not answer, or went away.
    """
    conn = await connect(settings.require_database(), Role.INGEST, application_name=_NAME)
    try:
        await check_role(conn, Role.INGEST)
        if await conn.fetchval("/* schema.is_there */ select to_regclass('app.metrics_daily') is null"):
            raise ConfigError([_NOT_MIGRATED])
        if await set_hits_policy(conn, months=settings.ingest.hits_months):
            _log.info("TimescaleDB's policy on hits follows CASTLEDGER_HITS_MONTHS: %d", settings.ingest.hits_months)
    except asyncpg.UndefinedFunctionError as error:
        raise ConfigError([_NOT_MIGRATED]) from error
    except CONNECTION_LOST as error:
        raise Unavailable("the database does not answer") from error
    finally:
        conn.terminate()


async def _wait_for_database(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    """Check the database, waiting for as long as it is down."""
    failures = 0
    while not stop.is_set():
        try:
            await _check(settings)
        except Unavailable as error:
            failures += 1
            health.say("database", str(error))
            if failures == 1:
                _log.warning("waiting: %s; hits stay in the spool", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), backoff_s(failures))
        else:
            health.say("database", None)
            return


async def run_ingest(
    settings: Settings,
    *,
    stop: asyncio.Event,
    admin_port: int | None = None,
    once: bool = False,
    on_running: Callable[[int], None] | None = None,
    clock: Clock | None = None,
) -> None:
    """Run ingest until told to stop, or, with *once*, until the spool is drained.

    Args:
        settings: Everything it may be told.
        stop: Ends it within some seconds.
        admin_port: Port of health and metrics instead of the settings'; 0 takes a free one.
        once: Land what is there, refresh rollups, and return.
        on_running: Called with the admin port once it is served.
        clock: The time.

    Raises:
        ConfigError: The settings cannot be used, or the database was not migrated.
        OSError: The admin port cannot be used.
        Unavailable: With *once*, the database does not answer.
    """
    clock = clock or SystemClock()
    metrics, health = Metrics(), Health()
    if once:
        await _check(settings)
        async with _open(settings, clock, metrics) as ingest:
            await ingest.drain()
        return
    health.say("database", "not reached yet")
    port = settings.admin.ports["ingest"] if admin_port is None else admin_port
    admin = AdminServer(
        settings.admin.host, port, not_ready=health.faults, warnings=health.warnings, metrics=metrics.registry
    )
    try:
        if on_running is not None:
            on_running(admin.port)
        async with _open(settings, clock, metrics) as ingest:
            await _wait_for_database(settings, stop, health)
            await ingest.run(stop, health)
    finally:
        admin.close()
