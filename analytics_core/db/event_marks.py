"""Marks of events that may be conversions, what these events name, and what they tell of customers; all as ingest."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, LiteralString
from uuid import UUID

import asyncpg
import msgspec

from analytics_core.attribution.counting import Adjustment
from analytics_core.db.events import StoredEvent
from analytics_core.db.pool import Connection
from analytics_core.event_conversions import (
    CodeOwner,
    Known,
    MarkedEvent,
    Refundable,
    possible_domains,
    sponsor_named,
)
from analytics_core.promo_codes import fold_code
from analytics_core.sponsors import name_key

__all__ = (
    "add_marks",
    "add_signals",
    "count_undecided",
    "drop_marks",
    "drop_signals",
    "find_known",
    "find_refundable",
    "find_tenant_ids",
    "postpone_marks",
    "take_marks",
)

_COLUMNS: Final = ("tenant_no", "event_id", "received_at", "marked_at")

_TAKE: Final[LiteralString] = """/* event_marks.take */
select mark_no, tenant_no, event_id, received_at, marked_at from ops.event_marks where due_at <= $1
order by due_at, mark_no limit $2 for update skip locked"""

# Between two times that the plan knows, so that days that have none of them are not looked at.
_READ: Final[LiteralString] = """/* event_marks.read */
select m.mark_no, m.tenant_no, m.event_id, m.received_at, m.marked_at, e.type, e.occurred_at, e.click_id, e.promo_code,
    e.link, e.customer_key, e.external_id, e.value_amount, e.currency, e.new_customer, e.page_host, e.referrer_host,
    e.properties, e.is_bot
from unnest($1::bigint[], $2::integer[], $3::uuid[], $4::timestamptz[], $5::timestamptz[])
    as m(mark_no, tenant_no, event_id, received_at, marked_at)
join ts.attribution_events e on e.tenant_no = m.tenant_no and e.received_at = m.received_at and e.event_id = m.event_id
where e.received_at between $6 and $7"""

_FOR_THESE: Final[LiteralString] = """/* event_marks.for_these_values */
select set_config('plan_cache_mode', 'force_custom_plan', true)"""

_DROP: Final[LiteralString] = """/* event_marks.drop */
delete from ops.event_marks where mark_no = any($1::bigint[])"""

_COUNT: Final[LiteralString] = """/* event_marks.count */
select count(*) from ops.event_marks where tenant_no = $1"""

_POSTPONE: Final[LiteralString] = """/* event_marks.postpone */
update ops.event_marks m set due_at = n.due_at
from unnest($1::bigint[], $2::timestamptz[]) as n(mark_no, due_at) where m.mark_no = n.mark_no"""

_TENANT_IDS: Final[LiteralString] = """/* event_marks.tenants */
select tenant_no, tenant_id from app.tenants where tenant_no = any($1::integer[])"""

# Who goes on naming a sponsor that was merged means the one that has all of it now.
_SPONSORS: Final[LiteralString] = """/* event_marks.sponsors */
with recursive named as materialized (
    select tenant_id, sponsor_id, name_key, domain, archived_at is not null as is_archived,
        case when archived_at is not null then merged_into end as merged_into
    from app.sponsors
    where tenant_id = any($1::uuid[])
        and (sponsor_id = any($2::uuid[]) or name_key = any($3::uuid[]) or domain = any($4::text[]))
), heirs as (
    select tenant_id, sponsor_id, merged_into as heir_id, 1 as generation from named where merged_into is not null
    union all
    select h.tenant_id, h.sponsor_id, s.merged_into, h.generation + 1
    from heirs h join app.sponsors s on s.tenant_id = h.tenant_id and s.sponsor_id = h.heir_id
    where s.archived_at is not null and s.merged_into is not null and h.generation < 100
)
select tenant_id, sponsor_id, name_key, domain, is_archived, coalesce((
    select h.heir_id from heirs h
    where h.tenant_id = n.tenant_id and h.sponsor_id = n.sponsor_id order by h.generation desc limit 1
), sponsor_id) as heir_id
from named n"""

_CLICKS: Final[LiteralString] = """/* event_marks.clicks */
select l.tenant_id, c.click_id, l.sponsor_id from app.clicks c join app.links l using (link_no)
where c.click_id = any($1::uuid[]) and l.sponsor_id is not null"""

_LINKS: Final[LiteralString] = """/* event_marks.links */
select tenant_id, slug, sponsor_id from app.links where slug = any($1::text[]) and sponsor_id is not null"""

_CODES: Final[LiteralString] = """/* event_marks.codes */
select tenant_id, code, sponsor_id, valid_from, valid_until, grace_days from app.promo_codes
where tenant_id = any($1::uuid[]) and code = any($2::text[])"""

_ACTIONS: Final[LiteralString] = """/* event_marks.actions */
select tenant_id, sponsor_id, event_type, action_id from app.conversion_actions
where tenant_id = any($1::uuid[]) and event_type = any($2::text[]) and archived_at is null"""

# In one order, so that two who take refunds meet in it.
_REFUNDABLE: Final[LiteralString] = """/* event_marks.refundable */
select c.tenant_id, c.external_id, c.conversion_id, c.sponsor_id, c.occurred_at, c.value_amount, c.currency
from app.conversions c
where (c.tenant_id, c.external_id) in (select * from unnest($1::uuid[], $2::text[]))
order by c.conversion_id for update"""

_ADJUSTMENTS: Final[LiteralString] = """/* event_marks.adjustments */
select conversion_id, external_id, said_hash, adjusted_at, adjustment_id, value_amount
from app.conversion_adjustments where conversion_id = any($1::uuid[])"""

_ADD_SIGNALS: Final[LiteralString] = """/* customer_signals.add */
insert into app.customer_signals
    (tenant_id, event_id, customer_key, occurred_at, received_at, click_id, link, promo_code, referrer_host)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict do nothing"""

_DROP_SIGNALS: Final[LiteralString] = """/* customer_signals.drop */
delete from app.customer_signals where (tenant_id, event_id) in (
    select tenant_id, event_id from app.customer_signals where occurred_at < $1 order by occurred_at limit $2)"""


async def count_undecided(conn: Connection, tenant_no: int) -> int:
    """Count a tenant's events that are still to be decided about, refunds that wait for a purchase among them."""
    return int(await conn.fetchval(_COUNT, tenant_no))


async def add_marks(conn: Connection, events: Iterable[StoredEvent], *, now: dt.datetime) -> None:
    """Mark events that have just landed, by COPY, in the transaction in which they did."""
    records = [(event.tenant_no, event.event_id, event.received_at, now) for event in events]
    if records:
        await conn.copy_records_to_table("event_marks", schema_name="ops", columns=_COLUMNS, records=records)


async def take_marks(conn: Connection, *, now: dt.datetime, limit: int) -> tuple[list[int], list[MarkedEvent]]:
    """Take marks that are due, each of them for nobody else until the transaction ends, and read their events.

    Args:
        conn: In a transaction.
        now: Aware instant.
        limit: How many at most.

    Returns:
        The marks' numbers, and those of their events that are still there, in no order.
    """
    rows = await conn.fetch(_TAKE, now, limit)
    if not rows:
        return [], []
    names = ("mark_no", "tenant_no", "event_id", "received_at", "marked_at")
    columns = [[row[name] for row in rows] for name in names]
    await conn.execute(_FOR_THESE)
    events = await conn.fetch(_READ, *columns, min(columns[3]), max(columns[3]))
    return columns[0], [msgspec.convert(dict(event), MarkedEvent) for event in events]


async def drop_marks(conn: Connection, marks: Collection[int]) -> None:
    """Delete marks that were taken and are done with."""
    if marks:
        await conn.execute(_DROP, list(marks))


async def postpone_marks(conn: Connection, until: Mapping[int, dt.datetime]) -> None:
    """Have marks that were taken looked at again later."""
    if until:
        await conn.execute(_POSTPONE, list(until), list(until.values()))


async def find_tenant_ids(conn: Connection, numbers: Collection[int]) -> dict[int, UUID]:
    """Tell the ids of tenants by their numbers, of those that there are."""
    rows = await conn.fetch(_TENANT_IDS, list(set(numbers)))
    return {int(row["tenant_no"]): UUID(int=row["tenant_id"].int) for row in rows}


def _by_tenant(rows: Iterable[asyncpg.Record]) -> dict[UUID, list[asyncpg.Record]]:
    found: dict[UUID, list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        found[row["tenant_id"]].append(row)
    return found


async def find_known(conn: Connection, events: Sequence[MarkedEvent], tenants: Mapping[int, UUID]) -> dict[int, Known]:
    """Look up all that events name, each tenant's by itself.

    Args:
        conn: In a transaction.
        events: Of any tenants.
        tenants: Their ids by their numbers.
    """
    named = {sponsor_named(event) for event in events}
    hosts = {event.page_host for event in events if event.page_host is not None}
    domains = {domain for host in hosts for domain in possible_domains(host)}
    ids = list(tenants.values())
    sponsors = _by_tenant(
        await conn.fetch(
            _SPONSORS,
            ids,
            [one for one in named if isinstance(one, UUID)],
            [name_key(one) for one in named if isinstance(one, str)],
            [*domains, *(f"www.{domain}" for domain in domains)],
        )
    )
    clicks = _by_tenant(await conn.fetch(_CLICKS, list({event.click_id for event in events if event.click_id})))
    links = _by_tenant(await conn.fetch(_LINKS, list({event.link for event in events if event.link})))
    folded = {fold_code(event.promo_code) for event in events if event.promo_code}
    codes = _by_tenant(await conn.fetch(_CODES, ids, list(folded)))
    actions = _by_tenant(await conn.fetch(_ACTIONS, ids, list({event.type for event in events})))
    return {
        number: Known(
            sponsors={UUID(int=row["sponsor_id"].int): UUID(int=row["heir_id"].int) for row in sponsors[tenant_id]},
            names={row["name_key"]: UUID(int=row["heir_id"].int) for row in sponsors[tenant_id]},
            domains=_domains(sponsors[tenant_id]),
            clicks={row["click_id"]: UUID(int=row["sponsor_id"].int) for row in clicks[tenant_id]},
            links={row["slug"]: UUID(int=row["sponsor_id"].int) for row in links[tenant_id]},
            codes=_codes(codes[tenant_id]),
            actions={
                (UUID(int=row["sponsor_id"].int), row["event_type"]): UUID(int=row["action_id"].int)
                for row in actions[tenant_id]
            },
        )
        for number, tenant_id in tenants.items()
    }


def _domains(rows: Iterable[asyncpg.Record]) -> dict[str, set[UUID]]:
    found: dict[str, set[UUID]] = defaultdict(set)
    for row in rows:
        if row["domain"] is not None and not row["is_archived"]:
            found[row["domain"].removeprefix("www.")].add(UUID(int=row["sponsor_id"].int))
    return found


def _codes(rows: Iterable[asyncpg.Record]) -> dict[str, list[CodeOwner]]:
    found: dict[str, list[CodeOwner]] = defaultdict(list)
    for row in rows:
        owner = CodeOwner(UUID(int=row["sponsor_id"].int), row["valid_from"], row["valid_until"], row["grace_days"])
        found[row["code"]].append(owner)
    return found


async def find_refundable(
    conn: Connection, names: Collection[tuple[UUID, str]]
) -> dict[tuple[UUID, str], list[Refundable]]:
    """Find the conversions of some names, and hold them until the transaction ends, with all that was said of them.

    Args:
        conn: In a transaction.
        names: Ids of tenants with what their senders call conversions.
    """
    rows = await conn.fetch(_REFUNDABLE, [name[0] for name in names], [name[1] for name in names])
    said: dict[UUID, list[tuple[str | None, bytes, Adjustment]]] = defaultdict(list)
    for row in await conn.fetch(_ADJUSTMENTS, [row["conversion_id"] for row in rows]):
        adjustment = Adjustment(row["adjusted_at"], UUID(int=row["adjustment_id"].int), row["value_amount"])
        said[row["conversion_id"]].append((row["external_id"], row["said_hash"], adjustment))
    found: dict[tuple[UUID, str], list[Refundable]] = defaultdict(list)
    for row in rows:
        found[row["tenant_id"], row["external_id"]].append(
            Refundable(
                conversion_id=UUID(int=row["conversion_id"].int),
                sponsor_id=UUID(int=row["sponsor_id"].int),
                occurred_at=row["occurred_at"],
                value_amount=row["value_amount"],
                currency=row["currency"],
                adjustments=said[row["conversion_id"]],
            )
        )
    return found


async def add_signals(conn: Connection, events: Sequence[tuple[UUID, MarkedEvent]], *, now: dt.datetime) -> None:
    """Keep what events tell of customers; twice is as once.

    Args:
        conn: In a transaction.
        events: Each with the id of its tenant; all have a customer, and a click, a link or a code.
        now: Since when it is known.
    """
    if not events:
        return
    await conn.executemany(
        _ADD_SIGNALS,
        [
            (
                tenant_id,
                event.event_id,
                event.customer_key,
                event.occurred_at,
                now,
                event.click_id,
                event.link,
                event.promo_code,
                event.referrer_host,
            )
            for tenant_id, event in events
        ],
    )


async def drop_signals(conn: Connection, *, before: dt.datetime, limit: int) -> int:
    """Delete some of what customers did before an instant; return how many."""
    return int(str(await conn.execute(_DROP_SIGNALS, before, limit)).split()[-1])
