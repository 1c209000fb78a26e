"""Wrong passwords, counted by what :meth:`analytics_core.tokens.TokenKeys.subject_key` makes of account and network.

An attempt is counted before its password is looked at, and taken back when it was right: whoever tries many at once
gets no more of them than one after another. As the role that authenticates; attempts are counted outside of any
transaction, so that one that fails stays counted.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString
from uuid import UUID

from analytics_core.db.pool import Connection
from analytics_core.sign_in_delays import FORGET_AFTER, delay_after

__all__ = ("count_attempt", "forget_attempts")

_SWEEP: Final[LiteralString] = """/* login_failures.sweep */ delete from app.login_failures where last_at < $1"""

_LOCK: Final[LiteralString] = """/* login_failures.lock */
insert into app.login_failures as f (subject_key, failures, last_at, wait_until) values ($1, 1, $2, $2)
on conflict (subject_key) do update set failures = f.failures + 1, last_at = $2 where f.wait_until <= $2
returning failures"""

_WAIT: Final[LiteralString] = """/* login_failures.wait */
update app.login_failures set wait_until = $2 where subject_key = $1"""

_UNTIL: Final[LiteralString] = """/* login_failures.until */
select wait_until from app.login_failures where subject_key = $1"""

_FORGET: Final[LiteralString] = """/* login_failures.forget */ delete from app.login_failures where subject_key = $1"""


async def count_attempt(conn: Connection, subject: UUID, *, now: dt.datetime) -> dt.timedelta | None:
    """Count an attempt.

    Returns:
        ``None`` when it may be made; else how long to wait, and nothing is counted.
    """
    async with conn.transaction():
        await conn.execute(_SWEEP, now - FORGET_AFTER)
        failures = await conn.fetchval(_LOCK, subject, now)
        if failures is not None:
            await conn.execute(_WAIT, subject, now + delay_after(failures))
            return None
        until: dt.datetime = await conn.fetchval(_UNTIL, subject)
    return until - now


async def forget_attempts(conn: Connection, subject: UUID) -> None:
    """Forget the attempts of somebody whose password was right."""
    await conn.execute(_FORGET, subject)
