"""Links to reports for somebody without a login: made by a tenant, opened by whoever has one.

Views and wrong passwords are counted by the role that authenticates, each in one statement that decides by itself: as
many as there are at once, none is let through beyond the limit.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.pool import Connection, Tenant
from analytics_core.errors import Conflict
from analytics_core.ids import new_id
from analytics_core.reporting.shares import LOCKED_FOR, MAX_FAILURES, hash_token

__all__ = (
    "MAX_SHARES",
    "OpenShare",
    "ShareRow",
    "add_share",
    "count_attempt",
    "count_view",
    "find_open_share",
    "find_share",
    "forget_attempts",
    "list_shares",
    "revoke_share",
)

MAX_SHARES: Final = 100
"""Links to a report, those that have ended too."""


class ShareRow(msgspec.Struct, frozen=True, kw_only=True):
    """A link to a report, without its token.

    Attributes:
        max_views: How often it may be opened; ``None`` for any number.
    """

    share_id: UUID
    report_id: UUID
    has_password: bool
    expires_at: dt.datetime
    max_views: int | None
    views: int
    created_by: UUID | None
    created_at: dt.datetime
    revoked_at: dt.datetime | None


class OpenShare(msgspec.Struct, frozen=True, kw_only=True):
    """A link as whoever opens it finds it.

    Attributes:
        password_hash: ``None`` where it needs none.
    """

    tenant: Tenant
    share_id: UUID
    report_id: UUID
    password_hash: str | None
    expires_at: dt.datetime
    max_views: int | None
    views: int
    revoked_at: dt.datetime | None


_COUNT: Final[LiteralString] = """/* report_shares.count */
select count(*) from app.report_shares where report_id = $1"""

_ADD: Final[LiteralString] = """/* report_shares.add */
insert into app.report_shares (tenant_id, share_id, report_id, token_hash, password_hash, has_password, expires_at,
    max_views, created_by, created_at)
values ($1, $2, $3, $4, $5::text, $5::text is not null, $6, $7, $8, $9)"""

_KEEP_REPORT: Final[LiteralString] = """/* report_shares.keep_report */
update app.reports set expires_at = greatest(expires_at, $2) where report_id = $1"""

_LIST: Final[LiteralString] = """/* report_shares.list */
select share_id, report_id, has_password, expires_at, max_views, views, created_by, created_at, revoked_at
from app.report_shares
where ($1::uuid is null or report_id = $1) and ($2::uuid is null or share_id = $2)
    and ($3::timestamptz is null or (created_at, share_id) > ($3, $4::uuid))
order by created_at, share_id limit $5"""

_REVOKE: Final[LiteralString] = """/* report_shares.revoke */
update app.report_shares set revoked_at = $2 where share_id = $1 and revoked_at is null"""

_OPEN: Final[LiteralString] = """/* report_shares.open */
select s.tenant_id, t.tenant_no, s.share_id, s.report_id, s.password_hash, s.expires_at, s.max_views, s.views,
    s.revoked_at
from app.report_shares s join app.tenants t using (tenant_id) where s.token_hash = $1"""

_VIEW: Final[LiteralString] = """/* report_shares.count_view */
update app.report_shares set views = views + 1
where tenant_id = $1 and share_id = $2 and revoked_at is null and expires_at > $3
    and (max_views is null or views < max_views)
returning true"""

_ATTEMPT: Final[LiteralString] = """/* report_shares.count_attempt */
update app.report_shares set failed_at = $3, failures = case when failed_at <= $4 then 1 else failures + 1 end
where tenant_id = $1 and share_id = $2 and (failures < $5 or failed_at <= $4)
returning true"""

_FAILED_AT: Final[LiteralString] = """/* report_shares.failed_at */
select failed_at from app.report_shares where tenant_id = $1 and share_id = $2"""

_FORGET: Final[LiteralString] = """/* report_shares.forget_attempts */
update app.report_shares set failures = 0, failed_at = null where tenant_id = $1 and share_id = $2"""


async def add_share(
    conn: Connection,
    tenant: Tenant,
    report_id: UUID,
    *,
    token: str,
    password_hash: str | None,
    expires_at: dt.datetime,
    max_views: int | None,
    by: UUID,
    now: dt.datetime,
) -> ShareRow:
    """Make a link to a report, which is kept for as long.

    Args:
        conn: As the API, in a transaction of the tenant.
        tenant: Whose.
        report_id: Of a report of the tenant.
        token: As :func:`analytics_core.reporting.shares.new_token` makes them; nothing but its hash is kept.
        password_hash: Of the password that it needs; ``None`` for none.
        expires_at: Until when.
        max_views: How often it may be opened; ``None`` for any number.
        by: Who makes it.
        now: Aware instant.

    Raises:
        Conflict: ``too_many_shares``.
    """
    if await conn.fetchval(_COUNT, report_id) >= MAX_SHARES:
        raise Conflict("too_many_shares", f"there are {MAX_SHARES} links to this report already, ended ones too")
    share_id = new_id()
    await conn.execute(
        _ADD,
        tenant.tenant_id,
        share_id,
        report_id,
        hash_token(token),
        password_hash,
        expires_at,
        max_views,
        by,
        now,
    )
    await conn.execute(_KEEP_REPORT, report_id, expires_at)
    found = await find_share(conn, share_id)
    if found is None:
        raise AssertionError("a link that was added is there")
    return found


async def find_share(conn: Connection, share_id: UUID) -> ShareRow | None:
    """Find a link of the transaction's tenant."""
    row = await conn.fetchrow(_LIST, None, share_id, None, None, 1)
    return None if row is None else msgspec.convert(row, ShareRow)


async def list_shares(
    conn: Connection, report_id: UUID, *, after: tuple[dt.datetime, UUID] | None, limit: int
) -> list[ShareRow]:
    """List the links to a report in the order in which they were made, behind *after*."""
    rows = await conn.fetch(_LIST, report_id, None, *(after or (None, None)), limit)
    return [msgspec.convert(row, ShareRow) for row in rows]


async def revoke_share(conn: Connection, share_id: UUID, *, now: dt.datetime) -> None:
    """End a link of the transaction's tenant; one that has ended so stays as it is."""
    await conn.execute(_REVOKE, share_id, now)


async def find_open_share(conn: Connection, token: str) -> OpenShare | None:
    """Find the link that a token is of, ended or not, as the role that authenticates."""
    row = await conn.fetchrow(_OPEN, hash_token(token))
    if row is None:
        return None
    return OpenShare(
        tenant=Tenant(row["tenant_id"], row["tenant_no"]),
        share_id=row["share_id"],
        report_id=row["report_id"],
        password_hash=row["password_hash"],
        expires_at=row["expires_at"],
        max_views=row["max_views"],
        views=row["views"],
        revoked_at=row["revoked_at"],
    )


async def count_view(conn: Connection, share: OpenShare, *, now: dt.datetime) -> bool:
    """Count a view; false, and nothing is counted, when there may be no more of them."""
    return bool(await conn.fetchval(_VIEW, share.tenant.tenant_id, share.share_id, now))


async def count_attempt(conn: Connection, share: OpenShare, *, now: dt.datetime) -> dt.timedelta | None:
    """Count a password that is about to be compared, before it is.

    Returns:
        ``None`` when it may be; else how long to wait, and nothing is counted.
    """
    key = (share.tenant.tenant_id, share.share_id)
    if await conn.fetchval(_ATTEMPT, *key, now, now - LOCKED_FOR, MAX_FAILURES):
        return None
    failed_at: dt.datetime | None = await conn.fetchval(_FAILED_AT, *key)
    return LOCKED_FOR if failed_at is None else max(failed_at + LOCKED_FOR - now, dt.timedelta(seconds=1))


async def forget_attempts(conn: Connection, share: OpenShare) -> None:
    """Forget the attempts of somebody whose password was right."""
    await conn.execute(_FORGET, share.tenant.tenant_id, share.share_id)
