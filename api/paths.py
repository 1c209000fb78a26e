"""A conversion's path, put together from what a run stored and from what can be looked up now."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from analytics_core.attribution.histories import JudgedConversion, Reason, Terms, judge
from analytics_core.attribution.leaks import Limits
from analytics_core.attribution.touches import Signal
from analytics_core.attribution.words import METHODS, SINCE, explain_reason
from analytics_core.db.attribution_inputs import Scope, read_customer, read_inputs
from analytics_core.db.attribution_results import (
    ConversionRow,
    CreditRow,
    FlightName,
    SignalWord,
    TouchRow,
    find_attributed,
    list_adjustments,
    list_credits,
    list_touches,
    name_flights_of,
)
from analytics_core.db.attribution_runs import RunRow
from analytics_core.db.pool import Connection, Tenant
from analytics_core.errors import NotFound
from api.schemas.attribution_paths import (
    ConversionPath,
    Deterministic,
    OtherSignal,
    PathAdjustment,
    PathCredit,
    PathModel,
    PathTouch,
)

__all__ = ("read_path",)

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_WORDS: Final[Mapping[Signal, SignalWord]] = {
    Signal.CLICK: "click",
    Signal.VANITY: "vanity",
    Signal.CODE: "code",
    Signal.SURVEY: "survey",
}


class _Other(NamedTuple):
    """A signal that counted nothing."""

    signal: SignalWord
    at: dt.datetime
    flight_id: UUID | None
    reason: str


async def read_path(conn: Connection, tenant: Tenant, run: RunRow, conversion_id: UUID) -> ConversionPath:
    """Tell what led to a conversion, and what a run made of it.

    Args:
        conn: In a transaction of the tenant that sees one instant.
        tenant: Whose it is; held to sponsors, it sees no signals of customers.
        run: Which.
        conversion_id: Which is in it.

    Raises:
        NotFound: It is not, the run is not ready, or it is not to be seen.
    """
    found = None if run.summary is None else await find_attributed(conn, run.run_id, conversion_id)
    if found is None or run.summary is None:
        raise NotFound("conversion")
    touches = await list_touches(conn, run.run_id, conversion_id)
    credits_ = await list_credits(conn, run.run_id, conversion_id)
    judged = await _judge_again(conn, tenant, run, found)
    others = [] if judged is None else list(_others(judged, touches))
    named = {touch.flight_id for touch in touches} | {one.flight_id for one in others if one.flight_id is not None}
    names = await name_flights_of(conn, named)
    return ConversionPath(
        conversion_id=conversion_id,
        run_id=run.run_id,
        sponsor_id=found.sponsor_id,
        action_id=found.action_id,
        external_id=found.external_id,
        occurred_at=found.occurred_at,
        cutoff_at=run.cutoff_at,
        currency=found.currency,
        told_amount=found.told_amount,
        value_amount=found.value_amount,
        refunded_amount=None if found.told_amount is None else max(found.told_amount - (found.value_amount or 0), 0),
        new_customer=found.new_customer,
        status=found.status,
        reason=found.reason,
        explanation=explain_reason(found.reason or found.status),
        deterministic=_deterministic(found, names),
        is_late_code=found.is_late_code,
        leak=found.leak,
        leak_explanation=None if found.leak is None else explain_reason(found.leak),
        models=[
            PathModel(model=model, method=METHODS[model], insufficient=run.summary.insufficient.get(model))
            for model in run.models
        ],
        touches=[_touch(touch, names, credits_) for touch in touches],
        others=[_other(one, names) for one in others],
        adjustments=[
            PathAdjustment(
                kind=row.kind,
                value_amount=row.value_amount,
                reason=row.reason,
                adjusted_at=row.adjusted_at,
                is_in_run=row.received_at < run.cutoff_at,
            )
            for row in await list_adjustments(conn, conversion_id)
        ],
    )


def _deterministic(found: ConversionRow, names: Mapping[UUID, FlightName]) -> Deterministic | None:
    if found.signal is None or found.flight_id is None:
        return None
    name = names[found.flight_id]
    return Deterministic(
        signal=found.signal,
        campaign_id=name.campaign_id,
        campaign=name.campaign,
        flight_id=name.flight_id,
        flight=name.flight,
    )


def _touch(touch: TouchRow, names: Mapping[UUID, FlightName], credits_: Sequence[CreditRow]) -> PathTouch:
    name = names[touch.flight_id]
    return PathTouch(
        signal=touch.kind,
        occurred_at=touch.occurred_at,
        is_day_only=touch.is_day_only,
        campaign_id=name.campaign_id,
        campaign=name.campaign,
        flight_id=name.flight_id,
        flight=name.flight,
        credits=[
            PathCredit(model=row.model, credit_ppm=row.credit_ppm, value_amount=row.value_amount)
            for row in credits_
            if row.touch_no == touch.touch_no
        ],
    )


def _other(other: _Other, names: Mapping[UUID, FlightName]) -> OtherSignal:
    name = None if other.flight_id is None else names.get(other.flight_id)
    return OtherSignal(
        signal=other.signal,
        occurred_at=other.at,
        campaign_id=None if name is None else name.campaign_id,
        campaign=None if name is None else name.campaign,
        flight_id=None if name is None else name.flight_id,
        flight=None if name is None else name.flight,
        reason=other.reason,
        explanation=explain_reason(other.reason),
    )


async def _judge_again(conn: Connection, tenant: Tenant, run: RunRow, found: ConversionRow) -> JudgedConversion | None:
    """Judge a conversion by what is known now of what was received before the run's cutoff."""
    scope = Scope(
        tenant=tenant,
        sponsor_id=found.sponsor_id,
        starts_at=run.starts_at,
        ends_at=run.ends_at,
        cutoff_at=run.cutoff_at,
    )
    read = await read_customer(conn, scope, found.conversion_id, found.customer_key)
    if read is None:
        return None
    customer, clicks = read
    inputs = await read_inputs(conn, scope)
    counting = dt.timedelta(days=run.params.counting_days)
    # Whether its code leaked the run has said.
    terms = Terms(inputs.devices, clicks, inputs.exposures, Limits({}), counting)
    judged = judge(customer, terms, starts_at=run.starts_at, ends_at=run.ends_at)
    return next((one for one in judged if one.conversion.conversion_id == found.conversion_id), None)


def _others(judged: JudgedConversion, touches: Sequence[TouchRow]) -> Iterator[_Other]:
    """List the signals that counted nothing, those first that name no flight."""
    for named in judged.own:
        if named.missing is not None:
            yield _Other(_WORDS[named.signal], judged.conversion.occurred_at, None, named.missing.value)
    stored = {(touch.kind, touch.occurred_at, touch.flight_id) for touch in touches}
    days = {(touch.kind, touch.occurred_at.date(), touch.flight_id) for touch in touches if touch.is_day_only}
    for touch, setback in judged.candidates:
        word, at = _WORDS[touch.signal], _EPOCH + dt.timedelta(microseconds=touch.at_us)
        if setback is not None:
            yield _Other(word, at, touch.flight_id, setback.value)
        elif (word, at, touch.flight_id) in stored or (word, at.date(), touch.flight_id) in days:
            continue
        elif touch in judged.touches:
            yield _Other(word, at, touch.flight_id, SINCE)
        else:
            # It could compete: the conversion counts nothing, or the campaign excludes it.
            yield _Other(word, at, touch.flight_id, (judged.reason or Reason.PRIOR_CUSTOMER).value)
