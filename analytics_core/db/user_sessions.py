"""Sessions of people: one a sign-in, over the API (kept up by refresh tokens) or on the page (a token in a cookie).

Whatever ends the person, their membership or the tenant ends the session, since each look-up goes through them. All of
this is done as the role that authenticates.

Source:
    RFC 9700, section 4.14.2: refresh tokens are rotated, and one that is used twice ends what came of it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import secrets
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.pool import Connection, Tenant
from analytics_core.db.sessions import IDLE, LIFETIME
from analytics_core.ids import TenantId, TenantNo, UserId, new_id
from analytics_core.permissions import RoleName

__all__ = (
    "ListedSession",
    "MemberSession",
    "PersonSession",
    "end_session",
    "end_sessions",
    "end_tenant_sessions",
    "find_member_session",
    "find_page_session",
    "find_person_session",
    "list_sessions",
    "open_api_session",
    "open_page_session",
    "rotate_refresh_token",
)

_MAX_SESSIONS: Final = 50
_SEEN_EVERY: Final = dt.timedelta(minutes=10)
_REFRESH: Final = re.compile(r"cl_ref_[A-Za-z0-9_-]{43}", re.ASCII)
# Begun so that one look tells it from the token of a key's session; those of before have no beginning.
_PAGE: Final = "cl_page_"
_COOKIE: Final = re.compile(rf"(?:{_PAGE})?[A-Za-z0-9_-]{{43}}", re.ASCII)


class PersonSession(msgspec.Struct, frozen=True):
    """A session and whose it is, whatever has become of their tenants."""

    session_id: UUID
    user_id: UserId
    tenant_id: TenantId | None


class MemberSession(msgspec.Struct, frozen=True):
    """A session of a member in a tenant, with what they are there.

    Attributes:
        status: The tenant's.
        custom: What their custom role lets them do, where they have one; nothing when that role is gone.
    """

    session_id: UUID
    user_id: UserId
    tenant_id: TenantId
    tenant_no: TenantNo
    is_installation: bool
    status: str
    role: RoleName
    sponsor_ids: list[UUID]
    custom: list[str] | None

    @property
    def tenant(self) -> Tenant:
        """The tenant as a transaction names it."""
        return Tenant(self.tenant_id, self.tenant_no)


class ListedSession(msgspec.Struct, frozen=True):
    """A session as its person sees it."""

    session_id: UUID
    kind: str
    tenant: str | None
    user_agent: str
    created_at: dt.datetime
    seen_at: dt.datetime
    expires_at: dt.datetime


class _PageSession(MemberSession, frozen=True):
    """A member's session of the page, with when it was used last."""

    seen_at: dt.datetime


_OPEN: Final[LiteralString] = """/* user_sessions.open */
insert into app.user_sessions (session_id, user_id, tenant_id, kind, user_agent, created_at, seen_at, expires_at)
values ($1, $2, $3, $4, $5, $6, $6, $7)"""

# Old ones go when a new one comes: all that have ended, and of its person's others those beyond a number, longest
# unused first.
_SWEEP: Final[LiteralString] = """/* user_sessions.sweep */
delete from app.user_sessions where expires_at <= $2 or session_id in (
    select session_id from app.user_sessions where user_id = $1 and session_id <> $3
    order by seen_at desc, session_id desc offset $4)"""

_FIND_PERSON: Final[LiteralString] = """/* user_sessions.find_person */
select s.session_id, s.user_id, s.tenant_id from app.user_sessions s join app.users u using (user_id)
where s.session_id = $1 and s.user_id = $2 and s.expires_at > $3 and u.status = 'active'"""

_FIND_MEMBER: Final[LiteralString] = """/* user_sessions.find_member */
select s.session_id, s.user_id, s.tenant_id, t.tenant_no, t.is_installation, t.status, m.role, m.sponsor_ids,
    case when m.custom_role_id is not null then coalesce(r.permissions, '{}') end as custom
from app.user_sessions s join app.users u using (user_id) join app.memberships m using (tenant_id, user_id)
    join app.tenants t using (tenant_id)
    left join app.roles r on r.tenant_id = m.tenant_id and r.role_id = m.custom_role_id
where s.session_id = $1 and s.user_id = $2 and s.tenant_id = $3 and s.expires_at > $4 and u.status = 'active'
    and m.removed_at is null and t.status <> 'closed'"""

_LIST: Final[LiteralString] = """/* user_sessions.list */
select s.session_id, s.kind, t.slug as tenant, s.user_agent, s.created_at, s.seen_at, s.expires_at
from app.user_sessions s left join app.tenants t using (tenant_id)
where s.user_id = $1 and s.expires_at > $2 and ($3::uuid is null or s.session_id > $3)
order by s.session_id limit $4"""

_END: Final[LiteralString] = """/* user_sessions.end */
delete from app.user_sessions where user_id = $1 and session_id = $2"""

_END_ALL: Final[LiteralString] = """/* user_sessions.end_all */
delete from app.user_sessions where user_id = $1 and session_id is distinct from $2::uuid"""

_END_TENANT: Final[LiteralString] = """/* user_sessions.end_tenant */
delete from app.user_sessions where tenant_id = $1 and user_id = $2"""

_EXTEND: Final[LiteralString] = """/* user_sessions.extend */
update app.user_sessions set seen_at = $2, expires_at = least(created_at + $3::interval, $2::timestamptz + $4::interval)
where session_id = $1 returning expires_at"""

_ADD_REFRESH: Final[LiteralString] = """/* refresh_tokens.add */
insert into app.refresh_tokens (token_hash, session_id, expires_at) values ($1, $2, $3)"""

# Of two who show it at once the second waits for the first here, and finds it spent.
_SPEND: Final[LiteralString] = """/* refresh_tokens.spend */
update app.refresh_tokens set spent_at = $2 where token_hash = $1 and spent_at is null and expires_at > $2
returning session_id"""

_END_REPLAYED: Final[LiteralString] = """/* refresh_tokens.end_replayed */
delete from app.user_sessions s using app.refresh_tokens r
where r.token_hash = $1 and r.spent_at is not null and s.session_id = r.session_id"""

_FORGET_SPENT: Final[LiteralString] = """/* refresh_tokens.forget */
delete from app.refresh_tokens where session_id = $1 and expires_at <= $2"""

_OF_SESSION: Final[LiteralString] = """/* user_sessions.of_session */
select s.session_id, s.user_id, s.tenant_id from app.user_sessions s join app.users u using (user_id)
where s.session_id = $1 and s.expires_at > $2 and u.status = 'active' and (s.tenant_id is null or exists (
    select from app.memberships m join app.tenants t using (tenant_id)
    where m.tenant_id = s.tenant_id and m.user_id = s.user_id and m.removed_at is null and t.status <> 'closed'))"""

_OPEN_PAGE: Final[LiteralString] = """/* sessions.open_person */
insert into app.sessions (token_hash, tenant_id, session_id, created_at, seen_at) values ($1, $2, $3, $4, $4)"""

_FIND_PAGE: Final[LiteralString] = """/* sessions.find_person */
select s.session_id, s.user_id, s.tenant_id, t.tenant_no, t.is_installation, t.status, m.role, m.sponsor_ids,
    case when m.custom_role_id is not null then coalesce(r.permissions, '{}') end as custom, s.seen_at
from app.sessions p join app.user_sessions s using (tenant_id, session_id) join app.users u using (user_id)
    join app.memberships m using (tenant_id, user_id) join app.tenants t using (tenant_id)
    left join app.roles r on r.tenant_id = m.tenant_id and r.role_id = m.custom_role_id
where p.token_hash = $1 and s.expires_at > $2 and u.status = 'active' and m.removed_at is null
    and t.status <> 'closed'"""

# The older column is kept up as well: whoever opens a session with a key takes away what was not seen for long.
_SEE_PAGE: Final[LiteralString] = """/* sessions.see_person */
update app.sessions set seen_at = $2 where session_id = $1"""


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


async def _open(
    conn: Connection, user_id: UUID, tenant_id: UUID | None, *, kind: str, user_agent: str, now: dt.datetime
) -> UUID:
    session_id = new_id()
    agent = "".join(character for character in user_agent if character.isprintable())[:200]
    await conn.execute(_OPEN, session_id, user_id, tenant_id, kind, agent, now, now + IDLE)
    await conn.execute(_SWEEP, user_id, now, session_id, _MAX_SESSIONS - 1)
    return session_id


async def _add_refresh_token(conn: Connection, session_id: UUID, *, expires_at: dt.datetime) -> str:
    token = "cl_ref_" + secrets.token_urlsafe(32)
    await conn.execute(_ADD_REFRESH, _hash(token), session_id, expires_at)
    return token


async def open_api_session(
    conn: Connection, user_id: UUID, tenant_id: UUID | None, *, user_agent: str, now: dt.datetime
) -> tuple[PersonSession, str]:
    """Open a session for somebody who signed in over the API, in a transaction.

    Returns:
        The session, and its refresh token, which is stored nowhere but as a hash.
    """
    session_id = await _open(conn, user_id, tenant_id, kind="api", user_agent=user_agent, now=now)
    token = await _add_refresh_token(conn, session_id, expires_at=now + IDLE)
    tenant = None if tenant_id is None else TenantId(tenant_id)
    return PersonSession(session_id, UserId(user_id), tenant), token


async def rotate_refresh_token(conn: Connection, token: str, *, now: dt.datetime) -> tuple[PersonSession, str] | None:
    """Spend a refresh token and make the one that follows, in a transaction that is to be committed in any case.

    One that was spent before ends its session: either the one who shows it now or the one before has stolen it.

    Returns:
        The session and its new token; ``None`` when the token is not good, or (no longer) what it stands for.
    """
    if not _REFRESH.fullmatch(token):
        return None
    session_id = await conn.fetchval(_SPEND, _hash(token), now)
    if session_id is None:
        await conn.execute(_END_REPLAYED, _hash(token))
        return None
    row = await conn.fetchrow(_OF_SESSION, session_id, now)
    if row is None:
        return None
    await conn.execute(_FORGET_SPENT, session_id, now)
    expires_at = await conn.fetchval(_EXTEND, session_id, now, LIFETIME, IDLE)
    return msgspec.convert(row, PersonSession), await _add_refresh_token(conn, session_id, expires_at=expires_at)


async def find_person_session(
    conn: Connection, session_id: UUID, user_id: UUID, *, now: dt.datetime
) -> PersonSession | None:
    """Look a person's session up, for what is about themselves alone; ``None`` when it or they are not good."""
    row = await conn.fetchrow(_FIND_PERSON, session_id, user_id, now)
    return None if row is None else msgspec.convert(row, PersonSession)


async def find_member_session(
    conn: Connection, session_id: UUID, user_id: UUID, tenant_id: UUID, *, now: dt.datetime
) -> MemberSession | None:
    """Look a session up with what its person is in its tenant.

    Returns:
        ``None`` when the session ended or was revoked, the person is disabled or gone, they were removed from the
        tenant, or the tenant is closed.
    """
    row = await conn.fetchrow(_FIND_MEMBER, session_id, user_id, tenant_id, now)
    return None if row is None else msgspec.convert(row, MemberSession)


async def list_sessions(
    conn: Connection, user_id: UUID, *, now: dt.datetime, after: UUID | None, limit: int
) -> list[ListedSession]:
    """List a person's sessions that have not ended, in the order in which they were opened, behind *after*."""
    return [msgspec.convert(row, ListedSession) for row in await conn.fetch(_LIST, user_id, now, after, limit)]


async def end_tenant_sessions(conn: Connection, tenant_id: UUID, user_id: UUID) -> None:
    """End all sessions of a person in one tenant at once, so that none goes on should they come back to it."""
    await conn.execute(_END_TENANT, tenant_id, user_id)


async def end_session(conn: Connection, user_id: UUID, session_id: UUID) -> bool:
    """End one session of a person at once; ``False`` when they have no such session."""
    return str(await conn.execute(_END, user_id, session_id)) == "DELETE 1"


async def end_sessions(conn: Connection, user_id: UUID, *, but: UUID | None = None) -> None:
    """End all sessions of a person at once, but for one that may go on."""
    await conn.execute(_END_ALL, user_id, but)


async def open_page_session(
    conn: Connection, user_id: UUID, tenant_id: UUID, *, user_agent: str, now: dt.datetime
) -> str:
    """Open a session of the page for a member who signed in, in a transaction.

    Returns:
        The token for the cookie: 256 random bits, stored nowhere but as a hash.
    """
    session_id = await _open(conn, user_id, tenant_id, kind="page", user_agent=user_agent, now=now)
    token = _PAGE + secrets.token_urlsafe(32)
    await conn.execute(_OPEN_PAGE, _hash(token), tenant_id, session_id, now)
    return token


async def find_page_session(conn: Connection, token: str, *, now: dt.datetime) -> MemberSession | None:
    """Look a person's session of the page up and note its use; ``None`` as :func:`find_member_session`."""
    if not _COOKIE.fullmatch(token):
        return None
    row = await conn.fetchrow(_FIND_PAGE, _hash(token), now)
    if row is None:
        return None
    found = msgspec.convert(row, _PageSession)
    if now - found.seen_at > _SEEN_EVERY:
        await conn.execute(_EXTEND, found.session_id, now, LIFETIME, IDLE)
        await conn.execute(_SEE_PAGE, found.session_id, now)
    return found
