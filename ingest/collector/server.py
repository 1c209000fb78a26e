"""The collector as a process: one event loop, granian embedded in it, its spool, and an admin port beside it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable
from typing import Final

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from analytics_core.admin_server import AdminServer
from analytics_core.memory import settle_memory
from analytics_core.ports import reserve_port, wait_until_accepting
from analytics_core.registry_reader import RegistryReader
from analytics_core.replay import check_replay_sockets
from analytics_core.settings import CollectorSettings, Settings
from analytics_core.spool_writer import SpoolWriter
from ingest.collector.app import create_app
from ingest.collector.state import Collector

__all__ = ("serve",)

# Below the three seconds that `up` gives, so that the spool is sealed as well.
_STOP_S: Final = 2.0
_HEADER_S: Final = 15.0
_RESERVE_EVERY_S: Final = 60
_log: Final = logging.getLogger("castledger.collector")


async def _keep_house(collector: Collector) -> None:
    """Do what is due once a second, and say once a minute what is wrong."""
    seconds = 0
    while True:
        await asyncio.sleep(1.0)
        seconds += 1
        collector.writer.tick()
        collector.recorder.plan_sync()
        if seconds % _RESERVE_EVERY_S == 0:
            for fault in collector.not_ready():
                _log.warning("%s", fault)
            if collector.writer.reserve.is_wanted:
                await asyncio.to_thread(collector.writer.reserve.hold)


@contextlib.asynccontextmanager
async def _running(collector: Collector, reader: RegistryReader) -> AsyncIterator[None]:
    """Keep the registry current and the spool synced, and leave nothing unsynced behind."""
    collector.writer.open()
    syncing = asyncio.create_task(collector.recorder.run())
    tasks = [asyncio.create_task(reader.run()), asyncio.create_task(_keep_house(collector))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await collector.recorder.close(syncing)


def _server(collector: Collector, settings: CollectorSettings, port: int) -> Server:
    return Server(
        create_app(collector),
        address=settings.host,
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=int(_HEADER_S * 1000)),
        websockets=False,
        backlog=1024,
        backpressure=settings.max_connections,
        runtime_blocking_threads=1,
        log_enabled=False,
    )


async def serve(
    settings: Settings,
    *,
    slot: int = 0,
    is_replay: bool = False,
    on_ready: Callable[[int, int], None] | None = None,
) -> None:
    """Serve until the process is told to stop, then seal the spool. No database is needed.

    Args:
        settings: All settings.
        slot: Number of this collector; names the spool's source ``collector-<slot>``.
        is_replay: Whether requests may say when they were made; on loopback only.
        on_ready: Called with the port and the admin port once connections are accepted.

    Raises:
        ConfigError: Replay is asked for on a reachable address.
        OSError: A port cannot be used.
    """
    told_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told_to_stop.set)
    own = settings.collector
    writer = SpoolWriter(
        own.spool_dir,
        f"collector-{slot}",
        segment_bytes=settings.tracker.segment_mb * 1024 * 1024,
        segment_s=settings.tracker.segment_s,
        reserve_bytes=own.reserve_mb * 1024 * 1024,
        holds_events=True,
    )
    reader = RegistryReader(settings.tracker.registry_path, lambda _: None)
    reader.load()
    collector = Collector(own, writer, reader, is_replay=is_replay)
    with contextlib.ExitStack() as stack:
        reserved = stack.enter_context(reserve_port(own.host, own.port))
        if is_replay:
            check_replay_sockets([reserved])
        port = int(reserved.getsockname()[1])
        if own.port != 0:
            reserved.close()
        admin = AdminServer(
            settings.admin.host,
            settings.admin.ports["collector"],
            not_ready=collector.not_ready,
            metrics=collector.metrics.registry,
        )
        stack.callback(admin.close)
        async with _running(collector, reader):
            server = _server(collector, own, port)
            serving = asyncio.create_task(server.serve())
            stopping = asyncio.create_task(told_to_stop.wait())
            accepting = asyncio.create_task(wait_until_accepting(own.host, port))
            await asyncio.wait((serving, stopping, accepting), return_when=asyncio.FIRST_COMPLETED)
            if accepting.done():
                accepting.result()
                settle_memory()
                gc.collect()
                # What was made so far stays for good: collections need not walk it.
                gc.freeze()
                _log.info("answers on port %d, its admin server on port %d", port, admin.port)
                if on_ready is not None:
                    on_ready(port, admin.port)
                await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
            accepting.cancel()
            stopping.cancel()
            if serving.done():
                raise OSError(errno.EIO, "the HTTP server ended by itself") from serving.exception()
            _log.info("stops")
            server.stop()  # type: ignore[no-untyped-call]  # granian leaves it untyped
            await asyncio.wait((serving,), timeout=_STOP_S)
            serving.cancel()
