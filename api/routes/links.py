"""Links: short addresses that lead to a target and count who follows them."""

from __future__ import annotations

from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec
from litestar import Request, delete, get, patch, post

from analytics_core.db.clicks import count_clicks
from analytics_core.db.flights import find_flight
from analytics_core.db.links import change_link, hold_link
from analytics_core.db.links import list_links as read_links
from analytics_core.db.sponsors import find_sponsor, lock_sponsor, refuse_archived
from analytics_core.db.tracked_flights import find_tracked_flight, hold_flight
from analytics_core.db.vanity_hosts import refuse_vanity_target
from analytics_core.errors import NotFound
from analytics_core.links import parse_target_url
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.bodies import read_json
from api.clicks import CLICK_QUERY, read_plan
from api.links import create, find_link, naming, refuse_other_sponsor, show_link, take_away
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Query
from api.resources import resources_of
from api.schemas.clicks import ClicksAnswer
from api.schemas.common import Page
from api.schemas.links import AddLink, ChangeLink, Link
from api.scopes import FLIGHT_ID, SPONSOR_ID, path_id
from api.writing import writing

__all__ = (
    "create_link",
    "delete_link",
    "get_clicks",
    "get_link",
    "get_link_clicks",
    "list_links",
    "update_link",
)

T = TypeVar("T")

_LIST: Final = "links"
_CURSOR: Final = id_cursor(_LIST)


@post(
    "/links",
    tags=["links"],
    opt={"permission": Permission.LINKS_WRITE, "bodies": {"application/json": AddLink}, "refusals": (404, 409, 429)},
)
async def create_link(request: Request[Any, Any, Any]) -> Link:
    """Make a link, live on the trackers within two seconds.

    Slugs are shared by all tenants of an installation and told apart without regard to case. Campaign parameters of a
    request (`…/go/offer?utm_content=episode-42`) win over the link's own, so that one link serves several placements.
    """
    return await create(request, await read_json(request, AddLink))


@get(
    "/links",
    tags=["links"],
    opt={"permission": Permission.LINKS_READ, "query": (SPONSOR_ID, FLIGHT_ID, LIMIT, _CURSOR)},
)
async def list_links(request: Request[Any, Any, Any]) -> Page[Link]:
    """List links in the order in which they were made, deleted ones too."""
    query = Query.of(request)
    sponsor_id, flight_id = query.get(SPONSOR_ID), query.get(FLIGHT_ID)
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    resources = resources_of(request)
    async with resources.database.tenant(caller_of(request).tenant) as conn:
        if sponsor_id is not None:
            await find_sponsor(conn, sponsor_id)
        if flight_id is not None:
            await find_flight(conn, flight_id)
        rows = await read_links(conn, after=after, limit=limit + 1, sponsor_id=sponsor_id, flight_id=flight_id)
    return page_of(rows, limit, lambda row: show_link(row, resources), _LIST, lambda row: (row.created_at, row.link_id))


@get("/links/{link_id:str}", tags=["links"], opt={"permission": Permission.LINKS_READ})
async def get_link(request: Request[Any, Any, Any]) -> Link:
    """Read one link."""
    wanted = path_id(request, "link_id", what="link")
    resources = resources_of(request)
    async with resources.database.reading(caller_of(request).tenant) as conn:
        row = await find_link(conn, wanted)
    return show_link(row, resources)


@patch(
    "/links/{link_id:str}",
    tags=["links"],
    opt={"permission": Permission.LINKS_WRITE, "bodies": {"application/json": ChangeLink}, "refusals": (409,)},
)
async def update_link(request: Request[Any, Any, Any]) -> Link:
    """Have a link lead elsewhere, within two seconds, or be another sponsor's or flight's; its slug stays what it is.

    The parameters that a flight's campaign gives are filled in anew with every change, also with one of nothing.
    """
    wanted = path_id(request, "link_id", what="link")
    resources = resources_of(request)
    change = await read_json(request, ChangeLink)
    async with writing(request, "link.update") as work:
        is_archived, flight = False, None
        if isinstance(change.flight_id, UUID):
            flight = await hold_flight(work.conn, change.flight_id)
        elif isinstance(change.sponsor_id, UUID):
            is_archived = await lock_sponsor(work.conn, change.sponsor_id)
        row = await hold_link(work.conn, wanted)
        if row is None:
            raise NotFound("link")
        if change.flight_id is msgspec.UNSET and row.flight_id is not None:
            flight = await find_tracked_flight(work.conn, row.flight_id)
        sponsor_id = row.sponsor_id if change.sponsor_id is msgspec.UNSET else change.sponsor_id
        if flight is not None and change.sponsor_id is not msgspec.UNSET:
            refuse_other_sponsor(flight, change.sponsor_id)
        url = row.url
        if change.url is not msgspec.UNSET:
            with naming("/url"):
                url = parse_target_url(change.url, own_hosts=resources.own_hosts)
                await refuse_vanity_target(work.conn, url)
        utm = row.utm if change.utm is msgspec.UNSET else change.utm.as_mapping()
        click_id = row.click_id if change.click_id is msgspec.UNSET else change.click_id
        # What an archived one has it keeps.
        refuse_archived(is_archived and sponsor_id != row.sponsor_id)
        given = [name for name in ("utm", "url", "flight_id") if getattr(change, name) is not msgspec.UNSET]
        with naming(f"/{given[0]}" if given else ""):
            is_there = await change_link(
                work.conn, wanted, url=url, utm=utm, click_id=click_id, sponsor_id=sponsor_id, flight=flight
            )
        if not is_there:
            raise NotFound("link")
        answer = show_link(await find_link(work.conn, wanted), resources)
        return work.done(answer, resource=wanted, before=show_link(row, resources))


@delete("/links/{link_id:str}", tags=["links"], opt={"permission": Permission.LINKS_WRITE})
async def delete_link(request: Request[Any, Any, Any]) -> None:
    """Take a link away: trackers then answer 404. Its clicks stay, and nobody else gets its slug."""
    await take_away(request, path_id(request, "link_id", what="link"))


@get("/links/{link_id:str}/clicks", tags=["links"], opt={"permission": Permission.LINKS_READ, "query": CLICK_QUERY})
async def get_link_clicks(request: Request[Any, Any, Any]) -> ClicksAnswer:
    """Count the clicks on a link by time."""
    wanted, plan = path_id(request, "link_id", what="link"), read_plan(request)
    async with resources_of(request).database.tenant(caller_of(request).tenant, snapshot=True) as conn:
        await find_link(conn, wanted)
        return plan.answer(await count_clicks(conn, plan.buckets, link_id=wanted))


@get("/clicks", tags=["links"], opt={"permission": Permission.LINKS_READ, "query": CLICK_QUERY})
async def get_clicks(request: Request[Any, Any, Any]) -> ClicksAnswer:
    """Count the clicks on all links that you see by time, deleted links too."""
    plan = read_plan(request)
    async with resources_of(request).database.tenant(caller_of(request).tenant, snapshot=True) as conn:
        return plan.answer(await count_clicks(conn, plan.buckets))
