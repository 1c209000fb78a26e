"""Erasures: asked for here, done by ingest, with a record that stays."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final
from uuid import UUID

from litestar import Request, get, post

from analytics_core.db.erasure_requests import (
    StoredErasure,
    ask_for_listener,
    ask_for_podcast,
    find_asked_podcast,
    find_erasure,
    find_listener,
)
from analytics_core.db.erasure_requests import list_erasures as read_erasures
from analytics_core.db.podcasts import get_podcast
from analytics_core.db.pool import Connection, Tenant
from analytics_core.errors import InvalidInput, NotFound
from analytics_core.ids import parse_hit_id
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.bodies import read_json
from api.errors import Fault, InvalidRequest
from api.pagination import LIMIT, id_cursor, write_cursor
from api.queries import Query
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.erasures import AskErasure, Erasure
from api.scopes import path_id
from api.writing import writing

__all__ = ("create_erasure", "get_erasure", "list_erasures")

_LIST: Final = "erasures"
_CURSOR: Final = id_cursor(_LIST)
_OF_KIND: Final = {"listener": ("hit_id", "listener_key", "month"), "podcast": ("podcast_id", "confirm")}


def _refuse(pointer: str, code: str, message: str) -> InvalidRequest:
    return InvalidRequest([Fault(pointer, code, message)])


def _check_fields(wanted: AskErasure) -> None:
    """See that the fields are those of the kind, and enough to name somebody.

    Raises:
        InvalidRequest: They are not; all faults are listed.
    """
    given = {name for names in _OF_KIND.values() for name in names if getattr(wanted, name) is not None}
    faults = [
        Fault(f"/{name}", "unexpected", f"is no field of a {wanted.kind}'s erasure")
        for name in sorted(given - {*_OF_KIND[wanted.kind]})
    ]
    if wanted.kind == "podcast":
        faults += [Fault(f"/{name}", "missing", "is required") for name in _OF_KIND["podcast"] if name not in given]
    elif "hit_id" in given:
        faults += [
            Fault(f"/{name}", "unexpected", "goes without `hit_id`: a hit has its key and month")
            for name in ("listener_key", "month")
            if name in given
        ]
    else:
        missing = {"listener_key": "is required, or `hit_id`", "month": "is required: a key is one month's"}
        faults += [Fault(f"/{name}", "missing", message) for name, message in missing.items() if name not in given]
    if faults:
        raise InvalidRequest(faults)


async def _find_listener(conn: Connection, wanted: AskErasure) -> tuple[UUID, dt.date]:
    if wanted.hit_id is None:
        try:
            return UUID(hex=wanted.listener_key), dt.date.fromisoformat(f"{wanted.month}-01")
        except ValueError:
            raise _refuse("/month", "invalid", "is no month; write one such as 2026-11") from None
    try:
        place = parse_hit_id(wanted.hit_id)
    except InvalidInput as error:
        raise _refuse("/hit_id", error.code, error.reason) from error
    found = await find_listener(conn, *place)
    if found is None:
        raise _refuse("/hit_id", "not_found", "names no hit of yours that has landed")
    return found


async def _ask_for_podcast(
    conn: Connection, tenant: Tenant, podcast_id: UUID, confirm: str, *, now: dt.datetime
) -> StoredErasure:
    podcast = await get_podcast(conn, podcast_id)
    if podcast is None:
        asked = await find_asked_podcast(conn, tenant, podcast_id)
        if asked is None:
            raise _refuse("/podcast_id", "not_found", "names no podcast of yours")
        return asked
    if confirm.strip() != podcast.title.strip():
        raise _refuse("/confirm", "not_confirmed", "has to be the podcast's title: nothing of it can be had back")
    return await ask_for_podcast(conn, tenant, podcast_id, podcast.podcast_no, now=now)


@post(
    "/erasures",
    tags=["erasures"],
    status_code=202,
    opt={"permission": Permission.ERASURES_WRITE, "bodies": {"application/json": AskErasure}},
)
async def create_erasure(request: Request[Any, Any, Any]) -> Erasure:
    """Ask for the erasure of a listener or of a podcast; ingest does it, within seconds as a rule.

    Asked for again while it is not done, it is the same erasure; a podcast's is so for ever. What lands of a listener
    later, a hit that a tracker still holds say, is there again: ask once more when the month is over.
    """
    wanted = await read_json(request, AskErasure)
    _check_fields(wanted)
    now = resources_of(request).clock.now()
    async with writing(request, "erasure.create") as work:
        conn, tenant = work.conn, work.tenant
        if wanted.podcast_id is not None:
            stored = await _ask_for_podcast(conn, tenant, wanted.podcast_id, wanted.confirm or "", now=now)
        else:
            stored = await ask_for_listener(conn, tenant, *await _find_listener(conn, wanted), now=now)
        # What is known of whom it is about goes when it is done, and so is not put on record.
        return work.done(Erasure.of(stored), resource=stored.record.erasure_id, after={"kind": stored.record.kind})


@get("/erasures", tags=["erasures"], opt={"permission": Permission.ERASURES_READ, "query": (LIMIT, _CURSOR)})
async def list_erasures(request: Request[Any, Any, Any]) -> Page[Erasure]:
    """List erasures in the order in which they were asked for."""
    query = Query.of(request)
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    tenant = caller_of(request).tenant
    async with resources_of(request).database.reading(tenant) as conn:
        found = await read_erasures(conn, tenant, after=after, limit=limit + 1)
    last = found[limit - 1].record if len(found) > limit else None
    cursor = None if last is None else write_cursor(_LIST, last.started_at, last.erasure_id)
    return Page([Erasure.of(stored) for stored in found[:limit]], cursor)


@get("/erasures/{erasure_id:str}", tags=["erasures"], opt={"permission": Permission.ERASURES_READ})
async def get_erasure(request: Request[Any, Any, Any]) -> Erasure:
    """Read one erasure, with its proof once it is done."""
    wanted = path_id(request, "erasure_id", what="erasure")
    tenant = caller_of(request).tenant
    async with resources_of(request).database.reading(tenant) as conn:
        stored = await find_erasure(conn, tenant, wanted)
    if stored is None:
        raise NotFound("erasure")
    return Erasure.of(stored)
