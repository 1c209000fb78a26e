"""Sessions of the page: a random token in a cookie, its hash here, tied to the API key that opened it."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import secrets
from typing import Final, LiteralString

import msgspec

from analytics_core.db.pool import Connection
from analytics_core.db.tenants import KeyRow

__all__ = ("IDLE", "LIFETIME", "close_session", "find_session", "open_session")

LIFETIME: Final = dt.timedelta(days=30)
"""A session ends this long after its sign-in, however much it is used."""
IDLE: Final = dt.timedelta(days=7)
"""A session ends this long after its last use."""

_MAX_SESSIONS: Final = 20
_SEEN_EVERY: Final = dt.timedelta(minutes=10)
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")

_OPEN: Final[LiteralString] = """/* sessions.open */
insert into app.sessions (token_hash, tenant_id, key_id, created_at, seen_at) values ($1, $2, $3, $4, $4)"""

# Old ones go when a new one comes: all that have ended, and of its key those beyond a number, longest unused first.
_SWEEP: Final[LiteralString] = """/* sessions.sweep */
delete from app.sessions where created_at < $3 or seen_at < $4 or token_hash in (
    select token_hash from app.sessions where tenant_id = $1 and key_id = $2
    order by seen_at desc, token_hash offset $5)"""

_FIND: Final[LiteralString] = """/* sessions.find */
select k.key_id, k.tenant_id, t.tenant_no, t.is_installation, t.status, k.kind, k.scopes, k.origins, k.expires_at,
    s.seen_at
from app.sessions s join app.api_keys k using (tenant_id, key_id) join app.tenants t using (tenant_id)
where s.token_hash = $1 and s.created_at >= $2 and s.seen_at >= $3 and k.revoked_at is null
    and (k.expires_at is null or k.expires_at > now()) and t.status <> 'closed'"""

_SEE: Final[LiteralString] = """/* sessions.see */
update app.sessions set seen_at = $2 where token_hash = $1 and seen_at < $2"""

_CLOSE: Final[LiteralString] = """/* sessions.close */ delete from app.sessions where token_hash = $1"""


class _Found(KeyRow, frozen=True):
    """The key of a session, with when the session was used last."""

    seen_at: dt.datetime


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


async def open_session(conn: Connection, key: KeyRow, *, now: dt.datetime) -> str:
    """Open a session for whoever showed a key; as the role that authenticates.

    Returns:
        The session's token: 256 random bits, stored nowhere but as a hash.
    """
    token = secrets.token_urlsafe(32)
    async with conn.transaction():
        await conn.execute(_OPEN, _hash(token), key.tenant_id, key.key_id, now)
        await conn.execute(_SWEEP, key.tenant_id, key.key_id, now - LIFETIME, now - IDLE, _MAX_SESSIONS)
    return token


async def find_session(conn: Connection, token: str, *, now: dt.datetime) -> KeyRow | None:
    """Look a session up and note its use.

    Returns:
        The key that opened it, or ``None``: unknown, ended, idle for too long, or its key or tenant is no longer valid.
    """
    if not _TOKEN.fullmatch(token):
        return None
    row = await conn.fetchrow(_FIND, _hash(token), now - LIFETIME, now - IDLE)
    if row is None:
        return None
    found = msgspec.convert(row, _Found)
    if now - found.seen_at > _SEEN_EVERY:
        await conn.execute(_SEE, _hash(token), now)
    return found


async def close_session(conn: Connection, token: str) -> None:
    """End a session; one that is none is no matter."""
    await conn.execute(_CLOSE, _hash(token))
