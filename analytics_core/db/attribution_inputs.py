"""What attribution is computed from, as it was known at a cutoff: conversions, what was said of them later, what their
customers did before, and by what the sponsor's flights are recognised.

As ingest for a run, and as the API for one conversion; a transaction that is held to sponsors sees no signals of
customers.
"""

# Pieces of statements are put together from constants alone.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import Final, LiteralString
from uuid import UUID

import asyncpg
import msgspec

from analytics_core.attribution.counting import Adjustment
from analytics_core.attribution.histories import MAX_OF_CUSTOMER, Customer, HeldConversion
from analytics_core.attribution.leaks import Exposures
from analytics_core.attribution.signals import (
    Devices,
    KnownClick,
    KnownCode,
    KnownFlight,
    KnownLink,
    KnownOption,
    Said,
    name_flights,
)
from analytics_core.attribution.touches import Touch
from analytics_core.db.pool import Connection, Tenant

__all__ = (
    "READ_ROWS",
    "Inputs",
    "Scope",
    "count_conversions",
    "read_customer",
    "read_customers",
    "read_inputs",
    "read_null_paths",
)

READ_ROWS: Final = 2_000
"""Conversions that are read together."""

_TIMEOUT_S: Final = 600.0


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be attributed.

    Attributes:
        starts_at: Conversions from this instant,
        ends_at: to before this one.
        cutoff_at: What was received before it, devices that were made before it.
        most_of_customer: More conversions or signals under one key are many people's.
        read_rows: How many conversions are read together.
    """

    tenant: Tenant
    sponsor_id: UUID
    starts_at: dt.datetime
    ends_at: dt.datetime
    cutoff_at: dt.datetime
    most_of_customer: int = MAX_OF_CUSTOMER
    read_rows: int = READ_ROWS


class Inputs(msgspec.Struct, frozen=True):
    """What is the same for all conversions of a sponsor."""

    devices: Devices
    exposures: Exposures


_FLIGHTS: Final[LiteralString] = """/* attribution_inputs.flights */
select f.flight_id, f.campaign_id, coalesce(f.window_days, c.window_days) * 86400000000::bigint as window_us,
    c.excludes_prior_customers
from app.flights f join app.campaigns c using (tenant_id, campaign_id)
where f.tenant_id = $1 and f.sponsor_id = $2"""

_LINKS: Final[LiteralString] = """/* attribution_inputs.links */
select link_no, slug, sponsor_id, flight_id from app.links where tenant_id = $1 and created_at < $2"""

_CODES: Final[LiteralString] = """/* attribution_inputs.codes */
select promo_code_id, code, flight_id, valid_from, valid_until, grace_days from app.promo_codes
where tenant_id = $1 and sponsor_id = $2 and created_at < $3"""

_OPTIONS: Final[LiteralString] = """/* attribution_inputs.options */
select answer_key, flight_id,
    (extract(epoch from case when archived_at < $3 then archived_at end) * 1000000)::bigint as until_us
from app.survey_options where tenant_id = $1 and sponsor_id = $2 and created_at < $3
order by created_at desc, survey_option_id desc"""

_EXPOSURES: Final[LiteralString] = """/* attribution_inputs.exposures */
select flight_id, array_agg(distinct day - date '1970-01-01') as days from app.placement_daily
where tenant_id = $1 and sponsor_id = $2 group by flight_id"""

_COLUMNS: Final[LiteralString] = """c.conversion_id, c.action_id, a.counting = 'one' as is_counted_once, c.occurred_at,
    (extract(epoch from c.occurred_at) * 1000000)::bigint as at_us, c.value_amount, c.currency, c.click_id, c.link,
    c.promo_code, c.survey_answer, c.customer_key, c.new_customer, c.referrer_host
from app.conversions c join app.conversion_actions a using (tenant_id, action_id)
where c.tenant_id = $1 and c.sponsor_id = $2 and c.received_at < $3 and c.occurred_at < $4"""

# Of customers with a conversion in the range all earlier ones too: they may keep a later one from counting, tell that
# it was no new customer, and have brought touches. Customer by customer, those without one last.
_CONVERSIONS: Final[LiteralString] = (
    "/* attribution_inputs.conversions */ select "
    + _COLUMNS
    + """
    and (c.occurred_at >= $5 or c.customer_key in (
        select i.customer_key from app.conversions i
        where i.tenant_id = $1 and i.sponsor_id = $2 and i.received_at < $3 and i.occurred_at >= $5
            and i.occurred_at < $4 and i.customer_key is not null))
order by c.customer_key nulls last, c.occurred_at, c.conversion_id"""
)

_COUNT: Final[LiteralString] = """/* attribution_inputs.count */
select count(*) from app.conversions
where tenant_id = $1 and sponsor_id = $2 and received_at < $3 and occurred_at >= $4 and occurred_at < $5"""

_OF_CUSTOMER: Final[LiteralString] = (
    "/* attribution_inputs.of_customer */ select "
    + _COLUMNS
    + """
    and (c.conversion_id = $5 or c.customer_key = $6)
order by c.occurred_at, c.conversion_id"""
)

_ADJUSTMENTS: Final[LiteralString] = """/* attribution_inputs.adjustments */
select conversion_id, adjustment_id, adjusted_at, value_amount from app.conversion_adjustments
where tenant_id = $1 and conversion_id = any($2::uuid[]) and received_at < $3
order by conversion_id, adjusted_at, adjustment_id"""

# One more than a customer may have is enough to tell that the key is many people's.
_SIGNALS: Final[LiteralString] = """/* attribution_inputs.signals */
select k.customer_key, s.at_us, s.click_id, s.link, s.promo_code
from unnest($2::uuid[]) as k(customer_key) cross join lateral (
    select (extract(epoch from occurred_at) * 1000000)::bigint as at_us, click_id, link, promo_code
    from app.customer_signals
    where tenant_id = $1 and customer_key = k.customer_key and received_at < $3 and occurred_at < $4
    order by occurred_at desc, event_id limit $5
) s"""

# What customers did who did not convert, each customer's in order.
_LOST: Final[LiteralString] = """/* attribution_inputs.lost */
select s.customer_key, (extract(epoch from s.occurred_at) * 1000000)::bigint as at_us, s.click_id, s.link, s.promo_code
from app.customer_signals s
where s.tenant_id = $1 and s.received_at < $3 and s.occurred_at >= $4 and s.occurred_at < $5 and not exists (
    select from app.conversions c
    where c.tenant_id = $1 and c.sponsor_id = $2 and c.customer_key = s.customer_key and c.received_at < $3
        and c.occurred_at >= $4 and c.occurred_at < $5)
order by s.customer_key, s.occurred_at, s.event_id"""

_CLICKS: Final[LiteralString] = """/* attribution_inputs.clicks */
select click_id, (extract(epoch from occurred_at) * 1000000)::bigint as at_us, link_no from app.clicks
where click_id = any($1::uuid[]) and tenant_no = $2 and occurred_at < $3"""


async def read_inputs(conn: Connection, scope: Scope) -> Inputs:
    """Read by what the sponsor's flights are recognised, and on which days they were heard.

    Args:
        conn: As ingest, or in a transaction of the tenant; of a snapshot where figures have to fit one another.
        scope: What is to be attributed.
    """
    tenant_id, sponsor_id, cutoff_at = scope.tenant.tenant_id, scope.sponsor_id, scope.cutoff_at
    devices = Devices(
        sponsor_id,
        flights=[KnownFlight(*row) for row in await conn.fetch(_FLIGHTS, tenant_id, sponsor_id)],
        links=[KnownLink(*row) for row in await conn.fetch(_LINKS, tenant_id, cutoff_at)],
        codes=[KnownCode(*row) for row in await conn.fetch(_CODES, tenant_id, sponsor_id, cutoff_at)],
        options=[KnownOption(*row) for row in await conn.fetch(_OPTIONS, tenant_id, sponsor_id, cutoff_at)],
    )
    days = {row["flight_id"]: row["days"] for row in await conn.fetch(_EXPOSURES, tenant_id, sponsor_id)}
    return Inputs(devices, Exposures(days))


async def count_conversions(conn: Connection, scope: Scope) -> int:
    """Count the conversions of the range that were received before the cutoff."""
    key = scope.tenant.tenant_id, scope.sponsor_id, scope.cutoff_at
    return int(await conn.fetchval(_COUNT, *key, scope.starts_at, scope.ends_at, timeout=_TIMEOUT_S))


async def read_customers(
    conn: Connection, scope: Scope
) -> AsyncIterator[tuple[list[Customer], dict[UUID, KnownClick]]]:
    """Read the customers with a conversion in the range, some at a time, with the clicks that they name.

    Args:
        conn: In a transaction that sees one instant; a cursor is read over it, and other queries in between.
        scope: What is to be attributed.

    Yields:
        Whole customers, each once, in the order of their keys; conversions without one come last, each by itself. Only
        a key that many people share may come in several parts.
    """
    query = await conn.cursor(
        _CONVERSIONS,
        scope.tenant.tenant_id,
        scope.sponsor_id,
        scope.cutoff_at,
        scope.ends_at,
        scope.starts_at,
        timeout=_TIMEOUT_S,
    )
    waiting: list[asyncpg.Record] = []
    shared: UUID | None = None
    while rows := await query.fetch(scope.read_rows):
        waiting += rows
        # The last customer may go on.
        last = waiting[-1]["customer_key"]
        ends = len(waiting)
        while last is not None and ends and waiting[ends - 1]["customer_key"] == last:
            ends -= 1
        if ends:
            yield await _complete(conn, scope, waiting[:ends], shared=shared)
            del waiting[:ends]
        if len(waiting) > scope.most_of_customer:
            # Many people's: each of its conversions stands for itself, and need not wait for the others.
            shared = last
            yield await _complete(conn, scope, waiting, shared=shared)
            waiting = []
    if waiting:
        yield await _complete(conn, scope, waiting, shared=shared)


async def read_null_paths(conn: Connection, scope: Scope, devices: Devices) -> AsyncIterator[list[list[UUID]]]:
    """Read the paths of customers who were touched in the range, and did not convert in it.

    Args:
        conn: As for :func:`read_customers`.
        scope: What is attributed.
        devices: By what the sponsor's flights are recognised.

    Yields:
        Some paths at a time, as the campaigns of their touches in order of time; none is empty.
    """
    query = await conn.cursor(
        _LOST,
        scope.tenant.tenant_id,
        scope.sponsor_id,
        scope.cutoff_at,
        scope.starts_at,
        scope.ends_at,
        timeout=_TIMEOUT_S,
    )
    touches: dict[UUID, set[Touch]] = {}
    said = Counter[UUID]()
    while rows := await query.fetch(scope.read_rows):
        clicks = await _read_clicks(conn, scope, [row["click_id"] for row in rows])
        for row in rows:
            found = name_flights(Said(row["at_us"], row["click_id"], row["link"], row["promo_code"]), devices, clicks)
            said[row["customer_key"]] += 1
            touches.setdefault(row["customer_key"], set()).update(one.touch for one in found if one.touch is not None)
        # The last customer may go on.
        last = rows[-1]["customer_key"]
        waiting = {last: touches.pop(last)}
        yield _paths(touches, said, scope)
        touches, said = waiting, Counter({last: said[last]})
    yield _paths(touches, said, scope)


def _paths(touches: Mapping[UUID, Collection[Touch]], said: Mapping[UUID, int], scope: Scope) -> list[list[UUID]]:
    """Put touches in order, without those under keys that are many people's."""
    return [
        [touch.campaign_id for touch in sorted(found)]
        for key, found in touches.items()
        if found and said[key] <= scope.most_of_customer
    ]


async def _read_clicks(conn: Connection, scope: Scope, click_ids: Iterable[UUID | None]) -> dict[UUID, KnownClick]:
    ids = list({click_id for click_id in click_ids if click_id is not None})
    found = await conn.fetch(_CLICKS, ids, scope.tenant.tenant_no, scope.cutoff_at)
    return {row["click_id"]: KnownClick(row["at_us"], row["link_no"]) for row in found}


async def read_customer(
    conn: Connection, scope: Scope, conversion_id: UUID, customer_key: UUID | None
) -> tuple[Customer, dict[UUID, KnownClick]] | None:
    """Read the customer of one conversion as :func:`read_customers` would; ``None`` where the cutoff is before it."""
    rows = await conn.fetch(
        _OF_CUSTOMER,
        scope.tenant.tenant_id,
        scope.sponsor_id,
        scope.cutoff_at,
        scope.ends_at,
        conversion_id,
        customer_key,
    )
    if not rows:
        return None
    customers, clicks = await _complete(conn, scope, rows)
    return customers[0], clicks


async def _complete(
    conn: Connection, scope: Scope, rows: Sequence[asyncpg.Record], *, shared: UUID | None = None
) -> tuple[list[Customer], dict[UUID, KnownClick]]:
    """Add to conversions what was said of them later, what their customers did besides, and the clicks of both."""
    tenant_id = scope.tenant.tenant_id
    adjustments: dict[UUID, list[Adjustment]] = {}
    ids = [row["conversion_id"] for row in rows]
    for said in await conn.fetch(_ADJUSTMENTS, tenant_id, ids, scope.cutoff_at):
        adjustment = Adjustment(said["adjusted_at"], said["adjustment_id"], said["value_amount"])
        adjustments.setdefault(said["conversion_id"], []).append(adjustment)
    keys = list({row["customer_key"] for row in rows if row["customer_key"] is not None})
    signals: dict[UUID, list[Said]] = {}
    most = scope.most_of_customer
    for row in await conn.fetch(_SIGNALS, tenant_id, keys, scope.cutoff_at, scope.ends_at, most + 1):
        signals.setdefault(row["customer_key"], []).append(
            Said(row["at_us"], row["click_id"], row["link"], row["promo_code"])
        )
    conversions: dict[UUID | None, list[HeldConversion]] = {}
    customers: list[Customer] = []
    for row in rows:
        held = _held(row, adjustments.get(row["conversion_id"], ()))
        key = row["customer_key"]
        if key is None:
            customers.append(Customer(None, [held]))
        elif key in conversions:
            conversions[key].append(held)
        else:
            conversions[key] = [held]
            is_part = key == shared
            customers.append(Customer(key, conversions[key], signals.get(key, ()), is_part=is_part, most=most))
    said_all = [one.said for customer in customers for one in customer.conversions]
    said_all += [said for customer in customers for said in customer.signals]
    return customers, await _read_clicks(conn, scope, [one.click_id for one in said_all])


def _held(row: asyncpg.Record, adjustments: Sequence[Adjustment]) -> HeldConversion:
    said = Said(row["at_us"], row["click_id"], row["link"], row["promo_code"], row["survey_answer"])
    return HeldConversion(
        row["conversion_id"],
        row["action_id"],
        row["is_counted_once"],
        row["occurred_at"],
        row["value_amount"],
        row["currency"],
        row["new_customer"],
        row["referrer_host"],
        said,
        adjustments,
    )
