"""Erasure of a customer: its events, a month of their receipt a transaction, with a record as proof.

The events' ids stay for as long as any: what is sent again does not come back. Conversions stay as well, as somebody
is paid for them, and name the customer no more; what the customer did before them goes. Of runs that are over the
credits stay, and of the touches that they were given for the day: by the time a web server's log would tell who it was.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString
from uuid import UUID

from analytics_core.conversions import FORGOTTEN
from analytics_core.db.erasure_requests import ErasureRequest, end_erasure, find_erasure, note_removed
from analytics_core.db.ownership import lock_ownership
from analytics_core.db.pool import Connection, Pool, Tenant, tenant_transaction
from analytics_core.erasures import ErasureRecord

__all__ = ("count_customer", "erase_customer", "find_customer_secret")

_LIMITS: Final[LiteralString] = """/* customer_erasure.limits */
select set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true)"""

_KEYED_BY: Final[LiteralString] = """/* event_secrets.get */
select secret from ops.event_secrets where tenant_no = $1"""

_FIRST: Final[LiteralString] = """/* customer_erasure.first */
select received_at from ts.attribution_events where tenant_no = $1 order by received_at limit 1"""

_DELETE: Final[LiteralString] = """/* customer_erasure.delete */
delete from ts.attribution_events
where tenant_no = $1 and customer_key = $2 and received_at >= $3 and received_at < $4"""

_SIGNALS: Final[LiteralString] = """/* customer_erasure.signals */
delete from app.customer_signals where tenant_id = $1 and customer_key = $2"""

# By its click the hit would be found that led to it, and by the hash whether a click that is guessed is the one.
_CONVERSIONS: Final[LiteralString] = """/* customer_erasure.conversions */
update app.conversions set customer_key = null, click_id = null, said_hash = $3
where tenant_id = $1 and customer_key = $2"""

# By way of the runs, as touches are found by these.
_TOUCHES: Final[LiteralString] = """/* customer_erasure.touches */
update app.attribution_touches t set occurred_at = date_trunc('day', t.occurred_at, 'UTC'), is_day_only = true
from app.conversions c join app.attribution_runs r using (tenant_id, sponsor_id)
where c.tenant_id = $1 and c.customer_key = $2 and not t.is_day_only
    and t.tenant_id = c.tenant_id and t.run_id = r.run_id and t.conversion_id = c.conversion_id"""

_COUNT: Final[LiteralString] = """/* customer_erasure.count */
select (select count(*) from ts.attribution_events where tenant_no = $1 and customer_key = $3) as events,
    (select count(*) from app.customer_signals where tenant_id = $2 and customer_key = $3) as signals,
    (select count(*) from app.conversions where tenant_id = $2 and customer_key = $3) as conversions,
    (select count(*) from app.conversions c join app.attribution_runs r using (tenant_id, sponsor_id)
        join app.attribution_touches t
            on t.tenant_id = c.tenant_id and t.run_id = r.run_id and t.conversion_id = c.conversion_id
        where c.tenant_id = $2 and c.customer_key = $3 and not t.is_day_only) as touches"""


async def find_customer_secret(conn: Connection, tenant_no: int) -> bytes | None:
    """Read the secret under which a tenant's customers are keyed, as ingest; ``None`` where none was ever."""
    secret: bytes | None = await conn.fetchval(_KEYED_BY, tenant_no)
    return secret


async def count_customer(conn: Connection, tenant: Tenant, key: UUID) -> dict[str, int]:
    """Count what is kept of a customer, by what it is; as ingest."""
    row = await conn.fetchrow(_COUNT, tenant.tenant_no, tenant.tenant_id, key)
    if row is None:
        raise AssertionError("a count is a row")
    return dict(row)


def _next_month(at: dt.datetime) -> dt.datetime:
    first = at.astimezone(dt.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + dt.timedelta(days=32)).replace(day=1)


async def _take(conn: Connection, request: ErasureRequest, start: dt.datetime, end: dt.datetime) -> int:
    await conn.execute(_LIMITS)
    done = await conn.execute(_DELETE, request.tenant.tenant_no, request.customer_key, start, end)
    return _changed(done)


def _changed(status: object) -> int:
    return int(str(status).split()[-1])


async def erase_customer(pool: Pool, request: ErasureRequest, *, now: dt.datetime) -> ErasureRecord:
    """Erase a customer's events, and take it out of conversions and of the touches of attribution runs.

    What lands of it later, an event that is still in a spool say, is there again: erase it once more then.

    Args:
        pool: As ingest.
        request: About a customer; whoever calls holds :func:`analytics_core.db.erasure_requests.erasing`.
        now: Aware instant.

    Returns:
        The record; not finished when events of it landed meanwhile.

    Raises:
        Unavailable: The database does not answer; what was taken away so far is in the record, and calling it again
            goes on.
    """
    tenant, key = request.tenant, request.customer_key
    if key is None:
        raise ValueError("the request is not about a customer")
    async with tenant_transaction(pool, tenant) as conn:
        stored = await find_erasure(conn, tenant, request.erasure_id)
        start: dt.datetime | None = await conn.fetchval(_FIRST, tenant.tenant_no)
    if stored is None:
        raise AssertionError("an erasure has a record")
    record = stored.record
    # Clocks of collectors may be ahead of ours.
    until = now + dt.timedelta(days=2)
    while start is not None and start < until:
        end = _next_month(start)
        async with tenant_transaction(pool, tenant) as conn:
            taken = await _take(conn, request, start, end)
            after = await note_removed(conn, tenant, record, {"events": taken})
        record, start = after, end
    async with tenant_transaction(pool, tenant) as conn:
        # A run that is just being made ready looks for customers that went meanwhile, before this or behind it.
        await lock_ownership(conn, exclusive=True)
        signals = await conn.execute(_SIGNALS, tenant.tenant_id, key)
        touches = await conn.execute(_TOUCHES, tenant.tenant_id, key)
        conversions = await conn.execute(_CONVERSIONS, tenant.tenant_id, key, FORGOTTEN)
        changed = {"signals": signals, "touches": touches, "conversions": conversions}
        after = await note_removed(conn, tenant, record, {what: _changed(status) for what, status in changed.items()})
    record = after
    async with tenant_transaction(pool, tenant) as conn:
        # Nobody lands anything while it is looked whether anything is left.
        await lock_ownership(conn, exclusive=True)
        remaining = await count_customer(conn, tenant, key)
        if any(remaining.values()):
            return record
        return await end_erasure(conn, tenant, record, remaining, now=now)
