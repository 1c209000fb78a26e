"""One's own account on the page: name, language, password, sessions, what is kept, and leaving."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.enums import MediaType
from litestar.response import Redirect

from analytics_core.errors import Conflict, InvalidInput, NotFound
from api.auth import caller_of
from api.errors import TooSoon
from api.limits import REPORT_COST
from api.oneself import (
    change_oneself,
    change_password,
    check_own_password,
    choose_own_mail,
    close_other_sessions,
    close_own_session,
    export_oneself,
    leave,
)
from api.pages.forms import read_form
from api.pages.sessions import SESSION_COOKIE, drop_cookie, person_here, session_of
from api.pages.views import HEADERS, show
from api.pages.words import sentence

__all__ = (
    "change_account",
    "choose_account_mail",
    "export_account",
    "leave_account",
    "set_own_password",
    "show_account",
    "sign_out_elsewhere",
)

_MAX_BYTES: Final = 16_384
_OPT: Final = {"permission": None, "is_open_to_suspended": True}
_SAID: Final = {"changed": "Saved.", "password": "Your password is changed, and your other sessions have ended."}


async def _show(
    request: Request[Any, Any, Any], *, place: str = "", fault: str = "", status_code: int = 200
) -> Response[Any]:
    own = await export_oneself(request, person_here(request))
    return show(
        request,
        "account.html",
        status_code=status_code,
        tab="account",
        user=own.user,
        sessions=own.sessions,
        said=_SAID.get(request.query_params.get("done", ""), ""),
        place=place,
        fault=fault,
    )


async def _fields(request: Request[Any, Any, Any], *names: str) -> list[str]:
    fields = await read_form(request, session_of(request))
    return [value if isinstance(value := fields.get(name), str) else "" for name in names]


def _told(error: InvalidInput | TooSoon | Conflict) -> tuple[str, int]:
    if isinstance(error, TooSoon):
        return f"Too many attempts: wait {error.retry_after_s} seconds.", 429
    if isinstance(error, Conflict):
        return sentence(str(error)), 409
    subject = "This" if error.path == "/current_password" else f"The {error.path.removeprefix('/')}"
    return f"{subject} {error.reason}.", 422


@get("/account", opt=_OPT)
async def show_account(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show somebody what can be changed of them."""
    return await _show(request)


@post("/account", opt=_OPT, request_max_body_size=_MAX_BYTES, status_code=200)
async def change_account(request: Request[Any, Any, Any]) -> Response[Any]:
    """Change name and language."""
    name, locale = await _fields(request, "name", "locale")
    try:
        await change_oneself(request, person_here(request), name=name, locale=locale)
    except InvalidInput as error:
        fault, status_code = _told(error)
        return await _show(request, place="name", fault=fault, status_code=status_code)
    return Redirect("/account?done=changed", status_code=303)


@post("/account/mail", opt=_OPT, request_max_body_size=_MAX_BYTES, status_code=200)
async def choose_account_mail(request: Request[Any, Any, Any]) -> Response[Any]:
    """Say whether mail about flights of the tenant here is wanted; a box that is not ticked sends nothing."""
    (wanted,) = await _fields(request, "delivery_mail")
    tenant_id = caller_of(request).tenant.tenant_id
    await choose_own_mail(request, person_here(request), tenant_id, delivery_mail=bool(wanted))
    return Redirect("/account?done=changed", status_code=303)


@post("/account/password", opt={**_OPT, "cost": REPORT_COST}, request_max_body_size=_MAX_BYTES, status_code=200)
async def set_own_password(request: Request[Any, Any, Any]) -> Response[Any]:
    """Change the password, by whoever knows the one that is."""
    current, password = await _fields(request, "current_password", "password")
    try:
        await change_password(request, person_here(request), current_password=current, password=password)
    except (InvalidInput, TooSoon) as error:
        fault, status_code = _told(error)
        return await _show(request, place="password", fault=fault, status_code=status_code)
    return Redirect("/account?done=password", status_code=303)


@post("/account/sessions", opt=_OPT, request_max_body_size=_MAX_BYTES, status_code=200)
async def sign_out_elsewhere(request: Request[Any, Any, Any]) -> Response[Any]:
    """End one session, or all but this one."""
    (wanted,) = await _fields(request, "session_id")
    if wanted == "others":
        await close_other_sessions(request, person_here(request))
    else:
        try:
            session_id = UUID(wanted)
        except ValueError as error:
            raise NotFound("session") from error
        await close_own_session(request, person_here(request), session_id)
    return Redirect("/account#sessions", status_code=303)


@get("/account/export", opt=_OPT)
async def export_account(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Hand out all that is kept of somebody, as a file."""
    own = await export_oneself(request, person_here(request))
    headers = {**HEADERS, "Content-Disposition": 'attachment; filename="castledger-account.json"'}
    return Response(msgspec.json.format(msgspec.json.encode(own)), media_type=MediaType.JSON, headers=headers)


@post("/account/delete", opt={**_OPT, "cost": REPORT_COST}, request_max_body_size=_MAX_BYTES, status_code=200)
async def leave_account(request: Request[Any, Any, Any]) -> Response[Any]:
    """Delete the account of whoever knows its password."""
    (current,) = await _fields(request, "current_password")
    try:
        await check_own_password(request, person_here(request), current)
        await leave(request, person_here(request))
    except (InvalidInput, TooSoon, Conflict) as error:
        fault, status_code = _told(error)
        return await _show(request, place="delete", fault=fault, status_code=status_code)
    answer = Redirect("/sign-in", status_code=303)
    answer.cookies.extend(drop_cookie(SESSION_COOKIE))
    return answer
