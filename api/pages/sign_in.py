"""Signing in with an API key, and out."""

from __future__ import annotations

import secrets
from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.response import Redirect

from analytics_core.api_keys import KeyKind
from analytics_core.db.sessions import close_session, open_session
from analytics_core.db.tenants import find_key
from analytics_core.roles import Role
from api.auth import caller_of
from api.callers import Caller
from api.clients import address_of
from api.pages.forms import form_token, read_form
from api.pages.limits import SignInLimit
from api.pages.sessions import (
    FORM_COOKIE,
    SESSION_COOKIE,
    SESSION_MAX_AGE,
    cookie_of,
    drop_cookie,
    find_viewer,
    make_cookie,
    safe_path,
    session_of,
)
from api.pages.views import show_plain
from api.resources import resources_of
from api.writing import writing

__all__ = ("show_sign_in", "sign_in", "sign_out")

_FORM_MAX_AGE: Final = 24 * 3600
_MAX_BYTES: Final = 16_384


def _form(request: Request[Any, Any, Any], *, wanted: str, fault: str = "", status_code: int = 200) -> Response[Any]:
    secret = cookie_of(request, FORM_COOKIE)
    cookies: list[Cookie] = []
    if not secret:
        secret = secrets.token_urlsafe(32)
        cookies = [make_cookie(request, FORM_COOKIE, secret, max_age=_FORM_MAX_AGE, samesite="strict")]
    page = show_plain(
        "sign_in.html", status_code=status_code, token=form_token(secret), wanted=wanted, fault=fault, tab="sign-in"
    )
    page.cookies.extend(cookies)
    return page


@get("/sign-in", opt={"is_open": True})
async def show_sign_in(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show the form; who is signed in already is sent on."""
    wanted = safe_path(request.query_params.get("next", "/"))
    if await find_viewer(request) is not None:
        return Redirect(wanted, status_code=303)
    return _form(request, wanted=wanted)


@post("/sign-in", opt={"is_open": True}, request_max_body_size=_MAX_BYTES, status_code=200)
async def sign_in(request: Request[Any, Any, Any]) -> Response[Any]:
    """Open a session for whoever shows a valid key; all that is wrong with another one is told by one sentence."""
    resources = resources_of(request)
    fields = await read_form(request, cookie_of(request, FORM_COOKIE))
    limit: SignInLimit = request.app.state.sign_in_limit
    address = address_of(request)
    limit.check(address)
    text, wanted = fields.get("key", ""), fields.get("next", "/")
    wanted = safe_path(wanted if isinstance(wanted, str) else "/")
    async with resources.database.auth() as conn:
        key = await find_key(conn, text.strip()) if isinstance(text, str) else None
        if key is not None and key.kind is KeyKind.PUBLISHABLE:
            key = None
    if key is None:
        limit.note_failure(address)
        return _form(request, wanted=wanted, fault="This key is not valid.", status_code=401)
    async with writing(request, "session.open", role=Role.AUTH, caller=Caller.of_key(key)) as work:
        session = work.done(await open_session(work.conn, key, now=resources.clock.now()), resource=key.key_id)
    limit.note_success(address)
    answer = Redirect(wanted, status_code=303)
    answer.cookies.append(make_cookie(request, SESSION_COOKIE, session, max_age=SESSION_MAX_AGE))
    answer.cookies.extend(drop_cookie(FORM_COOKIE))
    return answer


@post("/sign-out", opt={"permission": None, "is_open_to_suspended": True}, request_max_body_size=_MAX_BYTES)
async def sign_out(request: Request[Any, Any, Any]) -> Response[Any]:
    """End the session."""
    await read_form(request, session_of(request))
    async with writing(request, "session.close", role=Role.AUTH) as work:
        await close_session(work.conn, session_of(request))
        work.done(None, resource=caller_of(request).key_id)
    answer = Redirect("/sign-in", status_code=303)
    answer.cookies.extend(drop_cookie(SESSION_COOKIE))
    return answer
