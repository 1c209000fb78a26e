"""Flights and placements on the page: what a campaign is made of, and in which episodes it is heard."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.response import Redirect

from analytics_core.campaigns import Delivery, Position, Pricing
from analytics_core.db.campaigns import find_campaign
from analytics_core.db.episodes import list_heads
from analytics_core.db.podcasts import list_podcasts
from analytics_core.errors import Forbidden
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.flights import create as create_flight
from api.idempotency import Replayed
from api.pages.campaign_forms import (
    MAX_BYTES,
    campaign_id_of,
    chosen_flight,
    chosen_id,
    read_subject,
    show_filled,
)
from api.pages.filling import REFUSED, Filled
from api.placements import create as create_placement
from api.queries import Refusal, identifier
from api.resources import resources_of
from api.schemas.campaigns import AddFlight
from api.schemas.placements import AddPlacement

__all__ = ("add_flight", "add_placement", "show_new_flight", "show_new_placement")

_MAX_PODCASTS: Final = 200
_MAX_EPISODES: Final = 200
_FLIGHT: Final = {
    "name": "Name",
    "starts_at": "First day",
    "ends_at": "Last day",
    "price_amount": "Price",
    "booked_impressions": "Booked impressions",
    "window_days": "Window in days",
    "measurement_days": "Measured for so many days more",
}
_PRICED: Final = {
    Pricing.CPM: "for a thousand impressions, such as 25.00",
    Pricing.FLAT: "for the whole flight",
    Pricing.CPA: "for a conversion",
}
_PLACEMENT: Final = {
    "episode_id": "Episode",
    "flight_id": "Flight",
    "position": "Place",
    "delivery": "How it gets there",
    "host_read": "Somebody of the podcast says it",
    "live_from": "Live from",
    "live_until": "Live until",
}
_POSITIONS: Final = (
    (Position.PRE.value, "Pre-roll", "At the beginning."),
    (Position.MID.value, "Mid-roll", "In the middle."),
    (Position.POST.value, "Post-roll", "At the end."),
)
_DELIVERIES: Final = (
    (Delivery.BAKED_IN.value, "Baked in", "A part of the file: it is heard for as long as the file is downloaded."),
    (Delivery.DYNAMIC.value, "Dynamic", "Put in at each download, and gone when the flight ends."),
)


async def _show_flight(request: Request[Any, Any, Any], form: Filled | None = None) -> Response[Any]:
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        campaign, flights = await read_subject(conn, campaign_id_of(request))
    if form is None:
        days = {"starts_at": campaign.starts_on.isoformat(), "ends_at": campaign.ends_on.isoformat()}
        form = Filled(_FLIGHT, {"name": f"Flight {len(flights) + 1}", **days})
    return show_filled(request, "new_flight.html", form, campaign, priced=_PRICED[campaign.pricing])


@get("/campaigns/{campaign_id:str}/flights/new", opt={"permission": Permission.CAMPAIGNS_WRITE})
async def show_new_flight(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show the form of a flight."""
    return await _show_flight(request)


@post(
    "/campaigns/{campaign_id:str}/flights/new",
    request_max_body_size=MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.CAMPAIGNS_WRITE},
)
async def add_flight(request: Request[Any, Any, Any]) -> Response[Any]:
    """Add a flight, and lead back to the campaign."""
    wanted, form = campaign_id_of(request), await Filled.read(request, _FLIGHT)
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        campaign = await find_campaign(conn, wanted)
    form.texts("name")
    form.begin_of("starts_at")
    form.end_of("ends_at")
    form.amount("price_amount", campaign.currency)
    form.numbers("booked_impressions", "window_days", "measurement_days")
    try:
        await create_flight(request, wanted, form.convert(AddFlight))
    except Replayed:
        pass
    except REFUSED as error:
        return await _show_flight(request, form.refuse(error))
    return Redirect(f"/campaigns/{wanted}#flights", status_code=303)


async def _show_placement(request: Request[Any, Any, Any], form: Filled | None = None) -> Response[Any]:
    caller = caller_of(request)
    if Permission.PODCASTS_READ not in caller.permissions:
        raise Forbidden(f"this needs the permission {Permission.PODCASTS_READ}")
    asked = request.query_params.get("podcast_id", "") if form is None else form.typed("podcast_id")
    chosen: UUID | None
    try:
        chosen = identifier(asked)
    except Refusal:
        chosen = None
    async with resources_of(request).database.tenant(caller.tenant) as conn:
        subject = await read_subject(conn, campaign_id_of(request))
        podcasts = [(row.podcast_id, row.title) for row in await list_podcasts(conn, after=None, limit=_MAX_PODCASTS)]
        if podcasts and chosen not in dict(podcasts):
            chosen = podcasts[0][0]
        episodes = [] if chosen is None else await list_heads(conn, chosen, after=None, limit=_MAX_EPISODES + 1)
    if form is None:
        form = Filled(_PLACEMENT, {"position": Position.MID, "delivery": Delivery.BAKED_IN, "host_read": "on"})
    return show_filled(
        request,
        "new_placement.html",
        form,
        subject.campaign,
        flights=subject.choices,
        podcasts=podcasts,
        chosen=chosen,
        episodes=[(row.episode_id, row.title) for row in episodes[:_MAX_EPISODES]],
        has_more_episodes=len(episodes) > _MAX_EPISODES,
        positions=_POSITIONS,
        deliveries=_DELIVERIES,
    )


@get("/campaigns/{campaign_id:str}/placements/new", opt={"permission": Permission.CAMPAIGNS_WRITE})
async def show_new_placement(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show the form of a placement, with the episodes of one podcast."""
    return await _show_placement(request)


@post(
    "/campaigns/{campaign_id:str}/placements/new",
    request_max_body_size=MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.CAMPAIGNS_WRITE},
)
async def add_placement(request: Request[Any, Any, Any]) -> Response[Any]:
    """Place a flight in an episode, and lead back to the campaign."""
    wanted, form = campaign_id_of(request), await Filled.read(request, _PLACEMENT)
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        flight_id = chosen_flight(form, await read_subject(conn, wanted))
    form.document["episode_id"] = str(chosen_id(form, "episode_id", what="episode"))
    form.texts("position", "delivery")
    form.ticks("host_read")
    form.instants("live_from", "live_until")
    try:
        await create_placement(request, flight_id, form.convert(AddPlacement))
    except Replayed:
        pass
    except REFUSED as error:
        return await _show_placement(request, form.refuse(error))
    return Redirect(f"/campaigns/{wanted}#placements", status_code=303)
