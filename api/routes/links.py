"""Links: short addresses that lead to a target and count who follows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec
from litestar import Request, delete, get, patch, post

from analytics_core.db.links import LinkRow, add_link, archive_link, change_link
from analytics_core.db.links import get_link as read_link
from analytics_core.db.links import list_links as read_links
from analytics_core.db.pool import Connection
from analytics_core.errors import InvalidInput, NotFound
from analytics_core.links import link_target, new_slug, parse_slug, parse_target_url
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.bodies import read_json
from api.errors import Fault, InvalidRequest
from api.pagination import LIMIT, id_cursor, write_cursor
from api.queries import Query
from api.resources import Resources, resources_of
from api.schemas.common import Page
from api.schemas.links import AddLink, ChangeLink, Link
from api.scopes import path_id
from api.writing import writing

__all__ = ("create_link", "delete_link", "get_link", "list_links", "update_link")

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


async def _find(conn: Connection, link_id: UUID) -> LinkRow:
    row = await read_link(conn, link_id)
    if row is None:
        raise NotFound("link")
    return row


@post(
    "/links",
    tags=["links"],
    opt={"permission": Permission.LINKS_WRITE, "bodies": {"application/json": AddLink}, "refusals": (409,)},
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
        link_id = await add_link(
            work.conn,
            work.tenant,
            slug=slug,
            url=url,
            utm=wanted.utm.as_mapping(),
            click_id=wanted.click_id,
            now=resources.clock.now(),
        )
        return work.done(_show(await _find(work.conn, link_id), resources), resource=link_id)


@get("/links", tags=["links"], opt={"permission": Permission.LINKS_READ, "query": (LIMIT, _CURSOR)})
async def list_links(request: Request[Any, Any, Any]) -> Page[Link]:
    """List links in the order in which they were made, deleted ones too."""
    query = Query.of(request)
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    resources = resources_of(request)
    async with resources.database.tenant(caller_of(request).tenant) as conn:
        rows = await read_links(conn, after=after, limit=limit + 1)
    last = rows[limit - 1] if len(rows) > limit else None
    cursor = None if last is None else write_cursor(_LIST, last.created_at, last.link_id)
    return Page([_show(row, resources) for row in rows[:limit]], cursor)


@get("/links/{link_id:str}", tags=["links"], opt={"permission": Permission.LINKS_READ})
async def get_link(request: Request[Any, Any, Any]) -> Link:
    """Read one link."""
    wanted = path_id(request, "link_id", what="link")
    resources = resources_of(request)
    async with resources.database.tenant(caller_of(request).tenant) as conn:
        return _show(await _find(conn, wanted), resources)


@patch(
    "/links/{link_id:str}",
    tags=["links"],
    opt={"permission": Permission.LINKS_WRITE, "bodies": {"application/json": ChangeLink}},
)
async def update_link(request: Request[Any, Any, Any]) -> Link:
    """Have a link lead elsewhere, within two seconds; its slug stays what it is."""
    wanted = path_id(request, "link_id", what="link")
    resources = resources_of(request)
    change = await read_json(request, ChangeLink)
    async with writing(request, "link.update") as work:
        row = await _find(work.conn, wanted)
        url = row.url
        if change.url is not msgspec.UNSET:
            try:
                url = parse_target_url(change.url, own_hosts=resources.own_hosts)
            except InvalidInput as error:
                raise InvalidRequest([Fault("/url", error.code, error.reason)]) from error
        utm = row.utm if change.utm is msgspec.UNSET else change.utm.as_mapping()
        click_id = row.click_id if change.click_id is msgspec.UNSET else change.click_id
        try:
            link_target(url, utm)
        except InvalidInput as error:
            pointer = "/url" if change.utm is msgspec.UNSET else "/utm"
            raise InvalidRequest([Fault(pointer, error.code, error.reason)]) from error
        if not await change_link(work.conn, wanted, url=url, utm=utm, click_id=click_id):
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
