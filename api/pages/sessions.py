"""Who looks at the page: a session in a cookie, of a person, or opened with an API key and ending with it."""

from __future__ import annotations

import re
from typing import Any, Final, Literal
from urllib.parse import urlencode

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.handlers import BaseRouteHandler

from analytics_core.db.sessions import LIFETIME, find_session
from analytics_core.db.user_sessions import find_page_session
from analytics_core.errors import Forbidden, Unauthenticated
from api.auth import refuse_writes
from api.callers import Caller, Person
from api.resources import Resources

__all__ = (
    "FORM_COOKIE",
    "SESSION_COOKIE",
    "SESSION_MAX_AGE",
    "SignInNeeded",
    "cookie_of",
    "drop_cookie",
    "find_viewer",
    "is_https",
    "make_cookie",
    "person_here",
    "require_session",
    "safe_path",
    "session_of",
    "sign_in_path",
)

SESSION_COOKIE: Final = "castledger"
SESSION_MAX_AGE: Final = int(LIFETIME.total_seconds())
FORM_COOKIE: Final = "castledger-form"
"""Ties the sign-in form to the browser that asked for it, where there is no session yet."""

_HOST: Final = "__Host-"
_PATH: Final = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,500}")

_Connection = ASGIConnection[Any, Any, Any, Any]


class SignInNeeded(Unauthenticated):
    """There is no session, or it has ended; the page sends people to the sign-in form and back."""

    code = "sign_in_needed"


def is_https(connection: _Connection) -> bool:
    """Tell whether the browser spoke https, to us or to a proxy in front.

    Nobody has to be trusted here: who lies makes a stricter cookie for none but themselves.
    """
    return (
        connection.scope.get("scheme") == "https"
        or connection.headers.get("x-forwarded-proto", "").strip().lower() == "https"
        or connection.headers.get("origin", "").lower() == f"https://{connection.headers.get('host', '').lower()}"
    )


def make_cookie(
    connection: _Connection, name: str, value: str, *, max_age: int, samesite: Literal["lax", "strict"] = "lax"
) -> Cookie:
    """Make a cookie that scripts cannot read and, over https, no other host can set."""
    secure = is_https(connection)
    key = f"{_HOST}{name}" if secure else name
    return Cookie(key=key, value=value, path="/", max_age=max_age, httponly=True, secure=secure, samesite=samesite)


def drop_cookie(name: str) -> list[Cookie]:
    """Make cookies that take away both forms of one."""
    return [
        Cookie(key=key, value="", path="/", max_age=0, httponly=True, secure=key != name, samesite="lax")
        for key in (name, f"{_HOST}{name}")
    ]


def cookie_of(connection: _Connection, name: str) -> str:
    """Read a cookie; over https only the one that no other host could have set. Empty when there is none."""
    secured = connection.cookies.get(f"{_HOST}{name}")
    if secured is not None or is_https(connection):
        return secured or ""
    return connection.cookies.get(name, "")


async def find_viewer(connection: _Connection) -> Caller | None:
    """Find whose session a request carries; ``None`` when it carries none that is good.

    It is looked up for each request, so that a revoked key and a removed member are out at once.

    Raises:
        Unavailable: The database does not answer.
    """
    token = cookie_of(connection, SESSION_COOKIE)
    if not token:
        return None
    resources: Resources = connection.app.state.resources
    async with resources.database.auth() as conn:
        key = await find_session(conn, token, now=resources.clock.now())
        member = None if key is not None else await find_page_session(conn, token, now=resources.clock.now())
    if key is not None:
        resources.key_uses.note(key, now=resources.clock.now())
        return Caller.of_key(key)
    return None if member is None else Caller.of_session(member)


async def require_session(connection: _Connection, _: BaseRouteHandler) -> None:
    """Let a request pass that carries a good session; who opened it becomes the request's ``auth``.

    Raises:
        SignInNeeded: There is no such session.
        Forbidden: The tenant is suspended and the request would write.
        Unavailable: The database does not answer.
    """
    caller = await find_viewer(connection)
    if caller is None:
        raise SignInNeeded("sign in to see this page")
    if not connection.route_handler.opt.get("is_open_to_suspended"):
        refuse_writes(caller, str(connection.scope.get("method", "GET")))
    connection.scope["auth"] = caller


def session_of(request: Request[Any, Any, Any]) -> str:
    """Return the session's token of a request that :func:`require_session` let pass."""
    return cookie_of(request, SESSION_COOKIE)


def person_here(request: Request[Any, Any, Any]) -> Person:
    """Return the person who signed in, where a page is about them and nobody else.

    Raises:
        Forbidden: A key signed in.
    """
    caller: Caller = request.scope["auth"]
    if caller.user_id is None or caller.session_id is None:
        raise Forbidden("you signed in with an API key, which is nobody: sign in with mail address and password")
    return Person(user_id=caller.user_id, session_id=caller.session_id, tenant_id=caller.tenant.tenant_id)


def safe_path(text: str) -> str:
    """Return where to go after signing in: a path of this very host, else the front page.

    >>> safe_path("/hits/h_1-1?a=b"), safe_path("//evil.example"), safe_path("https://evil.example"), safe_path("")
    ('/hits/h_1-1?a=b', '/', '/', '/')
    """
    return text if _PATH.fullmatch(text) else "/"


def sign_in_path(connection: _Connection) -> str:
    """Name the sign-in form that leads back to what was asked for."""
    url = connection.url
    wanted = safe_path(url.path + (f"?{url.query}" if url.query else ""))
    asked = str(connection.scope.get("method")) in ("GET", "HEAD") and wanted != "/"
    return f"/sign-in?{urlencode({'next': wanted})}" if asked else "/sign-in"
