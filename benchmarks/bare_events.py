"""The yardstick of ``benchmarks/collector.py``: one Litestar route that decodes a batch of events and drops it.

No key, no limit, no judging, no spool: what a framework and a fast decoder cost by themselves.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec
import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from litestar import Litestar, Request, Response, post

from analytics_core.ports import wait_until_accepting


async def serve(port: int) -> None:
    """Serve until told to stop."""

    @post("/api/v1/attribution/events", status_code=202)
    async def drop(request: Request[Any, Any, Any]) -> Response[bytes]:
        events = msgspec.json.decode(await request.body())["events"]
        return Response(b'{"accepted":%d}' % len(events), media_type="application/json")

    server = Server(
        Litestar([drop], openapi_config=None, logging_config=None),
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=1024,
        runtime_blocking_threads=1,
        log_enabled=False,
    )
    serving = asyncio.create_task(server.serve())
    await wait_until_accepting("127.0.0.1", port)
    print(port, flush=True)
    await serving


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        chosen = free.getsockname()[1]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(chosen))
