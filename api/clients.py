"""Where a request comes from."""

from __future__ import annotations

from typing import Any

from litestar import Request

from analytics_core.addresses import TrustedNetworks, client_address
from api.resources import resources_of

__all__ = ("address_of",)


def address_of(request: Request[Any, Any, Any]) -> bytes:
    """Return the client's address, 16 bytes: what a trusted proxy says of it, else that of the socket."""
    client = request.scope.get("client")
    trusted = TrustedNetworks(resources_of(request).settings.tracker.trusted_proxies)
    return client_address(client[0] if client else "", request.headers.getall("x-forwarded-for", []), trusted)
