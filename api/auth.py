"""Who asks: the API key in ``Authorization: Bearer …``, and through it the tenant of every query."""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection, Request
from litestar.handlers import BaseRouteHandler

from analytics_core.api_keys import KeyKind, is_well_formed
from analytics_core.db.tenants import KeyRow, find_key
from analytics_core.errors import Forbidden, Unauthenticated
from analytics_core.origins import check_origin
from analytics_core.permissions import Permission
from api.callers import Caller
from api.origins import allow_origin, is_from_here
from api.resources import Resources

__all__ = ("caller_of", "refuse_writes", "require_key", "require_permission")


def _bearer(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("send an API key as `Authorization: Bearer cl_live_…`")
    return token.strip()


def _check_origin(connection: ASGIConnection[Any, Any, Any, Any], key: KeyRow) -> None:
    """Refuse a key that may not be used from where the request comes from, and let the others' pages read the answer.

    Raises:
        Forbidden: ``origin_not_allowed``, or ``secret_key_in_browser``.
    """
    origin = connection.headers.get("origin")
    check_origin(key.kind, key.origins, origin, is_ours=is_from_here(connection.headers))
    if origin is not None and key.kind is KeyKind.PUBLISHABLE:
        allow_origin(connection.scope, origin)


async def require_key(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Let a request pass that has a valid key; who showed it becomes the request's ``auth``, a :class:`Caller`.

    The key is looked up for each request (a primary-key read over a local connection), so that a revoked one is
    refused at once.

    Raises:
        Unauthenticated: There is no key, or it is unknown, expired or revoked.
        Forbidden: The tenant is suspended and the request would write, or the key may not be used from where it comes.
        Unavailable: The database does not answer.
    """
    token = _bearer(connection)
    key = None
    resources: Resources = connection.app.state.resources
    # What was mistyped or made up costs no connection.
    if is_well_formed(token):
        async with resources.database.auth() as conn:
            key = await find_key(conn, token)
    if key is None:
        raise Unauthenticated("this API key is not valid: it is unknown, expired or revoked")
    _check_origin(connection, key)
    resources.key_uses.note(key, now=resources.clock.now())
    caller = Caller.of_key(key)
    refuse_writes(caller, str(connection.scope.get("method", "GET")))
    connection.scope["auth"] = caller


async def require_permission(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let a request pass whose caller may do what the route names as ``permission`` in its ``opt``.

    ``None`` is for what every caller may do, such as signing out, but for publishable keys: who holds them is nobody in
    particular. Every closed route names one or the other.

    Raises:
        Forbidden: The caller may not.
    """
    needed: Permission | None = handler.opt["permission"]
    caller: Caller = connection.scope["auth"]
    if needed is None and caller.is_publishable:
        raise Forbidden("a publishable key may do what its scopes say, and nothing else")
    if needed is not None and needed not in caller.permissions:
        raise Forbidden(f"this needs the permission {needed}")


def refuse_writes(caller: Caller, method: str) -> None:
    """Refuse what would change anything of a suspended tenant.

    Raises:
        Forbidden: It would.
    """
    if caller.status == "suspended" and method not in ("GET", "HEAD", "OPTIONS"):
        raise Forbidden("this tenant is suspended: it can be read, not changed")


def caller_of(request: Request[Any, Any, Any]) -> Caller:
    """Return who sent a request that :func:`require_key` let pass."""
    caller: Caller = request.scope["auth"]
    return caller
