"""Tokens that are mailed, to prove that an address is somebody's or to set a password anew; used once, kept as hashes.

All of this is done as the role that authenticates.
"""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
import re
import secrets
from typing import Final, LiteralString
from uuid import UUID

from analytics_core.db.pool import Connection

__all__ = ("RESET_LIFETIME", "VERIFY_LIFETIME", "Purpose", "find_token", "forget_tokens", "make_token", "use_token")

VERIFY_LIFETIME: Final = dt.timedelta(hours=24)
RESET_LIFETIME: Final = dt.timedelta(hours=1)

_MAX_PER_HOUR: Final = 3
_FORM: Final = re.compile(r"cl_(verify|reset)_[A-Za-z0-9_-]{43}", re.ASCII)


class Purpose(enum.Enum):
    """What a token is good for."""

    VERIFY = "verify"
    RESET = "reset"

    @property
    def lifetime(self) -> dt.timedelta:
        """How long one may be used."""
        return VERIFY_LIFETIME if self is Purpose.VERIFY else RESET_LIFETIME


_SWEEP: Final[LiteralString] = """/* auth_tokens.sweep */ delete from app.auth_tokens where expires_at <= $1"""

_RECENT: Final[LiteralString] = """/* auth_tokens.recent */
select count(*) from app.auth_tokens where user_id = $1 and purpose = $2 and created_at > $3"""

_MAKE: Final[LiteralString] = """/* auth_tokens.make */
insert into app.auth_tokens (token_hash, user_id, purpose, created_at, expires_at) values ($1, $2, $3, $4, $5)"""

_USE: Final[LiteralString] = """/* auth_tokens.use */
update app.auth_tokens set used_at = $3
where token_hash = $1 and purpose = $2 and used_at is null and expires_at > $3 returning user_id"""

_FIND: Final[LiteralString] = """/* auth_tokens.find */
select user_id from app.auth_tokens where token_hash = $1 and purpose = $2 and used_at is null and expires_at > $3"""

# Used ones stay until their time is over, so that how many there were is known.
_FORGET: Final[LiteralString] = """/* auth_tokens.forget */
update app.auth_tokens set used_at = $3 where user_id = $1 and purpose = $2 and used_at is null"""


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


async def make_token(conn: Connection, user_id: UUID, purpose: Purpose, *, now: dt.datetime) -> str | None:
    """Make a token inside a transaction.

    Returns:
        Its text, which is stored nowhere; ``None`` when the person was sent enough of them within the last hour.
    """
    await conn.execute(_SWEEP, now)
    recent = await conn.fetchval(_RECENT, user_id, purpose.value, now - dt.timedelta(hours=1))
    if recent >= _MAX_PER_HOUR:
        return None
    token = f"cl_{purpose.value}_{secrets.token_urlsafe(32)}"
    await conn.execute(_MAKE, _hash(token), user_id, purpose.value, now, now + purpose.lifetime)
    return token


async def find_token(conn: Connection, token: str, purpose: Purpose, *, now: dt.datetime) -> UUID | None:
    """Look whose a token is that could be used, without using it."""
    if not _FORM.fullmatch(token):
        return None
    user_id: UUID | None = await conn.fetchval(_FIND, _hash(token), purpose.value, now)
    return user_id


async def use_token(conn: Connection, token: str, purpose: Purpose, *, now: dt.datetime) -> UUID | None:
    """Use a token up, inside a transaction: of two at once, one.

    Returns:
        Whose it is; ``None`` when it is unknown, used, too old, or for something else.
    """
    if not _FORM.fullmatch(token):
        return None
    user_id: UUID | None = await conn.fetchval(_USE, _hash(token), purpose.value, now)
    return user_id


async def forget_tokens(conn: Connection, user_id: UUID, purpose: Purpose, *, now: dt.datetime) -> None:
    """Have what was mailed to somebody for a purpose be good no longer."""
    await conn.execute(_FORGET, user_id, purpose.value, now)
