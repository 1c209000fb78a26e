"""Listener secrets: one a month and tenant, and one of the installation under number 0."""

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString

import msgspec

from analytics_core.db.pool import Connection

__all__ = ("INSTALLATION", "SecretRow", "destroy_secrets", "ensure_secret", "find_secret")

INSTALLATION: Final = 0
"""The installation's own number among the tenants'."""


class SecretRow(msgspec.Struct, frozen=True):
    """A secret of a month, or what is left of it: ``secret`` is ``None`` once it was destroyed."""

    secret: bytes | None


_FIND: Final[LiteralString] = """/* listener_secrets.find */
select secret from ops.listener_secrets where month = $1 and tenant_no = $2"""

_ADD: Final[LiteralString] = """/* listener_secrets.add */
insert into ops.listener_secrets (month, tenant_no, secret) values ($1, $2, $3) on conflict do nothing"""

_DESTROY: Final[LiteralString] = """/* listener_secrets.destroy */
update ops.listener_secrets set secret = null, destroyed_at = $2 where secret is not null and month < $1"""


async def find_secret(conn: Connection, *, month: dt.date, tenant_no: int) -> SecretRow | None:
    """Read a secret; ``None`` when the month never had one."""
    row = await conn.fetchrow(_FIND, month, tenant_no)
    return None if row is None else msgspec.convert(row, SecretRow)


async def ensure_secret(conn: Connection, *, month: dt.date, tenant_no: int, new: bytes) -> bytes | None:
    """Return a month's secret, making it of *new* when there is none; ``None`` when it was destroyed.

    Outside a transaction: what two processes make at once is one secret, and both see it before they use it.
    """
    row = await find_secret(conn, month=month, tenant_no=tenant_no)
    if row is None:
        await conn.execute(_ADD, month, tenant_no, new)
        row = await find_secret(conn, month=month, tenant_no=tenant_no)
    return None if row is None else row.secret


async def destroy_secrets(conn: Connection, *, before: dt.date, now: dt.datetime) -> int:
    """Destroy the secrets of all months before *before*; return how many there were."""
    return int(str(await conn.execute(_DESTROY, before, now)).split()[-1])
