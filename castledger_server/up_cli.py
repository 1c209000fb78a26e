"""``castledger up``: everything on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from castledger_server.argument_kinds import whole_number
from castledger_server.data_dir_options import add_data_dir

__all__ = ("add_up",)

_PORT: Final = whole_number(0, 65_535, name="port")


def add_up(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``up`` to the command line."""
    up = commands.add_parser(
        "up",
        help="run everything on this machine",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Run trackers, the collector, ingest, the API and, unless DATABASE_URL or POSTGRES_HOST names a database,\n"
            "a PostgreSQL of our own. Prints `name: value` lines once everything answers. Ctrl-C stops."
        ),
        epilog="example:\n  castledger up --data-dir ./ledger --tracker-port 0 --api-port 0 --ready-file ready.json\n",
    )
    add_data_dir(up)
    up.add_argument("--tracker-port", type=_PORT, metavar="PORT", help="of the redirect (TRACKER_PORT, 8080); 0: free")
    up.add_argument("--collector-port", type=_PORT, metavar="PORT", help="of events (COLLECTOR_PORT, 8001); 0: free")
    up.add_argument("--api-port", type=_PORT, metavar="PORT", help="of the API (CASTLEDGER_API_PORT, 8000); 0: free")
    up.add_argument("--ready-file", type=Path, metavar="PATH", help="gets the printed lines as JSON when all answers")
    up.add_argument("--postgres-bin", type=Path, metavar="DIR", help="PostgreSQL programs to use, 15 or newer")
    up.add_argument("--demo", action="store_true", help="play `castledger demo` once everything answers")
    up.set_defaults(run=_up)


def _up(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.up import UpOptions, run_up

    return run_up(
        UpOptions(
            data_dir=options.data_dir,
            tracker_port=options.tracker_port,
            collector_port=options.collector_port,
            api_port=options.api_port,
            ready_file=options.ready_file,
            postgres_bin=options.postgres_bin,
            demo=options.demo,
        ),
        environ,
    )
