"""The API as a process: one event loop, granian embedded in it, and an admin port beside it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import Final

import msgspec
import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from analytics_core.admin_server import AdminServer
from analytics_core.errors import ConfigError, Unavailable
from analytics_core.memory import settle_memory
from analytics_core.ports import announce_ports, parse_port, reserve_port, wait_until_accepting
from analytics_core.settings import Service, Settings, load_settings
from api.app import create_app
from api.logs import RequestLog
from api.metrics import RequestMetrics
from api.resources import Database, open_resources

__all__ = ("main", "serve")

_STOP_S: Final = 5.0
_HEADER_S: Final = 15.0
_READY_S: Final = 1.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="castledger api", description="Serve the HTTP API.")
    add = parser.add_argument
    add("--data-dir", type=Path, metavar="DIR", help="folder of everything we keep; wins over CASTLEDGER_DATA_DIR")
    add("--host", metavar="HOST", help="address to listen on; wins over CASTLEDGER_API_HOST")
    add(
        "--port",
        type=parse_port,
        metavar="PORT",
        help="port to listen on, 0 for a free one; wins over CASTLEDGER_API_PORT",
    )
    add("--admin-port", type=parse_port, metavar="PORT", help="port of health and metrics, 0 for a free one")
    add("--ready-fd", type=int, metavar="N", help="descriptor that gets one JSON line once connections are accepted")
    return parser


def _settings(options: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    settings = load_settings(environ, service=Service.API, data_dir=options.data_dir)
    given = {name: getattr(options, name) for name in ("host", "port") if getattr(options, name) is not None}
    if given:
        settings = msgspec.structs.replace(settings, api=msgspec.structs.replace(settings.api, **given))
    if options.admin_port is not None:
        ports = {**settings.admin.ports, "api": options.admin_port}
        settings = msgspec.structs.replace(settings, admin=msgspec.structs.replace(settings.admin, ports=ports))
    return settings


def _readiness(database: Database, loop: asyncio.AbstractEventLoop) -> Callable[[], list[str]]:
    """Make what the admin server asks in its own thread."""

    def not_ready() -> list[str]:
        question = asyncio.run_coroutine_threadsafe(database.ping(), loop)
        try:
            question.result(_READY_S)
        except (FutureTimeoutError, Unavailable):
            question.cancel()
            return ["the database does not answer"]
        return []

    return not_ready


async def serve(settings: Settings, *, on_ready: Callable[[int, int], None] | None = None) -> None:
    """Serve until the process is told to stop.

    A database that does not answer keeps nobody from starting: requests are answered with 503 until it does.

    Args:
        settings: Of the service.
        on_ready: Called with the port and the admin port once connections are accepted.

    Raises:
        ConfigError: The database answers in another role than it has to.
        OSError: A port cannot be used.
    """
    loop = asyncio.get_running_loop()
    log = RequestLog(sys.stderr, level=settings.log_level)
    metrics = RequestMetrics()
    host = settings.api.host
    async with contextlib.AsyncExitStack() as stack:
        resources = await stack.enter_async_context(open_resources(settings))
        try:
            await resources.database.check()
        except Unavailable as error:
            log.error(error)
        reserved = stack.enter_context(reserve_port(host, settings.api.port))
        port = reserved.getsockname()[1]
        if settings.api.port != 0:
            reserved.close()
        admin = AdminServer(
            settings.admin.host,
            settings.admin.ports["api"],
            not_ready=_readiness(resources.database, loop),
            metrics=metrics.registry,
        )
        # Closed in a thread: it may be waiting for the loop to answer whether we are ready.
        stack.push_async_callback(asyncio.to_thread, admin.close)
        server = Server(
            create_app(resources, log=log, metrics=metrics),
            address=host,
            port=port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(header_read_timeout=int(_HEADER_S * 1000)),
            websockets=False,
            backlog=1024,
            runtime_blocking_threads=1,
            log_enabled=False,
        )
        told_to_stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told_to_stop.set)
        serving = asyncio.create_task(server.serve())
        stopping = asyncio.create_task(told_to_stop.wait())
        accepting = asyncio.create_task(wait_until_accepting(host, port))
        await asyncio.wait((serving, stopping, accepting), return_when=asyncio.FIRST_COMPLETED)
        if accepting.done():
            accepting.result()
            settle_memory()
            log.write("info", "ready", {"port": port, "admin_port": admin.port})
            if on_ready is not None:
                on_ready(port, admin.port)
            await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        accepting.cancel()
        stopping.cancel()
        if serving.done():
            raise OSError(errno.EIO, "the HTTP server ended by itself") from serving.exception()
        server.stop()  # type: ignore[no-untyped-call]  # granian leaves it untyped
        finished, _ = await asyncio.wait((serving,), timeout=_STOP_S)
        serving.cancel()
        log.write("info", "stopped", {"requests_finished": bool(finished)})


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Serve the API until told to stop.

    Args:
        argv: Arguments without the program's name; those of the process by default.
        environ: The environment; that of the process by default.

    Returns:
        0 after an orderly end, 1 when a port cannot be used, 2 when the settings cannot be used.
    """
    options = _parser().parse_args(argv)
    try:
        settings = _settings(options, os.environ if environ is None else environ)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings, on_ready=announce_ports(options.ready_fd)))
    except ConfigError as error:
        for fault in error.faults:
            sys.stderr.write(f"{fault}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"{error.strerror}\n")
        return 1
    return 0
