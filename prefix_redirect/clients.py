"""Who asks: the address behind a connection or behind a trusted proxy, and the network its hits are added up by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from analytics_core.addresses import UNSPECIFIED, IPNetwork, TrustedNetworks, client_address
from prefix_redirect.flood import source_of

__all__ = ("Client", "Clients")

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


class Clients:
    """Tells clients apart.

    Args:
        trusted: Networks of proxies whose ``X-Forwarded-For`` is believed.
    """

    def __init__(self, trusted: Iterable[IPNetwork]) -> None:
        self._trusted = TrustedNetworks(trusted)
        self._behind: dict[tuple[bytes, bytes], Client] = {}
        self.unknown = Client(UNSPECIFIED, None, False)

    def of_host(self, host: str) -> Client:
        """Name the client at the other end of a socket.

        Args:
            host: Its address as text.
        """
        return self._client(client_address(host, (), self._trusted))

    def behind(self, proxy: Client, forwarded: bytes) -> Client:
        """Name the client behind a trusted proxy.

        Args:
            proxy: The socket's other end.
            forwarded: All values of ``X-Forwarded-For``, joined by commas.
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
