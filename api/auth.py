"""Who asks: the API key or access token in ``Authorization: Bearer …``, and through it the tenant of every query."""

from __future__ import annotations

from typing import Any, Final

from litestar.connection import ASGIConnection, Request
from litestar.handlers import BaseRouteHandler

from analytics_core.api_keys import KeyKind
from analytics_core.db.tenants import KeyRow
from analytics_core.db.user_sessions import find_member_session, find_person_session
from analytics_core.errors import Forbidden, Unauthenticated
from analytics_core.origins import check_origin
from analytics_core.permissions import INSTALLATION_PERMISSIONS, Permission
from analytics_core.tokens import AccessToken, BadToken
from api.callers import Caller, Person
from api.logs import RequestLog
from api.origins import allow_origin, is_from_here
from api.requests import request_id_of
from api.resources import Resources

__all__ = ("caller_of", "person_of", "refuse_writes", "require_key", "require_permission", "require_person")

_KEY: Final = "cl_"
_OF_BROWSERS: Final = (b"origin", b"sec-fetch-site")
_BAD_KEY: Final = "this API key is not valid: it is unknown, expired or revoked"
_BAD_ACCESS: Final = "this access token is not valid, or no longer: refresh it, or sign in again"


def _bearer(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    # As they came: the framework's headers are made of all of them.
    shown = next((value for name, value in connection.scope["headers"] if name == b"authorization"), b"")
    scheme, _, token = shown.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("send an API key or an access token as `Authorization: Bearer …`")
    return token.strip()


def _check_origin(connection: ASGIConnection[Any, Any, Any, Any], key: KeyRow) -> None:
    """Refuse a key that may not be used from where the request comes from, and let the others' pages read the answer.

    Raises:
        Forbidden: ``origin_not_allowed``, or ``secret_key_in_browser``.
    """
    if not any(name in _OF_BROWSERS for name, _ in connection.scope["headers"]):
        check_origin(key.kind, key.origins, None, is_ours=True)
        return
    resources: Resources = connection.app.state.resources
    origin = connection.headers.get("origin")
    is_ours = is_from_here(connection.headers) or origin in resources.settings.api.origins
    check_origin(key.kind, key.origins, origin, is_ours=is_ours)
    if origin is not None and key.kind is KeyKind.PUBLISHABLE:
        allow_origin(connection.scope, origin)


def _read_token(connection: ASGIConnection[Any, Any, Any, Any], text: str) -> AccessToken:
    """Read an access token; why one is refused is for the log alone."""
    resources: Resources = connection.app.state.resources
    try:
        return resources.tokens.read(text, now=resources.clock.now())
    except BadToken as error:
        log: RequestLog = connection.app.state.log
        log.write("info", "token_refused", {"request_id": request_id_of(connection.scope), "reason": str(error)})
        raise Unauthenticated(_BAD_ACCESS) from error


async def _find_key(connection: ASGIConnection[Any, Any, Any, Any], text: str) -> KeyRow:
    resources: Resources = connection.app.state.resources
    key = await resources.known_keys.find(text)
    if key is None:
        raise Unauthenticated(_BAD_KEY)
    _check_origin(connection, key)
    resources.key_uses.note(key, now=resources.clock.now())
    return key


async def _find_member(connection: ASGIConnection[Any, Any, Any, Any], text: str) -> Caller:
    token = _read_token(connection, text)
    if token.tenant_id is None:
        raise Forbidden("you belong to no tenant yet: have somebody invite you")
    resources: Resources = connection.app.state.resources
    async with resources.database.auth() as conn:
        session = await find_member_session(
            conn, token.session_id, token.user_id, token.tenant_id, now=resources.clock.now()
        )
    if session is None:
        raise Unauthenticated(_BAD_ACCESS)
    return Caller.of_session(session)


async def require_key(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let a request pass that has a valid key or access token; who showed it becomes its ``auth``, a :class:`Caller`.

    Sessions are looked up for each request, keys until the database tells of a change to any, so that a revoked key, an
    ended session and a removed member are refused at once.

    Raises:
        Unauthenticated: There is no credential, or it is unknown, expired or revoked.
        Forbidden: The tenant is suspended or closing and the request would write, the key may not be used from where it
            comes, or the person belongs to no tenant.
        Unavailable: The database does not answer.
    """
    text = _bearer(connection)
    if text.startswith(_KEY):
        caller = Caller.of_key(await _find_key(connection, text))
    else:
        caller = await _find_member(connection, text)
    if not handler.opt.get("is_open_to_suspended"):
        refuse_writes(caller, str(connection.scope.get("method", "GET")))
    connection.scope["auth"] = caller


async def require_person(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Let a request pass that has a valid access token; whose it is becomes its ``auth``, a :class:`Person`.

    What is about a person alone they may do in whatever state their tenants are.

    Raises:
        Unauthenticated: There is no token, or its session has ended.
        Forbidden: It is an API key, which is nobody.
        Unavailable: The database does not answer.
    """
    text = _bearer(connection)
    if text.startswith(_KEY):
        await _find_key(connection, text)
        raise Forbidden("this is about a person, and an API key is nobody: sign in")
    token = _read_token(connection, text)
    resources: Resources = connection.app.state.resources
    async with resources.database.auth() as conn:
        session = await find_person_session(conn, token.session_id, token.user_id, now=resources.clock.now())
    if session is None:
        raise Unauthenticated(_BAD_ACCESS)
    connection.scope["auth"] = Person(
        user_id=session.user_id, session_id=session.session_id, tenant_id=session.tenant_id
    )


async def require_permission(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let a request pass whose caller may do what the route names as ``permission`` in its ``opt``.

    ``None`` is for what every caller may do, such as signing out, but for publishable keys: who holds them is nobody in
    particular. Every closed route names one or the other; what OPTIONS tells, the methods of a path, stands in the
    documentation.

    Raises:
        Forbidden: The caller may not.
    """
    if connection.scope.get("method") == "OPTIONS":
        return
    needed: Permission | None = handler.opt["permission"]
    caller = connection.scope["auth"]
    if needed is None:
        if isinstance(caller, Caller) and caller.is_publishable:
            raise Forbidden("a publishable key may do what its scopes say, and nothing else")
        return
    if needed not in caller.permissions:
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


def person_of(request: Request[Any, Any, Any]) -> Person:
    """Return who sent a request that :func:`require_person` let pass."""
    person: Person = request.scope["auth"]
    return person
