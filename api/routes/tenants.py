"""All tenants, as the owner of the installation sees them: made, suspended, and held to quotas."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final, Literal

from litestar import Request, get, patch, post, put

from analytics_core.db.invitations import add_invitation
from analytics_core.db.keys import add_key
from analytics_core.db.memberships import add_membership
from analytics_core.db.outbox import queue_mail
from analytics_core.db.pool import Connection
from analytics_core.db.quotas import read_usage, set_quotas
from analytics_core.db.tenant_states import TenantState, adding_tenant, read_state, reopen_tenant, suspend_tenant
from analytics_core.db.tenant_states import close_tenant as close_one
from analytics_core.db.tenant_states import list_tenants as read_tenants
from analytics_core.db.users import Credentials, find_credentials
from analytics_core.errors import Conflict, InvalidInput, NotFound
from analytics_core.invitations import invitation_mail, new_token
from analytics_core.people import parse_email
from analytics_core.permissions import Permission, RoleName
from analytics_core.quotas import Quota
from analytics_core.tenants import parse_slug
from api.auth import caller_of
from api.bodies import read_json
from api.errors import Fault, InvalidRequest
from api.founding import read_names
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Parameter, Query, Refusal
from api.resources import Resources, resources_of
from api.schemas.common import Page
from api.schemas.tenants import AddTenant, ChangeTenant, CloseOther, NewTenant, SetQuotas, Tenant, UsageAnswer
from api.scopes import path_id
from api.writing import Work, writing

__all__ = (
    "close_tenant",
    "create_tenant",
    "get_tenant",
    "get_tenant_quotas",
    "list_tenants",
    "set_tenant_quotas",
    "update_tenant",
)

_LIST: Final = "tenants"
_CURSOR: Final = id_cursor(_LIST)


def _slug(text: str) -> str | None:
    try:
        return parse_slug(text, path="slug")
    except InvalidInput as error:
        raise Refusal(error.code, error.reason) from error


_SLUG: Final[Parameter[str | None]] = Parameter(
    "slug", _slug, None, "Only the tenant of this slug.", {"type": "string", "maxLength": 63}
)


async def _find(conn: Connection, request: Request[Any, Any, Any]) -> TenantState:
    state = await read_state(conn, path_id(request, "tenant_id", what="tenant"))
    if state is None:
        raise NotFound("tenant")
    return state


def _read_names(wanted: AddTenant) -> tuple[str, str, str | None]:
    slug, name, faults = read_names(wanted.slug, wanted.name)
    email: str | None = None
    try:
        email = None if wanted.owner_email is None else parse_email(wanted.owner_email, path="/owner_email")
    except InvalidInput as error:
        faults.append(Fault(error.path, error.code, error.reason))
    if faults:
        raise InvalidRequest(faults)
    return slug, name, email


async def _add_owner(
    work: Work, state: TenantState, email: str | None, person: Credentials | None, resources: Resources
) -> tuple[Literal["member", "invited", "key"], str | None]:
    """Give a tenant that was just made its first owner, inside its own transaction; return its text if it is a key."""
    conn, now = work.conn, resources.clock.now()
    if email is None:
        _, key = await add_key(conn, state.tenant, name="owner", scopes=None)
        return "key", key
    # Whoever only said that an address is theirs is asked there first.
    if person is not None and person.status == "active" and person.email_verified_at is not None:
        await add_membership(conn, state.tenant_id, person.user_id, role=RoleName.OWNER, now=now)
        return "member", None
    token = new_token()
    row = await add_invitation(
        conn,
        state.tenant,
        email=email,
        role=RoleName.OWNER,
        custom_role_id=None,
        sponsor_ids=(),
        token=token,
        invited_by=None,
        now=now,
    )
    mail = invitation_mail(
        email,
        token,
        tenant=state.name,
        role=RoleName.OWNER.value,
        expires_at=row.expires_at,
        public_url=resources.settings.people.public_url,
    )
    await queue_mail(conn, mail, now=now, tenant=state.tenant)
    return "invited", None


@post(
    "/tenants",
    tags=["tenants"],
    opt={
        "permission": Permission.TENANTS_WRITE,
        "bodies": {"application/json": AddTenant},
        "refusals": (403, 409),
    },
)
async def create_tenant(request: Request[Any, Any, Any]) -> NewTenant:
    """Make a tenant with its first owner, both or neither.

    Only for the installation's own tenant. The slug stays for good; it is how commands name the tenant.
    """
    resources = resources_of(request)
    slug, name, email = _read_names(await read_json(request, AddTenant))
    person = None
    if email is not None:
        async with resources.database.auth() as conn:
            person = await find_credentials(conn, email)
    async with writing(request, "tenant.create") as work:
        async with adding_tenant(work.conn, work.tenant, slug=slug, name=name) as state:
            owner, key = await _add_owner(work, state, email, person, resources)
        made = Tenant.of(state)
        answer = NewTenant.with_owner(made, owner, key)
        return work.done(answer, resource=made.tenant_id, after=made, is_secret=key is not None)


@get(
    "/tenants",
    tags=["tenants"],
    opt={"permission": Permission.TENANTS_READ, "query": (LIMIT, _SLUG, _CURSOR), "refusals": (403,)},
)
async def list_tenants(request: Request[Any, Any, Any]) -> Page[Tenant]:
    """List all tenants in the order in which they were made. Only for the installation's own tenant."""
    query = Query.of(request)
    limit, slug, after = query.get(LIMIT), query.get(_SLUG), query.get(_CURSOR)
    query.finish()
    async with resources_of(request).database.reading(caller_of(request).tenant) as conn:
        rows = await read_tenants(conn, slug=slug, after=after, limit=limit + 1)
    return page_of(rows, limit, Tenant.of, _LIST, lambda row: (row.created_at, row.tenant_id))


@get("/tenants/{tenant_id:str}", tags=["tenants"], opt={"permission": Permission.TENANTS_READ, "refusals": (403,)})
async def get_tenant(request: Request[Any, Any, Any]) -> Tenant:
    """Read one tenant. Only for the installation's own tenant."""
    async with resources_of(request).database.reading(caller_of(request).tenant) as conn:
        return Tenant.of(await _find(conn, request))


@patch(
    "/tenants/{tenant_id:str}",
    tags=["tenants"],
    opt={
        "permission": Permission.TENANTS_WRITE,
        "bodies": {"application/json": ChangeTenant},
        "refusals": (403, 409),
    },
)
async def update_tenant(request: Request[Any, Any, Any]) -> Tenant:
    """Suspend a tenant, or take that back.

    Only for the installation's own tenant. A suspended tenant can be read and not changed; its prefixes and links lead
    on, and hits are counted. `active` opens a tenant again that is closing, too, whoever closed it.
    """
    wanted, now = await read_json(request, ChangeTenant), resources_of(request).clock.now()
    async with writing(request, "tenant.suspend" if wanted.status == "suspended" else "tenant.resume") as work:
        before = Tenant.of(await _find(work.conn, request))
        if wanted.status == "suspended":
            state = await suspend_tenant(work.conn, before.tenant_id)
        else:
            state = await reopen_tenant(work.conn, before.tenant_id, by="installation", now=now)
        if state is None:
            raise NotFound("tenant")
        return work.done(Tenant.of(state), resource=before.tenant_id, before=before)


@post(
    "/tenants/{tenant_id:str}/close",
    tags=["tenants"],
    status_code=200,
    opt={
        "permission": Permission.TENANTS_WRITE,
        "bodies": {"application/json": CloseOther},
        "refusals": (403, 409),
    },
)
async def close_tenant(request: Request[Any, Any, Any]) -> Tenant:
    """Close a tenant, which cannot take that back: it can be read and exported until all of it is erased.

    Only for the installation's own tenant. Prefixes and links lead on meanwhile, and hits are counted.
    """
    wanted, now = await read_json(request, CloseOther), resources_of(request).clock.now()
    async with writing(request, "tenant.close") as work:
        before = Tenant.of(await _find(work.conn, request))
        if wanted.confirm != before.slug:
            raise InvalidInput("/confirm", "has to be the tenant's slug", code="not_confirmed")
        grace = dt.timedelta(days=wanted.grace_days)
        state = await close_one(work.conn, before.tenant_id, by="installation", now=now, grace=grace)
        if state is None:
            raise NotFound("tenant")
        return work.done(Tenant.of(state), resource=before.tenant_id, before=before)


@get(
    "/tenants/{tenant_id:str}/quotas",
    tags=["tenants"],
    opt={"permission": Permission.TENANTS_READ, "refusals": (403,)},
)
async def get_tenant_quotas(request: Request[Any, Any, Any]) -> UsageAnswer:
    """Tell what a tenant uses, and how much it may. Only for the installation's own tenant."""
    resources = resources_of(request)
    async with resources.database.tenant(caller_of(request).tenant) as conn:
        state = await _find(conn, request)
        return UsageAnswer.of(await read_usage(conn, state.tenant_id, now=resources.clock.now()))


@put(
    "/tenants/{tenant_id:str}/quotas",
    tags=["tenants"],
    opt={"permission": Permission.TENANTS_WRITE, "bodies": {"application/json": SetQuotas}, "refusals": (403, 409)},
)
async def set_tenant_quotas(request: Request[Any, Any, Any]) -> UsageAnswer:
    """Set all quotas of a tenant in place of those that it had; what is not named is without limit.

    Only for the installation's own tenant. Where there is more than a quota allows already, all of it stays, and
    nothing is added.
    """
    wanted = (await read_json(request, SetQuotas)).quotas
    named = [(quota.metric, quota.period) for quota in wanted]
    faults = [
        Fault(f"/quotas/{place}", "repeated", "is there more than once for its metric and period")
        for place, one in enumerate(named)
        if one in named[:place]
    ]
    if faults:
        raise InvalidRequest(faults)
    quotas = [Quota(quota.metric, quota.period, quota.limit) for quota in wanted]
    now = resources_of(request).clock.now()
    async with writing(request, "tenant_quotas.set") as work:
        state = await _find(work.conn, request)
        if state.is_installation:
            # It always gets the key with which its owner gets in.
            raise Conflict("installation", "the installation's own tenant has no quotas")
        before = UsageAnswer.of(await read_usage(work.conn, state.tenant_id, now=now))
        await set_quotas(work.conn, state.tenant_id, quotas, now=now, by=work.caller.actor)
        after = UsageAnswer.of(await read_usage(work.conn, state.tenant_id, now=now))
        return work.done(after, resource=state.tenant_id, before=before)
