"""Sends the mail of the outbox, beside any other process that does.

A mail is sent at least once: a process that dies between the server's word and ours sends it again, under the same
Message-ID.

Source: RFC 5321 4.5.4.1 (retries grow apart, and go on for days).
"""

from __future__ import annotations

import datetime as dt
import logging
from typing import Final

from analytics_core.clock import Clock
from analytics_core.db.outbox import (
    TakenMail,
    fail_mail,
    fail_old_mail,
    read_outbox,
    retry_mail,
    settle_mail,
    take_mail,
)
from analytics_core.db.pool import Connection, Pool, connection
from analytics_core.errors import InvalidInput
from analytics_core.mailers import Mailer, MailFault, Undelivered
from ingest.jobs import Health
from ingest.metrics import Metrics

__all__ = ("GIVE_UP", "KEEP", "MailSender", "next_attempt")

GIVE_UP: Final = dt.timedelta(days=2)
"""How long after it was queued a mail is tried."""
KEEP: Final = dt.timedelta(days=30)
"""How long it is known that there was one."""

_PART: Final = "mail"
_FIRST: Final = dt.timedelta(minutes=1)
_LONGEST: Final = dt.timedelta(hours=4)
# More than a mailer takes at most.
_LEASE: Final = dt.timedelta(minutes=5)
_SCAN_S: Final = 1.0
_LOOK_S: Final = 15.0
_FAULTY_S: Final = 15.0
_FAILED_SINCE: Final = dt.timedelta(days=1)

_log = logging.getLogger("castledger.ingest")


def next_attempt(attempts: int, *, queued_at: dt.datetime, now: dt.datetime) -> dt.datetime | None:
    """Say when a mail is tried again: twice as long after each attempt, four hours at most.

    >>> day = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
    >>> [str(next_attempt(n, queued_at=day, now=day) - day) for n in (1, 2, 3, 100)]
    ['0:01:00', '0:02:00', '0:04:00', '4:00:00']

    Args:
        attempts: How often it was tried, 1 or more.
        queued_at: When it began to wait.
        now: Aware instant.

    Returns:
        ``None`` when that would be too late.
    """
    at = now + min(_LONGEST, _FIRST * (1 << min(attempts - 1, 16)))
    return at if at <= queued_at + GIVE_UP else None


class MailSender:
    """Takes mail that is due, one after the other, and hands it to the mailer.

    Args:
        pool: As ingest.
        mailer: ``None`` when no server is configured: mail waits until it is too old.
        clock: The time.
        metrics: Counts.
        health: Hears that mail waits for nothing, or that the server takes none.
    """

    def __init__(self, pool: Pool, mailer: Mailer | None, *, clock: Clock, metrics: Metrics, health: Health) -> None:
        self._pool = pool
        self._mailer = mailer
        self._clock = clock
        self._metrics = metrics
        self._health = health
        self._fault: str | None = None

    async def send_due(self) -> float:
        """Send one mail that is due; return the seconds until the outbox is to be looked at again.

        Raises:
            Unavailable: The database does not answer.
        """
        if self._mailer is None:
            return _LOOK_S
        async with connection(self._pool) as conn:
            taken = await take_mail(conn, now=self._clock.now(), lease=_LEASE)
        return _SCAN_S if taken is None else await self._send(taken, self._mailer)

    async def look(self) -> float:
        """Give up what is too old, and tell how the outbox stands; return the seconds until it is to be done again.

        Raises:
            Unavailable: The database does not answer.
        """
        now = self._clock.now()
        async with connection(self._pool) as conn:
            gone = await fail_old_mail(conn, now=now, before=now - GIVE_UP)
            state = await read_outbox(conn, since=now - _FAILED_SINCE)
        if gone:
            self._metrics.mail_failed.labels("expired").inc(gone)
            _log.warning("%d mails were given up after two days", gone)
        self._metrics.mail_waiting.set(state.waiting)
        oldest_s = 0.0 if state.oldest_at is None else (now - state.oldest_at).total_seconds()
        self._metrics.mail_oldest_seconds.set(max(0.0, oldest_s))
        if self._mailer is None and state.waiting:
            self._fault = f"{state.waiting} wait: set CASTLEDGER_SMTP_URL, or read them with `castledger mail`"
        elif self._mailer is None or not state.waiting:
            self._fault = None
        self._health.warn(_PART, self._fault)
        return _LOOK_S

    async def _send(self, taken: TakenMail, mailer: Mailer) -> float:
        error: Undelivered | None = None
        try:
            await mailer.send(taken.mail, mail_id=taken.mail_id, now=self._clock.now())
        except Undelivered as fault:
            error = fault
        except InvalidInput as fault:
            # Rules on mail that are stricter than when it was queued.
            error = Undelivered(MailFault.REFUSED, detail=str(fault))
        now = self._clock.now()
        async with connection(self._pool) as conn:
            if error is None:
                await settle_mail(conn, taken, now=now)
            else:
                await self._put_back(conn, taken, error, now=now)
        if error is None:
            self._metrics.mail_sent.inc()
            _log.info("mail %s was sent", taken.mail_id)
        concerns_all = error is not None and error.concerns_all
        if concerns_all != (self._fault is not None):
            self._fault = (
                f"the server takes none of ours: {error}; try `castledger mail test`" if concerns_all else None
            )
            self._health.warn(_PART, self._fault)
        return _FAULTY_S if concerns_all else 0.0

    async def _put_back(self, conn: Connection, taken: TakenMail, error: Undelivered, *, now: dt.datetime) -> None:
        at = None if error.is_final else next_attempt(taken.attempts, queued_at=taken.queued_at, now=now)
        if at is None:
            await fail_mail(conn, taken, now=now, error=str(error))
            self._metrics.mail_failed.labels(error.fault.value if error.is_final else "expired").inc()
            _log.warning("mail %s was given up: %s", taken.mail_id, error)
        else:
            await retry_mail(conn, taken, at=at, error=str(error))
            self._metrics.mail_retried.labels(error.fault.value).inc()
            _log.info("mail %s is tried again at %s: %s", taken.mail_id, f"{at:%H:%M:%S}Z", error)
