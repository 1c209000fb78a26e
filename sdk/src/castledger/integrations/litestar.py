"""For Litestar: ``Litestar(middleware=[attribution()])``."""

from __future__ import annotations

from typing import Any

from litestar.middleware import DefineMiddleware

from castledger.integrations._capture import Capture
from castledger.integrations.asgi import AttributionMiddleware

__all__ = ("AttributionMiddleware", "attribution")


def attribution(**options: Any) -> DefineMiddleware:
    """Capture the click and the promo code of each request.

    Args:
        options: As of :class:`~castledger.integrations.Capture`.

    Raises:
        ConfigurationError: An option cannot work.
    """
    # Litestar makes the middleware later, where the error would not lead to this line.
    Capture(**options)
    return DefineMiddleware(AttributionMiddleware, **options)
