"""The record of changes: searched, and exported whole."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from litestar import Request, get
from litestar.response import Stream

from analytics_core.audit import Actor
from analytics_core.db.audit import AuditFilter, list_entries, read_sealed
from analytics_core.db.pool import Tenant
from analytics_core.permissions import Permission
from analytics_core.reports import start_of_day
from api.auth import caller_of
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Moment, Parameter, Query, Refusal, choice, identifier, moment
from api.ranges import UTC
from api.resources import Resources, resources_of
from api.schemas.audit import AuditRecord
from api.schemas.common import Page

__all__ = ("export_audit", "list_audit")

_LIST: Final = "audit"
_CURSOR: Final = id_cursor(_LIST)
_PAGE: Final = 500
_ACTION: Final = re.compile(r"[a-z_]{1,40}(\.[a-z_]{1,40})?")
_MOMENT_FORM: Final = {"type": "string", "examples": ["2026-11-01", "2026-11-01T12:00:00+01:00"]}


def _action(text: str) -> str:
    if not _ACTION.fullmatch(text):
        raise Refusal("invalid", "has to be an action such as link.create, or what it is done to, such as link")
    return text


def _resource(text: str) -> str:
    if not 0 < len(text) <= 200 or not text.isprintable():
        raise Refusal("invalid", "has to be the id of something, 1 to 200 characters")
    return text


_FROM: Final[Parameter[Moment | None]] = Parameter(
    "from", moment, None, "Only entries from then on: a date (UTC) or an instant with an offset.", _MOMENT_FORM
)
_TO: Final[Parameter[Moment | None]] = Parameter("to", moment, None, "Only entries before then.", _MOMENT_FORM)
_OF_ACTION: Final[Parameter[str | None]] = Parameter(
    "action",
    _action,
    None,
    "Only this action, such as `link.create`, or all that is done to a kind of thing, such as `link`.",
    {"type": "string", "pattern": f"^{_ACTION.pattern}$"},
)
_OF_ACTOR: Final[Parameter[Actor | None]] = Parameter(
    "actor",
    choice(Actor),
    None,
    "Only what keys, people or an operator's commands did.",
    {"type": "string", "enum": [actor.value for actor in Actor]},
)
_OF_ACTOR_ID: Final = Parameter(
    "actor_id", identifier, None, "Only what this key or person did.", {"type": "string", "format": "uuid"}
)
_OF_RESOURCE: Final[Parameter[str | None]] = Parameter(
    "resource", _resource, None, "Only what was done to the thing with this id.", {"type": "string", "maxLength": 200}
)


def _instant(at: Moment | None) -> dt.datetime | None:
    return at if at is None or isinstance(at, dt.datetime) else start_of_day(at, UTC)


@get(
    "/audit",
    tags=["audit"],
    opt={
        "permission": Permission.AUDIT_READ,
        "query": (_FROM, _TO, _OF_ACTION, _OF_ACTOR, _OF_ACTOR_ID, _OF_RESOURCE, LIMIT, _CURSOR),
    },
)
async def list_audit(request: Request[Any, Any, Any]) -> Page[AuditRecord]:
    """List what was changed, newest first: by whom, when, and what it was before.

    Each entry is written in the transaction of the change, and can be changed or taken away by no service.
    """
    query = Query.of(request)
    wanted = AuditFilter(
        since=_instant(query.get(_FROM)),
        until=_instant(query.get(_TO)),
        action=query.get(_OF_ACTION),
        actor=query.get(_OF_ACTOR),
        actor_id=query.get(_OF_ACTOR_ID),
        resource_id=query.get(_OF_RESOURCE),
    )
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    if wanted.since is not None and wanted.until is not None and wanted.until <= wanted.since:
        query.refuse("to", "empty_range", "has to lie behind `from`")
    query.finish()
    tenant = caller_of(request).tenant
    async with resources_of(request).database.reading(tenant) as conn:
        rows = await list_entries(conn, tenant, wanted, after=after, limit=limit + 1)
    return page_of(rows, limit, AuditRecord.of, _LIST, lambda row: (row.at, row.entry_id))


async def _write_lines(resources: Resources, tenant: Tenant) -> AsyncIterator[bytes]:
    """Write the sealed entries a page at a time; no connection is held while a client takes its time."""
    seq = 0
    while True:
        async with resources.database.reading(tenant) as conn:
            links = await read_sealed(conn, tenant.tenant_id, after=seq, limit=_PAGE)
        if not links:
            return
        seq = links[-1].seq
        yield b"".join(
            msgspec.json.encode(AuditRecord.sealed(link.entry, link.seq, link.hash)) + b"\n"
            for link in links
            if link.entry is not None
        )


@get("/audit/export", tags=["audit"], opt={"permission": Permission.AUDIT_READ, "lines": AuditRecord})
async def export_audit(request: Request[Any, Any, Any]) -> Stream:
    """Export the whole record as lines of JSON, an entry each, in the order of `seq`.

    What was changed in the last second may not be sealed, and so not be there yet. `docs/audit.md` says how each `hash`
    is made, so that anybody can check that nothing is missing.
    """
    resources, tenant = resources_of(request), caller_of(request).tenant
    headers = {"Content-Disposition": 'attachment; filename="audit.ndjson"'}
    return Stream(_write_lines(resources, tenant), media_type="application/x-ndjson", headers=headers)
