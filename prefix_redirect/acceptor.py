"""Takes clients in: all that wait at a listening socket in one go, and those that leave at once without ceremony.

The event loop's own server accepts one client a turn, so that each costs a turn of its own: a write to the spool and a
look at all sockets. Accepted together they share both. Until a client has spoken it is a guest, a descriptor and little
else; only then it is worth a transport, or not even then: when its request is known byte for byte and ends the
connection, the answer is all that it wants.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import select
import socket
from collections.abc import Iterable, Sequence
from typing import Final

from analytics_core.addresses import TrustedNetworks, client_address
from prefix_redirect.handover import Member
from prefix_redirect.protocol import TrackerProtocol
from prefix_redirect.tracker import Tracker

__all__ = ("Acceptor",)

_AT_ONCE: Final = 64
_READ_BYTES: Final = 4096
"""More of a request than this is read by its connection."""
_PAUSE_S: Final = 0.1
_LOG_S: Final = 60.0
_FAILING_S: Final = 5.0
_NOBODY: Final = TrustedNetworks(())

_log = logging.getLogger("castledger.tracker.acceptor")


class _Guest:
    """A client that has not spoken yet, or that gets one answer and goes.

    Args:
        lobby: Where it waits.
        descriptor: Its socket, not blocking.
        host: Its address; ``None`` when it has none.
        is_greeted: Whether the proxy in front has said who it is, or does not have to.
        now_s: When it came, on the loop's clock.
        within_s: Seconds in which it has to speak.
    """

    __slots__ = ("_lobby", "answer", "deadline_s", "descriptor", "host", "idle_since_s", "is_greeted")

    is_idle: Final = True

    def __init__(
        self,
        lobby: _Lobby,
        descriptor: int,
        host: str | None,
        *,
        is_greeted: bool,
        now_s: float,
        within_s: float,
    ) -> None:
        self._lobby = lobby
        self.descriptor = descriptor
        self.host = host
        self.is_greeted = is_greeted
        self.idle_since_s = now_s
        self.deadline_s = now_s + within_s
        self.answer = b""

    def as_member(self) -> Member:
        """Itself, for another process to go on with."""
        return Member(self.descriptor, client_address(self.host or "", (), _NOBODY), self.is_greeted)

    def expire(self) -> None:
        """Let it go: it has said nothing for too long."""
        self._lobby.close(self)

    def close_if_idle(self) -> None:
        """Let it go."""
        self._lobby.close(self)

    def abort(self) -> None:
        """Let it go."""
        self._lobby.close(self)

    def send_turn(self) -> None:
        """Send the answer: its hit is recorded."""
        self.send_answers(self.answer)

    def take_answers(self) -> bytes:
        """Hand the answer over."""
        return self.answer

    def send_answers(self, answers: bytes) -> None:
        """Send what was handed over, and close; it fits into any socket's buffer."""
        with contextlib.suppress(OSError):
            os.write(self.descriptor, answers)
        os.close(self.descriptor)


class _Lobby:
    """Where clients wait until they speak: an epoll of its own inside of the loop's.

    Args:
        tracker: What serves them then.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._epoll = select.epoll()
        self._guests: dict[int, _Guest] = {}
        self._admissions: set[asyncio.Task[None]] = set()
        tracker.loop.add_reader(self._epoll.fileno(), self.look)

    @property
    def is_settled(self) -> bool:
        """Whether each client that has spoken has become a connection."""
        return not self._admissions

    def take(self, descriptor: int, host: str | None, *, is_greeted: bool, within_s: float) -> None:
        """Have a client wait, for some seconds at most."""
        tracker = self._tracker
        now_s = tracker.loop.time()
        guest = _Guest(self, descriptor, host, is_greeted=is_greeted, now_s=now_s, within_s=within_s)
        self._guests[descriptor] = guest
        self._epoll.register(descriptor, select.EPOLLIN)
        tracker.join(guest)

    def close(self, guest: _Guest) -> None:
        """Let a client go unanswered; more than once does no harm."""
        if self._guests.get(guest.descriptor) is guest:
            del self._guests[guest.descriptor]
            self._tracker.leave(guest)
            # Another process may have the socket too: then closing it here would not take it out.
            self._epoll.unregister(guest.descriptor)
            os.close(guest.descriptor)

    def look(self) -> None:
        """Serve those who have spoken."""
        tracker = self._tracker
        if not tracker.turns.is_begun:
            tracker.turns.begin()
        for descriptor, _ in self._epoll.poll(0, _AT_ONCE):
            guest = self._guests[descriptor]
            try:
                said = os.read(descriptor, _READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                said = b""
            if said:
                self._serve(guest, said)
            else:
                self.close(guest)

    def _serve(self, guest: _Guest, said: bytes) -> None:
        tracker = self._tracker
        del self._guests[guest.descriptor]
        tracker.leave(guest)
        reply = tracker.replies.get(said) if guest.is_greeted and guest.host is not None else None
        if reply is not None and reply.closes and guest.host is not None:
            guest.answer = tracker.answer(reply, tracker.clients.of_host(guest.host))
            # Closed at the end of this turn, which takes it out of the epoll: no other process has it. But where its
            # answer waits for a sync, it may have more to say before.
            if tracker.turns.holds_answers:
                self._epoll.unregister(guest.descriptor)
            tracker.turns.join(guest)
            return
        self._epoll.unregister(guest.descriptor)
        task = tracker.loop.create_task(self._admit(guest, said))
        self._admissions.add(task)
        task.add_done_callback(self._admissions.discard)

    async def _admit(self, guest: _Guest, said: bytes) -> None:
        tracker = self._tracker
        client = socket.socket(fileno=guest.descriptor)
        try:
            await tracker.loop.connect_accepted_socket(
                lambda: TrackerProtocol(tracker, host=guest.host, is_greeted=guest.is_greeted, begun=said), client
            )
        except OSError:
            client.close()


class Acceptor:
    """Accepts the clients of some listening sockets.

    Args:
        tracker: What serves them.
        listeners: Not blocking; they stay open when accepting ends, since others may have them too.
    """

    def __init__(self, tracker: Tracker, listeners: Sequence[socket.socket]) -> None:
        self._tracker = tracker
        self._listeners = tuple(listeners)
        self._lobby = _Lobby(tracker)
        self._is_accepting = False
        self._logged_s = -math.inf
        self._failed_s = -math.inf
        self.failures = 0
        """How often no client could be taken in."""

    def start(self) -> None:
        """Accept from now on."""
        self._is_accepting = True
        for listener in self._listeners:
            self._tracker.loop.add_reader(listener, self._accept, listener)

    def stop(self) -> None:
        """Accept nobody any more; who was accepted is served."""
        self._is_accepting = False
        self._look_away()

    @property
    def is_failing(self) -> bool:
        """Whether clients could not be taken in a moment ago."""
        return self._tracker.loop.time() - self._failed_s < _FAILING_S

    @property
    def is_settled(self) -> bool:
        """Whether each client that has spoken has become a connection."""
        return self._lobby.is_settled

    def adopt(self, members: Iterable[Member]) -> int:
        """Go on with connections that another worker has left; return how many there are."""
        count = 0
        for member in members:
            os.set_blocking(member.descriptor, False)
            idle_s = self._tracker.limits.idle_s
            self._lobby.take(member.descriptor, member.host, is_greeted=member.is_greeted, within_s=idle_s)
            count += 1
        return count

    def _look_away(self) -> None:
        for listener in self._listeners:
            self._tracker.loop.remove_reader(listener)

    def _accept(self, listener: socket.socket) -> None:
        tracker = self._tracker
        # The socket's public method would make an object and look up its name, a system call for nothing.
        accept = listener._accept  # type: ignore[attr-defined]
        for _ in range(_AT_ONCE):
            try:
                descriptor, peer = accept()
            except BlockingIOError:
                return
            except ConnectionError:
                # Gone before its turn came.
                continue
            except OSError as error:
                self._pause(error)
                return
            os.set_blocking(descriptor, False)
            host = peer[0] if isinstance(peer, tuple) else None
            self._lobby.take(descriptor, host, is_greeted=not tracker.proxy_protocol, within_s=tracker.limits.header_s)

    def _pause(self, error: OSError) -> None:
        """Leave clients waiting for a moment: asking again at once would fail again, as fast as we can ask."""
        tracker = self._tracker
        now_s = tracker.loop.time()
        self.failures += 1
        self._failed_s = now_s
        if now_s - self._logged_s >= _LOG_S:
            self._logged_s = now_s
            _log.error("no further client can be taken in: %s; others are served, and idle ones go", error.strerror)
        # Who has spoken meanwhile is not idle.
        self._lobby.look()
        tracker.make_room()
        self._look_away()
        tracker.loop.call_later(_PAUSE_S, self._resume)

    def _resume(self) -> None:
        if self._is_accepting:
            self.start()
