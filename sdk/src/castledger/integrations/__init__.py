"""Middlewares for shops: which click and which promo code led here.

One module a framework: ``django``, ``flask``, ``fastapi``, ``litestar``; ``asgi`` and ``wsgi`` for all others.
"""

from castledger.integrations._capture import Attribution, Capture
from castledger.integrations._context import attributed, current

__all__ = ("Attribution", "Capture", "attributed", "current")
