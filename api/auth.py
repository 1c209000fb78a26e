"""Who asks: the API key in ``Authorization: Bearer …``, and through it the tenant of every query."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from litestar.connection import ASGIConnection, Request
from litestar.handlers import BaseRouteHandler

from analytics_core.db.tenants import KeyRow, find_key, touch_key
from analytics_core.errors import Forbidden, Unauthenticated
from api.resources import Resources

__all__ = ("caller_of", "needs_touch", "refuse_writes", "require_key")

_TOUCH_AFTER: Final = dt.timedelta(minutes=1)


def _bearer(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("send an API key as `Authorization: Bearer cl_live_…`")
    return token.strip()


def needs_touch(key: KeyRow, *, now: dt.datetime) -> bool:
    """Tell whether a key's last use was noted too long ago."""
    return key.last_used_at is None or now - key.last_used_at > _TOUCH_AFTER


async def require_key(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Let a request pass that has a valid key; its owner becomes the request's ``auth``.

    The key is looked up for each request (a primary-key read over a local connection), so that a revoked one is
    refused at once.

    Raises:
        Unauthenticated: There is no key, or it is unknown, expired or revoked.
        Forbidden: The tenant is suspended and the request would write.
        Unavailable: The database does not answer.
    """
    token = _bearer(connection)
    resources: Resources = connection.app.state.resources
    async with resources.database.auth() as conn:
        key = await find_key(conn, token)
        if key is None:
            raise Unauthenticated("this API key is not valid: it is unknown, expired or revoked")
        now = resources.clock.now()
        if needs_touch(key, now=now):
            await touch_key(conn, key, now=now)
    refuse_writes(key, str(connection.scope.get("method", "GET")))
    connection.scope["auth"] = key


def refuse_writes(key: KeyRow, method: str) -> None:
    """Refuse what would change anything of a suspended tenant.

    Raises:
        Forbidden: It would.
    """
    if key.status == "suspended" and method not in ("GET", "HEAD", "OPTIONS"):
        raise Forbidden("this tenant is suspended: it can be read, not changed")


def caller_of(request: Request[Any, Any, Any]) -> KeyRow:
    """Return the key of a request that :func:`require_key` let pass."""
    key: KeyRow = request.scope["auth"]
    return key
