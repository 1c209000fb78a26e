"""Attribution events as they are stored, the ids by which each lands once, and the secrets of their customers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.ownership import lock_ownership
from analytics_core.db.pool import Connection
from analytics_core.errors import NotFound

__all__ = (
    "EVENTS_SOURCE",
    "ID_DAYS",
    "StoredEvent",
    "add_events",
    "drop_event_days",
    "drop_event_ids",
    "drop_tenant_events",
    "ensure_customer_secret",
    "ensure_event_partitions",
    "ensure_event_secrets",
    "find_tenants",
)

EVENTS_SOURCE: Final = "events"
"""Under which name ingest says up to when events have landed."""

ID_DAYS: Final = 180
"""Days for which an event's id is kept: twice as long as a collector takes it, as a spool may be found late."""


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as its row of ``ts.attribution_events`` is; see :class:`analytics_core.events.EventRecord`.

    Attributes:
        customer_key: Of the sender's name for the customer, see :func:`analytics_core.event_pages.customer_key`.
        agent_no: 0 where there is no browser.
        asn: 0 where it is unknown, as with ``country``.
        networks: A union of ``NetworkClass``.
        is_bot: Whether a browser's agent is a bot's.
    """

    received_at: dt.datetime
    occurred_at: dt.datetime
    event_id: UUID
    tenant_no: int
    source: int
    type: str
    click_id: UUID | None
    promo_code: str | None
    link: str | None
    customer_key: UUID | None
    external_id: str | None
    value_amount: int | None
    currency: str | None
    new_customer: bool | None
    page_host: str | None
    page_path: str | None
    referrer_host: str | None
    utm: dict[str, str] | None
    properties: Mapping[str, Any] | None
    agent_no: int = 0
    asn: int = 0
    country: int = 0
    networks: int = 0
    is_bot: bool = False

    @property
    def key(self) -> tuple[int, UUID]:
        """What makes it one event."""
        return self.tenant_no, self.event_id


_COLUMNS: Final = StoredEvent.__struct_fields__

_PARTITIONS: Final[LiteralString] = """/* events.partitions */ select ops.ensure_event_partitions($1::date[])"""

# In one order, so that writers meet in it.
_NEW: Final[LiteralString] = """/* event_ids.add */
insert into ops.event_ids (tenant_no, event_id, received_on)
select tenant_no, event_id, received_on
from unnest($1::integer[], $2::uuid[], $3::date[]) as n(tenant_no, event_id, received_on)
order by tenant_no, event_id
on conflict do nothing returning tenant_no, event_id"""

_TENANTS: Final[LiteralString] = """/* events.tenants */
select tenant_no from app.tenants where tenant_no = any($1::integer[])"""

_ADD_SECRETS: Final[LiteralString] = """/* event_secrets.add */
insert into ops.event_secrets (tenant_no, secret)
select n.tenant_no, n.secret from unnest($1::integer[], $2::bytea[]) as n(tenant_no, secret)
join app.tenants t using (tenant_no) order by n.tenant_no
on conflict do nothing"""

_SECRETS: Final[LiteralString] = """/* event_secrets.find */
select tenant_no, secret from ops.event_secrets where tenant_no = any($1::integer[])"""

_KEYED_BY: Final[LiteralString] = """/* event_secrets.of_one */ select app.customer_secret($1, $2)"""

_DROP_DAYS: Final[LiteralString] = """/* events.drop_days */ select ops.drop_event_days($1)"""

_LIMITS: Final[LiteralString] = """/* events.limits */
select set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true)"""

# Of each tenant that keeps less than all do: the day of its oldest event that is to go.
_TENANT_DAYS: Final[LiteralString] = """/* events.tenant_days */
select t.tenant_no, (e.received_at at time zone 'UTC')::date as day
from app.tenants t cross join lateral (
    select received_at from ts.attribution_events e
    where e.tenant_no = t.tenant_no
        and e.received_at < ($1::date - t.retention_hits_days)::timestamp at time zone 'UTC'
    order by received_at limit 1
) e where t.retention_hits_days is not null order by t.tenant_no"""

_DROP_TENANT_DAY: Final[LiteralString] = """/* events.drop_tenant_day */
delete from ts.attribution_events
where tenant_no = $1 and received_at >= $2::date::timestamp at time zone 'UTC'
    and received_at < ($2::date + 1)::timestamp at time zone 'UTC'"""

_DROP_IDS: Final[LiteralString] = """/* event_ids.drop */
delete from ops.event_ids where (tenant_no, event_id) in (
    select tenant_no, event_id from ops.event_ids where received_on < $1 order by received_on limit $2)"""


def _count(status: object) -> int:
    return int(str(status).split()[-1])


async def ensure_event_partitions(conn: Connection, days: Collection[dt.date]) -> None:
    """Have room for events that were received on some UTC days, as ingest or the owner."""
    await conn.execute(_PARTITIONS, sorted(days))


async def add_events(conn: Connection, events: Sequence[StoredEvent]) -> set[tuple[int, UUID]]:
    """Add those events that were not there yet, by COPY, with their ids.

    Args:
        conn: As ingest, in the transaction that moves the checkpoint.
        events: No two of one key.

    Returns:
        The keys of those that were added; all others were there before.
    """
    if not events:
        return set()
    rows = await conn.fetch(
        _NEW,
        [event.tenant_no for event in events],
        [event.event_id for event in events],
        [event.received_at.date() for event in events],
    )
    new = {(row["tenant_no"], UUID(int=row["event_id"].int)) for row in rows}
    added = [event for event in events if event.key in new]
    if added:
        await ensure_event_partitions(conn, {event.received_at.date() for event in added})
        await conn.copy_records_to_table(
            "attribution_events",
            schema_name="ts",
            columns=_COLUMNS,
            records=[msgspec.structs.astuple(event) for event in added],
        )
    return new


async def find_tenants(conn: Connection, numbers: Collection[int]) -> set[int]:
    """Tell which tenants there are, of some; as ingest, in a transaction that holds :func:`lock_ownership`."""
    return {row["tenant_no"] for row in await conn.fetch(_TENANTS, list(numbers))}


async def ensure_event_secrets(conn: Connection, new: Mapping[int, bytes]) -> dict[int, bytes]:
    """Return tenants' secrets, making them of *new* where there is none; one of a tenant that is gone is left out.

    Outside a transaction: what two processes make at once is one secret, and both see it before they use it. No tenant
    is erased meanwhile.
    """
    async with conn.transaction():
        await lock_ownership(conn)
        await conn.execute(_ADD_SECRETS, list(new), list(new.values()))
        return {row["tenant_no"]: row["secret"] for row in await conn.fetch(_SECRETS, list(new))}


async def ensure_customer_secret(conn: Connection, tenant_no: int, new: bytes) -> bytes:
    """Return a tenant's secret as the role that authenticates, making it of *new* where there is none.

    Outside a transaction. No tenant is erased meanwhile.

    Raises:
        NotFound: There is no such tenant any more.
    """
    async with conn.transaction():
        await lock_ownership(conn)
        if not await find_tenants(conn, [tenant_no]):
            raise NotFound("tenant")
        secret: bytes = await conn.fetchval(_KEYED_BY, tenant_no, new)
    return secret


async def drop_event_days(conn: Connection, *, before: dt.date) -> int:
    """Drop whole days of events that were received before a UTC day; return how many.

    Raises:
        asyncpg.LockNotAvailableError: Somebody reads or writes them; nothing was dropped.
    """
    return int(await conn.fetchval(_DROP_DAYS, before))


async def drop_tenant_events(conn: Connection, *, today: dt.date, limit: int) -> int:
    """Delete events of tenants that keep less than all do, a tenant's day a transaction; return how many events.

    Args:
        conn: As ingest, outside a transaction.
        today: The UTC day.
        limit: Days at most, over all tenants.
    """
    dropped = done = 0
    while done < limit and (due := await conn.fetch(_TENANT_DAYS, today)):
        for row in due:
            async with conn.transaction():
                await conn.execute(_LIMITS)
                dropped += _count(await conn.execute(_DROP_TENANT_DAY, row["tenant_no"], row["day"]))
            done += 1
    return dropped


async def drop_event_ids(conn: Connection, *, before: dt.date, limit: int) -> int:
    """Delete some ids of events that were received before a UTC day; return how many."""
    return _count(await conn.execute(_DROP_IDS, before, limit))
