"""Who asks: the API key in ``Authorization: Bearer …``, and through it the tenant of every query."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from litestar.connection import ASGIConnection, Request
from litestar.handlers import BaseRouteHandler

from analytics_core.db.tenants import KeyRow, find_key, touch_key
from analytics_core.errors import Forbidden, Unauthenticated
from analytics_core.permissions import INSTALLATION_PERMISSIONS, Permission
from api.callers import Caller
from api.resources import Resources

__all__ = ("caller_of", "needs_touch", "refuse_writes", "require_key", "require_permission")

_TOUCH_AFTER: Final = dt.timedelta(minutes=1)


def _bearer(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("send an API key as `Authorization: Bearer cl_live_…`")
    return token.strip()


def needs_touch(key: KeyRow, *, now: dt.datetime) -> bool:
    """Tell whether a key's last use was noted too long ago."""
    return key.last_used_at is None or now - key.last_used_at > _TOUCH_AFTER


async def require_key(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let a request pass that has a valid key; who showed it becomes the request's ``auth``, a :class:`Caller`.

    The key is looked up for each request (a primary-key read over a local connection), so that a revoked one is
    refused at once.

    Raises:
        Unauthenticated: There is no key, or it is unknown, expired or revoked.
        Forbidden: The tenant is suspended or closing, and the request would write.
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
    caller = Caller.of_key(key)
    if not handler.opt.get("is_open_to_suspended"):
        refuse_writes(caller, str(connection.scope.get("method", "GET")))
    connection.scope["auth"] = caller


async def require_permission(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let a request pass whose caller may do what the route names as ``permission`` in its ``opt``.

    ``None`` is for what every caller may do, such as signing out. Every closed route names one or the other.

    Raises:
        Forbidden: The caller may not.
    """
    needed: Permission | None = handler.opt["permission"]
    caller: Caller = connection.scope["auth"]
    if needed is not None and needed not in caller.permissions:
        raise Forbidden(f"this needs the permission {needed}")
    if needed in INSTALLATION_PERMISSIONS and not caller.is_installation:
        raise Forbidden("only the installation's own tenant does this")


def refuse_writes(caller: Caller, method: str) -> None:
    """Refuse what would change anything of a tenant that is suspended or closing.

    Raises:
        Forbidden: It would: ``tenant_suspended`` or ``tenant_closing``.
    """
    if method in ("GET", "HEAD", "OPTIONS"):
        return
    if caller.status == "suspended":
        raise Forbidden("this tenant is suspended: it can be read, not changed", code="tenant_suspended")
    if caller.status == "closing":
        raise Forbidden(
            "this tenant is closing: it can be read and exported, not changed, unless it is opened again",
            code="tenant_closing",
        )


def caller_of(request: Request[Any, Any, Any]) -> Caller:
    """Return who sent a request that :func:`require_key` let pass."""
    caller: Caller = request.scope["auth"]
    return caller
