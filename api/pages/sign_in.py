"""Signing in with mail address and password or with an API key, going to another of one's tenants, and signing out."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.datastructures import UploadFile
from litestar.response import Redirect

from analytics_core.api_keys import KeyKind
from analytics_core.db.memberships import MembershipRow, list_memberships
from analytics_core.db.sessions import close_session, open_session
from analytics_core.db.tenants import find_key
from analytics_core.db.user_sessions import end_session, open_page_session
from analytics_core.errors import Forbidden, NotFound
from analytics_core.people import MAX_EMAIL
from analytics_core.roles import Role
from api.auth import caller_of
from api.callers import Caller
from api.clients import address_of
from api.errors import TooSoon, WrongCredentials
from api.limits import REPORT_COST
from api.pages.forms import read_form
from api.pages.limits import SignInLimit
from api.pages.sessions import (
    FORM_COOKIE,
    SESSION_COOKIE,
    SESSION_MAX_AGE,
    cookie_of,
    drop_cookie,
    find_viewer,
    make_cookie,
    person_here,
    safe_path,
    session_of,
)
from api.pages.views import show, show_form
from api.pages.words import sentence
from api.resources import resources_of
from api.sign_in import check_credentials
from api.writing import writing, writing_own

__all__ = ("show_sign_in", "show_tenants", "sign_in", "sign_out", "switch_tenant")

_MAX_BYTES: Final = 16_384


def _form(
    request: Request[Any, Any, Any],
    *,
    wanted: str,
    fault: str = "",
    key_fault: str = "",
    email: str = "",
    status_code: int = 200,
) -> Response[Any]:
    return show_form(
        request,
        "sign_in.html",
        status_code=status_code,
        wanted=wanted,
        fault=fault,
        key_fault=key_fault,
        email=email,
        tab="sign-in",
    )


@get("/sign-in", opt={"is_open": True})
async def show_sign_in(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show the form; who is signed in already is sent on."""
    wanted = safe_path(request.query_params.get("next", "/"))
    if await find_viewer(request) is not None:
        return Redirect(wanted, status_code=303)
    return _form(request, wanted=wanted)


def _text(fields: dict[str, str | UploadFile], name: str) -> str:
    value = fields.get(name, "")
    return value if isinstance(value, str) else ""


def _let_in(request: Request[Any, Any, Any], session: str, wanted: str) -> Response[Any]:
    answer = Redirect(wanted, status_code=303)
    answer.cookies.append(make_cookie(request, SESSION_COOKIE, session, max_age=SESSION_MAX_AGE))
    answer.cookies.extend(drop_cookie(FORM_COOKIE))
    return answer


async def _open(
    request: Request[Any, Any, Any], user_id: UUID, tenant: MembershipRow, *, instead_of: UUID | None = None
) -> str:
    """Open a person's session in one of their tenants, under a token that nobody has seen before."""
    async with writing_own(request, "session.open") as work:
        session = await open_page_session(
            work.conn,
            user_id,
            tenant.tenant_id,
            user_agent=request.headers.get("user-agent", ""),
            now=resources_of(request).clock.now(),
        )
        if instead_of is not None:
            await end_session(work.conn, user_id, instead_of)
        work.done(user_id, tenants=[tenant.tenant])
    return session


async def _sign_in_person(request: Request[Any, Any, Any], *, email: str, password: str, wanted: str) -> Response[Any]:
    try:
        found = await check_credentials(request, email=email, password=password)
    except WrongCredentials:
        fault, status_code, headers = "This mail address and password do not belong together.", 401, {}
    except TooSoon as error:
        fault, status_code = f"Too many attempts from where you are: wait {error.retry_after_s} seconds.", 429
        headers = {"Retry-After": str(error.retry_after_s)}
    except Forbidden as error:
        fault, status_code, headers = sentence(str(error)), 403, {}
    else:
        async with resources_of(request).database.auth() as conn:
            tenants = await list_memberships(conn, found.user_id)
        if tenants:
            session = await _open(request, found.user_id, tenants[0])
            # Who belongs to several says where to; on the way to a page of the first one that costs a click.
            choice = f"/tenants?{urlencode({'next': wanted})}"
            return _let_in(request, session, choice if len(tenants) > 1 else wanted)
        fault, status_code, headers = "You belong to no tenant yet: have somebody invite you.", 403, {}
    page = _form(request, wanted=wanted, fault=fault, email=email[:MAX_EMAIL], status_code=status_code)
    page.headers.update(headers)
    return page


async def _sign_in_key(request: Request[Any, Any, Any], text: str, *, wanted: str) -> Response[Any]:
    resources = resources_of(request)
    limit: SignInLimit = request.app.state.sign_in_limit
    address = address_of(request)
    limit.check(address)
    async with resources.database.auth() as conn:
        key = await find_key(conn, text.strip())
        if key is not None and key.kind is KeyKind.PUBLISHABLE:
            key = None
    if key is None:
        limit.note_failure(address)
        return _form(request, wanted=wanted, key_fault="This key is not valid.", status_code=401)
    async with writing(request, "session.open", role=Role.AUTH, caller=Caller.of_key(key)) as work:
        session = work.done(await open_session(work.conn, key, now=resources.clock.now()), resource=key.key_id)
    limit.note_success(address)
    return _let_in(request, session, wanted)


@post("/sign-in", opt={"is_open": True, "cost": REPORT_COST}, request_max_body_size=_MAX_BYTES, status_code=200)
async def sign_in(request: Request[Any, Any, Any]) -> Response[Any]:
    """Open a session for whoever shows a password or a key; all that is wrong with another is told by one sentence."""
    fields = await read_form(request, cookie_of(request, FORM_COOKIE))
    wanted = safe_path(_text(fields, "next"))
    if "email" in fields:
        email, password = _text(fields, "email"), _text(fields, "password")
        return await _sign_in_person(request, email=email, password=password, wanted=wanted)
    return await _sign_in_key(request, _text(fields, "key"), wanted=wanted)


@get("/tenants", opt={"permission": None})
async def show_tenants(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show which tenants somebody belongs to, to go to one of them."""
    person = person_here(request)
    async with resources_of(request).database.auth() as conn:
        tenants = await list_memberships(conn, person.user_id)
    wanted = safe_path(request.query_params.get("next", "/"))
    return show(request, "tenants.html", tab="account", tenants=tenants, here=person.tenant_id, wanted=wanted)


@post("/tenants", opt={"permission": None, "is_open_to_suspended": True}, request_max_body_size=_MAX_BYTES)
async def switch_tenant(request: Request[Any, Any, Any]) -> Response[Any]:
    """Go on in another tenant, in a session of its own; the one before ends."""
    fields = await read_form(request, session_of(request))
    person, slug = person_here(request), _text(fields, "tenant")
    async with resources_of(request).database.auth() as conn:
        chosen = [row for row in await list_memberships(conn, person.user_id) if row.slug == slug]
    if not chosen:
        raise NotFound("tenant")
    session = await _open(request, person.user_id, chosen[0], instead_of=person.session_id)
    return _let_in(request, session, safe_path(_text(fields, "next")))


@post("/sign-out", opt={"permission": None, "is_open_to_suspended": True}, request_max_body_size=_MAX_BYTES)
async def sign_out(request: Request[Any, Any, Any]) -> Response[Any]:
    """End the session."""
    await read_form(request, session_of(request))
    caller = caller_of(request)
    if caller.user_id is None:
        async with writing(request, "session.close", role=Role.AUTH) as work:
            await close_session(work.conn, session_of(request))
            work.done(None, resource=caller.key_id)
    else:
        person = person_here(request)
        async with writing_own(request, "session.close") as own:
            await end_session(own.conn, person.user_id, person.session_id)
            own.done(person.user_id, tenants=[caller.tenant], resource=person.session_id)
    answer = Redirect("/sign-in", status_code=303)
    answer.cookies.extend(drop_cookie(SESSION_COOKIE))
    return answer
