"""What was agreed on with a sponsor, on the page: a new campaign, or one that is changed."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.response import Redirect

from analytics_core.campaigns import Model, Pricing, check_campaign_days
from analytics_core.db.campaigns import CampaignRow, find_campaign
from analytics_core.db.sponsors import SponsorFields, list_sponsors
from analytics_core.errors import Forbidden, NotFound, Outdated
from analytics_core.money import CURRENCIES
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.campaigns import change, create
from api.errors import InvalidRequest
from api.idempotency import Replayed
from api.pages.campaign_figures import METHODS
from api.pages.campaign_forms import MAX_BYTES, campaign_id_of, show_filled
from api.pages.campaign_tasks import who_was_first
from api.pages.filling import REFUSED, Filled
from api.pages.views import show
from api.pages.words import plain_amount
from api.queries import Refusal, identifier
from api.resources import resources_of
from api.schemas.campaigns import AddCampaign, ChangeCampaign
from api.schemas.sponsors import AddSponsor
from api.sponsors import parse_sponsor

__all__ = ("change_campaign", "make_campaign", "show_campaign_change", "show_new_campaign")

_MAX_SPONSORS: Final = 200
_LABELS: Final = {
    "sponsor_id": "Sponsor",
    "sponsor_name": "New sponsor’s name",
    "name": "Name",
    "starts_on": "First day",
    "ends_on": "Last day",
    "pricing": "Paid for",
    "budget_amount": "Budget",
    "currency": "Currency",
    "model": "How credit is shared",
    "window_days": "Window in days",
    "excludes_prior_customers": "Leave out who bought before",
}
_PLACES: Final = {"sponsor_name_taken": "sponsor_name", "sponsor_archived": "sponsor_id"}
_PROPOSED: Final = {"pricing": Pricing.CPM.value, "model": Model.LAST.value, "window_days": "30"}
_PRICINGS: Final = (
    (Pricing.CPM.value, "A thousand impressions (CPM)", "What was delivered is paid for, up to what was booked."),
    (Pricing.FLAT.value, "The flight as a whole (flat)", "One price, however many listeners there are."),
    (Pricing.CPA.value, "A conversion (CPA)", "Each purchase or sign-up that is known to come of it."),
)
_MODELS: Final = [(model.value, METHODS[model.value].name, METHODS[model.value].words) for model in Model]


async def _show(request: Request[Any, Any, Any], form: Filled) -> Response[Any]:
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        sponsors = await list_sponsors(conn, after=None, limit=_MAX_SPONSORS + 1, archived=False)
    may_add = Permission.SPONSORS_WRITE in caller_of(request).permissions
    shown = [(row.sponsor_id, row.name) for row in sponsors[:_MAX_SPONSORS]]
    choices = [("", "A new one: name it" if may_add else "Choose one"), *shown] if shown else []
    return show(
        request,
        "new_campaign.html",
        status_code=form.status_code,
        tab="campaigns",
        form=form,
        sponsors=choices,
        has_more_sponsors=len(sponsors) > _MAX_SPONSORS,
        max_sponsors=_MAX_SPONSORS,
        may_add_sponsor=may_add,
        pricings=_PRICINGS,
        models=_MODELS,
    )


@get("/campaigns/new", opt={"permission": Permission.CAMPAIGNS_WRITE})
async def show_new_campaign(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show the form."""
    return await _show(
        request, Filled(_LABELS, {**_PROPOSED, "sponsor_id": request.query_params.get("sponsor_id", "")})
    )


def _read_sponsor(request: Request[Any, Any, Any], form: Filled) -> SponsorFields | None:
    """Read whose campaign it is: one that is there, or one that is to be added.

    Raises:
        NotFound: What was chosen is none.
        Forbidden: The caller may not add one.
    """
    chosen, name = form.typed("sponsor_id"), form.typed("sponsor_name")
    may_add = Permission.SPONSORS_WRITE in caller_of(request).permissions
    if chosen and name:
        form.blame("sponsor_name", "is of a new one: leave it empty, or choose none of those that there are")
        return None
    if chosen:
        try:
            form.document["sponsor_id"] = str(identifier(chosen))
        except Refusal as error:
            raise NotFound("sponsor") from error
        return None
    if not name:
        form.blame("sponsor_name" if may_add else "sponsor_id", "is missing")
        return None
    if not may_add:
        raise Forbidden(f"this needs the permission {Permission.SPONSORS_WRITE}")
    try:
        return parse_sponsor(AddSponsor(name=name))
    except InvalidRequest as error:
        form.blame("sponsor_name", error.faults[0].message)
        return None


def _read_terms(form: Filled) -> None:
    """Read what can be changed later, but for amounts."""
    form.texts("name", "pricing", "model")
    days = form.days("starts_on", "ends_on")
    if len(days) == 2:
        form.judge(lambda: check_campaign_days(*days))
    form.numbers("window_days")
    form.ticks("excludes_prior_customers")


def _read_new(form: Filled) -> AddCampaign:
    """Read what is said of a new campaign, but for its sponsor."""
    _read_terms(form)
    currency = form.typed("currency").upper()
    if currency in CURRENCIES:
        form.document["currency"] = currency
        form.amount("budget_amount", currency)
    else:
        form.blame("currency", "has to be three letters of ISO 4217, such as EUR" if currency else "is missing")
        # What an amount is depends on the currency: it is not missing.
        form.document["budget_amount"] = 0
    return form.convert(AddCampaign)


@post(
    "/campaigns/new",
    request_max_body_size=MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.CAMPAIGNS_WRITE},
)
async def make_campaign(request: Request[Any, Any, Any]) -> Response[Any]:
    """Make the campaign with its order, and lead to its page."""
    form = await Filled.read(request, _LABELS, places=_PLACES)
    campaign_id: UUID | str | None
    try:
        sponsor = _read_sponsor(request, form)
        campaign_id = (await create(request, _read_new(form), sponsor=sponsor)).campaign_id
    except Replayed as done:
        campaign_id = done.stored.resource_id
    except REFUSED as error:
        return await _show(request, form.refuse(error))
    return Redirect(f"/campaigns/{campaign_id}", status_code=303)


def _as_typed(row: CampaignRow) -> dict[str, str]:
    """Write what is said of a campaign as somebody would have typed it."""
    fields = {
        "name": row.name,
        "starts_on": row.starts_on.isoformat(),
        "ends_on": row.ends_on.isoformat(),
        "pricing": row.pricing.value,
        "budget_amount": plain_amount(row.budget_amount, row.currency),
        "model": row.model.value,
        "window_days": str(row.window_days),
    }
    return {**fields, **({"excludes_prior_customers": "on"} if row.excludes_prior_customers else {})}


async def _show_change(request: Request[Any, Any, Any], form: Filled | None = None) -> Response[Any]:
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        campaign = await find_campaign(conn, campaign_id_of(request))
    form = Filled(_LABELS, _as_typed(campaign)) if form is None else form
    return show_filled(request, "change_campaign.html", form, campaign, pricings=_PRICINGS, models=_MODELS)


@get("/campaigns/{campaign_id:str}/change", opt={"permission": Permission.CAMPAIGNS_WRITE})
async def show_campaign_change(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show what is said of a campaign, to be changed."""
    return await _show_change(request)


@post(
    "/campaigns/{campaign_id:str}/change",
    request_max_body_size=MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.CAMPAIGNS_WRITE},
)
async def change_campaign(request: Request[Any, Any, Any]) -> Response[Any]:
    """Change what is said of a campaign, in the version that was shown."""
    wanted, form = campaign_id_of(request), await Filled.read(request, _LABELS)
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        campaign = await find_campaign(conn, wanted)
    _read_terms(form)
    if form.typed("budget_amount"):
        form.amount("budget_amount", campaign.currency)
    else:
        form.blame("budget_amount", "is missing")
    for name in ("name", "starts_on", "ends_on", "window_days"):
        if not form.typed(name):
            form.blame(name, "is missing")
    try:
        await change(request, wanted, form.convert(ChangeCampaign), version=form.version())
    except Replayed:
        pass
    except Outdated as error:
        async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
            first = await who_was_first(conn, caller_of(request), wanted)
        form.refuse(error)
        form.tell("", f"{first} What stands here is as you typed it: send it again to have it so")
        return await _show_change(request, form)
    except REFUSED as error:
        return await _show_change(request, form.refuse(error))
    return Redirect(f"/campaigns/{wanted}", status_code=303)
