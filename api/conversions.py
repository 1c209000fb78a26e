"""What the API does to conversions: recorded one or many at once, adjusted, answered for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from litestar import Request, Response

from analytics_core.conversions import (
    MAX_CONVERSIONS,
    AdjustmentKind,
    ConversionSource,
    GivenConversion,
    adjustment_hash,
    external_id_of,
    judge_conversion,
)
from analytics_core.db import conversions as storage
from analytics_core.db.conversion_actions import action_archived, use_actions
from analytics_core.db.conversions import (
    Added,
    AdjustmentRow,
    ConversionRow,
    Fate,
    NewConversion,
    add_conversions,
    find_conversion,
    find_conversion_id,
    hold_conversion,
    list_adjustments,
    standing_of,
)
from analytics_core.db.pool import Connection
from analytics_core.errors import Conflict, NotFound
from analytics_core.event_rules import EventFault
from analytics_core.ids import new_id
from analytics_core.sponsors import clean_text
from api.customers import key_customers
from api.errors import Fault, InvalidRequest, Refused
from api.resources import resources_of
from api.schemas.conversions import (
    AdjustConversion,
    AnswerSurvey,
    Conversion,
    ConversionVerdict,
    ConversionVerdicts,
)
from api.writing import Work, writing

__all__ = ("adjust", "answer", "record_many", "record_one", "show")

_STATUSES: Final = {Fate.CREATED: 201, Fate.REPEATED: 200, Fate.DIFFERS: 409}


def _differs(external_id: str) -> Conflict:
    return Conflict(
        "conversion_differs",
        f"there is a conversion {external_id!r} of this action that says something else: adjust that one, or send "
        "another external_id",
    )


async def show(conn: Connection, rows: Sequence[ConversionRow]) -> list[Conversion]:
    """Show conversions with what was said of them later."""
    adjustments = await list_adjustments(conn, [row.conversion_id for row in rows])
    return [Conversion.of(row, adjustments[row.conversion_id]) for row in rows]


async def _show_one(conn: Connection, conversion_id: UUID) -> Conversion:
    (shown,) = await show(conn, [await find_conversion(conn, conversion_id)])
    return shown


def _faults(found: Sequence[EventFault]) -> list[Fault]:
    return [Fault(fault.pointer, fault.code, fault.message) for fault in found]


async def _key_customers(request: Request[Any, Any, Any], given: Sequence[GivenConversion]) -> Mapping[str, UUID]:
    return await key_customers(request, {one.customer_id for one in given if one.customer_id is not None})


async def _store(
    work: Work, given: Sequence[GivenConversion], customers: Mapping[str, UUID], now: dt.datetime
) -> list[Added | Conflict | NotFound]:
    """Store conversions; say of each what became of it, or why it was refused."""
    actions = await use_actions(work.conn, {one.action_id for one in given})
    refused: dict[int, Conflict | NotFound] = {}
    new: list[NewConversion] = []
    for place, one in enumerate(given):
        action = actions.get(one.action_id)
        if action is None:
            refused[place] = NotFound("conversion action")
        elif action.archived_at is not None:
            refused[place] = action_archived()
        else:
            row = NewConversion.of(
                one,
                action,
                tenant_id=work.tenant.tenant_id,
                customer_key=None if one.customer_id is None else customers[one.customer_id],
                source=ConversionSource.API,
                received_at=now,
            )
            new.append(row)
    added = iter(await add_conversions(work.conn, new))
    return [refused[place] if place in refused else next(added) for place in range(len(given))]


async def record_one(request: Request[Any, Any, Any], fields: Mapping[str, Any]) -> Response[Any]:
    """Record a conversion; one that is there already and says the same is answered as it is.

    Raises:
        InvalidRequest: Something is wrong with what is said; all is listed.
        NotFound: There is no such action.
        Conflict: ``action_archived``, or ``conversion_differs``.
    """
    now = resources_of(request).clock.now()
    given = judge_conversion(fields, now=now)
    if isinstance(given, list):
        raise InvalidRequest(_faults(given))
    customers = await _key_customers(request, [given])
    async with writing(request, "conversion.create") as work:
        (added,) = await _store(work, [given], customers, now)
        if isinstance(added, Exception):
            raise added
        if added.fate is Fate.DIFFERS:
            raise _differs(given.external_id)
        shown = await _show_one(work.conn, added.conversion_id)
        is_new = added.fate is Fate.CREATED
        return work.done(
            Response(shown, status_code=_STATUSES[added.fate]),
            resource=shown.conversion_id,
            after={"action_id": shown.action_id, "created": int(is_new)},
        )


async def record_many(request: Request[Any, Any, Any], listed: object) -> Response[Any]:
    """Record conversions, each by itself: what is wrong with one keeps no other from being recorded.

    Raises:
        InvalidRequest: They are no list.
        Refused: There are too many.
    """
    if not isinstance(listed, list):
        raise InvalidRequest([Fault("/conversions", "invalid", "has to be a list of conversions")])
    if len(listed) > MAX_CONVERSIONS:
        raise Refused(
            413, "too_many_conversions", f"a request has at most {MAX_CONVERSIONS} conversions: send more of them"
        )
    now = resources_of(request).clock.now()
    judged = [judge_conversion(one, now=now, pointer=f"/conversions/{place}") for place, one in enumerate(listed)]
    given = [one for one in judged if not isinstance(one, list)]
    customers = await _key_customers(request, given)
    async with writing(request, "conversion.create") as work:
        stored = iter(await _store(work, given, customers, now))
        results = [
            ConversionVerdict(
                external_id=external_id_of(said), status=422, code="validation_failed", errors=_faults(found)
            )
            if isinstance(found, list)
            else _verdict(found.external_id, next(stored))
            for said, found in zip(listed, judged, strict=True)
        ]
        counts = {status: sum(result.status == status for result in results) for status in (201, 200)}
        verdicts = ConversionVerdicts(
            results=results,
            created=counts[201],
            repeated=counts[200],
            refused=len(results) - counts[201] - counts[200],
        )
        told = {"created": verdicts.created, "repeated": verdicts.repeated, "refused": verdicts.refused}
        return work.done(Response(verdicts, status_code=200), resource=None, after=told)


def _verdict(external_id: str, added: Added | Conflict | NotFound) -> ConversionVerdict:
    if isinstance(added, NotFound):
        return ConversionVerdict(external_id=external_id, status=404, code=added.code)
    if isinstance(added, Conflict):
        return ConversionVerdict(external_id=external_id, status=409, code=added.code)
    code = _differs(external_id).code if added.fate is Fate.DIFFERS else None
    return ConversionVerdict(
        external_id=external_id, status=_STATUSES[added.fate], conversion_id=added.conversion_id, code=code
    )


def _check_adjustment(given: AdjustConversion, row: ConversionRow, now: dt.datetime) -> None:
    """Check an adjustment against its conversion.

    Raises:
        InvalidRequest: Something is wrong; all is listed.
    """
    faults: list[Fault] = []
    if given.kind is AdjustmentKind.RETRACT and given.value_amount is not None:
        faults.append(
            Fault("/value_amount", "unexpected", "a conversion that is retracted is worth nothing: leave it out")
        )
    elif given.kind is AdjustmentKind.RESTATE and given.value_amount is None:
        faults.append(Fault("/value_amount", "missing", "say what the conversion was worth in the end"))
    elif given.kind is AdjustmentKind.RESTATE and row.currency is None:
        message = "the conversion has no value and no currency: there is nothing to restate"
        faults.append(Fault("/value_amount", "no_currency", message))
    if given.adjusted_at is not None:
        if given.adjusted_at > now + dt.timedelta(hours=24):
            faults.append(Fault("/adjusted_at", "too_new", "lies more than 24 hours ahead"))
        elif given.adjusted_at < row.occurred_at:
            faults.append(Fault("/adjusted_at", "before_conversion", "lies before the conversion occurred"))
    if faults:
        raise InvalidRequest(faults)


def _is_said(given: AdjustConversion, said: bytes, row: ConversionRow, adjustments: Sequence[AdjustmentRow]) -> bool:
    """Tell whether an adjustment says nothing that was not said before.

    Raises:
        Conflict: ``adjustment_differs``.
    """
    for one in adjustments:
        if given.external_id is not None and one.external_id == given.external_id:
            if one.said_hash != said:
                message = (
                    f"there is an adjustment {given.external_id!r} of this conversion that says something else: send "
                    "another external_id"
                )
                raise Conflict("adjustment_differs", message)
            return True
    return given.kind is AdjustmentKind.RETRACT and standing_of(row.value_amount, adjustments).is_retracted


async def adjust(request: Request[Any, Any, Any], conversion_id: UUID, given: AdjustConversion) -> Conversion:
    """Say something of a conversion later; what was said before changes nothing.

    Raises:
        InvalidRequest: Something is wrong with what is said; all is listed.
        NotFound: There is no such conversion.
        Conflict: ``adjustment_differs``.
    """
    now = resources_of(request).clock.now()
    said = adjustment_hash(given.kind, given.value_amount, given.adjusted_at)
    async with writing(request, "conversion.adjust") as work:
        row = await hold_conversion(work.conn, conversion_id)
        _check_adjustment(given, row, now)
        adjustments = (await list_adjustments(work.conn, [conversion_id]))[conversion_id]
        if not _is_said(given, said, row, adjustments):
            one = AdjustmentRow(
                adjustment_id=new_id(),
                conversion_id=conversion_id,
                kind=given.kind,
                value_amount=given.value_amount,
                external_id=given.external_id,
                said_hash=said,
                reason=None if given.reason is None else clean_text(given.reason, path="/reason"),
                adjusted_at=given.adjusted_at or now,
                received_at=now,
            )
            await storage.add_adjustments(work.conn, work.tenant.tenant_id, [one])
        shown = await _show_one(work.conn, conversion_id)
        was = standing_of(row.value_amount, adjustments)
        return work.done(
            shown,
            resource=conversion_id,
            before={"is_retracted": was.is_retracted, "effective_value_amount": was.value_amount},
            after={"is_retracted": shown.is_retracted, "effective_value_amount": shown.effective_value_amount},
        )


async def answer(request: Request[Any, Any, Any], given: AnswerSurvey) -> Conversion:
    """Say what a customer answered to a survey, once.

    Raises:
        InvalidInput: The answer cannot be shown.
        NotFound: There is no such conversion.
        Conflict: ``survey_answered``: with something else.
    """
    text = clean_text(given.answer, path="/answer")
    async with writing(request, "conversion.answer") as work:
        conversion_id = await find_conversion_id(work.conn, given.action_id, given.external_id)
        row = await hold_conversion(work.conn, conversion_id)
        if row.survey_answer not in (None, text):
            raise Conflict(
                "survey_answered", "the customer has answered already, and something else: the first answer stays"
            )
        if row.survey_answer is None:
            await storage.answer_survey(work.conn, conversion_id, text)
        shown = await _show_one(work.conn, conversion_id)
        return work.done(shown, resource=conversion_id, after={"is_answered": True})
