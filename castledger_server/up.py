"""``castledger up``: the whole ledger on one machine, under one supervisor.

Trackers and the collector come first and wait for nothing: they record while PostgreSQL still recovers.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from analytics_core.errors import ConfigError
from analytics_core.own_profiles import load_profiles
from analytics_core.settings import Settings, load_settings
from castledger_server.data_dir import (
    API_KEY_FILE,
    FolderLock,
    RunningUp,
    claim_data_dir,
    read_running_up,
    write_running_up,
    write_secret,
)
from castledger_server.embedded import EmbeddedPostgres
from castledger_server.listeners import bind_slots, choose_port, local_url
from castledger_server.probes import answers, listens
from castledger_server.processes import kill_group, start_mark
from castledger_server.supervisor import ChildSpec, CommandFailed, StartFailed, Supervisor, say_to_stderr

__all__ = ("UpOptions", "run_up")

_POSTGRES: Final = "postgres"
_ANSWER_S: Final = 60.0
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 10.0
_LEFTOVER_S: Final = 5.0
_TRACKER_AWAY_S: Final = 0.5
# Of the 10 s in all: trackers, collector and API stop taking requests, ingest lands what it holds, PostgreSQL closes.
_FRONT_STOP: Final = (1, 3.0)
_INGEST_STOP: Final = (2, 7.0)
_POSTGRES_STOP: Final = (3, 9.0)


class UpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says; ``None`` leaves it to the settings.

    Attributes:
        data_dir: Folder of everything we keep.
        tracker_port: Port of the redirect, 0 for a free one.
        collector_port: Port of the collector, 0 for a free one.
        api_port: Port of the API, 0 for a free one.
        ready_file: Where to write, as JSON, what is printed, once everything answers.
        postgres_bin: Folder of the PostgreSQL programs to use.
        demo: Whether to play the demo once everything answers.
    """

    data_dir: Path | None = None
    tracker_port: int | None = None
    collector_port: int | None = None
    api_port: int | None = None
    ready_file: Path | None = None
    postgres_bin: Path | None = None
    demo: bool = False


def run_up(options: UpOptions, environ: Mapping[str, str], *, say: Callable[[str], None] = say_to_stderr) -> int:
    """Run everything until SIGINT or SIGTERM; a second signal hastens the end.

    Returns:
        0 after an orderly end, 1 when something did not start, 2 when settings or options cannot be used.

    Raises:
        ConfigError: As the exit code 2, before anything was started.
        Conflict: Another ``up`` uses the folder.
    """
    settings = load_settings(environ, data_dir=options.data_dir.absolute() if options.data_dir else None)
    # The API reads them, and would be started again and again with what it cannot use.
    load_profiles(settings.api.profiles)
    data_dir = settings.data_dir.absolute()
    claim_data_dir(data_dir)
    lock = FolderLock(data_dir / "up.lock", what=f"the data folder {data_dir}")
    lock.acquire()
    try:
        if options.ready_file is not None:
            # One of an earlier run would say that we are ready.
            options.ready_file.unlink(missing_ok=True)
        _end_leftovers(data_dir, say)
        with asyncio.Runner() as runner:
            return runner.run(_Up(options, settings, data_dir, environ, say).run())
    finally:
        lock.release()


def _end_leftovers(data_dir: Path, say: Callable[[str], None]) -> None:
    """End services that outlived a killed supervisor; they are ending already, unless they hang."""
    running = read_running_up(data_dir)
    if running is None:
        return
    deadline = time.monotonic() + _LEFTOVER_S
    left = dict(running.children)
    while left and time.monotonic() < deadline:
        left = {pid: mark for pid, mark in left.items() if start_mark(pid) == mark}
        if left:
            time.sleep(0.05)
    for pid in left:
        say(f"castledger: killing process {pid}, left over from an earlier run")
        kill_group(pid)
    write_running_up(data_dir, None)


class _Up:
    def __init__(
        self,
        options: UpOptions,
        settings: Settings,
        data_dir: Path,
        environ: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        self._options = options
        self._settings = settings
        self._data_dir = data_dir
        self._say = say
        self._environ = _child_environment(environ, settings, data_dir)
        self._supervisor = Supervisor(say=say, changed=self._note)
        self._postgres: EmbeddedPostgres | None = None
        self._preparing: asyncio.Task[None] | None = None
        self._demo: asyncio.Task[None] | None = None
        self._sockets: list[list[socket.socket]] = []
        self._handovers: list[socket.socket] = []
        self._admin_urls: dict[str, str] = {}
        self._answers: dict[str, str] = {}

    async def run(self) -> int:
        told = asyncio.Event()

        def on_signal() -> None:
            if told.is_set():
                self._supervisor.hurry()
            else:
                self._say("castledger: stopping")
                told.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup has SIGHUP ignored; that wish stands.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, on_signal)
        starting = asyncio.create_task(self._start())
        stop = asyncio.create_task(told.wait())
        try:
            await asyncio.wait([starting, stop], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await stop
        except (StartFailed, CommandFailed) as error:
            self._say(f"castledger: {error}")
            is_config = error.is_config if isinstance(error, StartFailed) else error.status == 2
            return 2 if is_config else 1
        finally:
            stop.cancel()
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await self._stop()
        return 0

    async def _stop(self) -> None:
        if self._postgres is not None:
            self._postgres.interrupt()
        if self._demo is not None:
            self._demo.cancel()
            await asyncio.gather(self._demo, return_exceptions=True)
        await self._supervisor.stop()
        if self._preparing is not None:
            await asyncio.gather(self._preparing, return_exceptions=True)
        if self._postgres is not None:
            self._postgres.release()
        for handle in (*itertools.chain.from_iterable(self._sockets), *self._handovers):
            handle.close()
        self._withdraw()

    def _withdraw(self) -> None:
        with contextlib.suppress(OSError):
            write_running_up(self._data_dir, None)
        if self._options.ready_file is not None:
            with contextlib.suppress(OSError):
                self._options.ready_file.unlink(missing_ok=True)

    async def _start(self) -> None:
        tracker, collector, api = self._settings.tracker, self._settings.collector, self._settings.api
        hosts = [part.strip() for part in tracker.host.split(",") if part.strip()]
        tracker_port = choose_port(hosts, _given(self._options.tracker_port, tracker.port), option="--tracker-port")
        self._sockets = bind_slots(hosts, tracker_port, slots=tracker.workers)
        wanted = _given(self._options.collector_port, collector.port)
        collector_port = choose_port([collector.host], wanted, option="--collector-port")
        api_port = choose_port([api.host], _given(self._options.api_port, api.port), option="--api-port")
        tracker_url, api_url = local_url(hosts, tracker_port), local_url([api.host], api_port)
        collector_url = local_url([collector.host], collector_port)
        self._environ.setdefault("TRACKER_PUBLIC_URL", tracker_url)
        # Where the links of mails lead.
        self._environ.setdefault("CASTLEDGER_PUBLIC_URL", api_url)
        if "DATABASE_URL" not in self._environ:
            self._postgres = EmbeddedPostgres(
                self._data_dir, bin_dir=self._options.postgres_bin, say=lambda line: self._say(f"castledger: {line}")
            )
            self._postgres.check()
        for slot, sockets in enumerate(self._sockets):
            await self._start_tracker(slot, sockets)
        # It needs no database either: events wait in its spool.
        address = ("--host", collector.host, "--port", str(collector_port))
        argv = _python("ingest.collector", *address, "--admin-port", str(self._admin_port("collector", "collector")))
        await self._supervisor.start(self._spec("collector", argv, _FRONT_STOP))
        if self._postgres is not None:
            self._environ["DATABASE_URL"] = await self._start_postgres(self._postgres)
        else:
            await self._wait_database(self._environ["DATABASE_URL"])
        await self._migrate()
        key = await self._supervisor.run(
            "owner", _python("castledger_server.owner"), env=self._environ, capture_output=True
        )
        self._answers = {
            "tracker_url": tracker_url,
            "prefix": f"{self._environ['TRACKER_PUBLIC_URL'].rstrip('/')}/e,pg={{guid}}/",
            "collector_url": collector_url,
            "api_url": api_url,
            "api_key": key.decode().strip(),
        }
        ingest = _python("ingest", "--admin-port", str(self._admin_port("ingest", "ingest")))
        await self._supervisor.start(self._spec("ingest", ingest, _INGEST_STOP))
        address = ("--host", api.host, "--port", str(api_port))
        argv = _python("api", *address, "--admin-port", str(self._admin_port("api", "api")))
        await self._supervisor.start(self._spec("api", argv, _FRONT_STOP))
        if not tracker.proxy_protocol:
            await self._wait_answer(f"{tracker_url}/robots.txt", "the tracker")
        await self._wait_answer(f"{collector_url}/c.js", "the collector")
        await self._wait_answer(f"{api_url}/api/v1/health", "the API")
        self._note()
        self._announce()
        if self._options.demo:
            self._demo = asyncio.create_task(self._play_demo())

    async def _play_demo(self) -> None:
        """Play the demo beside everything else; whatever becomes of it is said and no more."""
        argv = _python("castledger_server", "demo", "--data-dir", str(self._data_dir))
        try:
            await self._supervisor.run("demo", argv, env=self._environ)
        except (CommandFailed, OSError) as error:
            self._say(f"castledger: {error}; everything else goes on")

    async def _start_tracker(self, slot: int, sockets: Sequence[socket.socket]) -> None:
        name = f"tracker-{slot}"
        # Held here, so that what one worker leaves in it waits for the next.
        handover = socket.socketpair()
        self._handovers += handover
        fds = tuple(handle.fileno() for handle in (*sockets, *handover))
        listen = [part for handle in sockets for part in ("--listen-fd", str(handle.fileno()))]
        leave = ("--handover-fds", *(str(end.fileno()) for end in handover))
        admin_port = self._admin_port(name, "tracker" if slot == 0 else None)
        argv = _python("prefix_redirect", "--slot", str(slot), *listen, *leave, "--admin-port", str(admin_port))
        spec = self._spec(name, argv, _FRONT_STOP, pass_fds=fds)
        # Players wait in its sockets meanwhile.
        await self._supervisor.start(dataclasses.replace(spec, longest_delay_s=_TRACKER_AWAY_S))

    async def _start_postgres(self, postgres: EmbeddedPostgres) -> str:
        # Its tools take seconds, during which signals have to be heard.
        self._preparing = asyncio.create_task(asyncio.to_thread(postgres.prepare))
        await asyncio.shield(self._preparing)
        order, after_s = _POSTGRES_STOP
        spec = ChildSpec(
            name=_POSTGRES,
            argv=postgres.command(),
            env=postgres.environment(),
            stop_order=order,
            stop_after_s=after_s,
            probe=postgres.is_ready,
            account=postgres.account,
            # PostgreSQL's fast shutdown; then its immediate one, which the next start recovers from.
            stop_by=signal.SIGINT,
            kill_by=signal.SIGQUIT,
            orphan_by=signal.SIGINT,
        )
        await self._supervisor.start(spec)
        return postgres.url

    async def _wait_database(self, url: str) -> None:
        """Wait for somebody's own database as long as it takes: trackers redirect and record without it."""
        delay_s = _FIRST_WAIT_S
        while not await listens(url):
            self._say(f"castledger: the database does not answer; trying again in {delay_s:.0f} s (trackers run)")
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _LONGEST_WAIT_S)

    async def _migrate(self) -> None:
        deadline = time.monotonic() + _ANSWER_S
        while True:
            try:
                await self._supervisor.run("migrate", _python("migrations", "up"), env=self._environ)
            except CommandFailed as error:
                # A server that listens may still be starting, or its lock may be held by another `up`.
                if error.status == 2 or time.monotonic() > deadline or self._postgres is not None:
                    raise
                await asyncio.sleep(_LONGEST_WAIT_S / 2)
            else:
                return

    def _spec(
        self, name: str, argv: Sequence[str], stop: tuple[int, float], *, pass_fds: tuple[int, ...] = ()
    ) -> ChildSpec:
        order, after_s = stop
        return ChildSpec(
            name=name, argv=argv, env=self._environ, stop_order=order, stop_after_s=after_s, pass_fds=pass_fds
        )

    def _admin_port(self, name: str, configured: str | None) -> int:
        admin = self._settings.admin
        wanted = admin.ports[configured] if configured is not None else 0
        try:
            port = choose_port([admin.host], wanted, option="CASTLEDGER_ADMIN_PORTS")
        except ConfigError:
            port = choose_port([admin.host], 0, option="CASTLEDGER_ADMIN_PORTS")
            self._say(f"castledger: admin port {wanted} is taken, so {name} serves health and metrics on {port}")
        self._admin_urls[name] = local_url([admin.host], port)
        return port

    async def _wait_answer(self, url: str, what: str) -> None:
        deadline = time.monotonic() + _ANSWER_S
        while not await answers(url):
            if time.monotonic() > deadline:
                raise StartFailed(f"{what} does not answer at {url}", is_config=False)
            await asyncio.sleep(0.1)

    def _note(self) -> None:
        """Keep what other commands, and a later start, need to know of us."""
        marks = self._supervisor.marks()
        # PostgreSQL looks after its own leftovers: killing it costs a recovery.
        marks.pop(self._supervisor.pids().get(_POSTGRES, 0), None)
        running = RunningUp(
            pid=os.getpid(),
            database_url=self._environ.get("DATABASE_URL", ""),
            answers=self._answers,
            admin_urls=self._admin_urls,
            children=marks,
            spool_dir=self._environ["SPOOL_DIR"],
        )
        try:
            write_running_up(self._data_dir, running)
        except OSError as error:
            self._say(f"castledger: {self._data_dir} cannot be written ({error.strerror})")

    def _announce(self) -> None:
        with contextlib.suppress(OSError):
            for name, value in self._answers.items():
                print(f"{name}: {value}", flush=True)
        if self._options.ready_file is not None:
            try:
                write_secret(self._options.ready_file, msgspec.json.format(msgspec.json.encode(self._answers)) + b"\n")
            except OSError as error:
                path = self._options.ready_file
                raise StartFailed(
                    f"--ready-file: {path} cannot be written ({error.strerror})", is_config=True
                ) from error
        self._say(
            f"castledger: everything answers; the owner key is kept in {self._data_dir / API_KEY_FILE}; Ctrl-C stops"
        )


def _given(option: int | None, setting: int) -> int:
    return setting if option is None else option


def _python(module: str, *arguments: str) -> list[str]:
    # Without -P a folder named `api` where somebody happens to stand would be run instead of ours.
    return [sys.executable, "-P", "-m", module, *arguments]


def _child_environment(environ: Mapping[str, str], settings: Settings, data_dir: Path) -> dict[str, str]:
    child = {name: value for name, value in environ.items() if not name.startswith("POSTGRES_") and value}
    child.pop("DATABASE_URL", None)
    if settings.database is not None:
        child["DATABASE_URL"] = str(settings.database.url)
    else:
        # What people set for their own PostgreSQL must not divert us from the embedded one.
        child = {name: value for name, value in child.items() if not name.startswith("PG")}
    child["CASTLEDGER_DATA_DIR"] = str(data_dir)
    child["SPOOL_DIR"] = str(settings.tracker.spool_dir.absolute())
    child["COLLECTOR_SPOOL_DIR"] = str(settings.collector.spool_dir.absolute())
    child["CASTLEDGER_REGISTRY"] = str(settings.tracker.registry_path.absolute())
    child["CASTLEDGER_LISTS_DIR"] = str(settings.ingest.lists_dir.absolute())
    child["PYTHONUNBUFFERED"] = "1"
    # Each thread's own heap would be kept for ever; two are enough for services with a handful of threads.
    child.setdefault("MALLOC_ARENA_MAX", "2")
    root = Path(__file__).resolve().parents[1]
    if root.name not in ("site-packages", "dist-packages"):
        # Run from a checkout that is not installed.
        child["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), child.get("PYTHONPATH"))))
    return child
