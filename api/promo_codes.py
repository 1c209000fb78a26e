"""What is done to promo codes: each in its unit of work, with its entry in the record of changes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from litestar import Request

from analytics_core.db import promo_codes as storage
from analytics_core.db.pool import Connection
from analytics_core.db.promo_codes import CodeTerms, hold_promo_code, taken_codes
from analytics_core.db.tracked_flights import TrackedFlight, hold_flight
from analytics_core.errors import InvalidInput
from analytics_core.promo_codes import DEFAULT_RANDOM, new_codes, parse_code, parse_prefix
from analytics_core.reports import EARLIEST, LATEST
from api.errors import Fault, InvalidRequest
from api.resources import resources_of
from api.schemas.promo_codes import AddPromoCodes, ChangePromoCode, MadePromoCodes, PromoCode
from api.writing import writing

__all__ = ("add", "archive", "change")

T = TypeVar("T")


def _collect(faults: list[Fault], read: Callable[[], T], *, otherwise: T) -> T:
    try:
        return read()
    except InvalidInput as error:
        faults.append(Fault(error.path, error.code, error.reason))
        return otherwise


def _check_times(faults: list[Fault], valid_from: Any, valid_until: Any) -> None:
    for pointer, at in (("/valid_from", valid_from), ("/valid_until", valid_until)):
        if isinstance(at, dt.datetime) and not EARLIEST < at.date() < LATEST:
            faults.append(Fault(pointer, "out_of_range", f"has to be later than {EARLIEST} and before {LATEST}"))


def _check_order(terms: CodeTerms, *, pointer: str) -> CodeTerms:
    if terms.valid_until is not None and terms.valid_until <= terms.valid_from:
        raise InvalidRequest([Fault(pointer, "empty_range", "a code ends later than it begins")])
    return terms


class _Plan(msgspec.Struct, frozen=True):
    """What codes are wanted: ``code``, or so many that are made."""

    code: str
    count: int
    prefix: str
    length: int

    async def draw(self, conn: Connection, flight: TrackedFlight) -> list[str]:
        """Name the codes; none that are made was ever the sponsor's."""
        if self.code:
            return [self.code]
        made: dict[str, None] = {}
        while len(made) < self.count:
            drawn = new_codes(self.count - len(made), prefix=self.prefix, length=self.length, taken=made)
            taken = await taken_codes(conn, flight.sponsor_id, drawn)
            made.update(dict.fromkeys(code for code in drawn if code not in taken))
        return list(made)


def _read_plan(wanted: AddPromoCodes) -> _Plan:
    faults: list[Fault] = []
    code = ""
    if wanted.code is not None:
        text = wanted.code
        code = _collect(faults, lambda: parse_code(text, path="/code"), otherwise="")
        faults += [
            Fault(f"/{name}", "not_with_code", "is about codes that are made; leave it out, or leave out `code`")
            for name in ("count", "prefix", "length")
            if getattr(wanted, name) is not None
        ]
    prefix = _collect(faults, lambda: parse_prefix(wanted.prefix or "", path="/prefix"), otherwise="")
    _check_times(faults, wanted.valid_from, wanted.valid_until)
    if faults:
        raise InvalidRequest(faults)
    return _Plan(code, wanted.count or 1, prefix, wanted.length or DEFAULT_RANDOM)


async def add(request: Request[Any, Any, Any], flight_id: UUID, wanted: AddPromoCodes) -> MadePromoCodes:
    """Give a flight codes: all of them, or none.

    Raises:
        InvalidRequest: Something is wrong with what is wanted; all is listed.
        NotFound: There is no such flight.
        Conflict: As :func:`analytics_core.db.tracked_flights.hold_flight` and
            :func:`analytics_core.db.promo_codes.add_promo_codes`.
    """
    plan = _read_plan(wanted)
    async with writing(request, "promo_code.create") as work:
        flight = await hold_flight(work.conn, flight_id)
        terms = _check_order(
            CodeTerms(
                valid_from=wanted.valid_from or flight.starts_at,
                valid_until=wanted.valid_until,
                grace_days=wanted.grace_days,
                max_redemptions=wanted.max_redemptions,
            ),
            pointer="/valid_until",
        )
        codes = await plan.draw(work.conn, flight)
        now = resources_of(request).clock.now()
        rows = await storage.add_promo_codes(work.conn, work.tenant, flight, codes, terms, now=now)
        made = MadePromoCodes(data=[PromoCode.of(row) for row in rows])
        if len(rows) == 1:
            return work.done(made, resource=rows[0].promo_code_id, after=made.data[0])
        # A thousand codes are told by the list; the record says of which flight and like which they are.
        after = {
            "flight_id": flight_id,
            "codes": len(rows),
            "first": made.data[0].code,
            **msgspec.structs.asdict(terms),
        }
        return work.done(made, resource=flight_id, after=after)


async def change(request: Request[Any, Any, Any], promo_code_id: UUID, wanted: ChangePromoCode) -> PromoCode:
    """Have a code count at another time, or more often.

    Raises:
        InvalidRequest: Something is wrong with what is wanted; all is listed.
        NotFound: There is no such code.
        Conflict: As :func:`analytics_core.db.promo_codes.change_promo_code`.
    """
    faults: list[Fault] = []
    _check_times(faults, wanted.valid_from, wanted.valid_until)
    if faults:
        raise InvalidRequest(faults)
    given = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not msgspec.UNSET}
    async with writing(request, "promo_code.update") as work:
        was = await hold_promo_code(work.conn, promo_code_id)
        terms = CodeTerms(**{name: given.get(name, getattr(was, name)) for name in CodeTerms.__struct_fields__})
        if was.archived_at is None:
            _check_order(terms, pointer="/valid_until" if "valid_until" in given else "/valid_from")
        row = await storage.change_promo_code(work.conn, was, terms)
        return work.done(PromoCode.of(row), resource=promo_code_id, before=PromoCode.of(was))


async def archive(request: Request[Any, Any, Any], promo_code_id: UUID) -> PromoCode:
    """End a code now.

    Raises:
        NotFound: There is no such code.
    """
    async with writing(request, "promo_code.archive") as work:
        was = await hold_promo_code(work.conn, promo_code_id)
        row = await storage.archive_promo_code(work.conn, was, now=resources_of(request).clock.now())
        return work.done(PromoCode.of(row), resource=promo_code_id, before=PromoCode.of(was))
