"""``castledger collector``, and what the supervisor starts."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import uvloop

from analytics_core.errors import ConfigError
from analytics_core.logs import write_json_logs
from analytics_core.ports import announce_ports, parse_port
from analytics_core.settings import Service, Settings, load_settings
from ingest.collector.server import serve

__all__ = ("main",)

_DESCRIPTION = """\
Take events of shops and pages over HTTP: POST /api/v1/attribution/events, GET /p.gif, GET /c.js.

It needs no database: keys come from the registry that ingest writes, and events wait in COLLECTOR_SPOOL_DIR until
ingest lands them. SIGTERM ends requests, then seals the spool."""
_EPILOG = """\
examples:
  castledger collector
  castledger collector --host 127.0.0.1 --port 8001 --data-dir ./ledger

docs/events.md tells what may be sent, docs/pixel.md how pages send it."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="castledger collector",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data-dir", type=Path, metavar="DIR", help="folder of everything we keep; wins over CASTLEDGER_DATA_DIR")
    add("--host", metavar="HOST", help="address to listen on; wins over COLLECTOR_HOST")
    add("--port", type=parse_port, metavar="PORT", help="port to listen on, 0 for a free one; wins over COLLECTOR_PORT")
    add("--admin-port", type=parse_port, metavar="PORT", help="port of health and metrics, 0 for a free one")
    add("--slot", type=int, default=0, metavar="N", help="number of this collector among those of a spool (default 0)")
    add("--replay", action="store_true", help="take events' time of receipt from Castledger-Replay-Time; loopback only")
    add("--ready-fd", type=int, metavar="N", help="descriptor that gets one JSON line once connections are accepted")
    return parser


def _settings(options: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    settings = load_settings(environ, service=Service.COLLECTOR, data_dir=options.data_dir)
    given = {name: getattr(options, name) for name in ("host", "port") if getattr(options, name) is not None}
    if given:
        settings = msgspec.structs.replace(settings, collector=msgspec.structs.replace(settings.collector, **given))
    if options.admin_port is not None:
        ports = {**settings.admin.ports, "collector": options.admin_port}
        settings = msgspec.structs.replace(settings, admin=msgspec.structs.replace(settings.admin, ports=ports))
    if not 0 <= options.slot < 10_000:
        raise ConfigError([f"--slot: {options.slot} is not a whole number from 0 to 9999"])
    return settings


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run a collector until it is told to stop.

    Args:
        argv: Arguments without the program's name; those of the process by default.
        environ: The environment; that of the process by default.

    Returns:
        0 after an orderly end, 1 when a port cannot be used, 2 when the settings cannot be used.
    """
    options = _parser().parse_args(argv)
    try:
        settings = _settings(options, os.environ if environ is None else environ)
        write_json_logs("collector", level=settings.log_level, stream=sys.stderr)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            ready = announce_ports(options.ready_fd)
            runner.run(serve(settings, slot=options.slot, is_replay=options.replay, on_ready=ready))
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
