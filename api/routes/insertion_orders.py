"""Insertion orders: what sponsors have ordered."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, patch, post

from analytics_core.campaigns import ORDER_MOVES, OrderStatus, move
from analytics_core.db.insertion_orders import (
    OrderRow,
    add_order,
    change_order,
    find_order,
    hold_order,
    set_order_status,
)
from analytics_core.db.insertion_orders import list_orders as read_orders
from analytics_core.db.sponsors import find_sponsor, lock_sponsor, refuse_archived
from analytics_core.errors import Conflict
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.bodies import read_json
from api.campaigns import given_fields
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Query
from api.resources import resources_of
from api.schemas.campaigns import AddOrder, ChangeOrder, InsertionOrder
from api.schemas.common import Page
from api.scopes import SPONSOR_ID, path_id
from api.versions import answer_version, read_version
from api.writing import writing

__all__ = (
    "cancel_insertion_order",
    "close_insertion_order",
    "create_insertion_order",
    "get_insertion_order",
    "list_insertion_orders",
    "open_insertion_order",
    "update_insertion_order",
)

_LIST: Final = "insertion-orders"
_CURSOR: Final = id_cursor(_LIST)
_TAGS: Final = ["campaigns"]


def _show(row: OrderRow) -> Response[InsertionOrder]:
    return answer_version(InsertionOrder.of(row), version=row.version)


def _order_id(request: Request[Any, Any, Any]) -> UUID:
    return path_id(request, "insertion_order_id", what="insertion order")


@post(
    "/insertion-orders",
    tags=_TAGS,
    opt={"permission": Permission.CAMPAIGNS_WRITE, "bodies": {"application/json": AddOrder}, "refusals": (404, 409)},
)
async def create_insertion_order(request: Request[Any, Any, Any]) -> Response[InsertionOrder]:
    """Make an order of a sponsor's, as a draft, under the tenant's next number."""
    given = await read_json(request, AddOrder)
    fields = given_fields(given)
    async with writing(request, "insertion_order.create") as work:
        refuse_archived(await lock_sponsor(work.conn, given.sponsor_id))
        now = resources_of(request).clock.now()
        row = await add_order(work.conn, work.tenant, status=OrderStatus.DRAFT, now=now, **fields)
        return work.done(_show(row), resource=row.insertion_order_id, after=row)


@get(
    "/insertion-orders",
    tags=_TAGS,
    opt={"permission": Permission.CAMPAIGNS_READ, "query": (SPONSOR_ID, LIMIT, _CURSOR)},
)
async def list_insertion_orders(request: Request[Any, Any, Any]) -> Page[InsertionOrder]:
    """List orders in the order in which they were made."""
    query = Query.of(request)
    sponsor_id, limit, after = query.get(SPONSOR_ID), query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        if sponsor_id is not None:
            await find_sponsor(conn, sponsor_id)
        rows = await read_orders(conn, after=after, limit=limit + 1, sponsor_id=sponsor_id)
    return page_of(rows, limit, InsertionOrder.of, _LIST, lambda row: (row.created_at, row.insertion_order_id))


@get("/insertion-orders/{insertion_order_id:str}", tags=_TAGS, opt={"permission": Permission.CAMPAIGNS_READ})
async def get_insertion_order(request: Request[Any, Any, Any]) -> Response[InsertionOrder]:
    """Read one order."""
    wanted = _order_id(request)
    async with resources_of(request).database.reading(caller_of(request).tenant) as conn:
        return _show(await find_order(conn, wanted))


@patch(
    "/insertion-orders/{insertion_order_id:str}",
    tags=_TAGS,
    opt={
        "permission": Permission.CAMPAIGNS_WRITE,
        "bodies": {"application/json": ChangeOrder},
        "is_versioned": True,
        "refusals": (409,),
    },
)
async def update_insertion_order(request: Request[Any, Any, Any]) -> Response[InsertionOrder]:
    """Call an order something else, as long as it is not closed or cancelled."""
    wanted, version = _order_id(request), read_version(request)
    fields = given_fields(await read_json(request, ChangeOrder))
    async with writing(request, "insertion_order.update") as work:
        was = await hold_order(work.conn, wanted, version=version)
        if was.status in (OrderStatus.CLOSED, OrderStatus.CANCELLED):
            raise Conflict("order_closed", f"insertion order {was.number} is {was.status}, and stays as it is")
        row = await change_order(
            work.conn, was, name=fields.get("name", was.name), reference=fields.get("reference", was.reference)
        )
        return work.done(_show(row), resource=wanted, before=was, after=row)


async def _step(request: Request[Any, Any, Any], step: str) -> Response[InsertionOrder]:
    wanted, version = _order_id(request), read_version(request)
    async with writing(request, f"insertion_order.{step}") as work:
        was = await hold_order(work.conn, wanted, version=version)
        status = OrderStatus(move(ORDER_MOVES, was.status, step, what="insertion order"))
        row = await set_order_status(work.conn, was, status)
        return work.done(_show(row), resource=wanted, before=was, after=row)


_STEP: Final[dict[str, Any]] = {"permission": Permission.CAMPAIGNS_WRITE, "is_versioned": True, "refusals": (409,)}


@post("/insertion-orders/{insertion_order_id:str}/open", tags=_TAGS, status_code=200, opt=_STEP)
async def open_insertion_order(request: Request[Any, Any, Any]) -> Response[InsertionOrder]:
    """Have an order be agreed upon: from `draft` to `open`."""
    return await _step(request, "open")


@post("/insertion-orders/{insertion_order_id:str}/close", tags=_TAGS, status_code=200, opt=_STEP)
async def close_insertion_order(request: Request[Any, Any, Any]) -> Response[InsertionOrder]:
    """Close an open order: it gets no new campaigns, and its own go on."""
    return await _step(request, "close")


@post("/insertion-orders/{insertion_order_id:str}/cancel", tags=_TAGS, status_code=200, opt=_STEP)
async def cancel_insertion_order(request: Request[Any, Any, Any]) -> Response[InsertionOrder]:
    """Cancel an order that is a draft or open: it gets no new campaigns. Its own are cancelled one by one."""
    return await _step(request, "cancel")
