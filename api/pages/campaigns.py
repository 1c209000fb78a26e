"""Campaigns on the page: which there are, how each one stands, told so that a sponsor understands it, and its steps."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.response import Redirect

from analytics_core.campaigns import CAMPAIGN_MOVES
from analytics_core.db.campaigns import list_campaigns
from analytics_core.db.deliveries import read_campaign_delivery, read_cutoff
from analytics_core.db.flight_alerts import read_alerts
from analytics_core.db.links import list_links
from analytics_core.db.performances import read_performance
from analytics_core.db.promo_codes import CodeFilter, list_promo_codes
from analytics_core.db.sponsors import find_sponsor, list_sponsor_names
from analytics_core.db.vanity_hosts import list_hosts_of_links
from analytics_core.deliveries import sum_days
from analytics_core.errors import Conflict, Forbidden, NotFound, Outdated
from analytics_core.pacing import Phase
from analytics_core.permissions import Permission
from analytics_core.reach import reach_of
from api.auth import caller_of
from api.campaigns import take_step
from api.idempotency import Replayed
from api.limits import REPORT_COST
from api.pages.campaign_figures import METHODS, model_lines, most_heard, pace_words, read_progress
from api.pages.campaign_tasks import read_tasks, who_was_first
from api.pages.filling import Filled
from api.pages.views import show
from api.pages.words import sentence
from api.pagination import id_cursor, write_cursor
from api.queries import Refusal
from api.resources import resources_of
from api.scopes import path_id

__all__ = ("show_campaign", "show_campaigns", "show_one", "step_campaign")

_PAGE: Final = 50
_DEVICES: Final = 100
_SHOWN: Final = 200
"""Placements of one campaign."""
_MAX_BYTES: Final = 16_384
_CURSOR: Final = id_cursor("campaigns")


@get("/campaigns", opt={"permission": Permission.CAMPAIGNS_READ})
async def show_campaigns(request: Request[Any, Any, Any]) -> Response[Any]:
    """List campaigns in the order in which they were made."""
    try:
        after = _CURSOR.parse(request.query_params.get("cursor", "")) if "cursor" in request.query_params else None
    except Refusal:
        after = None
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        rows = await list_campaigns(conn, after=after, limit=_PAGE + 1)
        sponsors = await list_sponsor_names(conn, {row.sponsor_id for row in rows[:_PAGE]})
    last = rows[_PAGE - 1] if len(rows) > _PAGE else None
    return show(
        request,
        "campaigns.html",
        tab="campaigns",
        campaigns=rows[:_PAGE],
        sponsors=sponsors,
        is_first_page=after is None,
        cursor=None if last is None else write_cursor("campaigns", last.created_at, last.campaign_id),
    )


async def show_one(request: Request[Any, Any, Any], wanted: UUID, *, fault: str = "") -> Response[Any]:
    """Show a campaign, with what was refused.

    Raises:
        Forbidden: Whoever asks may not read campaigns: some may attribute without.
        NotFound: There is none of this id.
    """
    caller, now = caller_of(request), resources_of(request).clock.now()
    if Permission.CAMPAIGNS_READ not in caller.permissions:
        raise Forbidden(f"this needs the permission {Permission.CAMPAIGNS_READ}")
    tenant = caller.tenant
    async with resources_of(request).database.tenant(tenant, snapshot=True) as conn:
        cutoff = await read_cutoff(conn)
        found = await read_campaign_delivery(conn, tenant.tenant_id, wanted, now=now)
        flight_ids = [one.terms.flight_id for one in found.delivery.flights]
        alerts = await read_alerts(conn, tenant.tenant_id, flight_ids)
        performance = await read_performance(conn, tenant.tenant_id, wanted, run_id=None, now=now)
        sponsor = await find_sponsor(conn, found.head.sponsor_id)
        codes = await list_promo_codes(conn, CodeFilter(campaign_id=wanted), after=None, limit=_DEVICES + 1)
        links = await list_links(conn, after=None, limit=_DEVICES + 1, campaign_id=wanted)
        hosts = await list_hosts_of_links(conn, [row.link_id for row in links])
        tasks = await read_tasks(conn, caller, found, now=now)
    head = performance.head
    lines = model_lines(performance.models, agreed=head.model, currency=head.currency)
    return show(
        request,
        "campaign.html",
        status_code=409 if fault else 200,
        tab="campaigns",
        head=head,
        campaign=found.head,
        sponsor=sponsor,
        delivery=found.delivery,
        flights=[
            (one, pace_words(one.pace, is_measured=one.phase is Phase.MEASURED))
            for one in sorted(found.delivery.flights, key=lambda one: one.terms.starts_at)
        ],
        alerts=alerts,
        placements=most_heard(found.placements, _SHOWN),
        more_placements=max(0, len(found.placements) - _SHOWN),
        pace=pace_words(found.delivery.pace, is_measured=found.delivery.is_measured),
        progress=read_progress(found.delivery, sum_days(found.placements), now=now),
        performance=performance,
        reach=reach_of(performance.months),
        lines=lines,
        agreed=next((line for line in lines if line.is_agreed), None),
        sure=next((line for line in lines if line.is_sure), None),
        method=METHODS[head.model],
        methods=METHODS,
        cutoff=cutoff,
        codes=codes[:_DEVICES],
        links=links[:_DEVICES],
        hosts=hosts,
        has_more=max(len(codes), len(links)) > _DEVICES,
        public_url=resources_of(request).settings.tracker.public_url.rstrip("/"),
        tasks=tasks,
        path=f"/campaigns/{wanted}",
        fault=fault,
    )


@get("/campaigns/{campaign_id:str}", opt={"permission": Permission.CAMPAIGNS_READ, "cost": REPORT_COST})
async def show_campaign(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show one campaign: what was delivered beside what was booked, and what came of it by each model."""
    return await show_one(request, path_id(request, "campaign_id", what="campaign"))


@post(
    "/campaigns/{campaign_id:str}/steps",
    request_max_body_size=_MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.CAMPAIGNS_WRITE, "cost": REPORT_COST},
)
async def step_campaign(request: Request[Any, Any, Any]) -> Response[Any]:
    """Move a campaign on; what is in its way is said on its page, with the way to the form that mends it."""
    wanted = path_id(request, "campaign_id", what="campaign")
    form = await Filled.read(request, {})
    step = form.typed("do")
    if step not in CAMPAIGN_MOVES:
        raise NotFound("step of a campaign")
    try:
        await take_step(request, wanted, step, version=form.version())
    except Replayed:
        pass
    except Outdated:
        async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
            first = await who_was_first(conn, caller_of(request), wanted)
        return await show_one(request, wanted, fault=f"The campaign was changed since you read it. {first}")
    except Conflict as error:
        return await show_one(request, wanted, fault=sentence(str(error)))
    return Redirect(f"/campaigns/{wanted}", status_code=303)
