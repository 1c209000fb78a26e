"""Listening sockets: bound once by the supervisor, held while it lives, and ports that are free."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Sequence
from typing import Final

from analytics_core.errors import ConfigError

__all__ = ("bind_slots", "choose_port", "local_url")

_BACKLOG: Final = 1024
_ATTEMPTS: Final = 20


def _open(host: str, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    handle = socket.socket(family, socket.SOCK_STREAM)
    try:
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # IPv4 has a socket of its own.
            handle.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        handle.bind((host, port))
    except BaseException:
        handle.close()
        raise
    return handle


def _try_port(hosts: Sequence[str], port: int) -> int:
    """Find out whether every address has the port free; other users of SO_REUSEPORT count as taken."""
    held: list[socket.socket] = []
    try:
        for host in hosts:
            handle = _open(host, port, shared=False)
            held.append(handle)
            # Only a listener notices one that shares its address.
            handle.listen(1)
            port = int(handle.getsockname()[1])
    finally:
        for handle in held:
            handle.close()
    return port


def _usable(hosts: Sequence[str]) -> list[str]:
    """Leave out what this machine lacks, such as IPv6 when it was asked for beside IPv4."""
    usable = []
    for host in hosts:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            try:
                resolved = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]
            except OSError as error:
                raise ConfigError([f"the address {host!r} to listen on is not known ({error.strerror})"]) from error
            host = str(resolved)
        try:
            _open(host, 0, shared=False).close()
        except OSError as error:
            absent = error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)
            if absent and host == "::" and len(hosts) > 1:
                continue
            raise ConfigError([f"the address {host} cannot be listened on ({error.strerror})"]) from error
        usable.append(host)
    return usable


def choose_port(hosts: Sequence[str], port: int, *, option: str) -> int:
    """Make sure that a port is free on all addresses; 0 finds one.

    Args:
        hosts: Addresses or names, at least one.
        port: 0 to 65535.
        option: How a person names another port, for the message.

    Raises:
        ConfigError: It is taken, or may not be used by us.
    """
    usable = _usable(hosts)
    for attempt in range(_ATTEMPTS):
        try:
            return _try_port(usable, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                if port == 0 and attempt < _ATTEMPTS - 1:
                    # Free on the first address, taken on another: draw again.
                    continue
                reason = "is taken by another program"
            else:
                reason = f"cannot be used ({error.strerror})"
            raise ConfigError([f"port {port} {reason}; choose another with {option} (0 takes a free one)"]) from error
    raise AssertionError("unreachable")


def bind_slots(hosts: Sequence[str], port: int, *, slots: int) -> list[list[socket.socket]]:
    """Bind and listen: one socket an address for each worker slot, all on one port.

    Connections wait in a slot's sockets while its worker restarts, so they have to be kept open all the while.

    Args:
        hosts: As for :func:`choose_port`.
        port: What :func:`choose_port` returned.
        slots: Number of workers, 1 or more.

    Raises:
        ConfigError: The port was taken in between.
    """
    slots_sockets: list[list[socket.socket]] = []
    try:
        for _ in range(slots):
            sockets: list[socket.socket] = []
            slots_sockets.append(sockets)
            for host in _usable(hosts):
                handle = _open(host, port, shared=True)
                sockets.append(handle)
                handle.listen(_BACKLOG)
    except OSError as error:
        for sockets in slots_sockets:
            for handle in sockets:
                handle.close()
        raise ConfigError([f"port {port} cannot be used ({error.strerror})"]) from error
    return slots_sockets


def local_url(hosts: Sequence[str], port: int) -> str:
    """Write the address under which this machine reaches a listener.

    >>> local_url(["0.0.0.0", "::"], 8080)
    'http://127.0.0.1:8080'
    >>> local_url(["fd00::1"], 80)
    'http://[fd00::1]:80'
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(hosts[0], hosts[0])  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
