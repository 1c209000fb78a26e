"""The rows of an attribution run: written portion by portion while it is computed, summed up and checked at its end."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, LiteralString, NamedTuple
from uuid import UUID

from analytics_core.attribution.histories import JudgedConversion
from analytics_core.attribution.parameters import Model
from analytics_core.db.attribution_runs import WaitingRun
from analytics_core.db.pool import Connection

__all__ = ("CreditRows", "add_credits", "add_judged", "add_totals", "count_wrong", "forget_erased")

_TIMEOUT_S: Final = 600.0
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class CreditRows(NamedTuple):
    """Credits of one model, in columns."""

    conversion_ids: Sequence[UUID]
    touch_nos: Sequence[int]
    credits_ppm: Sequence[int]
    value_amounts: Sequence[int | None]


# Row security binds ingest too, and with it there is no COPY.
_CONVERSIONS: Final[LiteralString] = """/* attributed_conversions.add */
insert into app.attributed_conversions (tenant_id, run_id, sponsor_id, conversion_id, occurred_at, value_amount,
    currency, new_customer, status, reason, campaign_id, flight_id, signal, is_late_code, leak)
select $1, $2, $3, n.* from unnest($4::uuid[], $5::timestamptz[], $6::bigint[], $7::text[], $8::boolean[], $9::text[],
    $10::text[], $11::uuid[], $12::uuid[], $13::text[], $14::boolean[], $15::text[]) as n"""

_TOUCHES: Final[LiteralString] = """/* attribution_touches.add */
insert into app.attribution_touches (tenant_id, run_id, sponsor_id, conversion_id, touch_no, campaign_id, flight_id,
    kind, occurred_at)
select $1, $2, $3, n.* from unnest($4::uuid[], $5::smallint[], $6::uuid[], $7::uuid[], $8::text[], $9::timestamptz[])
    as n"""

_CREDITS: Final[LiteralString] = """/* attribution_credits.add */
insert into app.attribution_credits (tenant_id, run_id, sponsor_id, model, conversion_id, touch_no, credit_ppm,
    value_amount)
select $1, $2, $3, $4, n.* from unnest($5::uuid[], $6::smallint[], $7::integer[], $8::bigint[]) as n"""

# The rows are new, and the planner, which thinks that there are none, would look through all of them for each.
_PLAN: Final[LiteralString] = """/* attribution_totals.plan */ select set_config('enable_nestloop', 'off', true)"""

_TOTALS: Final[LiteralString] = """/* attribution_totals.add */
insert into app.attribution_totals (tenant_id, run_id, sponsor_id, model, campaign_id, flight_id, currency,
    conversions_ppm, new_customers_ppm, value_amount)
select $1, $2, $3, n.model, n.campaign_id, n.flight_id, coalesce(a.currency, ''), sum(n.credit_ppm),
    coalesce(sum(n.credit_ppm) filter (where a.new_customer), 0), coalesce(sum(n.value_amount), 0)
from (
    select c.conversion_id, c.model, t.campaign_id, t.flight_id, c.credit_ppm, c.value_amount
    from app.attribution_credits c join app.attribution_touches t using (tenant_id, run_id, conversion_id, touch_no)
    where c.tenant_id = $1 and c.run_id = $2
    union all
    select d.conversion_id, 'deterministic', d.campaign_id, d.flight_id, 1000000, d.value_amount
    from app.attributed_conversions d where d.tenant_id = $1 and d.run_id = $2 and d.flight_id is not null
) n join app.attributed_conversions a on a.tenant_id = $1 and a.run_id = $2 and a.conversion_id = n.conversion_id
group by n.model, n.campaign_id, n.flight_id, coalesce(a.currency, '')"""

# A conversion without a customer and a click has no touch at another time than its own, unless its customer was erased
# while the run was computed. Nothing is looked through where none was since the run was asked for; clocks may differ.
_FORGET: Final[LiteralString] = """/* attribution_touches.forget_erased */
update app.attribution_touches t set occurred_at = date_trunc('day', t.occurred_at, 'UTC'), is_day_only = true
from app.conversions c
where t.tenant_id = $1 and t.run_id = $2 and not t.is_day_only
    and c.tenant_id = t.tenant_id and c.conversion_id = t.conversion_id
    and c.customer_key is null and c.click_id is null and t.occurred_at <> c.occurred_at
    and exists (
        select from app.erasures e
        where e.tenant_no = $3 and e.kind = 'customer'
            and (e.finished_at is null or e.finished_at > $4::timestamptz - interval '1 day'))"""

# Of each attributed conversion every model has to give all, and its money to the cent, and of no other anything.
_WRONG: Final[LiteralString] = """/* attribution_credits.wrong */
with given as materialized (
    select conversion_id, model, sum(credit_ppm) as credit_ppm, sum(value_amount) as value_amount
    from app.attribution_credits where tenant_id = $1 and run_id = $2 group by conversion_id, model
)
select (
    select count(*) from given g
    left join app.attributed_conversions a on a.tenant_id = $1 and a.run_id = $2 and a.conversion_id = g.conversion_id
    where a.status is distinct from 'attributed' or g.credit_ppm <> 1000000
        or g.value_amount is distinct from a.value_amount
) + abs(
    (select count(*) from given) - $3 * (
        select count(*) from app.attributed_conversions
        where tenant_id = $1 and run_id = $2 and status = 'attributed')
)"""


def _key(waiting: WaitingRun) -> tuple[UUID, UUID, UUID]:
    return waiting.tenant.tenant_id, waiting.run.run_id, waiting.run.sponsor_id


async def add_judged(conn: Connection, waiting: WaitingRun, judged: Sequence[JudgedConversion]) -> None:
    """Write conversions as they were judged, and the touches that they are credited to.

    Args:
        conn: As ingest, in a transaction.
        waiting: Of which run.
        judged: Some conversions, each once.
    """
    await conn.execute(
        _CONVERSIONS,
        *_key(waiting),
        [one.conversion.conversion_id for one in judged],
        [one.conversion.occurred_at for one in judged],
        [one.standing.value_amount for one in judged],
        [one.conversion.currency for one in judged],
        [one.conversion.new_customer for one in judged],
        [one.status.value for one in judged],
        [None if one.reason is None else one.reason.value for one in judged],
        [None if one.surest is None else one.surest.campaign_id for one in judged],
        [None if one.surest is None else one.surest.flight_id for one in judged],
        [None if one.surest is None else one.surest.signal.label for one in judged],
        [one.is_late_code for one in judged],
        [None if one.leak is None else one.leak.value for one in judged],
    )
    rows = [(one.conversion.conversion_id, number, touch) for one in judged for number, touch in enumerate(one.touches)]
    await conn.execute(
        _TOUCHES,
        *_key(waiting),
        [conversion_id for conversion_id, _, _ in rows],
        [number for _, number, _ in rows],
        [touch.campaign_id for _, _, touch in rows],
        [touch.flight_id for _, _, touch in rows],
        [touch.signal.label for _, _, touch in rows],
        [_EPOCH + dt.timedelta(microseconds=touch.at_us) for _, _, touch in rows],
    )


async def add_credits(conn: Connection, waiting: WaitingRun, model: Model, rows: CreditRows) -> None:
    """Write what a model gave; touches that it gave nothing are not among the rows.

    Args:
        conn: As ingest, in a transaction.
        waiting: Of which run.
        model: Which.
        rows: Some of them.
    """
    await conn.execute(
        _CREDITS,
        *_key(waiting),
        model.value,
        rows.conversion_ids,
        rows.touch_nos,
        rows.credits_ppm,
        rows.value_amounts,
    )


async def count_wrong(conn: Connection, waiting: WaitingRun, *, models: int) -> int:
    """Count what is not as it has to be: conversions whose credit is not a million, or whose money is not their value.

    Args:
        conn: As ingest, in a transaction.
        waiting: Of which run.
        models: How many models have a result; each has to have shared each attributed conversion.
    """
    tenant_id, run_id, _ = _key(waiting)
    await conn.execute(_PLAN)
    return int(await conn.fetchval(_WRONG, tenant_id, run_id, models, timeout=_TIMEOUT_S))


async def forget_erased(conn: Connection, waiting: WaitingRun) -> None:
    """Leave of touches of customers that were erased while a run was computed the day, as their erasure does.

    Args:
        conn: As ingest, in the transaction that makes the run ready; it holds
            :func:`analytics_core.db.ownership.lock_ownership`, so that an erasure is over, or finds the run's rows.
        waiting: Of which run.
    """
    tenant, run = waiting.tenant, waiting.run
    await conn.execute(_PLAN)
    await conn.execute(_FORGET, tenant.tenant_id, run.run_id, tenant.tenant_no, run.created_at, timeout=_TIMEOUT_S)


async def add_totals(conn: Connection, waiting: WaitingRun) -> None:
    """Sum up a run by flight, as ingest, in the transaction that makes it ready."""
    await conn.execute(_PLAN)
    await conn.execute(_TOTALS, *_key(waiting), timeout=_TIMEOUT_S)
