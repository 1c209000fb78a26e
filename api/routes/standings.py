"""Standings: how campaigns stand, a page of them at once."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, get

from analytics_core.db.sponsors import find_sponsor
from analytics_core.db.standings import list_standings
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.limits import REPORT_COST
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Query
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.standings import CampaignStanding
from api.scopes import SPONSOR_ID

__all__ = ("list_campaign_standings",)

_LIST: Final = "campaign-standings"
_CURSOR: Final = id_cursor(_LIST)


@get(
    "/campaign-standings",
    tags=["delivery"],
    opt={
        "permission": Permission.CAMPAIGNS_READ,
        "query": (SPONSOR_ID, LIMIT, _CURSOR),
        "cost": REPORT_COST,
    },
)
async def list_campaign_standings(request: Request[Any, Any, Any]) -> Page[CampaignStanding]:
    """Tell how campaigns stand, in the order in which they were made: delivered, pace, and conversions for sure."""
    query = Query.of(request)
    sponsor_id, limit, after = query.get(SPONSOR_ID), query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    tenant, now = caller_of(request).tenant, resources_of(request).clock.now()
    async with resources_of(request).database.tenant(tenant, snapshot=True) as conn:
        if sponsor_id is not None:
            await find_sponsor(conn, sponsor_id)
        rows = await list_standings(
            conn, tenant.tenant_id, after=after, limit=limit + 1, sponsor_id=sponsor_id, now=now
        )
    return page_of(rows, limit, CampaignStanding.of, _LIST, lambda row: (row.head.created_at, row.head.campaign_id))
