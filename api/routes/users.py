"""Oneself: what is kept of who asks, where they are signed in, and leaving."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Request, delete, get, patch, post

from analytics_core.db.memberships import end_memberships, list_memberships, list_own_tenants
from analytics_core.db.outbox import queue_mail
from analytics_core.db.pool import Connection
from analytics_core.db.user_sessions import end_session, end_sessions, list_sessions
from analytics_core.db.users import UserRow, change_user, delete_user, find_credentials, find_user, set_password
from analytics_core.errors import InvalidInput, NotFound, Unauthenticated
from analytics_core.passwords import check_password
from analytics_core.people import parse_locale, parse_name
from analytics_core.people_mail import mail_password_changed
from api.auth import person_of
from api.bodies import read_json
from api.pagination import LIMIT, id_cursor, write_cursor
from api.queries import Query
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.people import ChangePassword, ChangeUser, OwnData, Session, User
from api.scopes import path_id
from api.sign_in import attempt_subject, claim_attempt, settle_attempt
from api.writing import writing_own

__all__ = (
    "change_me",
    "change_my_password",
    "delete_me",
    "end_my_session",
    "export_me",
    "get_me",
    "list_my_sessions",
)

_TAGS: Final = ["users"]
_LIST: Final = "sessions"
_CURSOR: Final = id_cursor(_LIST)
_MAX_SESSIONS: Final = 200


async def _me(conn: Connection, request: Request[Any, Any, Any]) -> UserRow:
    row = await find_user(conn, person_of(request).user_id)
    if row is None:
        raise Unauthenticated("you are no longer here")
    return row


async def _show(conn: Connection, row: UserRow) -> User:
    return User.of(row, await list_memberships(conn, row.user_id))


@get("/users/me", tags=_TAGS, opt={"permission": None, "refusals": (403,)})
async def get_me(request: Request[Any, Any, Any]) -> User:
    """Read who you are, and which tenants you belong to."""
    async with resources_of(request).database.auth() as conn:
        return await _show(conn, await _me(conn, request))


@patch(
    "/users/me",
    tags=_TAGS,
    opt={"permission": None, "bodies": {"application/json": ChangeUser}, "refusals": (403,)},
)
async def change_me(request: Request[Any, Any, Any]) -> User:
    """Change your name or your language."""
    wanted = await read_json(request, ChangeUser)
    name = None if wanted.name is msgspec.UNSET else parse_name(wanted.name)
    locale = None if wanted.locale is msgspec.UNSET else parse_locale(wanted.locale)
    changed = [said for said, value in (("name", name), ("locale", locale)) if value is not None]
    async with writing_own(request, "user.change") as work:
        row = await change_user(work.conn, person_of(request).user_id, name=name, locale=locale)
        if row is None:
            raise Unauthenticated("you are no longer here")
        memberships = await list_memberships(work.conn, row.user_id)
        work.done(row.user_id, tenants=[each.tenant for each in memberships], after={"changed": changed})
        return User.of(row, memberships)


@post(
    "/users/me/password",
    tags=_TAGS,
    status_code=204,
    opt={"permission": None, "bodies": {"application/json": ChangePassword}, "refusals": (403, 429)},
)
async def change_my_password(request: Request[Any, Any, Any]) -> None:
    """Change your password; your other sessions end, and a mail tells you."""
    resources, person = resources_of(request), person_of(request)
    wanted = await read_json(request, ChangePassword)
    subject = attempt_subject(request, "password", str(person.user_id))
    await claim_attempt(request, subject)
    async with resources.database.auth() as conn:
        row = await _me(conn, request)
        found = await find_credentials(conn, row.email or "")
    stored = found.password_hash if found is not None else None
    if not await resources.passwords.verify(wanted.current_password, stored):
        raise InvalidInput("/current_password", "is not your password", code="wrong_password")
    await settle_attempt(request, subject)
    check_password(wanted.password, context=(row.email or "", row.name))
    password_hash = await resources.passwords.hash(wanted.password)
    now = resources.clock.now()
    async with writing_own(request, "password.change") as work:
        await set_password(work.conn, person.user_id, password_hash, now=now)
        await end_sessions(work.conn, person.user_id, but=person.session_id)
        if row.email is not None:
            await queue_mail(work.conn, mail_password_changed(row.email), now=now)
        work.done(person.user_id, tenants=await list_own_tenants(work.conn, person.user_id))


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
    last = rows[limit - 1] if len(rows) > limit else None
    cursor = None if last is None else write_cursor(_LIST, last.created_at, last.session_id)
    return Page([Session.of(row, current=person.session_id) for row in rows[:limit]], cursor)


@delete("/users/me/sessions/{session_id:str}", tags=_TAGS, opt={"permission": None, "refusals": (403,)})
async def end_my_session(request: Request[Any, Any, Any]) -> None:
    """Sign out somewhere, at once; it may be here."""
    wanted, person = path_id(request, "session_id", what="session"), person_of(request)
    async with writing_own(request, "session.close") as work:
        if not await end_session(work.conn, person.user_id, wanted):
            raise NotFound("session")
        work.done(person.user_id, tenants=await list_own_tenants(work.conn, person.user_id), resource=wanted)


@get("/users/me/export", tags=_TAGS, opt={"permission": None, "refusals": (403,)})
async def export_me(request: Request[Any, Any, Any]) -> OwnData:
    """Read all that is kept of you as a person. What you did in a tenant stands in its records."""
    resources, person = resources_of(request), person_of(request)
    now = resources.clock.now()
    async with resources.database.auth() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        user = await _show(conn, await _me(conn, request))
        rows = await list_sessions(conn, person.user_id, now=now, after=None, limit=_MAX_SESSIONS)
    return OwnData(exported_at=now, user=user, sessions=[Session.of(row, current=person.session_id) for row in rows])


@delete("/users/me", tags=_TAGS, opt={"permission": None, "refusals": (403, 409)})
async def delete_me(request: Request[Any, Any, Any]) -> None:
    """Leave all tenants and end all sessions at once, and have what is kept of you erased after 30 days.

    Until then the operator can undo it. Records of what you did stay, without your name. Refused with `last_owner`
    while a tenant has no other owner.
    """
    resources, person = resources_of(request), person_of(request)
    now = resources.clock.now()
    async with writing_own(request, "user.delete") as work:
        left = await list_own_tenants(work.conn, person.user_id)
        await end_memberships(work.conn, person.user_id, now=now)
        await end_sessions(work.conn, person.user_id)
        await delete_user(work.conn, person.user_id, now=now)
        work.done(person.user_id, tenants=left)
