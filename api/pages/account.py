"""Where the links of mail about accounts lead: a confirmed address, and a password set anew; and asking for that.

Looking at the page uses no token up, as programs that look at mail follow its links; sending its form does.
"""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, Response, get, post

from analytics_core.errors import InvalidInput
from api.accounts import confirm_email, mail_new_reset, reset_with_token
from api.limits import REPORT_COST
from api.pages.forms import read_form
from api.pages.sessions import FORM_COOKIE, cookie_of, drop_cookie
from api.pages.views import show_form, show_plain

__all__ = ("confirm_on_page", "forget_on_page", "reset_on_page", "show_confirmation", "show_forgot", "show_reset")

_MAX_BYTES: Final = 16_384
_MAX_TOKEN: Final = 200


def _form(
    request: Request[Any, Any, Any], template: str, *, secret: str, fault: str = "", status_code: int = 200
) -> Response[Any]:
    return show_form(request, template, status_code=status_code, secret=secret[:_MAX_TOKEN], fault=fault)


def _done(said: str) -> Response[Any]:
    page = show_plain("account_done.html", said=said)
    page.cookies.extend(drop_cookie(FORM_COOKIE))
    return page


async def _fields(request: Request[Any, Any, Any], *names: str) -> list[str]:
    fields = await read_form(request, cookie_of(request, FORM_COOKIE))
    return [value if isinstance(value := fields.get(name), str) else "" for name in names]


def _say(error: InvalidInput) -> str:
    subject = "This link" if error.code == "bad_token" else "Your password"
    return f"{subject} {error.reason}."


@get("/verify-email", opt={"is_open": True})
async def show_confirmation(request: Request[Any, Any, Any]) -> Response[Any]:
    """Ask whether an address is to be confirmed."""
    return _form(request, "verify_email.html", secret=request.query_params.get("token", ""))


@post("/verify-email", opt={"is_open": True}, request_max_body_size=_MAX_BYTES, status_code=200)
async def confirm_on_page(request: Request[Any, Any, Any]) -> Response[Any]:
    """Confirm it, or say why not."""
    (secret,) = await _fields(request, "token")
    try:
        await confirm_email(request, secret)
    except InvalidInput as error:
        return _form(request, "verify_email.html", secret=secret, fault=_say(error), status_code=422)
    return _done("Your mail address is confirmed")


@get("/reset-password", opt={"is_open": True})
async def show_reset(request: Request[Any, Any, Any]) -> Response[Any]:
    """Ask for a new password."""
    return _form(request, "reset_password.html", secret=request.query_params.get("token", ""))


@post("/reset-password", opt={"is_open": True}, request_max_body_size=_MAX_BYTES, status_code=200)
async def reset_on_page(request: Request[Any, Any, Any]) -> Response[Any]:
    """Set it, or say why not and ask again."""
    secret, password = await _fields(request, "token", "password")
    try:
        await reset_with_token(request, secret, password)
    except InvalidInput as error:
        return _form(request, "reset_password.html", secret=secret, fault=_say(error), status_code=422)
    return _done("Your new password is set")


@get("/forgot-password", opt={"is_open": True})
async def show_forgot(request: Request[Any, Any, Any]) -> Response[Any]:
    """Ask whose password is forgotten."""
    return _form(request, "forgot_password.html", secret="")


@post("/forgot-password", opt={"is_open": True, "cost": REPORT_COST}, request_max_body_size=_MAX_BYTES, status_code=200)
async def forget_on_page(request: Request[Any, Any, Any]) -> Response[Any]:
    """Send a mail, and say the same whether there is such an account or not."""
    (email,) = await _fields(request, "email")
    await mail_new_reset(request, email)
    page = show_plain("forgotten.html")
    page.cookies.extend(drop_cookie(FORM_COOKIE))
    return page
