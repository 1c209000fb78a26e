"""The tracker process, put together: sockets, spool, registry, connections, admin server, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import resource
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import uvloop

from analytics_core.admin_server import AdminAnswer, AdminServer
from analytics_core.errors import ConfigError
from analytics_core.registry_reader import RegistryReader
from analytics_core.replay import check_replay_sockets
from analytics_core.segments import find_oldest_hit
from analytics_core.settings import Settings, TrackerSettings
from analytics_core.spool_writer import SpoolWriter
from prefix_redirect.acceptor import Acceptor
from prefix_redirect.handover import Handover
from prefix_redirect.metrics import SlotFiles, TrackerCollector, build_metrics, write_own
from prefix_redirect.requests import Limits
from prefix_redirect.tracker import Tracker

__all__ = ("Ready", "listen", "run_tracker")

_BACKLOG = 4096
_RESERVE_EVERY_S = 60
_LOOK_EVERY_S = 5.0
_PORT_ATTEMPTS = 20
_log = logging.getLogger("castledger.tracker")

Ready = Callable[[int, int], None]
"""Called with the port and the admin port once connections are accepted."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Bind the listening sockets.

    Args:
        host: Addresses, separated by commas; an IPv6 one listens for IPv6 only. On a host without IPv6 those are
            left out, as long as one address remains.
        port: Port of all of them; 0 takes one that is free on all.

    Raises:
        ConfigError: An address is not ours, or the port is taken.
    """
    hosts = [part.strip() for part in host.split(",") if part.strip()]
    for attempts_left in reversed(range(_PORT_ATTEMPTS)):
        sockets: list[socket.socket] = []
        try:
            for one in hosts:
                bound = _bind(one, sockets[0].getsockname()[1] if sockets and not port else port)
                if bound is not None:
                    sockets.append(bound)
        except OSError as error:
            for bound in sockets:
                bound.close()
            if error.errno == errno.EADDRINUSE and not port and attempts_left:
                continue
            raise ConfigError([f"TRACKER_HOST: cannot listen on {host} port {port}: {error.strerror}"]) from error
        if sockets:
            return sockets
        break
    raise ConfigError([f"TRACKER_HOST: there is no address to listen on in {host!r}"])


def _bind(host: str, port: int) -> socket.socket | None:
    """Bind one socket; ``None`` where this machine has no IPv6."""
    is_six = ":" in host
    try:
        bound = socket.socket(socket.AF_INET6 if is_six else socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        if is_six:
            return None
        raise
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_six:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((host, port))
        bound.listen(_BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        if is_six and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return None
        raise
    return bound


def run_tracker(
    settings: Settings,
    *,
    slot: int = 0,
    listen_sockets: Sequence[socket.socket] | None = None,
    replay: bool = False,
    on_ready: Ready | None = None,
    limits: Limits | None = None,
    handover: Handover | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then let connections end and seal the spool.

    On SIGHUP with a *handover*, connections are left to the next worker instead.

    Args:
        settings: All settings; the database's are not needed.
        slot: Number of the worker slot, 0 or more; names the spool's source ``tracker-<slot>``.
        listen_sockets: Sockets inherited from a supervisor, which stay open there; else our own are bound.
        replay: Whether requests may say when they were made; on loopback only.
        on_ready: Told the ports once connections are accepted.
        limits: What a client may cost us.
        handover: Through which the worker before has left its connections, and ours go to the next one.

    Raises:
        ConfigError: The sockets cannot be bound, or replay is asked for on a reachable address.
        OSError: The admin port is taken.
    """
    sockets = list(listen_sockets) if listen_sockets else listen(settings.tracker.host, settings.tracker.port)
    if replay:
        check_replay_sockets(sockets)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(
            _serve(
                settings,
                sockets,
                slot=slot,
                is_replay=replay,
                on_ready=on_ready,
                limits=limits,
                handover=handover,
            )
        )


def _spool_writer(settings: TrackerSettings, slot: int) -> SpoolWriter:
    return SpoolWriter(
        settings.spool_dir,
        f"tracker-{slot}",
        segment_bytes=settings.segment_mb * 1024 * 1024,
        segment_s=settings.segment_s,
        reserve_bytes=settings.reserve_mb * 1024 * 1024,
    )


async def _serve(
    settings: Settings,
    sockets: Sequence[socket.socket],
    *,
    slot: int,
    is_replay: bool,
    on_ready: Ready | None,
    limits: Limits | None,
    handover: Handover | None,
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    is_followed = False

    def make_way() -> None:
        nonlocal is_followed
        is_followed = True
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if handover is not None:
        loop.add_signal_handler(signal.SIGHUP, make_way)
    writer = _spool_writer(settings.tracker, slot)
    tracker = Tracker(settings.tracker, loop=loop, writer=writer, limits=limits, is_replay=is_replay)
    reader = RegistryReader(settings.tracker.registry_path, tracker.take_registry)
    reader.load()
    _raise_descriptor_limit()
    acceptor = Acceptor(tracker, sockets)
    collector = TrackerCollector(tracker, reader, acceptor, slot=slot)
    files = SlotFiles(settings.tracker.spool_dir, slot) if settings.tracker.workers > 1 else None
    admin = AdminServer(
        settings.admin.host,
        settings.admin.ports["tracker"],
        not_ready=lambda: _not_ready(tracker, reader, acceptor),
        metrics=build_metrics(collector, files),
        routes={"/internal/tls-ask": lambda query: _tls_ask(tracker, query)},
    )
    tasks: list[asyncio.Task[None]] = []
    try:
        writer.open()
        tracker.turns.plan_sync()
        if handover is not None:
            adopted = acceptor.adopt(handover.take())
            if adopted:
                _log.info("slot %d goes on with %d connections of the worker before", slot, adopted)
        acceptor.start()
        tasks += [
            asyncio.create_task(reader.run()),
            asyncio.create_task(_keep_house(tracker, reader, acceptor)),
            asyncio.create_task(_look_around(tracker, settings.tracker.spool_dir, collector, files)),
        ]
        # What was made so far stays for good: collections need not walk it.
        gc.collect()
        gc.freeze()
        port = int(sockets[0].getsockname()[1])
        _log.info("slot %d answers on port %d, its admin server on port %d", slot, port, admin.port)
        if on_ready is not None:
            on_ready(port, admin.port)
        await stop.wait()
        if handover is not None and is_followed:
            _log.info("slot %d makes way for the next worker", slot)
            await tracker.settle()
            acceptor.stop()
            while not acceptor.is_settled:  # noqa: ASYNC110 - a turn or two of the loop
                await asyncio.sleep(0)
            given = await tracker.pass_on(handover)
            _log.info("slot %d has left %d connections to it", slot, given)
        else:
            _log.info("slot %d stops", slot)
            acceptor.stop()
        await tracker.drain()
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await tracker.turns.close()
        admin.close()
        if files is not None:
            files.remove()


def _raise_descriptor_limit() -> None:
    """Take as many descriptors as we may: what a shell hands down is seldom meant for a server."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _look_around(tracker: Tracker, spool: Path, collector: TrackerCollector, files: SlotFiles | None) -> None:
    """Look every few seconds how old the oldest hit is, and leave our numbers for the other slots."""
    while True:
        try:
            oldest_us = await asyncio.to_thread(find_oldest_hit, spool)
        except OSError:
            oldest_us = None
        age_s = 0.0 if oldest_us is None else (tracker.clock.now_us() - oldest_us) / 1e6
        tracker.oldest_hit_s = max(age_s, 0.0)
        if files is not None:
            await asyncio.to_thread(files.write, write_own(collector))
        await asyncio.sleep(_LOOK_EVERY_S)


async def _keep_house(tracker: Tracker, reader: RegistryReader, acceptor: Acceptor) -> None:
    """Do what is due once a second, and say once a minute what is wrong."""
    loop, writer = tracker.loop, tracker.writer
    seconds = 0
    while True:
        await asyncio.sleep(1.0)
        seconds += 1
        tracker.refresh_date()
        tracker.sweep()
        writer.tick()
        tracker.turns.plan_sync()
        if seconds % _RESERVE_EVERY_S == 0:
            for fault in _not_ready(tracker, reader, acceptor):
                _log.warning("%s", fault)
            if writer.reserve.is_wanted:
                await loop.run_in_executor(None, writer.reserve.hold)


def _not_ready(tracker: Tracker, reader: RegistryReader, acceptor: Acceptor) -> list[str]:
    faults = []
    if acceptor.is_failing:
        faults.append("connections: no further client can be taken in; raise the limit of open files (ulimit -n)")
    if tracker.writer.fault is not None:
        faults.append(f"spool: {tracker.writer.fault}")
    elif tracker.writer.reserve.is_wanted and not tracker.writer.reserve.is_held():
        faults.append("spool: the disk is nearly full, the reserve is used up or could not be taken")
    if reader.fault is not None and not reader.is_absent:
        faults.append(f"registry: {reader.fault}")
    if tracker.is_draining:
        faults.append("stopping")
    return faults


def _tls_ask(tracker: Tracker, query: Mapping[str, str]) -> AdminAnswer:
    """Tell the proxy in front whether it may ask for a certificate."""
    domain = query.get("domain", "").lower().removesuffix(".")
    policy = tracker.decider.policy
    is_ours = bool(domain) and (domain in policy.own_hosts or policy.registry.vanity_hosts.get(domain) is not None)
    return AdminAnswer(200 if is_ours else 404, {"domain": domain, "ours": is_ours})
