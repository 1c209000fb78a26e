"""``castledger ingest``, and what the supervisor starts."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from analytics_core.errors import ConfigError, Unavailable
from analytics_core.logs import write_json_logs
from analytics_core.memory import settle_memory, share_one_arena
from analytics_core.settings import Service, Settings, load_settings
from ingest.app import run_ingest

__all__ = ("main",)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="castledger ingest", description="Land what trackers have recorded.")
    parser.add_argument("--data-dir", type=Path, help="folder of everything we keep (CASTLEDGER_DATA_DIR)")
    parser.add_argument("--admin-port", type=int, help="port of health and metrics; 0 takes a free one")
    parser.add_argument("--ready-fd", type=int, help="descriptor that gets one line of JSON once we run")
    parser.add_argument("--once", action="store_true", help="land what is in the spool, refresh rollups, and end")
    return parser


def _tell(descriptor: int | None, port: int) -> None:
    if descriptor is not None:
        os.write(descriptor, json.dumps({"admin_port": port}).encode() + b"\n")
        os.close(descriptor)


async def _run(settings: Settings, arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run_ingest(
        settings,
        stop=stop,
        admin_port=arguments.admin_port,
        once=arguments.once,
        on_running=lambda port: _tell(arguments.ready_fd, port),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run ingest; 0 when it ended as told, 1 when it could not work, 2 when its settings are faulty."""
    arguments = _parser().parse_args(argv)
    try:
        settings = load_settings(os.environ, service=Service.INGEST, data_dir=arguments.data_dir)
        write_json_logs("ingest", level=settings.log_level, stream=sys.stderr)
        # The client names every address that it fetches, at a level at which operators want to hear other things.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        share_one_arena()
        settle_memory()
        # It feeds COPY faster than asyncio's own loop while another thread judges (docs/performance.md).
        uvloop.run(_run(settings, arguments))
    except ConfigError as error:
        sys.stderr.write("".join(f"{fault}\n" for fault in error.faults))
        return 2
    except (Unavailable, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
