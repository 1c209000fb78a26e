"""The form of an insertion order's invoice figures."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Literal
from uuid import UUID

import msgspec

from analytics_core.db.performances import ChargedFlight, Invoice, RunHead
from analytics_core.deliveries import FlightTerms, NoAmount, Pricing, add_charges
from analytics_core.pacing import Phase, measured_until
from api.schemas.performances import ShownRun

__all__ = ("InvoiceAnswer", "InvoiceLine")


def _is_whole(run: RunHead | None, terms: FlightTerms) -> bool:
    """Tell whether a run is about all of a flight's time, and not from before its end."""
    if run is None or not run.tells_of(terms.campaign_id):
        return False
    until = measured_until(terms.ends_at, terms.measurement_days)
    return run.starts_at <= terms.starts_at and until <= min(run.ends_at, run.cutoff_at)


class InvoiceLine(msgspec.Struct, frozen=True, kw_only=True):
    """What a flight costs by what is known.

    `quantity` is what is paid for: impressions, `booked` at most, or millionths of conversions; null for a flat fee.
    `amount` is null with the `reason` `no_run` where conversions are paid for and no attribution run counted them.
    `is_final` tells that nothing of it changes any more by itself: its downloads are all counted, and the run is about
    all of its time where conversions are paid for.
    """

    campaign_id: UUID
    campaign_name: str
    flight_id: UUID
    flight_name: str
    status: str
    pricing: Pricing
    price_amount: int
    currency: str
    booked: int | None
    delivered: int
    quantity: int | None
    amount: int | None
    reason: NoAmount | None
    is_final: bool

    @classmethod
    def of(cls, line: ChargedFlight, run: RunHead | None, *, now: dt.datetime) -> InvoiceLine:
        """Show what a flight costs."""
        terms, charge = line.terms, line.charge
        return cls(
            campaign_id=terms.campaign_id,
            campaign_name=terms.campaign_name,
            flight_id=terms.flight_id,
            flight_name=terms.name,
            status="cancelled" if terms.is_cancelled else terms.status,
            pricing=terms.pricing,
            price_amount=terms.price_amount,
            currency=terms.currency,
            booked=terms.booked_impressions,
            delivered=line.delivered,
            quantity=charge.quantity,
            amount=None if charge.amount is None else charge.amount.amount,
            reason=charge.reason,
            is_final=terms.phase(now) is Phase.MEASURED and (terms.pricing != "cpa" or _is_whole(run, terms)),
        )


class InvoiceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of an insertion order's invoice, a line a flight.

    `total_amount` is the sum of the lines, null with a `total_reason`: `no_run` where the amount of any is, and
    `no_flights` of an order that has none, which is not final either. `run` is where conversions come from, null
    without one. `cutoff` is until when every hit has landed.
    """

    insertion_order_id: UUID
    sponsor_id: UUID
    number: int
    name: str
    reference: str | None
    status: str
    currency: str
    lines: Sequence[InvoiceLine]
    total_amount: int | None
    total_reason: Literal["no_run", "no_flights"] | None
    is_final: bool
    run: ShownRun | None
    cutoff: dt.datetime | None

    @classmethod
    def of(cls, found: Invoice, *, cutoff: dt.datetime | None, now: dt.datetime) -> InvoiceAnswer:
        """Show the figures of an invoice."""
        lines = [InvoiceLine.of(one, found.run, now=now) for one in found.lines]
        head = found.head
        total = add_charges((one.charge for one in found.lines), head.currency) if lines else None
        return cls(
            insertion_order_id=head.insertion_order_id,
            sponsor_id=head.sponsor_id,
            number=head.number,
            name=head.name,
            reference=head.reference,
            status=head.status,
            currency=head.currency,
            lines=lines,
            total_amount=None if total is None else total.amount,
            total_reason=None if total is not None else "no_run" if lines else "no_flights",
            is_final=bool(lines) and all(line.is_final for line in lines),
            run=None if found.run is None else ShownRun.of(found.run),
            cutoff=cutoff,
        )
