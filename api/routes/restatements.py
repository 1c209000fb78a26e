"""Restatements: which figures of final days changed, why, and by whom."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Request, get

from analytics_core.db.restatements import find_restatement
from analytics_core.db.restatements import list_restatements as read_restatements
from analytics_core.errors import NotFound
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Query
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.restatements import Restatement, RestatementAnswer, RestatementDay
from api.scopes import path_id

__all__ = ("get_restatement", "list_restatements")

_LIST: Final = "restatements"
_CURSOR: Final = id_cursor(_LIST)


@get(
    "/restatements", tags=["restatements"], opt={"permission": Permission.RESTATEMENTS_READ, "query": (LIMIT, _CURSOR)}
)
async def list_restatements(request: Request[Any, Any, Any]) -> Page[Restatement]:
    """List restatements, newest first: figures of final days that changed.

    A day becomes final when nothing more is expected of it. What lands for it nevertheless does not count, until a
    restatement takes it in.
    """
    query = Query.of(request)
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    async with resources_of(request).database.reading(caller_of(request).tenant) as conn:
        rows = await read_restatements(conn, after=after, limit=limit + 1)
    return page_of(rows, limit, Restatement.of, _LIST, lambda row: (row.started_at, row.restatement_id))


@get("/restatements/{restatement_id:str}", tags=["restatements"], opt={"permission": Permission.RESTATEMENTS_READ})
async def get_restatement(request: Request[Any, Any, Any]) -> RestatementAnswer:
    """Read one restatement, with each day before and after."""
    wanted = path_id(request, "restatement_id", what="restatement")
    async with resources_of(request).database.tenant(caller_of(request).tenant, snapshot=True) as conn:
        found = await find_restatement(conn, wanted)
    if found is None:
        raise NotFound("restatement")
    shown = msgspec.structs.asdict(Restatement.of(found.row))
    return RestatementAnswer(**shown, data=[RestatementDay.of(day) for day in found.days])
