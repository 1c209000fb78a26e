"""Where a request comes from."""

from __future__ import annotations

from typing import Any

from litestar import Request

from api.limits import limits_of

__all__ = ("address_of",)


def address_of(request: Request[Any, Any, Any]) -> bytes:
    """Return the client's address, 16 bytes: what a trusted proxy says of it, else that of the socket."""
    return limits_of(request).address_of(request)
