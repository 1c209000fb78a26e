"""The yardstick of ``benchmarks/api.py``: one Litestar route around one SELECT, served as the API is.

No key, no tenant, no row security, no limit, no log: a pool, the query, the row as JSON.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec
import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from litestar import Litestar, Response, get

from analytics_core.db.links import LinkRow, get_link
from analytics_core.db.pool import open_pool
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, Secret


async def serve(database: DatabaseSettings, port: int) -> None:
    """Serve until told to stop; the role is one that sees every tenant's rows."""
    pool = await open_pool(database, Role.DUMP, application_name="bench-bare", max_size=8)

    @get("/links/{link_id:str}")
    async def read_link(link_id: str) -> Response[bytes]:
        async with pool.acquire() as conn:
            row: LinkRow | None = await get_link(conn, UUID(link_id))
        return Response(msgspec.json.encode(row), media_type="application/json")

    app: Any = Litestar([read_link], openapi_config=None, logging_config=None)
    server = Server(
        app,
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
    while not serving.done():
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            await asyncio.sleep(0.02)
        else:
            break
    print(port, flush=True)
    await serving


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        chosen = free.getsockname()[1]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(DatabaseSettings(url=Secret(os.environ["DATABASE_URL"])), chosen))
