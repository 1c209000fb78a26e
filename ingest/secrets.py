"""Listener secrets in use: made when a month needs them first, never taken up again once they were destroyed."""

from __future__ import annotations

import datetime as dt
from typing import Final, NamedTuple

from analytics_core.clock import Clock
from analytics_core.db.pool import Connection, Pool, connection
from analytics_core.db.secrets import destroy_secrets, ensure_secret
from analytics_core.keeping import SECRET_DAYS
from analytics_core.listeners import new_secret

__all__ = ("KEEP_DAYS", "MonthSecret", "SecretStore", "destroy_old_secrets", "is_over")

KEEP_DAYS: Final = SECRET_DAYS
"""Days after a month's end on which its secrets are destroyed."""


class MonthSecret(NamedTuple):
    """A secret of a month.

    Attributes:
        secret: 32 bytes.
        is_fresh: Whether it was made for this run because the month's own was destroyed: keys made with it compare
            with no others.
    """

    secret: bytes
    is_fresh: bool


def _next_month(month: dt.date) -> dt.date:
    return (month + dt.timedelta(days=32)).replace(day=1)


def is_over(month: dt.date, *, today: dt.date) -> bool:
    """Tell whether a month's secrets are to be gone.

    >>> [is_over(dt.date(2026, 1, 1), today=dt.date(2026, 3, day)) for day in (17, 18)]
    [False, True]
    """
    return today >= _next_month(month) + dt.timedelta(days=KEEP_DAYS)


class SecretStore:
    """Secrets by month and tenant, read once and remembered while they live.

    Args:
        pool: As ingest. Secrets have a connection of their own: what a transaction that rolls back had made, and
            something was keyed with, would be lost. Without one secrets are made for this run alone: for keys that
            are compared among themselves and stored nowhere.
        clock: Tells which months are over.
    """

    def __init__(self, pool: Pool | None, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._known: dict[tuple[dt.date, int], MonthSecret] = {}

    async def get(self, month: dt.date, tenant_no: int) -> MonthSecret:
        """Return a month's secret for a tenant, or for the installation.

        Args:
            month: Its first day.
            tenant_no: ``INSTALLATION``, or a tenant's number.

        Raises:
            Unavailable: The database does not answer.
        """
        over = is_over(month, today=self._clock.now().date())
        known = self._known.get((month, tenant_no))
        if known is not None and (known.is_fresh or not over):
            return known
        stored = None
        if not over and self._pool is not None:
            async with connection(self._pool) as conn:
                stored = await ensure_secret(conn, month=month, tenant_no=tenant_no, new=new_secret())
            if stored is None and (month, tenant_no) in self._known:
                return self._known[month, tenant_no]
        found = MonthSecret(new_secret(), True) if stored is None else MonthSecret(stored, False)
        self._known[month, tenant_no] = found
        return found

    def forget_stored(self) -> None:
        """Drop from memory what the database knows better; fresh ones are nowhere else."""
        self._known = {key: known for key, known in self._known.items() if known.is_fresh}

    def forget_old(self) -> None:
        """Drop secrets of months that are over from memory; fresh ones live as long as this run."""
        today = self._clock.now().date()
        self._known = {
            key: known for key, known in self._known.items() if known.is_fresh or not is_over(key[0], today=today)
        }


async def destroy_old_secrets(conn: Connection, *, now: dt.datetime) -> int:
    """Destroy the secrets of every month that ended at least ``KEEP_DAYS`` days ago; return how many there were."""
    last = (now - dt.timedelta(days=KEEP_DAYS)).date()
    return await destroy_secrets(conn, before=last.replace(day=1), now=now)
