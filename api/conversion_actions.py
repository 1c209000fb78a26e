"""What the API and the page do to conversion actions alike."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response

from analytics_core.conversions import RESERVED_TYPES
from analytics_core.db.conversion_actions import ActionFields, ActionRow, add_action
from analytics_core.errors import InvalidInput
from analytics_core.sponsors import parse_name
from api.errors import Fault, InvalidRequest
from api.resources import resources_of
from api.schemas.conversion_actions import AddConversionAction, ConversionAction
from api.versions import answer_version
from api.writing import writing

__all__ = ("answer_action", "check_action", "create")


def answer_action(row: ActionRow) -> Response[ConversionAction]:
    """Answer with an action and its version."""
    return answer_version(ConversionAction.of(row), version=row.version)


def check_action(fields: ActionFields) -> ActionFields:
    """Check an action as a whole; its name comes back as it is shown.

    Raises:
        InvalidRequest: Something is wrong; all is listed.
    """
    faults: list[Fault] = []
    name = fields.name
    try:
        name = parse_name(name)
    except InvalidInput as error:
        faults.append(Fault(error.path, error.code, error.reason))
    if fields.event_type in RESERVED_TYPES:
        taken = ", ".join(sorted(RESERVED_TYPES))
        faults.append(Fault("/event_type", "reserved", f"events of these types are never conversions: {taken}"))
    if (fields.default_value_amount is None) is not (fields.currency is None):
        missing = "currency" if fields.currency is None else "default_value_amount"
        message = "default_value_amount and currency are given together, or neither is"
        faults.append(Fault(f"/{missing}", "missing", message))
    if faults:
        raise InvalidRequest(faults)
    return msgspec.structs.replace(fields, name=name)


async def create(request: Request[Any, Any, Any], given: AddConversionAction) -> ActionRow:
    """Add something that a sponsor wants to happen.

    Raises:
        InvalidRequest: Something is wrong with what is given; all is listed.
        NotFound, Conflict: As :func:`analytics_core.db.conversion_actions.add_action`.
    """
    said = msgspec.structs.asdict(given)
    sponsor_id = said.pop("sponsor_id")
    fields = check_action(ActionFields(**said))
    async with writing(request, "conversion_action.create") as work:
        row = await add_action(work.conn, work.tenant, sponsor_id, fields, now=resources_of(request).clock.now())
        return work.done(row, resource=row.action_id, answer=answer_action(row))
