"""Insertion orders: what a sponsor has ordered, under numbers of the tenant's own."""

# Pieces of statements are put together from constants alone.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.campaigns import OrderStatus
from analytics_core.db.pool import Connection, Tenant
from analytics_core.errors import Conflict, NotFound, Outdated
from analytics_core.ids import new_id

__all__ = (
    "OrderRow",
    "add_order",
    "change_order",
    "find_order",
    "hold_order",
    "list_orders",
    "set_order_status",
    "use_order",
)


class OrderRow(msgspec.Struct, frozen=True, kw_only=True):
    """An insertion order.

    Attributes:
        number: The tenant's own, from 1 without a gap.
        reference: The sponsor's number for it.
        campaigns: How many are under it.
        version: Raised by one with every change.
    """

    insertion_order_id: UUID
    sponsor_id: UUID
    number: int
    name: str
    reference: str | None
    currency: str
    status: OrderStatus
    campaigns: int
    version: int
    created_at: dt.datetime


_COLUMNS: Final[LiteralString] = """o.insertion_order_id, o.sponsor_id, o.number, o.name, o.reference, o.currency,
    o.status, (select count(*) from app.campaigns c
        where c.tenant_id = o.tenant_id and c.insertion_order_id = o.insertion_order_id) as campaigns,
    o.version, o.created_at"""

# One after the other, so that numbers have no gaps.
_LOCK_NUMBERS: Final[LiteralString] = """/* orders.lock_numbers */
select pg_advisory_xact_lock(hashtext('castledger.order_numbers'), $1)"""

_ADD: Final[LiteralString] = """/* orders.add */
insert into app.insertion_orders (tenant_id, insertion_order_id, sponsor_id, number, name, reference, currency, status,
    created_at)
values ($1, $2, $3, (select coalesce(max(number), 0) + 1 from app.insertion_orders), $4, $5, $6, $7, $8)"""

_FIND: Final[LiteralString] = (
    "/* orders.find */ select " + _COLUMNS + " from app.insertion_orders o where o.insertion_order_id = $1"
)

_LIST: Final[LiteralString] = (
    "/* orders.list */ select "
    + _COLUMNS
    + """ from app.insertion_orders o
where ($1::timestamptz is null or (o.created_at, o.insertion_order_id) > ($1, $2::uuid))
    and ($4::uuid is null or o.sponsor_id = $4)
order by o.created_at, o.insertion_order_id limit $3"""
)

_LOCK: Final[LiteralString] = """/* orders.lock */
select version from app.insertion_orders where insertion_order_id = $1 for update"""

_USE: Final[LiteralString] = """/* orders.use */
select 1 from app.insertion_orders where insertion_order_id = $1 for share"""

_CHANGE: Final[LiteralString] = """/* orders.change */
update app.insertion_orders set name = $2, reference = $3, version = version + 1 where insertion_order_id = $1"""

_SET_STATUS: Final[LiteralString] = """/* orders.set_status */
update app.insertion_orders set status = $2, version = version + 1 where insertion_order_id = $1"""


async def add_order(
    conn: Connection,
    tenant: Tenant,
    *,
    sponsor_id: UUID,
    name: str,
    reference: str | None,
    currency: str,
    status: OrderStatus,
    now: dt.datetime,
) -> OrderRow:
    """Add an order under the next number.

    Args:
        conn: In a transaction of the tenant that holds the sponsor.
        tenant: Whose it is.
        sponsor_id: Who orders.
        name: What it is called.
        reference: The sponsor's number for it.
        currency: Of all money under it.
        status: With which it begins.
        now: Aware instant.
    """
    order_id = new_id()
    await conn.execute(_LOCK_NUMBERS, int(tenant.tenant_no))
    await conn.execute(_ADD, tenant.tenant_id, order_id, sponsor_id, name, reference, currency, status.value, now)
    return await find_order(conn, order_id)


async def find_order(conn: Connection, order_id: UUID) -> OrderRow:
    """Read one order that the transaction sees.

    Raises:
        NotFound: It sees none of this id.
    """
    row = await conn.fetchrow(_FIND, order_id)
    if row is None:
        raise NotFound("insertion order")
    return msgspec.convert(row, OrderRow)


async def list_orders(
    conn: Connection, *, after: tuple[dt.datetime, UUID] | None, limit: int, sponsor_id: UUID | None = None
) -> list[OrderRow]:
    """List the orders that the transaction sees in the order in which they were made, behind *after*."""
    at, order_id = after if after is not None else (None, None)
    return [msgspec.convert(row, OrderRow) for row in await conn.fetch(_LIST, at, order_id, limit, sponsor_id)]


async def hold_order(conn: Connection, order_id: UUID, *, version: int | None = None) -> OrderRow:
    """Read an order that nobody else changes until the transaction ends.

    Raises:
        NotFound: The tenant has none of this id.
        Outdated: There is another version than the one that is expected.
    """
    found: int | None = await conn.fetchval(_LOCK, order_id)
    if found is None:
        raise NotFound("insertion order")
    if version is not None and version != found:
        raise Outdated("insertion order", version=found)
    return await find_order(conn, order_id)


async def use_order(conn: Connection, order_id: UUID) -> OrderRow:
    """Read an order for something that comes under it, so that it is not closed or merged meanwhile.

    Raises:
        NotFound: The tenant has none of this id.
        Conflict: ``order_closed``: nothing comes under it any more.
    """
    if await conn.fetchval(_USE, order_id) is None:
        raise NotFound("insertion order")
    order = await find_order(conn, order_id)
    if order.status in (OrderStatus.CLOSED, OrderStatus.CANCELLED):
        raise Conflict("order_closed", f"insertion order {order.number} is {order.status}; make another one")
    return order


async def change_order(conn: Connection, held: OrderRow, *, name: str, reference: str | None) -> OrderRow:
    """Call an order something else."""
    await conn.execute(_CHANGE, held.insertion_order_id, name, reference)
    return await find_order(conn, held.insertion_order_id)


async def set_order_status(conn: Connection, held: OrderRow, status: OrderStatus) -> OrderRow:
    """Move an order that is held to another state."""
    await conn.execute(_SET_STATUS, held.insertion_order_id, status.value)
    return await find_order(conn, held.insertion_order_id)
