"""The player: sends requests to a replaying tracker, pipelined over some connections."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from analytics_core.errors import CastledgerError
from castledger_server.demo.schedule import Request

__all__ = ("MARK", "PlayFailed", "ask_all", "play")

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


async def _ask_some(port: int, messages: Sequence[bytes], answered: Callable[[int], None]) -> list[bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heads: list[bytes] = []
    try:
        for at in range(0, len(messages), _PIPELINED):
            batch = messages[at : at + _PIPELINED]
            writer.write(b"".join(batch))
            async with asyncio.timeout(_ANSWER_S):
                await writer.drain()
                heads += [await reader.readuntil(b"\r\n\r\n") for _ in batch]
            answered(len(batch))
    finally:
        writer.close()
    return heads


async def ask_all(port: int, messages: Sequence[bytes], *, progress: Callable[[int], None]) -> list[bytes]:
    """Send requests, all of which are to be answered with a redirect.

    Args:
        port: Of a tracker on this machine that takes the times of hits from the requests.
        messages: The requests as they are sent.
        progress: Called with how many were answered so far.

    Returns:
        The head of each answer, in the order of the requests.

    Raises:
        PlayFailed: The tracker went away, or answered with something else than a redirect.
    """
    done = 0

    def answered(count: int) -> None:
        nonlocal done
        done += count
        progress(done)

    shares = [messages[number::_CONNECTIONS] for number in range(_CONNECTIONS)]
    heads = [b""] * len(messages)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_ask_some(port, share, answered)) for share in shares]
    except* (OSError, EOFError, TimeoutError) as errors:
        raise PlayFailed(f"the demo's tracker does not answer any more ({errors.exceptions[0]})") from errors
    for number, task in enumerate(tasks):
        heads[number::_CONNECTIONS] = task.result()
    statuses = Counter(int(head.split(b" ", 2)[1]) for head in heads)
    others = {status: count for status, count in statuses.items() if status != 302}
    if others:
        told = ", ".join(f"{count:,} times {status}" for status, count in sorted(others.items()))
        raise PlayFailed(f"the demo's tracker answered {told} instead of 302")
    return heads


async def play(port: int, requests: Sequence[Request], guid: UUID, *, progress: Callable[[int], None]) -> None:
    """Send all requests of a schedule.

    Args:
        port: Of a tracker on this machine that takes the times of hits from the requests.
        requests: What to send.
        guid: The podcast's, for the prefix.
        progress: Called with how many were answered so far.

    Raises:
        PlayFailed: The tracker went away, or answered with something else than a redirect.
    """
    await ask_all(port, [_write(request, guid) for request in requests], progress=progress)
