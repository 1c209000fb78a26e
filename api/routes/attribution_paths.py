"""What led to a conversion, and which promo codes leaked."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from litestar import Request, get

from analytics_core.db.attribution_results import find_run_of
from analytics_core.db.attribution_runs import find_run
from analytics_core.db.code_leaks import list_redeemed
from analytics_core.db.sponsors import find_sponsor
from analytics_core.errors import NotFound
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.pagination import LIMIT
from api.paths import read_path as read_conversion_path
from api.queries import Parameter, Query, identifier
from api.ranges import FROM, TO, TZ, read_range
from api.resources import resources_of
from api.schemas.attribution_paths import ConversionPath
from api.schemas.code_leaks import LeakageAnswer
from api.scopes import SPONSOR_ID, path_id

__all__ = ("get_conversion_path", "get_leakage")

_RUN_ID: Final[Parameter[UUID | None]] = Parameter(
    "run_id",
    identifier,
    None,
    "As this run found it. By default the ready run with the latest cutoff that the conversion is in.",
    {"type": "string", "format": "uuid"},
)


@get(
    "/attribution/paths/{conversion_id:str}",
    tags=["attribution"],
    opt={"permission": Permission.ATTRIBUTION_READ, "query": (_RUN_ID,)},
)
async def get_conversion_path(request: Request[Any, Any, Any]) -> ConversionPath:
    """Tell what led to a conversion: its touches, what each model gave to each, and why other signals count nothing.

    404 while no run that is ready has it.
    """
    wanted = path_id(request, "conversion_id", what="conversion")
    query = Query.of(request)
    run_id = query.get(_RUN_ID)
    query.finish()
    tenant = caller_of(request).tenant
    async with resources_of(request).database.tenant(tenant, snapshot=True) as conn:
        found = run_id or await find_run_of(conn, wanted)
        if found is None:
            raise NotFound("conversion")
        return await read_conversion_path(conn, tenant, await find_run(conn, found), wanted)


@get(
    "/attribution/leakage",
    tags=["attribution"],
    opt={"permission": Permission.ATTRIBUTION_READ, "query": (SPONSOR_ID, FROM, TO, TZ, LIMIT)},
)
async def get_leakage(request: Request[Any, Any, Any]) -> LeakageAnswer:
    """Tell which promo codes were redeemed by those whom no listener's ear explains.

    Either the code had been redeemed before as often as it is meant to be (`over_limit`), or they came from a site that
    collects codes (`coupon_referrer`), or no episode with the code's flight was downloaded in the window before
    (`no_exposure`). Figures are live: of all conversions that are there now.
    """
    query = Query.of(request)
    sponsor_id, limit = query.get(SPONSOR_ID), query.get(LIMIT)
    start, end = read_range(query, now=resources_of(request).clock.now())
    query.finish()
    tenant = caller_of(request).tenant
    async with resources_of(request).database.tenant(tenant, snapshot=True) as conn:
        if sponsor_id is not None:
            await find_sponsor(conn, sponsor_id)
        rows = await list_redeemed(conn, tenant, sponsor_id=sponsor_id, starts_at=start, ends_at=end)
    return LeakageAnswer.of(rows, start=start, end=end, limit=limit)
