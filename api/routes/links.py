"""Links: short addresses that lead to a target and count who follows them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec
from litestar import Request, delete, get, patch, post

from analytics_core.db.clicks import count_clicks
from analytics_core.db.flights import find_flight
from analytics_core.db.links import LinkRow, add_link, archive_link, change_link, hold_link
from analytics_core.db.links import get_link as read_link
from analytics_core.db.links import list_links as read_links
from analytics_core.db.pool import Connection
from analytics_core.db.sponsors import find_sponsor, lock_sponsor, refuse_archived
from analytics_core.db.tracked_flights import TrackedFlight, find_tracked_flight, hold_flight
from analytics_core.db.vanity_hosts import refuse_vanity_target
from analytics_core.errors import InvalidInput, NotFound
from analytics_core.links import link_target, new_slug, parse_slug, parse_target_url
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.bodies import read_json
from api.clicks import CLICK_QUERY, read_plan
from api.errors import Fault, InvalidRequest
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Query
from api.resources import Resources, resources_of
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


def _show(row: LinkRow, resources: Resources) -> Link:
    return Link.of(row, public_url=resources.settings.tracker.public_url)


def _collect(faults: list[Fault], pointer: str, read: Callable[[], T]) -> T | None:
    try:
        return read()
    except InvalidInput as error:
        faults.append(Fault(pointer, error.code, error.reason))
        return None


@contextlib.contextmanager
def _naming(pointer: str) -> Iterator[None]:
    """Say where in the body that stands which a rule refuses."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidRequest([Fault(pointer, error.code, error.reason)]) from error


def _refuse_other_sponsor(flight: TrackedFlight, sponsor_id: UUID | None) -> None:
    if sponsor_id != flight.sponsor_id:
        raise InvalidRequest(
            [Fault("/sponsor_id", "not_of_flight", "is not the sponsor of the link's flight; leave it out")]
        )


async def _find(conn: Connection, link_id: UUID) -> LinkRow:
    row = await read_link(conn, link_id)
    if row is None:
        raise NotFound("link")
    return row


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
    resources = resources_of(request)
    wanted = await read_json(request, AddLink)
    faults: list[Fault] = []
    slug = _collect(faults, "/slug", lambda: new_slug() if wanted.slug is None else parse_slug(wanted.slug))
    own_hosts = resources.own_hosts
    url = _collect(faults, "/url", lambda: parse_target_url(wanted.url, own_hosts=own_hosts))
    if url is not None:
        _collect(faults, "/utm", lambda: link_target(url, wanted.utm.as_mapping()))
    if faults or slug is None or url is None:
        raise InvalidRequest(faults)
    async with writing(request, "link.create") as work:
        flight = None
        if wanted.flight_id is not None:
            flight = await hold_flight(work.conn, wanted.flight_id)
            if wanted.sponsor_id is not None:
                _refuse_other_sponsor(flight, wanted.sponsor_id)
        elif wanted.sponsor_id is not None:
            refuse_archived(await lock_sponsor(work.conn, wanted.sponsor_id))
        with _naming("/url"):
            await refuse_vanity_target(work.conn, url)
        with _naming("/utm"):
            link_id = await add_link(
                work.conn,
                work.tenant,
                slug=slug,
                url=url,
                utm=wanted.utm.as_mapping(),
                click_id=wanted.click_id,
                sponsor_id=wanted.sponsor_id,
                flight=flight,
                now=resources.clock.now(),
            )
        return work.done(_show(await _find(work.conn, link_id), resources), resource=link_id)


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
    return page_of(rows, limit, lambda row: _show(row, resources), _LIST, lambda row: (row.created_at, row.link_id))


@get("/links/{link_id:str}", tags=["links"], opt={"permission": Permission.LINKS_READ})
async def get_link(request: Request[Any, Any, Any]) -> Link:
    """Read one link."""
    wanted = path_id(request, "link_id", what="link")
    resources = resources_of(request)
    async with resources.database.reading(caller_of(request).tenant) as conn:
        row = await _find(conn, wanted)
    return _show(row, resources)


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
            _refuse_other_sponsor(flight, change.sponsor_id)
        url = row.url
        if change.url is not msgspec.UNSET:
            with _naming("/url"):
                url = parse_target_url(change.url, own_hosts=resources.own_hosts)
                await refuse_vanity_target(work.conn, url)
        utm = row.utm if change.utm is msgspec.UNSET else change.utm.as_mapping()
        click_id = row.click_id if change.click_id is msgspec.UNSET else change.click_id
        # What an archived one has it keeps.
        refuse_archived(is_archived and sponsor_id != row.sponsor_id)
        given = [name for name in ("utm", "url", "flight_id") if getattr(change, name) is not msgspec.UNSET]
        with _naming(f"/{given[0]}" if given else ""):
            is_there = await change_link(
                work.conn, wanted, url=url, utm=utm, click_id=click_id, sponsor_id=sponsor_id, flight=flight
            )
        if not is_there:
            raise NotFound("link")
        answer = _show(await _find(work.conn, wanted), resources)
        return work.done(answer, resource=wanted, before=_show(row, resources))


@delete("/links/{link_id:str}", tags=["links"], opt={"permission": Permission.LINKS_WRITE})
async def delete_link(request: Request[Any, Any, Any]) -> None:
    """Take a link away: trackers then answer 404. Its clicks stay, and nobody else gets its slug."""
    wanted = path_id(request, "link_id", what="link")
    resources = resources_of(request)
    async with writing(request, "link.delete") as work:
        if not await archive_link(work.conn, wanted, now=resources.clock.now()):
            raise NotFound("link")
        work.done(None, resource=wanted)


@get("/links/{link_id:str}/clicks", tags=["links"], opt={"permission": Permission.LINKS_READ, "query": CLICK_QUERY})
async def get_link_clicks(request: Request[Any, Any, Any]) -> ClicksAnswer:
    """Count the clicks on a link by time."""
    wanted, plan = path_id(request, "link_id", what="link"), read_plan(request)
    async with resources_of(request).database.tenant(caller_of(request).tenant, snapshot=True) as conn:
        await _find(conn, wanted)
        return plan.answer(await count_clicks(conn, plan.buckets, link_id=wanted))


@get("/clicks", tags=["links"], opt={"permission": Permission.LINKS_READ, "query": CLICK_QUERY})
async def get_clicks(request: Request[Any, Any, Any]) -> ClicksAnswer:
    """Count the clicks on all links that you see by time, deleted links too."""
    plan = read_plan(request)
    async with resources_of(request).database.tenant(caller_of(request).tenant, snapshot=True) as conn:
        return plan.answer(await count_clicks(conn, plan.buckets))
