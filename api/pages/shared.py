"""A report for somebody without a login: the page that a link leads to, to read and to print."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, Response, get, post

from analytics_core.db.reports import read_figures
from api.errors import TooSoon
from api.limits import REPORT_COST
from api.pages.forms import read_form
from api.pages.report_tables import read_page
from api.pages.sessions import FORM_COOKIE, cookie_of
from api.pages.views import show_form
from api.reports import OpenedShare, WrongPassword, begin_visit, open_share, send_file, use_view
from api.resources import resources_of

__all__ = ("open_on_page", "show_shared")

_MAX_BYTES: Final = 16_384
# No `no-referrer`, with which browsers would send the form as from nowhere: no other site is told the address.
_HEADERS: Final = {"X-Robots-Tag": "noindex, nofollow"}


def _cover(
    request: Request[Any, Any, Any],
    shared: str,
    *,
    opened: OpenedShare | None,
    fault: str = "",
    status_code: int = 200,
) -> Response[Any]:
    """Show what is behind a link before it is opened: a form, which programs that look at addresses do not send."""
    page = show_form(request, "shared_cover.html", status_code=status_code, shared=shared, opened=opened, fault=fault)
    page.headers.update(_HEADERS)
    return page


async def _report(request: Request[Any, Any, Any], shared: str, opened: OpenedShare) -> Response[Any]:
    """Count a view, and show the report."""
    share, report = opened.share, opened.report
    visit = await begin_visit(request, opened)
    async with resources_of(request).database.auth() as conn:
        figures = await read_figures(conn, share.tenant, report.report_id)
    page = show_form(
        request,
        "shared_report.html",
        shared=shared,
        report=report,
        page=None if figures is None else read_page(figures),
        visit=visit,
        expires_at=share.expires_at,
    )
    page.headers.update(_HEADERS)
    return page


@get("/shared/{token:str}", opt={"is_open": True, "cost": REPORT_COST})
async def show_shared(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show the report that a link leads to, or ask for its password, or whether to use up a view."""
    shared = str(request.path_params["token"])
    try:
        opened = await open_share(request, shared, password=None)
    except WrongPassword:
        return _cover(request, shared, opened=None)
    if opened.share.max_views is not None:
        # A program that looks at every address in a mail would use them up.
        return _cover(request, shared, opened=opened)
    return await _report(request, shared, opened)


@post(
    "/shared/{token:str}",
    # A form so that the password is in no address; what it counts is told with the link.
    opt={"is_open": True, "cost": REPORT_COST, "changes_nothing": True},
    request_max_body_size=_MAX_BYTES,
    status_code=200,
)
async def open_on_page(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show the report to somebody who has the password, or hand its file out."""
    shared = str(request.path_params["token"])
    fields = await read_form(request, cookie_of(request, FORM_COOKIE))
    password, wish, visit = (
        value if isinstance(value := fields.get(name), str) else "" for name in ("password", "do", "visit")
    )
    is_file = wish == "download"
    try:
        opened = await open_share(request, shared, password=password or None, visit=visit if is_file else "")
    except WrongPassword:
        fault = "This page was open for too long: type the password once more."
        if password or not visit:
            fault = "This is not the password of this report."
        return _cover(request, shared, opened=None, fault=fault, status_code=401)
    except TooSoon as error:
        fault = f"Too many wrong passwords: wait {error.retry_after_s} seconds."
        page = _cover(request, shared, opened=None, fault=fault, status_code=429)
        page.headers["Retry-After"] = str(error.retry_after_s)
        return page
    if is_file:
        if not opened.is_visiting:
            await use_view(request, opened.share)
        file = await send_file(resources_of(request).database.auth, opened.share.tenant, opened.report)
        file.headers.update(_HEADERS)
        return file
    return await _report(request, shared, opened)
