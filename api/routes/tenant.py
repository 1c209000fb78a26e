"""The tenant that asks: its name, what it has set, what it uses, and its closing."""

from __future__ import annotations

import datetime as dt
from typing import Any

from litestar import Request, Response, get, patch, post

from analytics_core.db.pool import Connection
from analytics_core.db.quotas import read_usage
from analytics_core.db.tenant_settings import change_settings, read_effective, read_settings
from analytics_core.db.tenant_states import TenantState, close_tenant, read_state, rename_tenant, reopen_tenant
from analytics_core.errors import InvalidInput, NotFound
from analytics_core.permissions import Permission
from analytics_core.tenant_settings import Value, parse_setting
from analytics_core.tenants import GRACE_DAYS, parse_tenant_name
from api.auth import caller_of
from api.bodies import read_json
from api.callers import Caller
from api.errors import Fault, InvalidRequest
from api.resources import resources_of
from api.schemas.tenants import ChangeSettings, CloseTenant, RenameTenant, Tenant, TenantSettings, UsageAnswer
from api.versions import answer_version, read_version
from api.writing import writing

__all__ = (
    "close_own_tenant",
    "get_own_tenant",
    "get_settings",
    "get_usage",
    "rename_own_tenant",
    "reopen_own_tenant",
    "update_settings",
)


def _found(state: TenantState | None) -> TenantState:
    if state is None:
        raise NotFound("tenant")
    return state


async def _own(conn: Connection, caller: Caller) -> TenantState:
    return _found(await read_state(conn, caller.tenant.tenant_id))


@get("/tenant", tags=["tenant"], opt={"permission": Permission.TENANT_READ})
async def get_own_tenant(request: Request[Any, Any, Any]) -> Tenant:
    """Read the tenant that asks."""
    caller = caller_of(request)
    async with resources_of(request).database.reading(caller.tenant) as conn:
        return Tenant.of(await _own(conn, caller))


@patch(
    "/tenant",
    tags=["tenant"],
    opt={"permission": Permission.TENANT_WRITE, "bodies": {"application/json": RenameTenant}, "refusals": (403,)},
)
async def rename_own_tenant(request: Request[Any, Any, Any]) -> Tenant:
    """Give the tenant another name; its slug stays what it is."""
    name = parse_tenant_name((await read_json(request, RenameTenant)).name, path="/name")
    async with writing(request, "tenant.rename") as work:
        before = Tenant.of(await _own(work.conn, work.caller))
        await rename_tenant(work.conn, work.tenant.tenant_id, name)
        after = Tenant.of(await _own(work.conn, work.caller))
        return work.done(after, resource=after.tenant_id, before=before)


@get("/tenant/quotas", tags=["tenant"], opt={"permission": Permission.TENANT_READ})
async def get_usage(request: Request[Any, Any, Any]) -> UsageAnswer:
    """Tell how many there are of everything that is counted, how many were made, and how many there may be."""
    caller, resources = caller_of(request), resources_of(request)
    async with resources.database.reading(caller.tenant) as conn:
        return UsageAnswer.of(await read_usage(conn, caller.tenant.tenant_id, now=resources.clock.now()))


def _shown(settings: TenantSettings) -> Response[TenantSettings]:
    return answer_version(settings, version=settings.version)


@get("/tenant/settings", tags=["tenant"], opt={"permission": Permission.TENANT_READ})
async def get_settings(request: Request[Any, Any, Any]) -> Response[TenantSettings]:
    """Read all settings, and where each value is from."""
    async with resources_of(request).database.reading(caller_of(request).tenant) as conn:
        return _shown(TenantSettings.of(await read_settings(conn)))


def _read_changes(wanted: ChangeSettings) -> dict[str, Value | None]:
    changes: dict[str, Value | None] = {}
    faults = []
    for key, value in wanted.settings.items():
        try:
            # To take an unknown one back is a mistake as well.
            changes[key] = parse_setting(key, value)
        except InvalidInput as error:
            if value is None and error.code != "unknown_setting":
                changes[key] = None
            else:
                faults.append(Fault(error.path, error.code, error.reason))
    if faults:
        raise InvalidRequest(faults)
    return changes


@patch(
    "/tenant/settings",
    tags=["tenant"],
    opt={
        "permission": Permission.TENANT_WRITE,
        "bodies": {"application/json": ChangeSettings},
        "is_versioned": True,
        "refusals": (403,),
    },
)
async def update_settings(request: Request[Any, Any, Any]) -> Response[TenantSettings]:
    """Change settings, all that are named or none.

    With `If-Match`, the `ETag` that the settings were read with, they are changed only while nobody else has.
    """
    changes = _read_changes(await read_json(request, ChangeSettings))
    expected, now = read_version(request), resources_of(request).clock.now()
    async with writing(request, "tenant_settings.change") as work:
        before = await read_effective(work.conn)
        by = work.caller.actor
        await change_settings(work.conn, work.tenant, changes, expected=expected, now=now, by=by)
        answer = _shown(TenantSettings.of(await read_settings(work.conn)))
        return work.done(answer, resource=None, before=before, after=await read_effective(work.conn))


@post(
    "/tenant/close",
    tags=["tenant"],
    status_code=200,
    opt={
        "permission": Permission.TENANT_CLOSE,
        "bodies": {"application/json": CloseTenant},
        "refusals": (403, 409),
    },
)
async def close_own_tenant(request: Request[Any, Any, Any]) -> Tenant:
    """Close the tenant: it can be read and exported for 30 days, and opened again; then all of it is erased.

    Prefixes and links lead on meanwhile, and hits are counted. Closed twice it is closed once.
    """
    wanted, now = await read_json(request, CloseTenant), resources_of(request).clock.now()
    async with writing(request, "tenant.close") as work:
        before = Tenant.of(await _own(work.conn, work.caller))
        if wanted.confirm != before.slug:
            raise InvalidInput("/confirm", "has to be the tenant's slug", code="not_confirmed")
        grace = dt.timedelta(days=GRACE_DAYS)
        closed = Tenant.of(_found(await close_tenant(work.conn, before.tenant_id, by="tenant", now=now, grace=grace)))
        return work.done(closed, resource=closed.tenant_id, before=before)


@post(
    "/tenant/reopen",
    tags=["tenant"],
    status_code=200,
    opt={"permission": Permission.TENANT_CLOSE, "refusals": (403, 409), "is_open_to_suspended": True},
)
async def reopen_own_tenant(request: Request[Any, Any, Any]) -> Tenant:
    """Open a tenant again that it closed itself; until `closes_at` everything is as it was."""
    now = resources_of(request).clock.now()
    async with writing(request, "tenant.reopen") as work:
        before = Tenant.of(await _own(work.conn, work.caller))
        opened = Tenant.of(_found(await reopen_tenant(work.conn, before.tenant_id, by="tenant", now=now)))
        return work.done(opened, resource=opened.tenant_id, before=before)
