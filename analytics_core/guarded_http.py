"""Ask addresses that strangers name, without being led into the operator's own network."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from analytics_core.addresses import is_public, pack_address
from analytics_core.errors import InvalidInput

__all__ = (
    "MayReach",
    "Resolver",
    "WebAddress",
    "is_public_address",
    "open_client",
    "pin",
    "pinned_request",
    "resolve",
    "split_url",
)

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to the addresses that it resolves to, as text."""

MayReach = Callable[[str], bool]
"""Whether an address, as text, may be connected to."""


class WebAddress(NamedTuple):
    """Where an http or https address leads."""

    scheme: str
    host: str
    port: int


async def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver.

    Raises:
        OSError: The host has no address.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public_address(address: str) -> bool:
    """Tell whether an address belongs to the public network.

    >>> is_public_address("93.184.215.14"), is_public_address("169.254.169.254")
    (True, False)
    """
    return is_public(pack_address(address))


def _refuse(code: str, reason: str) -> InvalidInput:
    return InvalidInput("url", reason, code=code)


def split_url(url: str) -> WebAddress:
    """Split an address that may be asked.

    Raises:
        InvalidInput: ``url_invalid``: it is no http or https address, or names a user or port 0.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refuse("url_invalid", "this is no web address") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _refuse("url_invalid", "the address has to begin with http:// or https://")
    if parts.username is not None or parts.password is not None:
        raise _refuse("url_invalid", "the address must not carry a user name or password")
    if port == 0:
        raise _refuse("url_invalid", "port 0 cannot be fetched from")
    return WebAddress(parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80))


async def pin(host: str, port: int, *, resolver: Resolver, may_reach: MayReach) -> str:
    """Choose the address to connect to; every address of the host has to be allowed, not just that one.

    Raises:
        InvalidInput: ``unreachable``: the host has no address; ``address_not_public``: one is not allowed.
    """
    try:
        addresses = [str(ipaddress.ip_address(host))]
    except ValueError:
        try:
            addresses = [address.partition("%")[0] for address in await resolver(host, port)]
        except (OSError, UnicodeError):
            raise _refuse("unreachable", f"the host {host} has no address") from None
    if not addresses:
        raise _refuse("unreachable", f"the host {host} has no address")
    if not all(may_reach(address) for address in addresses):
        raise _refuse(
            "address_not_public",
            f"the host {host} leads to an address that is not public; "
            "set CASTLEDGER_FEED_ALLOW_PRIVATE=true to fetch from your own network",
        )
    return addresses[0]


def open_client(context: ssl.SSLContext | None = None) -> httpx.AsyncClient:
    """Make a client for :func:`pinned_request`: no proxy of the environment, no time limit of its own.

    Connections are told apart by their address alone, which hosts share, so that none is used twice: each request
    makes the host prove its own name.

    Args:
        context: Shared by several clients, since making one reads all certificates.
    """
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.AsyncClient(trust_env=False, timeout=None, limits=limits, verify=context or True)  # noqa: S113


def pinned_request(
    client: httpx.AsyncClient, method: str, url: str, address: str, headers: Mapping[str, str]
) -> httpx.Request:
    """Ask the checked address for the URL: same Host, same certificate name, no second look-up to be fooled by."""
    parts = urlsplit(url)
    literal = f"[{address}]" if ":" in address else address
    netloc = literal if parts.port is None else f"{literal}:{parts.port}"
    target = parts._replace(netloc=netloc, fragment="").geturl()
    request = client.build_request(method, target, headers={**headers, "Host": parts.netloc})
    request.extensions["sni_hostname"] = parts.hostname or ""
    return request
