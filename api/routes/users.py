"""Oneself: what is kept of who asks, where they are signed in, and leaving."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Request, delete, get, patch, post

from analytics_core.db.user_sessions import list_sessions
from api.auth import person_of
from api.bodies import read_json
from api.founding import found_own_tenant
from api.oneself import (
    change_oneself,
    change_password,
    choose_own_mail,
    close_own_session,
    export_oneself,
    leave,
    show_oneself,
)
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Query
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.people import ChangeMembership, ChangePassword, ChangeUser, Membership, OwnData, Session, User
from api.schemas.tenants import FoundTenant, Tenant
from api.scopes import path_id

__all__ = (
    "change_me",
    "change_my_membership",
    "change_my_password",
    "delete_me",
    "end_my_session",
    "export_me",
    "found_my_tenant",
    "get_me",
    "list_my_sessions",
)

_TAGS: Final = ["users"]
_LIST: Final = "sessions"
_CURSOR: Final = id_cursor(_LIST)


@get("/users/me", tags=_TAGS, opt={"permission": None, "refusals": (403,)})
async def get_me(request: Request[Any, Any, Any]) -> User:
    """Read who you are, and which tenants you belong to."""
    async with resources_of(request).database.auth() as conn:
        return await show_oneself(conn, person_of(request))


@patch(
    "/users/me",
    tags=_TAGS,
    opt={"permission": None, "bodies": {"application/json": ChangeUser}, "refusals": (403,)},
)
async def change_me(request: Request[Any, Any, Any]) -> User:
    """Change your name or your language."""
    wanted = await read_json(request, ChangeUser)
    name = None if wanted.name is msgspec.UNSET else wanted.name
    locale = None if wanted.locale is msgspec.UNSET else wanted.locale
    return await change_oneself(request, person_of(request), name=name, locale=locale)


@post(
    "/users/me/password",
    tags=_TAGS,
    status_code=204,
    opt={"permission": None, "bodies": {"application/json": ChangePassword}, "refusals": (403, 429)},
)
async def change_my_password(request: Request[Any, Any, Any]) -> None:
    """Change your password; your other sessions end, and a mail tells you."""
    wanted = await read_json(request, ChangePassword)
    await change_password(
        request, person_of(request), current_password=wanted.current_password, password=wanted.password
    )


@get("/users/me/sessions", tags=_TAGS, opt={"permission": None, "query": (LIMIT, _CURSOR), "refusals": (403,)})
async def list_my_sessions(request: Request[Any, Any, Any]) -> Page[Session]:
    """List where you are signed in, in the order in which you did."""
    query = Query.of(request)
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    resources, person = resources_of(request), person_of(request)
    async with resources.database.auth() as conn:
        rows = await list_sessions(
            conn,
            person.user_id,
            now=resources.clock.now(),
            after=after[1] if after is not None else None,
            limit=limit + 1,
        )
    return page_of(
        rows,
        limit,
        lambda row: Session.of(row, current=person.session_id),
        _LIST,
        lambda row: (row.created_at, row.session_id),
    )


@delete("/users/me/sessions/{session_id:str}", tags=_TAGS, opt={"permission": None, "refusals": (403,)})
async def end_my_session(request: Request[Any, Any, Any]) -> None:
    """Sign out somewhere, at once; it may be here."""
    await close_own_session(request, person_of(request), path_id(request, "session_id", what="session"))


@get("/users/me/export", tags=_TAGS, opt={"permission": None, "refusals": (403,)})
async def export_me(request: Request[Any, Any, Any]) -> OwnData:
    """Read all that is kept of you as a person. What you did in a tenant stands in its records."""
    return await export_oneself(request, person_of(request))


@delete("/users/me", tags=_TAGS, opt={"permission": None, "refusals": (403, 409)})
async def delete_me(request: Request[Any, Any, Any]) -> None:
    """Leave all tenants and end all sessions at once, and have what is kept of you erased after 30 days.

    Until then the operator can undo it. Records of what you did stay, without your name. Refused with `last_owner`
    while a tenant has no other owner.
    """
    await leave(request, person_of(request))


@post(
    "/users/me/tenants",
    tags=_TAGS,
    opt={"permission": None, "bodies": {"application/json": FoundTenant}, "refusals": (403, 409)},
)
async def found_my_tenant(request: Request[Any, Any, Any]) -> Tenant:
    """Make a tenant whose owner you are, where you belong to none; sign in again to work in it.

    Open only where the installation says so. The slug stays for good; it is how commands name the tenant.
    """
    return await found_own_tenant(request, person_of(request), await read_json(request, FoundTenant))


@patch(
    "/users/me/tenants/{tenant_id:str}",
    tags=_TAGS,
    opt={"permission": None, "bodies": {"application/json": ChangeMembership}, "refusals": (403,)},
)
async def change_my_membership(request: Request[Any, Any, Any]) -> Membership:
    """Say whether you want a mail when flights of a tenant fall behind; it goes to owners, admins and sales."""
    wanted, person = path_id(request, "tenant_id", what="tenant"), person_of(request)
    chosen = await read_json(request, ChangeMembership)
    return await choose_own_mail(request, person, wanted, delivery_mail=chosen.delivery_mail)
