"""Slots for advertising in the episodes of a podcast."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, patch, post
from msgspec.structs import replace

from analytics_core.db.ad_slots import (
    AdSlotFields,
    AdSlotRow,
    add_slot,
    archive_slot,
    change_slot,
    count_inventory,
    hold_slot,
    list_slots,
)
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.bodies import read_json
from api.campaigns import given_fields
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Parameter, Query, utc_day
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.placements import AddAdSlot, AdSlot, ChangeAdSlot, Inventory, SlotPlaces
from api.scopes import find_podcast, path_id
from api.versions import answer_version, read_version
from api.writing import writing

__all__ = ("archive_ad_slot", "create_ad_slot", "get_inventory", "list_ad_slots", "update_ad_slot")

_LIST: Final = "ad-slots"
_CURSOR: Final = id_cursor(_LIST)
_TAGS: Final = ["campaigns"]
_DAY: Final = {"type": "string", "format": "date"}
_FROM: Final[Parameter[dt.date | None]] = Parameter(
    "from", utc_day, None, "The first UTC day on which episodes were published.", _DAY, required=True
)
_TO: Final[Parameter[dt.date | None]] = Parameter(
    "to", utc_day, None, "The UTC day behind the last.", _DAY, required=True
)


def _show(row: AdSlotRow) -> Response[AdSlot]:
    return answer_version(AdSlot.of(row), version=row.version)


def _slot_id(request: Request[Any, Any, Any]) -> UUID:
    return path_id(request, "ad_slot_id", what="ad slot")


def _podcast_id(request: Request[Any, Any, Any]) -> UUID:
    return path_id(request, "podcast_id", what="podcast")


@post(
    "/podcasts/{podcast_id:str}/ad-slots",
    tags=_TAGS,
    opt={"permission": Permission.CAMPAIGNS_WRITE, "bodies": {"application/json": AddAdSlot}, "refusals": (409,)},
)
async def create_ad_slot(request: Request[Any, Any, Any]) -> Response[AdSlot]:
    """Say that each episode of a podcast has room for something."""
    wanted = _podcast_id(request)
    fields = AdSlotFields(**given_fields(await read_json(request, AddAdSlot)))
    async with writing(request, "ad_slot.create") as work:
        row = await add_slot(work.conn, work.tenant, wanted, fields, now=resources_of(request).clock.now())
        return work.done(_show(row), resource=row.ad_slot_id, after=row)


@get(
    "/podcasts/{podcast_id:str}/ad-slots",
    tags=_TAGS,
    opt={"permission": Permission.CAMPAIGNS_READ, "query": (LIMIT, _CURSOR)},
)
async def list_ad_slots(request: Request[Any, Any, Any]) -> Page[AdSlot]:
    """List the slots of a podcast in the order in which they were made, archived ones too."""
    wanted, query = _podcast_id(request), Query.of(request)
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        await find_podcast(conn, wanted)
        rows = await list_slots(conn, wanted, after=after, limit=limit + 1)
    return page_of(rows, limit, AdSlot.of, _LIST, lambda row: (row.created_at, row.ad_slot_id))


@patch(
    "/ad-slots/{ad_slot_id:str}",
    tags=_TAGS,
    opt={
        "permission": Permission.CAMPAIGNS_WRITE,
        "bodies": {"application/json": ChangeAdSlot},
        "is_versioned": True,
        "refusals": (409,),
    },
)
async def update_ad_slot(request: Request[Any, Any, Any]) -> Response[AdSlot]:
    """Change what is said of a slot. What is placed in it stays where it is."""
    wanted, version = _slot_id(request), read_version(request)
    fields = given_fields(await read_json(request, ChangeAdSlot))
    async with writing(request, "ad_slot.update") as work:
        was = await hold_slot(work.conn, wanted, version=version)
        row = await change_slot(work.conn, was, replace(was, **fields))
        return work.done(_show(row), resource=wanted, before=was, after=row)


@post(
    "/ad-slots/{ad_slot_id:str}/archive",
    tags=_TAGS,
    status_code=200,
    opt={"permission": Permission.CAMPAIGNS_WRITE, "is_versioned": True},
)
async def archive_ad_slot(request: Request[Any, Any, Any]) -> Response[AdSlot]:
    """Put a slot away: nothing new is placed in it."""
    wanted, version = _slot_id(request), read_version(request)
    async with writing(request, "ad_slot.archive") as work:
        was = await hold_slot(work.conn, wanted, version=version)
        row = await archive_slot(work.conn, was, now=resources_of(request).clock.now())
        return work.done(_show(row), resource=wanted, before=was, after=row)


@get(
    "/podcasts/{podcast_id:str}/inventory",
    tags=_TAGS,
    opt={"permission": Permission.CAMPAIGNS_READ, "query": (_FROM, _TO)},
)
async def get_inventory(request: Request[Any, Any, Any]) -> Inventory:
    """Count the places of each slot in the episodes of some days: all, those taken by a placement, and those free."""
    wanted, query = _podcast_id(request), Query.of(request)
    first, until = query.get(_FROM), query.get(_TO)
    if first is not None and until is not None and until <= first:
        query.refuse("to", "empty_range", "has to be after from")
    query.finish()
    if first is None or until is None:
        raise AssertionError("both are required")
    async with resources_of(request).database.tenant(caller_of(request).tenant, snapshot=True) as conn:
        await find_podcast(conn, wanted)
        start, end = (dt.datetime.combine(day, dt.time(), dt.UTC) for day in (first, until))
        return Inventory(
            data=[SlotPlaces.of(found) for found in await count_inventory(conn, wanted, start=start, end=end)]
        )
