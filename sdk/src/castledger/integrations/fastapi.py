"""For FastAPI and Starlette: ``init_app(app)``."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette

from castledger.integrations._capture import Capture
from castledger.integrations.asgi import AttributionMiddleware

__all__ = ("AttributionMiddleware", "init_app")


def init_app(app: Starlette, **options: Any) -> None:
    """Capture the click and the promo code of each request.

    Args:
        app: The application; FastAPI's is one of Starlette's.
        options: As of :class:`~castledger.integrations.Capture`.

    Raises:
        ConfigurationError: An option cannot work.
    """
    # Starlette makes the middleware with the first request, which would be late to learn of a slip.
    Capture(**options)
    # Its type wants the application by place alone, and Litestar gives it by name.
    app.add_middleware(AttributionMiddleware, **options)  # type: ignore[arg-type]
