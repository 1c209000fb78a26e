"""For Flask: ``init_app(app)``."""

from __future__ import annotations

from typing import Any

from flask import Flask

from castledger.integrations.wsgi import AttributionMiddleware

__all__ = ("init_app",)


def init_app(app: Flask, **options: Any) -> None:
    """Capture the click and the promo code of each request.

    Call it before ``ProxyFix`` is put around the application, so that the scheme is already the visitor's here.

    Args:
        app: The application.
        options: As of :class:`~castledger.integrations.Capture`.

    Raises:
        ConfigurationError: An option cannot work.
    """
    app.wsgi_app = AttributionMiddleware(app.wsgi_app, **options)  # type: ignore[method-assign]
