"""Conversions: sent by servers, read with all that was said of them later, adjusted."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from litestar import Request, Response, get, post

from analytics_core.conversions import ConversionFields
from analytics_core.db.conversion_actions import find_action
from analytics_core.db.conversions import find_conversion
from analytics_core.db.conversions import list_conversions as read_conversions
from analytics_core.db.sponsors import find_sponsor
from analytics_core.permissions import Permission
from analytics_core.reports import start_of_day
from api.auth import caller_of
from api.bodies import read_json, read_object
from api.conversions import adjust, answer, record_many, record_one, show
from api.errors import Fault, InvalidRequest
from api.pagination import LIMIT, id_cursor, write_cursor
from api.queries import Moment, Parameter, Query, identifier, moment
from api.ranges import UTC
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.conversions import (
    AdjustConversion,
    AnswerSurvey,
    Conversion,
    ConversionVerdicts,
    SendConversions,
)
from api.scopes import SPONSOR_ID, path_id

__all__ = ("adjust_conversion", "answer_survey", "get_conversion", "list_conversions", "send_conversions")

_LIST: Final = "conversions"
_CURSOR: Final = id_cursor(_LIST)
_TAGS: Final = ["conversions"]
_FORM: Final = {"type": "string", "examples": ["2026-11-01", "2026-11-01T12:00:00+01:00"]}

ACTION_ID: Final = Parameter(
    "action_id", identifier, None, "Only of this conversion action.", {"type": "string", "format": "uuid"}
)
_FROM: Final[Parameter[Moment | None]] = Parameter(
    "from", moment, None, "Only what occurred then or later: a date (UTC) or an instant with an offset.", _FORM
)
_TO: Final[Parameter[Moment | None]] = Parameter(
    "to", moment, None, "Only what occurred before: a date (UTC) or an instant with an offset.", _FORM
)


def _instant(at: Moment | None) -> dt.datetime | None:
    return at if at is None or isinstance(at, dt.datetime) else start_of_day(at, UTC)


@post(
    "/attribution/conversions",
    tags=_TAGS,
    opt={
        "permission": Permission.ATTRIBUTION_WRITE,
        "bodies": {"application/json": ConversionFields | SendConversions},
        "repeated": (200,),
        "refusals": (404, 409),
    },
)
async def send_conversions(request: Request[Any, Any, Any]) -> Response[Conversion | ConversionVerdicts]:
    """Tell of a conversion, or of up to 500 at once.

    One is answered with 201 and as it is stored, or with 200 where it is there already and says the same; where it says
    something else, with 409 `conversion_differs`. Several are answered with 200 and a verdict each, and what is wrong
    with one keeps no other from being recorded.
    """
    document = await read_object(request)
    if "conversions" not in document:
        return await record_one(request, document)
    if len(document) > 1:
        other = next(name for name in document if name != "conversions")
        raise InvalidRequest([Fault(f"/{other[:40]}", "unknown_field", "beside conversions there is no other field")])
    return await record_many(request, document["conversions"])


@get(
    "/attribution/conversions",
    tags=_TAGS,
    opt={"permission": Permission.ATTRIBUTION_READ, "query": (SPONSOR_ID, ACTION_ID, _FROM, _TO, LIMIT, _CURSOR)},
)
async def list_conversions(request: Request[Any, Any, Any]) -> Page[Conversion]:
    """List conversions in the order in which they occurred, retracted ones too."""
    query = Query.of(request)
    sponsor_id, action_id = query.get(SPONSOR_ID), query.get(ACTION_ID)
    start, end = _instant(query.get(_FROM)), _instant(query.get(_TO))
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    if query.is_good(_FROM, _TO) and start is not None and end is not None and end <= start:
        query.refuse("to", "reversed_range", "has to lie behind `from`")
    query.finish()
    async with resources_of(request).database.tenant(caller_of(request).tenant, snapshot=True) as conn:
        if sponsor_id is not None:
            await find_sponsor(conn, sponsor_id)
        if action_id is not None:
            await find_action(conn, action_id)
        rows = await read_conversions(
            conn, after=after, limit=limit + 1, start=start, end=end, sponsor_id=sponsor_id, action_id=action_id
        )
        data = await show(conn, rows[:limit])
    last = rows[limit - 1] if len(rows) > limit else None
    return Page(data, None if last is None else write_cursor(_LIST, last.occurred_at, last.conversion_id))


@get("/attribution/conversions/{conversion_id:str}", tags=_TAGS, opt={"permission": Permission.ATTRIBUTION_READ})
async def get_conversion(request: Request[Any, Any, Any]) -> Conversion:
    """Read one conversion: what was said first, what was said later, and what it is worth by that."""
    wanted = path_id(request, "conversion_id", what="conversion")
    async with resources_of(request).database.tenant(caller_of(request).tenant, snapshot=True) as conn:
        (shown,) = await show(conn, [await find_conversion(conn, wanted)])
    return shown


@post(
    "/attribution/conversions/{conversion_id:str}/adjust",
    tags=_TAGS,
    status_code=200,
    opt={"permission": Permission.ATTRIBUTION_WRITE, "bodies": {"application/json": AdjustConversion}},
)
async def adjust_conversion(request: Request[Any, Any, Any]) -> Conversion:
    """Say of a conversion that it was none, or what it was worth in the end, as after an order was cancelled.

    What was said first stays. The same under the same `external_id` changes nothing, something else under it is 409
    `adjustment_differs`; to retract what is retracted already changes nothing either.
    """
    wanted = path_id(request, "conversion_id", what="conversion")
    return await adjust(request, wanted, await read_json(request, AdjustConversion))


@post(
    "/attribution/survey-answers",
    tags=_TAGS,
    status_code=200,
    opt={
        "permission": Permission.ATTRIBUTION_WRITE,
        "bodies": {"application/json": AnswerSurvey},
        "refusals": (404, 409),
    },
)
async def answer_survey(request: Request[Any, Any, Any]) -> Conversion:
    """Say what a customer answered when asked where they heard of the sponsor.

    The conversion has to be there. A customer answers once: another answer is 409 `survey_answered`. An answer that is
    known with the conversion is sent as its `survey_answer`.
    """
    return await answer(request, await read_json(request, AnswerSurvey))
