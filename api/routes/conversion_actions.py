"""Conversion actions: what a sponsor wants to happen, and how it is counted."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get, patch, post

from analytics_core.conversions import RESERVED_TYPES
from analytics_core.db import conversion_actions as storage
from analytics_core.db.conversion_actions import ActionFields, ActionRow, find_action, hold_action
from analytics_core.db.sponsors import find_sponsor
from analytics_core.errors import InvalidInput
from analytics_core.permissions import Permission
from analytics_core.sponsors import parse_name
from api.auth import caller_of
from api.bodies import read_json
from api.errors import Fault, InvalidRequest
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Query
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.conversion_actions import AddConversionAction, ChangeConversionAction, ConversionAction
from api.scopes import SPONSOR_ID, path_id
from api.versions import answer_version, read_version
from api.writing import writing

__all__ = (
    "archive_conversion_action",
    "create_conversion_action",
    "get_conversion_action",
    "list_conversion_actions",
    "update_conversion_action",
)

_LIST: Final = "conversion_actions"
_CURSOR: Final = id_cursor(_LIST)
_TAGS: Final = ["conversions"]


def _answer(row: ActionRow) -> Response[ConversionAction]:
    return answer_version(ConversionAction.of(row), version=row.version)


def _action_id(request: Request[Any, Any, Any]) -> UUID:
    return path_id(request, "action_id", what="conversion action")


def _check(fields: ActionFields) -> ActionFields:
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


@post(
    "/conversion-actions",
    tags=_TAGS,
    opt={
        "permission": Permission.ATTRIBUTION_WRITE,
        "bodies": {"application/json": AddConversionAction},
        "refusals": (404, 409),
    },
)
async def create_conversion_action(request: Request[Any, Any, Any]) -> Response[ConversionAction]:
    """Add something that a sponsor wants to happen: a purchase, a signup, an app installed.

    A sponsor has one action of a name, and of events of one type at most one that is not archived.
    """
    given = msgspec.structs.asdict(await read_json(request, AddConversionAction))
    sponsor_id = given.pop("sponsor_id")
    fields = _check(ActionFields(**given))
    async with writing(request, "conversion_action.create") as work:
        now = resources_of(request).clock.now()
        row = await storage.add_action(work.conn, work.tenant, sponsor_id, fields, now=now)
        return work.done(_answer(row), resource=row.action_id, after=row)


@get(
    "/conversion-actions",
    tags=_TAGS,
    opt={"permission": Permission.ATTRIBUTION_READ, "query": (SPONSOR_ID, LIMIT, _CURSOR)},
)
async def list_conversion_actions(request: Request[Any, Any, Any]) -> Page[ConversionAction]:
    """List conversion actions in the order in which they were added, archived ones too."""
    query = Query.of(request)
    sponsor_id, limit, after = query.get(SPONSOR_ID), query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        if sponsor_id is not None:
            await find_sponsor(conn, sponsor_id)
        rows = await storage.list_actions(conn, after=after, limit=limit + 1, sponsor_id=sponsor_id)
    return page_of(rows, limit, ConversionAction.of, _LIST, lambda row: (row.created_at, row.action_id))


@get("/conversion-actions/{action_id:str}", tags=_TAGS, opt={"permission": Permission.ATTRIBUTION_READ})
async def get_conversion_action(request: Request[Any, Any, Any]) -> Response[ConversionAction]:
    """Read one conversion action."""
    wanted = _action_id(request)
    async with resources_of(request).database.reading(caller_of(request).tenant) as conn:
        return _answer(await find_action(conn, wanted))


@patch(
    "/conversion-actions/{action_id:str}",
    tags=_TAGS,
    opt={
        "permission": Permission.ATTRIBUTION_WRITE,
        "bodies": {"application/json": ChangeConversionAction},
        "is_versioned": True,
        "refusals": (409,),
    },
)
async def update_conversion_action(request: Request[Any, Any, Any]) -> Response[ConversionAction]:
    """Change what is said of an action. Its conversions stay what they are; how they count is asked by each run."""
    wanted, version = _action_id(request), read_version(request)
    given = msgspec.structs.asdict(await read_json(request, ChangeConversionAction))
    changes = {name: value for name, value in given.items() if value is not msgspec.UNSET}
    async with writing(request, "conversion_action.update") as work:
        was = await hold_action(work.conn, wanted, version=version)
        row = await storage.change_action(work.conn, was, _check(msgspec.structs.replace(was, **changes)))
        return work.done(_answer(row), resource=wanted, before=was, after=row)


@post(
    "/conversion-actions/{action_id:str}/archive",
    tags=_TAGS,
    status_code=200,
    opt={"permission": Permission.ATTRIBUTION_WRITE, "is_versioned": True},
)
async def archive_conversion_action(request: Request[Any, Any, Any]) -> Response[ConversionAction]:
    """Put an action away: its conversions stay, and it gets no new ones."""
    wanted, version = _action_id(request), read_version(request)
    async with writing(request, "conversion_action.archive") as work:
        was = await hold_action(work.conn, wanted, version=version)
        row = await storage.archive_action(work.conn, was, now=resources_of(request).clock.now())
        return work.done(_answer(row), resource=wanted, before=was, after=row)
