"""Accepting an invitation on the page: where the link of its mail leads."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, Response, get, post

from analytics_core.db.invitations import OpenInvitation
from analytics_core.errors import Conflict, InvalidInput, QuotaExceeded
from analytics_core.people import MAX_NAME
from api.errors import TooSoon, WrongCredentials
from api.joining import find_invited, join
from api.pages.forms import read_form
from api.pages.sessions import FORM_COOKIE, cookie_of, drop_cookie
from api.pages.views import show_form, show_plain
from api.schemas.members import Joined

__all__ = ("accept_on_page", "show_invitation")

_MAX_BYTES: Final = 16_384
_WRONG: Final = "There is an account with this address already, and this is not its password."


def _form(
    request: Request[Any, Any, Any],
    invitation: OpenInvitation,
    *,
    secret: str,
    name: str = "",
    fault: str = "",
    status_code: int = 200,
) -> Response[Any]:
    return show_form(
        request,
        "invitation.html",
        status_code=status_code,
        secret=secret,
        invitation=invitation,
        called=name,
        max_name=MAX_NAME,
        fault=fault,
    )


@get("/invitation", opt={"is_open": True})
async def show_invitation(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show who invites whom, and ask for a password."""
    secret = request.query_params.get("token", "")
    return _form(request, await find_invited(request, secret), secret=secret)


@post("/invitation", opt={"is_open": True}, request_max_body_size=_MAX_BYTES, status_code=200)
async def accept_on_page(request: Request[Any, Any, Any]) -> Response[Any]:
    """Join the tenant, or say why not and ask again."""
    fields = await read_form(request, cookie_of(request, FORM_COOKIE))
    secret, name, password = (
        value if isinstance(value := fields.get(field), str) else "" for field in ("token", "name", "password")
    )
    invitation = await find_invited(request, secret)
    try:
        joined = await join(request, invitation, name=name, password=password)
    except InvalidInput as error:
        fault, status = f"Your {error.path.removeprefix('/')} {error.reason}.", 422
    except WrongCredentials:
        fault, status = _WRONG, 401
    except TooSoon as error:
        fault, status = f"Too many attempts: wait {error.retry_after_s} seconds.", 429
    except Conflict as error:
        fault, status = f"{str(error).capitalize()}.", 409
    except QuotaExceeded:
        fault, status = "There is no room for another member: tell whoever has invited you.", 429
    else:
        return _welcome(joined)
    return _form(request, invitation, secret=secret, name=name[:MAX_NAME], fault=fault, status_code=status)


def _welcome(joined: Joined) -> Response[Any]:
    page = show_plain("joined.html", joined=joined)
    page.cookies.extend(drop_cookie(FORM_COOKIE))
    return page
