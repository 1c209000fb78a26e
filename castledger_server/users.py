"""What the operator does with people: each in one transaction, with an entry in the records of their tenants."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final
from uuid import UUID

import msgspec

from analytics_core.audit import Actor
from analytics_core.clock import SystemClock
from analytics_core.db.audit import add_entry
from analytics_core.db.memberships import add_membership, list_own_tenants
from analytics_core.db.pool import Connection, Tenant, connect
from analytics_core.db.tenants import find_tenant
from analytics_core.db.user_sessions import end_sessions
from analytics_core.db.users import (
    Credentials,
    create_user,
    find_credentials,
    list_roster,
    restore_user,
    set_password,
    set_status,
    verify_email,
)
from analytics_core.errors import Conflict, InvalidInput
from analytics_core.passwords import PasswordHasher, check_password
from analytics_core.permissions import RoleName
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.command_records import AS_COMMAND

__all__ = ("NewMember", "add_member", "change_status", "list_lines", "restore_deleted", "set_new_password")

_NAME: Final = "castledger users"
_A_PAGE: Final = 500


class NewMember(msgspec.Struct, frozen=True, kw_only=True):
    """Who is to be added, and to which tenant."""

    email: str
    tenant: str
    role: RoleName
    name: str
    locale: str


@contextlib.asynccontextmanager
async def _connected(database: DatabaseSettings) -> AsyncIterator[Connection]:
    conn = await connect(database, Role.AUTH, application_name=_NAME)
    try:
        yield conn
    finally:
        await conn.close()


async def _note(conn: Connection, tenants: Iterable[Tenant], action: str, user_id: UUID) -> None:
    """Put on record what was done, as the last thing in its transaction."""
    await conn.execute(AS_COMMAND)
    for tenant in tenants:
        await add_entry(conn, tenant, actor=Actor.COMMAND, actor_id=None, action=action, resource_id=str(user_id))


async def _find(conn: Connection, email: str) -> Credentials:
    found = await find_credentials(conn, email)
    if found is None:
        raise InvalidInput("ADDRESS", f"nobody has {email}; `castledger users ls` shows who there is")
    return found


async def _hash_new(ask: Callable[[], str], who: NewMember | Credentials, bcrypt_cost: int) -> str:
    password = ask()
    check_password(password, context=(who.email, who.name), path="password")
    return await PasswordHasher(bcrypt_cost).hash(password)


async def list_lines(database: DatabaseSettings, *, slug: str | None) -> list[str]:
    """Tell who there is, a line each; with *slug* only the members of a tenant.

    Raises:
        ConfigError: The login may not act as the role that authenticates.
        InvalidInput: There is no such tenant.
        Unavailable: The database does not answer.
    """
    lines = []
    async with _connected(database) as conn:
        if slug is not None and await find_tenant(conn, slug) is None:
            raise InvalidInput("--tenant", f"there is no tenant {slug!r}; `castledger retention ls` names them")
        after: UUID | None = None
        while page := await list_roster(conn, slug, after=after, limit=_A_PAGE):
            for user in page:
                state = "unconfirmed" if user.status == "active" and not user.is_verified else user.status
                lines.append(f"{user.email:<36}{state:<13}{', '.join(user.tenants) or 'no tenant'}")
            after = page[-1].user_id
    return lines or ["nobody yet; `castledger users add` adds the first one"]


async def add_member(
    database: DatabaseSettings, member: NewMember, *, ask: Callable[[], str] | None, bcrypt_cost: int
) -> str:
    """Add somebody to a tenant, and make them where they are new.

    Args:
        database: Of the installation.
        member: Who, and to which tenant.
        ask: Asks for the password of somebody new; with ``None`` nothing is done.
        bcrypt_cost: Of its hash.

    Returns:
        What was done, or would be.

    Raises:
        InvalidInput: There is no such tenant, the password cannot be used, or the person is disabled or deleted.
        Conflict: They belong to the tenant already.
    """
    now = SystemClock().now()
    async with _connected(database) as conn:
        tenant = await find_tenant(conn, member.tenant)
        if tenant is None:
            raise InvalidInput(
                "--tenant", f"there is no tenant {member.tenant!r}; `castledger retention ls` names them"
            )
        found = await find_credentials(conn, member.email)
        if found is not None and found.status != "active":
            raise InvalidInput("--email", f"{member.email} is {found.status}: see `castledger users --help`")
        if found is not None and found.email_verified_at is None:
            # Anybody may have registered with it, and chosen the password.
            raise InvalidInput(
                "--email", f"{member.email} is not confirmed: `castledger users password` sets one and confirms it"
            )
        told = f"{member.email} is {member.role.value} of {member.tenant}"
        if ask is None:
            return f"would be done: {told}, " + ("as who they are" if found is not None else "with a new account")
        password_hash = "" if found is not None else await _hash_new(ask, member, bcrypt_cost)
        async with conn.transaction():
            if found is not None:
                user_id = found.user_id
            else:
                user = await create_user(
                    conn,
                    email=member.email,
                    name=member.name,
                    locale=member.locale,
                    password_hash=password_hash,
                    verified_at=now,
                    now=now,
                )
                user_id = user.user_id
            await add_membership(conn, tenant.tenant_id, user_id, role=member.role, now=now)
            await _note(conn, [tenant.tenant], "member.add", user_id)
    return told


async def set_new_password(database: DatabaseSettings, email: str, *, ask: Callable[[], str], bcrypt_cost: int) -> None:
    """Set somebody's password and end their sessions; their address counts as confirmed.

    Raises:
        InvalidInput: There is nobody with this address, or the password cannot be used.
    """
    async with _connected(database) as conn:
        found = await _find(conn, email)
        if found.status == "deleted":
            raise InvalidInput("ADDRESS", f"{email} has deleted themselves; `castledger users restore` takes that back")
        password_hash = await _hash_new(ask, found, bcrypt_cost)
        async with conn.transaction():
            now = SystemClock().now()
            await set_password(conn, found.user_id, password_hash, now=now)
            await verify_email(conn, found.user_id, now=now)
            await end_sessions(conn, found.user_id)
            await _note(conn, await list_own_tenants(conn, found.user_id), "password.set", found.user_id)


async def change_status(database: DatabaseSettings, email: str, status: str) -> None:
    """Keep somebody out (``disabled``) or let them in again (``active``).

    Raises:
        InvalidInput: There is nobody with this address.
        Conflict: They have deleted themselves.
    """
    async with _connected(database) as conn:
        found = await _find(conn, email)
        async with conn.transaction():
            if not await set_status(conn, found.user_id, status):
                raise Conflict("user_deleted", f"{email} has deleted themselves; see `castledger users restore --help`")
            if status == "disabled":
                await end_sessions(conn, found.user_id)
            tenants = await list_own_tenants(conn, found.user_id)
            await _note(conn, tenants, "user.disable" if status == "disabled" else "user.enable", found.user_id)


async def restore_deleted(database: DatabaseSettings, email: str) -> None:
    """Take back that somebody deleted themselves.

    Raises:
        InvalidInput: There is nobody with this address.
        Conflict: They have not.
    """
    async with _connected(database) as conn:
        found = await _find(conn, email)
        # They belong to no tenant, in whose records it could stand.
        if not await restore_user(conn, found.user_id):
            raise Conflict("user_not_deleted", f"{email} is not deleted")
