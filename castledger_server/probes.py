"""Ask, without an HTTP client or a driver, whether something answers: the supervisor stays small."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final
from urllib.parse import parse_qs, urlsplit

__all__ = ("answers", "listens")

_TIMEOUT_S: Final = 5.0


async def listens(url: str) -> bool:
    """Tell whether something listens where the database should be; an address that we cannot read counts as yes."""
    try:
        parts = urlsplit(url)
        hosts = [parts.hostname] if parts.hostname else parse_qs(parts.query).get("host", [])
        port = parts.port or int(parse_qs(parts.query).get("port", ["5432"])[0])
    except ValueError:
        return True
    if len(hosts) != 1 or "," in hosts[0]:
        return True
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            if hosts[0].startswith("/"):
                _, writer = await asyncio.open_unix_connection(f"{hosts[0]}/.s.PGSQL.{port}")
            else:
                _, writer = await asyncio.open_connection(hosts[0], port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def answers(url: str) -> bool:
    """Tell whether a GET is answered with 200 within a few seconds."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
                writer.write(request.encode())
                status = await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError, asyncio.LimitOverrunError, ValueError):
        return False
    return status.split(b" ")[1:2] == [b"200"]
