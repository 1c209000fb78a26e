"""What attribution runs found, read as the API: sums by flight, and how one conversion was credited."""

from __future__ import annotations

import datetime as dt
from typing import Final, Literal, LiteralString, TypeAlias
from uuid import UUID

import msgspec

from analytics_core.attribution.parameters import Model
from analytics_core.db.pool import Connection

__all__ = (
    "AdjustmentRow",
    "ConversionRow",
    "CreditRow",
    "FlightName",
    "SignalWord",
    "StatusWord",
    "TotalRow",
    "TouchRow",
    "find_attributed",
    "find_run_of",
    "list_adjustments",
    "list_credits",
    "list_totals",
    "list_touches",
    "name_flights_of",
)

SignalWord: TypeAlias = Literal["click", "vanity", "code", "survey"]
StatusWord: TypeAlias = Literal["attributed", "unattributed", "not_counted", "excluded", "retracted"]


class TotalRow(msgspec.Struct, frozen=True):
    """What a model gave a flight in one currency; ``currency`` is empty of conversions without a value."""

    model: str
    campaign_id: UUID
    campaign: str
    flight_id: UUID
    flight: str
    currency: str
    conversions_ppm: int
    new_customers_ppm: int
    value_amount: int


class ConversionRow(msgspec.Struct, frozen=True):
    """A conversion as a run found it, beside what was told first.

    Attributes:
        told_amount: As it was told first.
        value_amount: In the run, after what was said of it until the cutoff.
        campaign_id: By its own surest signal, with *flight_id* and *signal*.
    """

    conversion_id: UUID
    sponsor_id: UUID
    action_id: UUID
    external_id: str
    customer_key: UUID | None
    occurred_at: dt.datetime
    told_amount: int | None
    value_amount: int | None
    currency: str | None
    new_customer: bool | None
    status: StatusWord
    reason: str | None
    campaign_id: UUID | None
    flight_id: UUID | None
    signal: SignalWord | None
    is_late_code: bool
    leak: str | None


class AdjustmentRow(msgspec.Struct, frozen=True):
    """What was said of a conversion later."""

    kind: Literal["retract", "restate"]
    value_amount: int | None
    reason: str | None
    adjusted_at: dt.datetime
    received_at: dt.datetime


class TouchRow(msgspec.Struct, frozen=True):
    """A touch that a conversion was credited to; of one whose customer was erased ``occurred_at`` is its UTC day."""

    touch_no: int
    campaign_id: UUID
    flight_id: UUID
    kind: SignalWord
    occurred_at: dt.datetime
    is_day_only: bool


class CreditRow(msgspec.Struct, frozen=True):
    """What a model gave to a touch."""

    model: Model
    touch_no: int
    credit_ppm: int
    value_amount: int | None


class FlightName(msgspec.Struct, frozen=True):
    """A flight, and the campaign that it belongs to, by name."""

    flight_id: UUID
    flight: str
    campaign_id: UUID
    campaign: str


_TOTALS: Final[LiteralString] = """/* attribution_totals.list */
select t.model, t.campaign_id, c.name as campaign, t.flight_id, f.name as flight, t.currency, t.conversions_ppm,
    t.new_customers_ppm, t.value_amount
from app.attribution_totals t join app.campaigns c using (tenant_id, campaign_id)
    join app.flights f on f.tenant_id = t.tenant_id and f.flight_id = t.flight_id
where t.run_id = $1 order by c.created_at, t.campaign_id, f.created_at, t.flight_id, t.model, t.currency"""

# A run that is not ready has rows that are still to change.
_CONVERSION: Final[LiteralString] = """/* attributed_conversions.find */
select a.conversion_id, c.sponsor_id, c.action_id, c.external_id, c.customer_key, a.occurred_at,
    c.value_amount as told_amount, a.value_amount, a.currency, a.new_customer, a.status, a.reason, a.campaign_id,
    a.flight_id, a.signal, a.is_late_code, a.leak
from app.attributed_conversions a join app.conversions c using (tenant_id, conversion_id)
where a.run_id = $1 and a.conversion_id = $2"""

_RUN_OF: Final[LiteralString] = """/* attribution_runs.of_conversion */
select r.run_id from app.attribution_runs r
where r.status = 'ready'
    and r.sponsor_id = (select c.sponsor_id from app.conversions c where c.conversion_id = $1)
    and exists (
        select from app.attributed_conversions a
        where a.tenant_id = r.tenant_id and a.run_id = r.run_id and a.conversion_id = $1)
order by r.cutoff_at desc, r.created_at desc, r.run_id desc limit 1"""

_ADJUSTMENTS: Final[LiteralString] = """/* conversion_adjustments.told */
select kind, value_amount, reason, adjusted_at, received_at from app.conversion_adjustments
where conversion_id = $1 order by adjusted_at, adjustment_id"""

_TOUCHES: Final[LiteralString] = """/* attribution_touches.list */
select touch_no, campaign_id, flight_id, kind, occurred_at, is_day_only from app.attribution_touches
where run_id = $1 and conversion_id = $2 order by touch_no"""

_CREDITS: Final[LiteralString] = """/* attribution_credits.list */
select model, touch_no, credit_ppm, value_amount from app.attribution_credits
where run_id = $1 and conversion_id = $2 order by model, touch_no"""

_FLIGHTS: Final[LiteralString] = """/* attribution_results.flights */
select f.flight_id, f.name as flight, f.campaign_id, c.name as campaign
from app.flights f join app.campaigns c using (tenant_id, campaign_id) where f.flight_id = any($1::uuid[])"""


async def list_totals(conn: Connection, run_id: UUID) -> list[TotalRow]:
    """List what each model gave each flight in a run that is ready, by campaign in the order of their making."""
    return [msgspec.convert(row, TotalRow) for row in await conn.fetch(_TOTALS, run_id)]


async def find_run_of(conn: Connection, conversion_id: UUID) -> UUID | None:
    """Find the ready run with the latest cutoff that a conversion is in; ``None`` where there is none."""
    run_id: UUID | None = await conn.fetchval(_RUN_OF, conversion_id)
    return run_id


async def find_attributed(conn: Connection, run_id: UUID, conversion_id: UUID) -> ConversionRow | None:
    """Read a conversion as a run found it; ``None`` where it is not in it, or not to be seen."""
    row = await conn.fetchrow(_CONVERSION, run_id, conversion_id)
    return None if row is None else msgspec.convert(row, ConversionRow)


async def list_adjustments(conn: Connection, conversion_id: UUID) -> list[AdjustmentRow]:
    """List what was said of a conversion later, the last word last."""
    return [msgspec.convert(row, AdjustmentRow) for row in await conn.fetch(_ADJUSTMENTS, conversion_id)]


async def list_touches(conn: Connection, run_id: UUID, conversion_id: UUID) -> list[TouchRow]:
    """List the touches that a run credited a conversion to, in order of time."""
    return [msgspec.convert(row, TouchRow) for row in await conn.fetch(_TOUCHES, run_id, conversion_id)]


async def list_credits(conn: Connection, run_id: UUID, conversion_id: UUID) -> list[CreditRow]:
    """List what each model gave to a conversion's touches; what got nothing is not there."""
    return [msgspec.convert(row, CreditRow) for row in await conn.fetch(_CREDITS, run_id, conversion_id)]


async def name_flights_of(conn: Connection, flight_ids: set[UUID]) -> dict[UUID, FlightName]:
    """Name flights that the transaction sees, and their campaigns."""
    rows = await conn.fetch(_FLIGHTS, list(flight_ids))
    return {row["flight_id"]: msgspec.convert(row, FlightName) for row in rows}
