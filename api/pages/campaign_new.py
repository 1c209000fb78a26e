"""A new campaign on the page, for a sponsor that is there or a new one."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.response import Redirect

from analytics_core.campaigns import Model, Pricing, check_campaign_days
from analytics_core.db.sponsors import SponsorFields, list_sponsors
from analytics_core.errors import Forbidden, NotFound
from analytics_core.money import CURRENCIES
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.campaigns import create
from api.errors import InvalidRequest
from api.idempotency import Replayed
from api.pages.campaign_figures import METHODS
from api.pages.filling import REFUSED, Filled
from api.pages.views import show
from api.queries import Refusal, identifier
from api.resources import resources_of
from api.schemas.campaigns import AddCampaign
from api.schemas.sponsors import AddSponsor
from api.sponsors import parse_sponsor

__all__ = ("make_campaign", "show_new_campaign")

_MAX_BYTES: Final = 65_536
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
        models=[(model.value, METHODS[model.value].name, METHODS[model.value].words) for model in Model],
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


def _read(form: Filled) -> AddCampaign:
    """Read the rest of it."""
    form.texts("name", "pricing", "model")
    days = form.days("starts_on", "ends_on")
    if len(days) == 2:
        form.judge(lambda: check_campaign_days(*days))
    form.numbers("window_days")
    form.ticks("excludes_prior_customers")
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
    request_max_body_size=_MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.CAMPAIGNS_WRITE},
)
async def make_campaign(request: Request[Any, Any, Any]) -> Response[Any]:
    """Make the campaign with its order, and lead to its page."""
    form = await Filled.read(request, _LABELS, places=_PLACES)
    campaign_id: UUID | str | None
    try:
        sponsor = _read_sponsor(request, form)
        campaign_id = (await create(request, _read(form), sponsor=sponsor)).campaign_id
    except Replayed as done:
        campaign_id = done.stored.resource_id
    except REFUSED as error:
        return await _show(request, form.refuse(error))
    return Redirect(f"/campaigns/{campaign_id}", status_code=303)
