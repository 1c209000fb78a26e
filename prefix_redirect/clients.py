"""Who asks: the address behind a connection or behind a trusted proxy, and the network its hits are added up by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from analytics_core.addresses import UNSPECIFIED, IPNetwork, TrustedNetworks, client_address
from prefix_redirect.flood import source_of
from prefix_redirect.requests import HeaderName

__all__ = ("Client", "Clients", "forwarded_for")

_REMEMBERED: Final = 4096
_LONGEST_REMEMBERED: Final = 128


class Client(NamedTuple):
    """One client.

    Attributes:
        address: 16 bytes.
        source: The network for the flood rule; ``None`` when it is exempt.
        is_trusted: Whether it is a proxy whose ``X-Forwarded-For`` is believed.
    """

    address: bytes
    source: bytes | None
    is_trusted: bool


def forwarded_for(headers: Mapping[bytes, bytes]) -> bytes | None:
    """Tell whom a proxy says that it asks for, as a list of addresses; ``None`` when it does not say.

    ``X-Forwarded-For`` wins over ``Forwarded`` (RFC 7239): few proxies write the second, and those that do not know
    it pass on what anyone made up.

    >>> forwarded_for({b"forwarded": b'for=192.0.2.43;proto=https, For="[2001:db8::17]:4711"'})
    b'192.0.2.43,[2001:db8::17]:4711'
    """
    listed = headers.get(HeaderName.FORWARDED_FOR)
    if listed is not None:
        return listed
    elements = headers.get(HeaderName.FORWARDED)
    if elements is None:
        return None
    return b",".join(_for_of(element) for element in elements.split(b","))


def _for_of(element: bytes) -> bytes:
    """Return whom one element names; nothing where it does not, so that the search ends there."""
    for pair in element.split(b";"):
        name, _, value = pair.partition(b"=")
        if name.strip().lower() == b"for":
            return value.strip().strip(b'"')
    return b""


class Clients:
    """Tells clients apart.

    Args:
        trusted: Networks of proxies whose ``X-Forwarded-For`` is believed.
    """

    def __init__(self, trusted: Iterable[IPNetwork]) -> None:
        self._trusted = TrustedNetworks(trusted)
        self._behind: dict[tuple[bytes, bytes], Client] = {}
        self._hosts: dict[str, Client] = {}
        self.unknown = Client(UNSPECIFIED, None, False)

    def of_host(self, host: str) -> Client:
        """Name the client at the other end of a socket.

        Args:
            host: Its address as text.
        """
        client = self._hosts.get(host)
        if client is None:
            client = self._client(client_address(host, (), self._trusted))
            if len(self._hosts) >= _REMEMBERED:
                self._hosts.clear()
            self._hosts[host] = client
        return client

    def behind(self, proxy: Client, forwarded: bytes) -> Client:
        """Name the client behind a trusted proxy.

        Args:
            proxy: The socket's other end.
            forwarded: Addresses, joined by commas, as :func:`forwarded_for` lists them.
        """
        known = (proxy.address, forwarded)
        client = self._behind.get(known)
        if client is None:
            client = self._client(client_address(proxy.address, (forwarded,), self._trusted))
            if len(forwarded) <= _LONGEST_REMEMBERED:
                if len(self._behind) >= _REMEMBERED:
                    self._behind.clear()
                self._behind[known] = client
        return client

    def _client(self, address: bytes) -> Client:
        return Client(address, source_of(address), address in self._trusted)
