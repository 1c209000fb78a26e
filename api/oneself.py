"""What people see and change of themselves, whether they ask over the API or on the page."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from litestar import Request

from analytics_core.db.memberships import choose_mail, end_memberships, list_memberships, list_own_tenants
from analytics_core.db.outbox import queue_mail
from analytics_core.db.pool import Connection
from analytics_core.db.user_sessions import end_session, end_sessions, list_sessions
from analytics_core.db.users import UserRow, change_user, delete_user, find_credentials, find_user, set_password
from analytics_core.errors import InvalidInput, NotFound, Unauthenticated
from analytics_core.passwords import check_password
from analytics_core.people import parse_locale, parse_name
from analytics_core.people_mail import mail_password_changed
from api.callers import Person
from api.idempotency import replay_own_answer
from api.resources import resources_of
from api.schemas.people import Membership, OwnData, Session, User
from api.sign_in import attempt_subject, claim_attempt, settle_attempt
from api.writing import writing_own

__all__ = (
    "change_oneself",
    "change_password",
    "check_own_password",
    "choose_own_mail",
    "close_other_sessions",
    "close_own_session",
    "export_oneself",
    "leave",
    "show_oneself",
)

_MAX_SESSIONS: Final = 200


async def _find(conn: Connection, person: Person) -> UserRow:
    row = await find_user(conn, person.user_id)
    if row is None:
        raise Unauthenticated("you are no longer here")
    return row


async def show_oneself(conn: Connection, person: Person) -> User:
    """Read who somebody is, and which tenants they belong to."""
    return User.of(await _find(conn, person), await list_memberships(conn, person.user_id))


async def change_oneself(
    request: Request[Any, Any, Any], person: Person, *, name: str | None, locale: str | None
) -> User:
    """Change a name or a language; what is ``None`` stays as it is.

    Raises:
        InvalidInput: One of them cannot be used.
    """
    name = None if name is None else parse_name(name)
    locale = None if locale is None else parse_locale(locale)
    changed = [said for said, value in (("name", name), ("locale", locale)) if value is not None]
    async with writing_own(request, "user.change", person=person) as work:
        row = await change_user(work.conn, person.user_id, name=name, locale=locale)
        if row is None:
            raise Unauthenticated("you are no longer here")
        memberships = await list_memberships(work.conn, row.user_id)
        user = User.of(row, memberships)
        tenants = [each.tenant for each in memberships]
        work.done(row.user_id, tenants=tenants, after={"changed": changed}, answer=user)
        return user


async def choose_own_mail(
    request: Request[Any, Any, Any], person: Person, tenant_id: UUID, *, delivery_mail: bool
) -> Membership:
    """Say whether somebody wants to hear of a tenant's flights.

    Raises:
        NotFound: They do not belong to it.
    """
    async with writing_own(request, "membership.change", person=person) as work:
        if not await choose_mail(work.conn, tenant_id, person.user_id, delivery_mail=delivery_mail):
            raise NotFound("tenant")
        [row] = [each for each in await list_memberships(work.conn, person.user_id) if each.tenant_id == tenant_id]
        membership = Membership.of(row)
        after = {"delivery_mail": delivery_mail}
        work.done(person.user_id, tenants=[row.tenant], after=after, answer=membership)
        return membership


async def check_own_password(request: Request[Any, Any, Any], person: Person, password: str) -> UserRow:
    """See that somebody who is signed in knows their password.

    Raises:
        InvalidInput: ``wrong_password``, on ``current_password``.
        TooSoon: There were too many wrong ones.
        Unavailable: Too many passwords are being hashed.
    """
    resources = resources_of(request)
    subject = attempt_subject(request, "password", str(person.user_id))
    await claim_attempt(request, subject)
    async with resources.database.auth() as conn:
        row = await _find(conn, person)
        found = await find_credentials(conn, row.email or "")
    stored = found.password_hash if found is not None else None
    if not await resources.passwords.verify(password, stored):
        raise InvalidInput("/current_password", "is not your password", code="wrong_password")
    await settle_attempt(request, subject)
    return row


async def change_password(
    request: Request[Any, Any, Any], person: Person, *, current_password: str, password: str
) -> None:
    """Set another password; other sessions end, and a mail tells.

    Raises:
        InvalidInput: The current one is not theirs, or the new one cannot be used.
        TooSoon: There were too many wrong ones.
        Unavailable: Too many passwords are being hashed.
    """
    resources = resources_of(request)
    # Done before, the password that was theirs is no longer.
    await replay_own_answer(request, person)
    try:
        row = await check_own_password(request, person, current_password)
    except InvalidInput:
        # A twin may have set another one since.
        await replay_own_answer(request, person)
        raise
    check_password(password, context=(row.email or "", row.name))
    password_hash = await resources.passwords.hash(password)
    now = resources.clock.now()
    async with writing_own(request, "password.change", person=person) as work:
        await set_password(work.conn, person.user_id, password_hash, now=now)
        await end_sessions(work.conn, person.user_id, but=person.session_id)
        if row.email is not None:
            await queue_mail(work.conn, mail_password_changed(row.email), now=now)
        work.done(person.user_id, tenants=await list_own_tenants(work.conn, person.user_id))


async def close_own_session(request: Request[Any, Any, Any], person: Person, session_id: UUID) -> None:
    """Sign somebody out somewhere, at once.

    Raises:
        NotFound: They have no such session.
    """
    async with writing_own(request, "session.close", person=person) as work:
        if not await end_session(work.conn, person.user_id, session_id):
            raise NotFound("session")
        work.done(person.user_id, tenants=await list_own_tenants(work.conn, person.user_id), resource=session_id)


async def close_other_sessions(request: Request[Any, Any, Any], person: Person) -> None:
    """Sign somebody out everywhere but here, at once."""
    async with writing_own(request, "session.close", person=person) as work:
        await end_sessions(work.conn, person.user_id, but=person.session_id)
        work.done(person.user_id, tenants=await list_own_tenants(work.conn, person.user_id))


async def export_oneself(request: Request[Any, Any, Any], person: Person) -> OwnData:
    """Read all that is kept of somebody as a person."""
    resources = resources_of(request)
    now = resources.clock.now()
    async with resources.database.auth() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        user = await show_oneself(conn, person)
        rows = await list_sessions(conn, person.user_id, now=now, after=None, limit=_MAX_SESSIONS)
    return OwnData(exported_at=now, user=user, sessions=[Session.of(row, current=person.session_id) for row in rows])


async def leave(request: Request[Any, Any, Any], person: Person) -> None:
    """Take somebody out of all tenants and sessions at once, and have what is kept of them erased after 30 days.

    Raises:
        Conflict: ``last_owner``: a tenant has no other owner.
    """
    now = resources_of(request).clock.now()
    async with writing_own(request, "user.delete", person=person) as work:
        left = await list_own_tenants(work.conn, person.user_id)
        await end_memberships(work.conn, person.user_id, now=now)
        await end_sessions(work.conn, person.user_id)
        await delete_user(work.conn, person.user_id, now=now)
        work.done(person.user_id, tenants=left)
