"""Reads clients that send a request bit by bit: a hundred times a second, and all that have sent something in one go.

Each bit would wake the process up, which costs several times what reading it does (docs/performance.md): some thousand
such clients could take away what everybody else waits for. Here they cost little, and however many they are and however
much they send, no more than a bound.
"""

from __future__ import annotations

import asyncio
import os
import select
from typing import Final, Protocol

__all__ = ("SlowLane", "SlowSender")

_EVERY_S: Final = 0.01
_AT_ONCE: Final = 256
"""Most clients read in one go; those left over are the first in the next."""
_PIECE_BYTES: Final = 256
"""Read of a header at a time: below half a KiB Python needs no ``malloc`` for it, which costs more than the reading."""
_BODY_PIECE_BYTES: Final = 16 * 1024
"""Read of a body at a time: the largest that is read has come in two thirds of a second."""


class SlowSender(Protocol):
    """A client whose request comes bit by bit."""

    @property
    def is_in_body(self) -> bool:
        """Whether what comes next belongs to a request's body."""
        ...

    def data_received(self, data: bytes) -> None:
        """Take in what it sent."""
        ...

    def leave_slow_lane(self) -> None:
        """Be read by the event loop again."""
        ...


class SlowLane:
    """Those who send slowly, in an epoll that the event loop does not watch.

    Args:
        loop: The running loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._senders: dict[int, SlowSender] = {}
        self._unsaid: dict[int, bytes] = {}
        """What came of headers that are not whole."""
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._senders)

    def take(self, descriptor: int, sender: SlowSender) -> None:
        """Read a client here from now on, and nowhere else."""
        self._senders[descriptor] = sender
        self._unsaid[descriptor] = b""
        self._epoll.register(descriptor, select.EPOLLIN)
        if self._timer is None:
            self._timer = self._loop.call_later(_EVERY_S, self._look)

    def leave(self, descriptor: int) -> None:
        """Read a client here no more: before its socket is closed."""
        del self._senders[descriptor], self._unsaid[descriptor]
        self._epoll.unregister(descriptor)

    def _look(self) -> None:
        try:
            for descriptor, _ in self._epoll.poll(0, _AT_ONCE):
                self._read(descriptor)
        finally:
            # Whatever went wrong with one of them, the others are read on.
            self._timer = self._loop.call_later(_EVERY_S, self._look) if self._senders else None

    def _read(self, descriptor: int) -> None:
        sender = self._senders[descriptor]
        is_in_body = sender.is_in_body
        try:
            piece = os.read(descriptor, _BODY_PIECE_BYTES if is_in_body else _PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            # The event loop sees for itself that the client has gone.
            sender.leave_slow_lane()
            return
        self._unsaid[descriptor] = said = self._unsaid[descriptor] + piece
        # A part of a header says nothing: to parse it costs more than to read it.
        if b"\n" in piece or len(said) >= _PIECE_BYTES or is_in_body:
            self._unsaid[descriptor] = b""
            sender.data_received(said)
