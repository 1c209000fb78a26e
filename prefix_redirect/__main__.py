"""``python -m prefix_redirect``: one tracker process."""

from __future__ import annotations

import argparse
import json
import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from analytics_core.errors import ConfigError
from analytics_core.logs import write_json_logs
from analytics_core.settings import Service, Settings, load_settings
from prefix_redirect.app import Ready, run_tracker
from prefix_redirect.handover import Handover

__all__ = ("main",)


_DESCRIPTION = (
    "Redirect podcast players, record hits. SIGTERM lets connections end and seals the spool; under a supervisor "
    "SIGHUP leaves them to the worker that follows."
)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError
    return port


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="castledger tracker", description=_DESCRIPTION)
    add = parser.add_argument
    add("--data-dir", type=Path, metavar="DIR", help="folder of everything we keep; wins over CASTLEDGER_DATA_DIR")
    add("--slot", type=int, default=0, metavar="N", help="number of this worker slot (default 0)")
    add("--listen-fd", type=int, action="append", metavar="N", help="inherited listening socket; repeatable")
    add("--handover-fds", type=int, nargs=2, metavar=("LEAVE", "TAKE"), help="inherited pair of sockets; see SIGHUP")
    add("--host", metavar="HOSTS", help="addresses to listen on, separated by commas; wins over TRACKER_HOST")
    add("--port", type=_port, metavar="PORT", help="port to listen on, 0 for a free one; wins over TRACKER_PORT")
    add("--admin-port", type=_port, metavar="PORT", help="port of health and metrics, 0 for a free one")
    add("--replay", action="store_true", help="take hits' times from Castledger-Replay-Time; loopback only")
    add("--ready-fd", type=int, metavar="N", help="descriptor that gets one JSON line once connections are accepted")
    return parser


def _settings(options: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    settings = load_settings(environ, service=Service.TRACKER, data_dir=options.data_dir)
    given = {name: getattr(options, name) for name in ("host", "port") if getattr(options, name) is not None}
    if given:
        settings = msgspec.structs.replace(settings, tracker=msgspec.structs.replace(settings.tracker, **given))
    if options.admin_port is not None:
        ports = {**settings.admin.ports, "tracker": options.admin_port}
        settings = msgspec.structs.replace(settings, admin=msgspec.structs.replace(settings.admin, ports=ports))
    if not 0 <= options.slot < 10_000:
        raise ConfigError([f"--slot: {options.slot} is not a whole number from 0 to 9999"])
    return settings


def _inherit(option: str, descriptors: Sequence[int]) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    for descriptor in descriptors:
        try:
            inherited = socket.socket(fileno=descriptor)
            inherited.setblocking(False)
        except OSError as error:
            raise ConfigError([f"{option}: {descriptor} is no socket: {error.strerror}"]) from error
        sockets.append(inherited)
    return sockets


def _announcer(descriptor: int | None) -> Ready | None:
    if descriptor is None:
        return None

    def announce(port: int, admin_port: int) -> None:
        line = json.dumps({"port": port, "admin_port": admin_port}) + "\n"
        try:
            os.write(descriptor, line.encode())
            os.close(descriptor)
        except OSError:
            logging.getLogger("castledger.tracker").warning("nobody listens on --ready-fd %d", descriptor)

    return announce


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run one tracker process until it is told to stop.

    Args:
        argv: Arguments without the program's name; those of the process by default.
        environ: The environment; that of the process by default.

    Returns:
        0 after an orderly end, 1 when the admin port cannot be used, 2 when the settings cannot be used.
    """
    options = _parser().parse_args(argv)
    try:
        settings = _settings(options, os.environ if environ is None else environ)
        write_json_logs("tracker", level=settings.log_level, stream=sys.stderr)
        run_tracker(
            settings,
            slot=options.slot,
            listen_sockets=_inherit("--listen-fd", options.listen_fd or ()) or None,
            handover=Handover(*_inherit("--handover-fds", options.handover_fds)) if options.handover_fds else None,
            replay=options.replay,
            on_ready=_announcer(options.ready_fd),
        )
    except ConfigError as error:
        for fault in error.faults:
            sys.stderr.write(f"{fault}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"{error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
