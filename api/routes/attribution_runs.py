"""Attribution runs: asked for here, computed by ingest, and never changed once they are over."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Final, TypeVar

from litestar import Request, get, post

from analytics_core.attribution.parameters import parse_models, parse_parameters
from analytics_core.attribution.versions import code_version
from analytics_core.db.attribution_results import list_totals
from analytics_core.db.attribution_runs import add_run, find_run
from analytics_core.db.attribution_runs import list_runs as read_runs
from analytics_core.db.sponsors import find_sponsor
from analytics_core.errors import InvalidInput
from analytics_core.permissions import Permission
from analytics_core.reports import start_of_day
from api.auth import caller_of
from api.bodies import read_json
from api.errors import Fault, InvalidRequest
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Query, Refusal, moment
from api.ranges import UTC
from api.resources import resources_of
from api.schemas.attribution_runs import AddAttributionRun, AttributionResult, AttributionRun
from api.schemas.common import Page
from api.scopes import SPONSOR_ID, path_id
from api.writing import writing

__all__ = ("create_attribution_run", "get_attribution_run", "list_attribution_runs")

T = TypeVar("T")

MAX_DAYS: Final = 400
"""Days of a run's range."""

_LIST: Final = "attribution_runs"
_CURSOR: Final = id_cursor(_LIST)


def _instant(text: str) -> dt.datetime:
    found = moment(text)
    return found.astimezone(dt.UTC) if isinstance(found, dt.datetime) else start_of_day(found, UTC)


def _collect(faults: list[Fault], pointer: str, read: Callable[[], T]) -> T | None:
    try:
        return read()
    except InvalidInput as error:
        faults.append(Fault(error.path, error.code, error.reason))
    except Refusal as refusal:
        faults.append(Fault(pointer, refusal.code, str(refusal)))
    return None


def _check_range(faults: list[Fault], starts_at: dt.datetime, ends_at: dt.datetime) -> None:
    if ends_at <= starts_at:
        faults.append(Fault("/to", "reversed_range", "has to lie behind `from`: the range is half-open"))
    elif ends_at - starts_at > dt.timedelta(days=MAX_DAYS):
        faults.append(Fault("/to", "range_too_long", f"lies more than {MAX_DAYS} days behind `from`"))


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
    wanted = await read_json(request, AddAttributionRun)
    now = resources_of(request).clock.now()
    faults: list[Fault] = []
    starts_at = _collect(faults, "/from", lambda: _instant(wanted.start))
    ends_at = _collect(faults, "/to", lambda: _instant(wanted.end))
    if starts_at is not None and ends_at is not None:
        _check_range(faults, starts_at, ends_at)
    models = _collect(faults, "/models", lambda: parse_models(wanted.models))
    params = _collect(faults, "/params", lambda: parse_parameters(wanted.params))
    given = wanted.cutoff_at
    cutoff_at = now if given is None else _collect(faults, "/cutoff_at", lambda: _instant(given))
    if cutoff_at is not None and cutoff_at > now:
        faults.append(Fault("/cutoff_at", "in_the_future", "lies ahead: what is received until then is not known yet"))
    if faults or starts_at is None or ends_at is None or models is None or params is None or cutoff_at is None:
        raise InvalidRequest(faults)
    async with writing(request, "attribution_run.create") as work:
        row = await add_run(
            work.conn,
            work.tenant,
            sponsor_id=wanted.sponsor_id,
            starts_at=starts_at,
            ends_at=ends_at,
            models=models,
            params=params,
            cutoff_at=cutoff_at,
            code_version=code_version(),
            now=now,
        )
        return work.done(AttributionRun.of(row), resource=row.run_id)


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
