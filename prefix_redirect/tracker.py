"""What all connections of one tracker process share: the decider in force, the spool's turn, limits and clients."""

from __future__ import annotations

import asyncio
import email.utils
import time
from http import HTTPStatus
from typing import Final, Protocol
from urllib.parse import urlsplit

from analytics_core.clock import Clock, SystemClock
from analytics_core.registry import Known, Registry
from analytics_core.settings import SyncMode, TrackerSettings
from analytics_core.spool_writer import SpoolWriter
from prefix_redirect.clients import Client, Clients
from prefix_redirect.decisions import Decider, status_line
from prefix_redirect.flood import FloodGuard
from prefix_redirect.handover import Handover, Member
from prefix_redirect.host_policy import HostPolicy
from prefix_redirect.recorder import Recorder
from prefix_redirect.replies import Replies, Reply
from prefix_redirect.requests import Limits
from prefix_redirect.slow_lane import SlowLane
from prefix_redirect.turns import Turns

__all__ = ("OpenConnection", "Tracker")

_STATUSES: Final = (200, 204, 302, 400, 404, 405, 408, 414, 431)
_IDLE_GRACE_S: Final = 1.0
_PASSING_S: Final = 1.0
_TICK_S: Final = 0.02
_ENDED_A_TURN: Final = 20


class OpenConnection(Protocol):
    """A client's connection, as far as the process has to look after it."""

    deadline_s: float
    """When its time is up, on the loop's clock."""
    idle_since_s: float
    """Since when, on the loop's clock, if it is idle."""

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a next request, with nothing of one received."""
        ...

    def as_member(self) -> Member | None:
        """Itself, for another process to go on with; ``None`` while it is in use."""
        ...

    def expire(self) -> None:
        """End it because its time is up."""
        ...

    def close_if_idle(self) -> None:
        """End it unless a request is on its way."""
        ...

    def abort(self) -> None:
        """End it at once."""
        ...


class Tracker:
    """One tracker process.

    Args:
        settings: The tracker's.
        loop: The loop that it runs on.
        writer: Its spool, opened.
        limits: What a client may cost us.
        clock: When hits happen.
        is_replay: Whether requests may say when they were made; there is no flood rule then.
    """

    def __init__(
        self,
        settings: TrackerSettings,
        *,
        loop: asyncio.AbstractEventLoop,
        writer: SpoolWriter,
        limits: Limits | None = None,
        clock: Clock | None = None,
        is_replay: bool = False,
    ) -> None:
        self._settings = settings
        self.loop = loop
        self.writer = writer
        self.limits = limits or Limits()
        self.clock = clock or SystemClock()
        self.is_replay = is_replay
        self.is_draining = False
        self.proxy_protocol = settings.proxy_protocol
        self.clients = Clients(settings.trusted_proxies)
        self.recorder = Recorder(writer, FloodGuard(0 if is_replay else settings.flood_rate))
        self.turns = Turns(loop, writer, self.clock, holds_answers=settings.sync is SyncMode.ALWAYS)
        self.slow_lane = SlowLane(loop)
        self.oldest_hit_s = 0.0
        """Age of the oldest hit in the spool, as far as it was looked for."""
        self.connections: dict[OpenConnection, None] = {}
        self.registry: Known = Registry()
        self.decider = self._decider(self.registry)
        self.replies = self._replies()
        self.status_lines: dict[int, bytes] = {}
        self.refresh_date()

    def take_registry(self, registry: Known) -> None:
        """Decide by a new snapshot from now on."""
        self.registry = registry
        self.decider = self._decider(registry)
        self.replies = self._replies()

    def _decider(self, registry: Known) -> Decider:
        own = urlsplit(self._settings.public_url).hostname
        policy = HostPolicy(
            registry,
            mode=self._settings.hosts,
            deny_hosts=self._settings.deny_hosts,
            own_hosts=(own,) if own else (),
        )
        return Decider(policy)

    def _replies(self) -> Replies:
        # While we drain, no answer is what it was before; in a replay, each request has a time of its own.
        return Replies(most=0) if self.is_draining or self.is_replay else Replies()

    def refresh_date(self) -> None:
        """Put the current second into the answers' first lines."""
        date = f"Date: {email.utils.formatdate(time.time(), usegmt=True)}\r\n".encode()
        self.status_lines = {status: status_line(status) + date for status in map(HTTPStatus, _STATUSES)}

    def answer(self, reply: Reply, client: Client, at: bytes = b"") -> bytes:
        """Record a request, and write its answer out.

        Args:
            reply: What it came to.
            client: Who asked.
            at: When, as a row of the spool holds it; now when empty.
        """
        trace = reply.trace
        if trace is None:
            self.recorder.count(reply.status)
        else:
            turns = self.turns
            if not turns.is_begun:
                turns.begin()
            self.recorder.record(
                trace, at=at or turns.at, address=client.address, source=client.source, now_ns=turns.now_ns
            )
        return self.status_lines[reply.status] + reply.rest

    # What follows concerns connections.

    def join(self, connection: OpenConnection) -> None:
        """Take a connection in; above the limit the ones that are idle longest go, and without any idle the new."""
        if len(self.connections) >= self._settings.max_connections and not self.make_room():
            connection.abort()
            return
        self.connections[connection] = None

    def make_room(self) -> bool:
        """Let those connections go that are idle longest; return whether any was."""
        idle = [other for other in self.connections if other.is_idle]
        idle.sort(key=lambda other: other.idle_since_s)
        # A hundredth at once, so that a crowd at the door costs one look at all connections for many newcomers.
        for other in idle[: 1 + len(self.connections) // 100]:
            other.abort()
            self.leave(other)
        return bool(idle)

    def leave(self, connection: OpenConnection) -> None:
        """Forget a connection; more than once does no harm."""
        self.connections.pop(connection, None)

    def sweep(self) -> None:
        """End the connections whose time is up, some in each turn: to be called about once a second."""
        now_s = self.loop.time()
        self._expire([other for other in self.connections if other.deadline_s <= now_s])

    def _expire(self, due: list[OpenConnection]) -> None:
        # A crowd that came together goes together: ended all at once, thousands would hold up everybody else.
        for connection in due[:_ENDED_A_TURN]:
            if connection in self.connections and connection.deadline_s <= self.loop.time():
                connection.expire()
        if len(due) > _ENDED_A_TURN:
            self.loop.call_soon(self._expire, due[_ENDED_A_TURN:])

    async def settle(self) -> None:
        """Wait until no connection is in use that is now: those that take their time are not waited for for ever."""
        started_s = self.loop.time()
        busy = [connection for connection in self.connections if connection.as_member() is None]
        while busy and self.loop.time() - started_s < self.limits.drain_s - _PASSING_S:
            await asyncio.sleep(_TICK_S)
            busy = [one for one in busy if one in self.connections and one.as_member() is None]

    async def pass_on(self, handover: Handover) -> int:
        """Give all connections to the next worker, each as soon as nothing is going on on it.

        Clients wait meanwhile, so that who is in the middle of a request has a second to end it.

        Returns:
            How many were given.
        """
        started_s = self.loop.time()
        given = 0
        while self.connections and self.loop.time() - started_s < _PASSING_S:
            found = [(one, member) for one in self.connections if (member := one.as_member()) is not None]
            count = handover.give([member for _, member in found])
            for connection, _ in found[:count]:
                # The next worker has it now: closing it here says nothing to the client.
                connection.abort()
                self.leave(connection)
            given += count
            await asyncio.sleep(_TICK_S)
        return given

    async def drain(self) -> None:
        """Let open connections end: each with its next answer, idle ones after a moment, the rest at the deadline."""
        self.is_draining = True
        self.replies = self._replies()
        started_s = self.loop.time()
        while self.connections:
            elapsed_s = self.loop.time() - started_s
            if elapsed_s >= self.limits.drain_s:
                for connection in list(self.connections):
                    connection.abort()
                break
            if elapsed_s >= _IDLE_GRACE_S:
                for connection in list(self.connections):
                    connection.close_if_idle()
            await asyncio.sleep(_TICK_S)
