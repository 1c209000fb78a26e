"""Idle connections pass from a worker that ends to the one that follows it: a restart closes none of them.

To close a kept connection is a race that nobody wins: a request that is on its way at that moment meets a reset. The
supervisor therefore holds a pair of sockets for each slot. A worker that is to be followed puts the descriptors of its
idle connections in at one end, and the next one takes them out at the other; what clients send meanwhile waits in the
kernel, as new connections wait in the slot's listening sockets.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from analytics_core.addresses import UNSPECIFIED, format_address

__all__ = ("Handover", "Member")

_RECORD_BYTES: Final = 17
# The kernel takes 253 descriptors a message.
_BATCH: Final = 200
_BUFFER_BYTES: Final = 1024 * 1024

_log = logging.getLogger("castledger.tracker.handover")


class Member(NamedTuple):
    """A connection on which nothing is going on.

    Attributes:
        descriptor: Its socket.
        address: The client's, 16 bytes.
        is_greeted: Whether the proxy in front has said who the client is, or does not have to.
    """

    descriptor: int
    address: bytes
    is_greeted: bool

    @property
    def host(self) -> str | None:
        """The address as text; ``None`` when there is none."""
        return None if self.address == UNSPECIFIED else format_address(self.address)


class Handover:
    """A slot's pair of sockets, in the hands of one of its workers.

    Args:
        leaving: The end into which connections are put.
        taking: The end out of which they come.
    """

    def __init__(self, leaving: socket.socket, taking: socket.socket) -> None:
        self._leaving = leaving
        self._taking = taking
        for end in (leaving, taking):
            end.setblocking(False)
        leaving.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)

    def give(self, members: Sequence[Member]) -> int:
        """Give connections to the next worker of the slot.

        Returns:
            How many of the first were given: the caller closes its own descriptors of them. When the kernel takes no
            more, the rest stays.
        """
        given = 0
        for start in range(0, len(members), _BATCH):
            batch = members[start : start + _BATCH]
            records = b"".join(member.address + bytes((member.is_greeted,)) for member in batch)
            try:
                socket.send_fds(self._leaving, [records], [member.descriptor for member in batch])
            except OSError as error:
                _log.warning("%d connections could not be handed over: %s", len(members) - given, error.strerror)
                break
            given += len(batch)
        return given

    def take(self) -> Iterator[Member]:
        """Take what the worker before has left; each descriptor is the caller's."""
        while True:
            try:
                # A message is never merged with the next one, which has descriptors of its own.
                records, descriptors, flags, _ = socket.recv_fds(self._taking, _BATCH * _RECORD_BYTES, _BATCH)
            except BlockingIOError:
                return
            except OSError as error:
                _log.error("connections of the worker before are lost: %s", error.strerror)
                return
            if not records:
                return
            if flags & socket.MSG_CTRUNC or len(records) != len(descriptors) * _RECORD_BYTES:
                _log.error("%d connections of the worker before are lost: no descriptors are free", len(descriptors))
                for descriptor in descriptors:
                    os.close(descriptor)
                continue
            for number, descriptor in enumerate(descriptors):
                record = records[number * _RECORD_BYTES : (number + 1) * _RECORD_BYTES]
                yield Member(descriptor, record[:16], bool(record[16]))
