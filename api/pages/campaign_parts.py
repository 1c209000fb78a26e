"""Parts of a campaign on the page, moved on or taken away: flights, placements, codes, links and hosts."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, post
from litestar.response import Redirect

from analytics_core.campaigns import PLACEMENT_MOVES
from analytics_core.db.flights import find_flight
from analytics_core.db.links import get_link
from analytics_core.db.placements import find_placement
from analytics_core.db.promo_codes import find_promo_code
from analytics_core.db.vanity_hosts import find_vanity_host
from analytics_core.errors import Conflict, NotFound, Outdated
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.flights import cancel
from api.idempotency import Replayed
from api.limits import REPORT_COST
from api.links import take_away as take_link_away
from api.pages.campaign_forms import MAX_BYTES
from api.pages.campaign_tasks import who_was_first
from api.pages.campaigns import show_one
from api.pages.filling import Filled
from api.pages.words import sentence
from api.placements import take_step
from api.promo_codes import archive
from api.resources import resources_of
from api.scopes import path_id
from api.vanity_hosts import take_away as take_host_away

__all__ = ("end_promo_code", "remove_link", "remove_vanity_host", "step_flight", "step_placement")

_WRITE: Final[dict[str, Any]] = {"permission": Permission.CAMPAIGNS_WRITE, "cost": REPORT_COST}


async def _settle(
    request: Request[Any, Any, Any], done: Awaitable[object], *, of: UUID, campaign_id: UUID, place: str
) -> Response[Any]:
    """Do what was asked for and lead back to the campaign; what is in its way is said there.

    Args:
        request: Which asks.
        done: What does it.
        of: What it is done to.
        campaign_id: The campaign that it is a part of.
        place: Where on its page it stands.
    """
    try:
        await done
    except Replayed:
        pass
    except Outdated as error:
        async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
            first = await who_was_first(conn, caller_of(request), of)
        return await show_one(request, campaign_id, fault=f"The {error.what} was changed since you read it. {first}")
    except Conflict as error:
        return await show_one(request, campaign_id, fault=sentence(str(error)))
    return Redirect(f"/campaigns/{campaign_id}#{place}", status_code=303)


@post("/flights/{flight_id:str}/steps", request_max_body_size=MAX_BYTES, status_code=200, opt=_WRITE)
async def step_flight(request: Request[Any, Any, Any]) -> Response[Any]:
    """Cancel a flight."""
    wanted, form = path_id(request, "flight_id", what="flight"), await Filled.read(request, {})
    if form.typed("do") != "cancel":
        raise NotFound("step of a flight")
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        row = await find_flight(conn, wanted)
    done = cancel(request, wanted, version=form.version())
    return await _settle(request, done, of=wanted, campaign_id=row.campaign_id, place="flights")


@post("/placements/{placement_id:str}/steps", request_max_body_size=MAX_BYTES, status_code=200, opt=_WRITE)
async def step_placement(request: Request[Any, Any, Any]) -> Response[Any]:
    """Say that a placement is in, was heard or never ran, or take it out."""
    wanted, form = path_id(request, "placement_id", what="placement"), await Filled.read(request, {})
    step = form.typed("do")
    if step not in PLACEMENT_MOVES:
        raise NotFound("step of a placement")
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        row = await find_placement(conn, wanted)
    done = take_step(request, wanted, step, version=form.version())
    return await _settle(request, done, of=wanted, campaign_id=row.campaign_id, place="placements")


@post("/promo-codes/{promo_code_id:str}/end", request_max_body_size=MAX_BYTES, status_code=200, opt=_WRITE)
async def end_promo_code(request: Request[Any, Any, Any]) -> Response[Any]:
    """End a promo code now."""
    wanted = path_id(request, "promo_code_id", what="promo code")
    await Filled.read(request, {})
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        row = await find_promo_code(conn, wanted)
    done = archive(request, wanted)
    return await _settle(request, done, of=wanted, campaign_id=row.campaign_id, place="devices")


@post(
    "/links/{link_id:str}/remove",
    request_max_body_size=MAX_BYTES,
    status_code=200,
    opt={**_WRITE, "permission": Permission.LINKS_WRITE},
)
async def remove_link(request: Request[Any, Any, Any]) -> Response[Any]:
    """Take a link of a campaign away."""
    wanted = path_id(request, "link_id", what="link")
    await Filled.read(request, {})
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        row = await get_link(conn, wanted)
    if row is None or row.campaign_id is None:
        raise NotFound("link of a campaign")
    done = take_link_away(request, wanted)
    return await _settle(request, done, of=wanted, campaign_id=row.campaign_id, place="devices")


@post("/vanity-hosts/{vanity_host_id:str}/remove", request_max_body_size=MAX_BYTES, status_code=200, opt=_WRITE)
async def remove_vanity_host(request: Request[Any, Any, Any]) -> Response[Any]:
    """Take a host of a campaign's link away."""
    wanted = path_id(request, "vanity_host_id", what="vanity host")
    await Filled.read(request, {})
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        link = await get_link(conn, (await find_vanity_host(conn, wanted)).link_id)
    if link is None or link.campaign_id is None:
        raise NotFound("vanity host of a campaign")
    done = take_host_away(request, wanted)
    return await _settle(request, done, of=wanted, campaign_id=link.campaign_id, place="devices")
