"""Sponsors on the page: a list, to add to, to rename in, and to put away from."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.response import Redirect

from analytics_core.db.event_intake import sum_intake
from analytics_core.db.sponsors import list_sponsors
from analytics_core.errors import Conflict, Outdated
from analytics_core.intake import OUTCOME_WORDS
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.errors import InvalidRequest
from api.pages.forms import read_form
from api.pages.sessions import session_of
from api.pages.views import show
from api.pagination import id_cursor, write_cursor
from api.queries import Refusal
from api.resources import resources_of
from api.schemas.sponsors import AddSponsor, ChangeSponsor
from api.scopes import path_id
from api.sponsors import add as add_new
from api.sponsors import archive as put_away
from api.sponsors import change as change_given
from api.sponsors import restore as take_back

__all__ = ("add_sponsor", "change_sponsor", "show_sponsors")

_PAGE: Final = 50
_INTAKE_DAYS: Final = 30
_INTAKE_ROWS: Final = 20
_MAX_BYTES: Final = 16_384
_CURSOR: Final = id_cursor("sponsors")


async def _show(
    request: Request[Any, Any, Any], *, fault: str = "", typed: str = "", status_code: int = 200
) -> Response[Any]:
    try:
        after = _CURSOR.parse(request.query_params.get("cursor", "")) if "cursor" in request.query_params else None
    except Refusal:
        after = None
    tomorrow = resources_of(request).clock.now().astimezone(dt.UTC).date() + dt.timedelta(days=1)
    first = tomorrow - dt.timedelta(days=_INTAKE_DAYS)
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        rows = await list_sponsors(conn, after=after, limit=_PAGE + 1)
        came = []
        if after is None and Permission.ATTRIBUTION_READ in caller_of(request).permissions:
            came = await sum_intake(conn, first=first, until=tomorrow, limit=_INTAKE_ROWS + 1)
    last = rows[_PAGE - 1] if len(rows) > _PAGE else None
    return show(
        request,
        "sponsors.html",
        status_code=status_code,
        tab="sponsors",
        sponsors=rows[:_PAGE],
        is_first_page=after is None,
        cursor=None if last is None else write_cursor("sponsors", last.created_at, last.sponsor_id),
        may_write=Permission.SPONSORS_WRITE in caller_of(request).permissions,
        came=came[:_INTAKE_ROWS],
        is_more=len(came) > _INTAKE_ROWS,
        intake_days=_INTAKE_DAYS,
        outcome_words=OUTCOME_WORDS,
        fault=fault,
        typed=typed,
    )


def _sentence(error: InvalidRequest | Conflict | Outdated) -> str:
    # The name is all that can be wrong here.
    text = f"the name {error.faults[0].message}" if isinstance(error, InvalidRequest) else str(error)
    return f"{text[:1].upper()}{text[1:]}."


async def _fields(request: Request[Any, Any, Any]) -> dict[str, str]:
    fields = await read_form(request, session_of(request))
    return {name: value for name, value in fields.items() if isinstance(value, str)}


@get("/sponsors", opt={"permission": Permission.SPONSORS_READ})
async def show_sponsors(request: Request[Any, Any, Any]) -> Response[Any]:
    """List sponsors in the order in which they were added."""
    return await _show(request)


@post(
    "/sponsors",
    request_max_body_size=_MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.SPONSORS_WRITE},
)
async def add_sponsor(request: Request[Any, Any, Any]) -> Response[Any]:
    """Add a sponsor by its name."""
    name = (await _fields(request)).get("name", "")
    try:
        row = await add_new(request, AddSponsor(name=name))
    except InvalidRequest as error:
        return await _show(request, fault=_sentence(error), typed=name, status_code=422)
    except Conflict as error:
        return await _show(request, fault=_sentence(error), typed=name, status_code=409)
    return Redirect(f"/sponsors#s-{row.sponsor_id}", status_code=303)


@post(
    "/sponsors/{sponsor_id:str}",
    request_max_body_size=_MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.SPONSORS_WRITE},
)
async def change_sponsor(request: Request[Any, Any, Any]) -> Response[Any]:
    """Rename a sponsor, put it away or take it back: of the version that somebody had before them."""
    wanted = path_id(request, "sponsor_id", what="sponsor")
    fields = await _fields(request)
    text = fields.get("version", "")
    version = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
    try:
        match fields.get("do"):
            case "archive":
                await put_away(request, wanted, version=version)
            case "restore":
                await take_back(request, wanted, version=version)
            case _:
                name = fields.get("name", "")
                await change_given(request, wanted, ChangeSponsor(name=name), version=version)
    except InvalidRequest as error:
        return await _show(request, fault=_sentence(error), status_code=422)
    except (Conflict, Outdated) as error:
        return await _show(request, fault=_sentence(error), status_code=409)
    return Redirect(f"/sponsors#s-{wanted}", status_code=303)
