"""Attribution runs: asked for here, computed by ingest, and never changed once they are over."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, get, post

from analytics_core.db.attribution_results import list_totals
from analytics_core.db.attribution_runs import find_run
from analytics_core.db.attribution_runs import list_runs as read_runs
from analytics_core.db.sponsors import find_sponsor
from analytics_core.permissions import Permission
from api.attribution_runs import create
from api.auth import caller_of
from api.bodies import read_json
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Query
from api.resources import resources_of
from api.schemas.attribution_runs import AddAttributionRun, AttributionResult, AttributionRun
from api.schemas.common import Page
from api.scopes import SPONSOR_ID, path_id

__all__ = ("create_attribution_run", "get_attribution_run", "list_attribution_runs")

_LIST: Final = "attribution_runs"
_CURSOR: Final = id_cursor(_LIST)


@post(
    "/attribution/runs",
    tags=["attribution"],
    status_code=202,
    opt={
        "permission": Permission.ATTRIBUTION_WRITE,
        "bodies": {"application/json": AddAttributionRun},
        "refusals": (404, 409),
    },
)
async def create_attribution_run(request: Request[Any, Any, Any]) -> AttributionRun:
    """Ask for a sponsor's conversions to be attributed; ingest does it, within seconds as a rule.

    The same range, models, parameters and cutoff give the same credit, as long as nobody changes what flights are
    recognised by. A run is never edited: for what was said since, a refund say, ask for another one.
    """
    return await create(request, await read_json(request, AddAttributionRun))


@get(
    "/attribution/runs",
    tags=["attribution"],
    opt={"permission": Permission.ATTRIBUTION_READ, "query": (SPONSOR_ID, LIMIT, _CURSOR)},
)
async def list_attribution_runs(request: Request[Any, Any, Any]) -> Page[AttributionRun]:
    """List runs in the order in which they were asked for."""
    query = Query.of(request)
    sponsor_id, limit, after = query.get(SPONSOR_ID), query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        if sponsor_id is not None:
            await find_sponsor(conn, sponsor_id)
        rows = await read_runs(conn, after=after, limit=limit + 1, sponsor_id=sponsor_id)
    return page_of(rows, limit, AttributionRun.of, _LIST, lambda row: (row.created_at, row.run_id))


@get("/attribution/runs/{run_id:str}", tags=["attribution"], opt={"permission": Permission.ATTRIBUTION_READ})
async def get_attribution_run(request: Request[Any, Any, Any]) -> AttributionResult:
    """Read a run: what each model gave to each campaign and flight, once it is ready.

    All models share the same conversions. `deterministic` stands apart from them, each conversion whole to the flight
    that its own surest signal names: a click, a link, a promo code, an answer to a survey, in this order.
    """
    wanted = path_id(request, "run_id", what="attribution run")
    async with resources_of(request).database.tenant(caller_of(request).tenant, snapshot=True) as conn:
        row = await find_run(conn, wanted)
        totals = [] if row.summary is None else await list_totals(conn, wanted)
    return AttributionResult.of(row, totals)
