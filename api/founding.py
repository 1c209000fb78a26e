"""Tenants that people make for themselves, and how a new tenant's names are read."""

from __future__ import annotations

from typing import Any

from litestar import Request

from analytics_core.db.tenant_states import found_tenant
from analytics_core.errors import Forbidden, InvalidInput
from analytics_core.tenants import parse_slug, parse_tenant_name
from api.callers import Person
from api.errors import Fault, InvalidRequest
from api.resources import resources_of
from api.schemas.tenants import FoundTenant, Tenant
from api.writing import writing_own

__all__ = ("found_own_tenant", "read_names")


def read_names(slug: str, name: str) -> tuple[str, str, list[Fault]]:
    """Read a new tenant's slug and name, with what is wrong with them."""
    faults = []
    try:
        slug = parse_slug(slug, path="/slug")
    except InvalidInput as error:
        faults.append(Fault(error.path, error.code, error.reason))
    try:
        name = parse_tenant_name(name, path="/name")
    except InvalidInput as error:
        faults.append(Fault(error.path, error.code, error.reason))
    return slug, name, faults


async def found_own_tenant(request: Request[Any, Any, Any], person: Person, wanted: FoundTenant) -> Tenant:
    """Make a tenant whose owner is somebody who belongs to none.

    Raises:
        Forbidden: ``self_service_closed``: tenants are made by the operator here.
        InvalidRequest: Slug or name cannot be used.
        Conflict: ``has_tenant`` or ``slug_taken``.
    """
    resources = resources_of(request)
    if not resources.settings.people.self_service:
        raise Forbidden("tenants are made by whoever runs this installation: ask them", code="self_service_closed")
    slug, name, faults = read_names(wanted.slug, wanted.name)
    if faults:
        raise InvalidRequest(faults)
    now = resources.clock.now()
    async with writing_own(request, "tenant.create", person=person) as work:
        state = await found_tenant(work.conn, person.user_id, slug=slug, name=name, now=now)
        made = Tenant.of(state)
        work.done(person.user_id, tenants=[state.tenant], resource=state.tenant_id, after=made, answer=made)
        return made
