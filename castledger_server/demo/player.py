"""The player: sends a schedule's requests to a replaying tracker, pipelined over some connections."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from analytics_core.errors import CastledgerError
from castledger_server.demo.schedule import Request

__all__ = ("MARK", "PlayFailed", "play")

MARK: Final = "castledger-demo"
"""Stands at the end of every user agent: whoever looks at a hit sees what it is, and no listener has the same one."""

_CONNECTIONS: Final = 8
_PIPELINED: Final = 32
_ANSWER_S: Final = 30.0


class PlayFailed(CastledgerError):
    """A request was not answered as it should be."""

    code = "play_failed"


def _write(request: Request, guid: UUID) -> bytes:
    lines = [
        f"{request.method} /e,pg={guid}/{request.target} HTTP/1.1",
        "Host: 127.0.0.1",
        f"X-Forwarded-For: {request.address}",
        f"Castledger-Replay-Time: {request.at_us}",
        f"User-Agent: {request.agent} {MARK}",
    ]
    if request.byte_range:
        lines.append(f"Range: {request.byte_range}")
    if request.is_prefetch:
        lines.append("Sec-Purpose: prefetch")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _play_some(
    port: int, requests: Sequence[Request], guid: UUID, answered: Callable[[int], None]
) -> Counter[int]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    statuses: Counter[int] = Counter()
    try:
        for at in range(0, len(requests), _PIPELINED):
            batch = requests[at : at + _PIPELINED]
            writer.write(b"".join(_write(request, guid) for request in batch))
            async with asyncio.timeout(_ANSWER_S):
                await writer.drain()
                for _ in batch:
                    head = await reader.readuntil(b"\r\n\r\n")
                    statuses[int(head.split(b" ", 2)[1])] += 1
            answered(len(batch))
    finally:
        writer.close()
    return statuses


async def play(port: int, requests: Sequence[Request], guid: UUID, *, progress: Callable[[int], None]) -> None:
    """Send all requests.

    Args:
        port: Of a tracker on this machine that takes the times of hits from the requests.
        requests: What to send.
        guid: The podcast's, for the prefix.
        progress: Called with how many were answered so far.

    Raises:
        PlayFailed: The tracker went away, or answered with something else than a redirect.
    """
    done = 0

    def answered(count: int) -> None:
        nonlocal done
        done += count
        progress(done)

    shares = [requests[number::_CONNECTIONS] for number in range(_CONNECTIONS)]
    statuses: Counter[int] = Counter()
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_play_some(port, share, guid, answered)) for share in shares if share]
    except* (OSError, EOFError, TimeoutError) as errors:
        raise PlayFailed(f"the demo's tracker does not answer any more ({errors.exceptions[0]})") from errors
    for task in tasks:
        statuses.update(task.result())
    others = {status: count for status, count in statuses.items() if status != 302}
    if others:
        told = ", ".join(f"{count:,} times {status}" for status, count in sorted(others.items()))
        raise PlayFailed(f"the demo's tracker answered {told} instead of 302")
