"""Survey options: which answers to the question where somebody heard of a sponsor stand for which flight."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, delete, get, post

from analytics_core.db.survey_options import add_option, archive_option, list_options
from analytics_core.permissions import Permission
from analytics_core.sponsors import clean_text
from api.auth import caller_of
from api.bodies import read_json
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Query
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.survey_options import AddSurveyOption, SurveyOption
from api.scopes import path_id
from api.writing import writing

__all__ = ("create_survey_option", "delete_survey_option", "list_survey_options")

_LIST: Final = "survey_options"
_CURSOR: Final = id_cursor(_LIST)
_TAGS: Final = ["conversions"]


@post(
    "/flights/{flight_id:str}/survey-options",
    tags=_TAGS,
    opt={
        "permission": Permission.CAMPAIGNS_WRITE,
        "bodies": {"application/json": AddSurveyOption},
        "refusals": (409,),
    },
)
async def create_survey_option(request: Request[Any, Any, Any]) -> SurveyOption:
    """Have an answer to "where did you hear of us" stand for a flight.

    Answers are compared without regard to case, and one stands for one flight of a sponsor (409 `answer_taken`).
    """
    flight_id = path_id(request, "flight_id", what="flight")
    text = clean_text((await read_json(request, AddSurveyOption)).answer, path="/answer")
    async with writing(request, "survey_option.create") as work:
        row = await add_option(work.conn, work.tenant, flight_id, text, now=resources_of(request).clock.now())
        return work.done(SurveyOption.of(row), resource=row.survey_option_id)


@get(
    "/flights/{flight_id:str}/survey-options",
    tags=_TAGS,
    opt={"permission": Permission.CAMPAIGNS_READ, "query": (LIMIT, _CURSOR)},
)
async def list_survey_options(request: Request[Any, Any, Any]) -> Page[SurveyOption]:
    """List the answers that stand for a flight, deleted ones too, in the order in which they were added."""
    flight_id = path_id(request, "flight_id", what="flight")
    query = Query.of(request)
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        rows = await list_options(conn, flight_id, after=after, limit=limit + 1)
    return page_of(rows, limit, SurveyOption.of, _LIST, lambda row: (row.created_at, row.survey_option_id))


@delete(
    "/survey-options/{survey_option_id:str}",
    tags=_TAGS,
    opt={"permission": Permission.CAMPAIGNS_WRITE},
)
async def delete_survey_option(request: Request[Any, Any, Any]) -> None:
    """Have an answer stand for nothing any more: it is kept, and no run from now on asks for it."""
    wanted = path_id(request, "survey_option_id", what="survey option")
    async with writing(request, "survey_option.delete") as work:
        await archive_option(work.conn, wanted, now=resources_of(request).clock.now())
        work.done(None, resource=wanted)
