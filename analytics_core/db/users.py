"""People of the installation, whichever tenants they belong to; as the role that authenticates, unless said."""

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString
from uuid import UUID

import asyncpg
import msgspec

from analytics_core.db.pool import Connection
from analytics_core.errors import Conflict
from analytics_core.ids import UserId, new_id

__all__ = (
    "DELETED_FOR",
    "Credentials",
    "RosterRow",
    "UserRow",
    "change_user",
    "create_user",
    "delete_user",
    "erase_deleted",
    "find_credentials",
    "find_user",
    "list_roster",
    "renew_hash",
    "restore_user",
    "set_password",
    "set_status",
    "verify_email",
)


DELETED_FOR: Final = dt.timedelta(days=30)
"""Who has themselves deleted is erased after this long."""


class UserRow(msgspec.Struct, frozen=True):
    """Somebody.

    Attributes:
        email: ``None`` once they were erased.
        status: ``active``; ``disabled`` by the operator; ``deleted`` by themselves; ``erased`` a while after that.
    """

    user_id: UserId
    email: str | None
    name: str
    locale: str
    status: str
    email_verified_at: dt.datetime | None
    created_at: dt.datetime
    deleted_at: dt.datetime | None


class Credentials(msgspec.Struct, frozen=True):
    """What somebody signs in with; ``password_hash`` is ``None`` before they have set one."""

    user_id: UserId
    email: str
    name: str
    status: str
    email_verified_at: dt.datetime | None
    password_hash: str | None


class RosterRow(msgspec.Struct, frozen=True):
    """Somebody as the operator sees them; ``tenants`` tells what they are where."""

    user_id: UserId
    email: str
    status: str
    is_verified: bool
    tenants: list[str]


_CREATE: Final[LiteralString] = """/* users.create */
insert into app.users (user_id, email, name, locale, email_verified_at, created_at) values ($1, $2, $3, $4, $5, $6)
returning user_id, email, name, locale, status, email_verified_at, created_at, deleted_at"""

_FIND: Final[LiteralString] = """/* users.find */
select user_id, email, name, locale, status, email_verified_at, created_at, deleted_at from app.users
where user_id = $1"""

_BY_EMAIL: Final[LiteralString] = """/* users.credentials */
select u.user_id, u.email, u.name, u.status, u.email_verified_at, p.password_hash
from app.users u left join app.passwords p using (user_id)
where lower(u.email collate "C") = lower($1::text collate "C")"""

_ROSTER: Final[LiteralString] = """/* users.roster */
select u.user_id, u.email, u.status, u.email_verified_at is not null as is_verified,
    array(select t.slug || ' (' || m.role || ')' from app.memberships m join app.tenants t using (tenant_id)
        where m.user_id = u.user_id and m.removed_at is null order by t.slug) as tenants
from app.users u
where u.email is not null and ($1::uuid is null or u.user_id > $1) and ($2::text is null or exists (
    select from app.memberships m join app.tenants t using (tenant_id)
    where m.user_id = u.user_id and m.removed_at is null and t.slug = $2))
order by u.user_id limit $3"""

_CHANGE: Final[LiteralString] = """/* users.change */
update app.users set name = coalesce($2, name), locale = coalesce($3, locale) where user_id = $1
returning user_id, email, name, locale, status, email_verified_at, created_at, deleted_at"""

_SET_HASH: Final[LiteralString] = """/* users.set_hash */
insert into app.passwords (user_id, password_hash, changed_at) values ($1, $2, $3)
on conflict (user_id) do update set password_hash = excluded.password_hash, changed_at = excluded.changed_at"""

# Unless the password was changed while it was compared.
_RENEW: Final[LiteralString] = """/* users.renew_hash */
update app.passwords set password_hash = $3 where user_id = $1 and password_hash = $2"""

_SET_STATUS: Final[LiteralString] = """/* users.set_status */
update app.users set status = $2 where user_id = $1 and status in ('active', 'disabled')"""

_DELETE: Final[LiteralString] = """/* users.delete */
update app.users set status = 'deleted', deleted_at = $2 where user_id = $1 and status in ('active', 'disabled')"""
_DROP_TOKENS: Final[LiteralString] = """/* users.drop_tokens */ delete from app.auth_tokens where user_id = $1"""

_DROP_HASH: Final[LiteralString] = """/* users.drop_hash */ delete from app.passwords where user_id = $1"""

_RESTORE: Final[LiteralString] = """/* users.restore */
update app.users set status = 'active', deleted_at = null where user_id = $1 and status = 'deleted'"""

_ERASE: Final[LiteralString] = """/* users.erase */
update app.users set email = null, name = '', locale = 'en', status = 'erased', email_verified_at = null
where status = 'deleted' and deleted_at < $1"""

_VERIFY: Final[LiteralString] = """/* users.verify_email */
update app.users set email_verified_at = $2 where user_id = $1 and email_verified_at is null"""


async def create_user(
    conn: Connection,
    *,
    email: str,
    name: str,
    locale: str = "en",
    password_hash: str | None,
    verified_at: dt.datetime | None = None,
    user_id: UUID | None = None,
    now: dt.datetime,
) -> UserRow:
    """Add somebody, inside a transaction.

    Args:
        conn: As the role that authenticates.
        email: As :func:`~analytics_core.people.parse_email` returns it.
        name: How they are called; may be empty.
        locale: Their language.
        password_hash: Of :mod:`analytics_core.passwords`; ``None`` for somebody who has to set one first.
        verified_at: When the address was found to be theirs, if it was.
        user_id: Theirs, where it has to be known before.
        now: The time.

    Raises:
        Conflict: ``email_taken``: somebody has this address. The transaction can go on.
    """
    try:
        async with conn.transaction():
            row = await conn.fetchrow(_CREATE, user_id or new_id(), email, name, locale, verified_at, now)
    except asyncpg.UniqueViolationError as error:
        raise Conflict("email_taken", "somebody has this mail address already") from error
    user = msgspec.convert(row, UserRow)
    if password_hash is not None:
        await set_password(conn, user.user_id, password_hash, now=now)
    return user


async def find_user(conn: Connection, user_id: UUID) -> UserRow | None:
    """Find somebody by their id; in a tenant's transaction of the API's role only its members."""
    row = await conn.fetchrow(_FIND, user_id)
    return None if row is None else msgspec.convert(row, UserRow)


async def find_credentials(conn: Connection, email: str) -> Credentials | None:
    """Find what somebody with this address signs in with, whatever their status."""
    row = await conn.fetchrow(_BY_EMAIL, email)
    return None if row is None else msgspec.convert(row, Credentials)


async def list_roster(conn: Connection, slug: str | None, *, after: UUID | None, limit: int) -> list[RosterRow]:
    """List people in the order in which they came, behind *after*; with *slug* only the members of a tenant."""
    return [msgspec.convert(row, RosterRow) for row in await conn.fetch(_ROSTER, after, slug, limit)]


async def change_user(conn: Connection, user_id: UUID, *, name: str | None, locale: str | None) -> UserRow | None:
    """Change what somebody says of themselves; ``None`` leaves a value as it is."""
    row = await conn.fetchrow(_CHANGE, user_id, name, locale)
    return None if row is None else msgspec.convert(row, UserRow)


async def set_password(conn: Connection, user_id: UUID, password_hash: str, *, now: dt.datetime) -> None:
    """Set a password, by its hash; sessions are not ended by this."""
    await conn.execute(_SET_HASH, user_id, password_hash, now)


async def renew_hash(conn: Connection, user_id: UUID, old: str, new: str) -> None:
    """Exchange the hash of a password for another one of the same password."""
    await conn.execute(_RENEW, user_id, old, new)


async def set_status(conn: Connection, user_id: UUID, status: str) -> bool:
    """Let somebody in again (``active``) or no longer (``disabled``); ``False`` when they are not there to be."""
    return str(await conn.execute(_SET_STATUS, user_id, status)) == "UPDATE 1"


async def verify_email(conn: Connection, user_id: UUID, *, now: dt.datetime) -> None:
    """Note that an address is whose it says it is; once noted, the time stays."""
    await conn.execute(_VERIFY, user_id, now)


async def delete_user(conn: Connection, user_id: UUID, *, now: dt.datetime) -> None:
    """Have somebody erased later; until then nobody signs in as them, and :func:`restore_user` undoes it."""
    await conn.execute(_DELETE, user_id, now)
    await conn.execute(_DROP_TOKENS, user_id)
    await conn.execute(_DROP_HASH, user_id)


async def restore_user(conn: Connection, user_id: UUID) -> bool:
    """Take a deletion back; ``False`` when there is none, or it is done.

    Their tenants invite them anew, and they set a password anew.
    """
    return str(await conn.execute(_RESTORE, user_id)) == "UPDATE 1"


async def erase_deleted(conn: Connection, *, before: dt.datetime) -> int:
    """Erase who somebody was that had themselves deleted before a time; as ingest.

    Their row stays, empty, for what refers to it.

    Returns:
        How many.
    """
    return int(str(await conn.execute(_ERASE, before)).rpartition(" ")[2])
