"""The outbox: mail is queued in the transaction of what it tells of, and sent by ingest.

A mail is taken under a lease, so that nothing is locked while a server takes its time; whoever takes it again after
that has raised its attempts, and the one before can no longer tell of its end.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.pool import Connection, Tenant
from analytics_core.ids import new_id
from analytics_core.mail import Mail

__all__ = (
    "OutboxState",
    "TakenMail",
    "WaitingMail",
    "drop_mail",
    "fail_mail",
    "fail_old_mail",
    "list_waiting_mail",
    "make_mail_due",
    "queue_mail",
    "read_mail",
    "read_outbox",
    "retry_mail",
    "settle_mail",
    "take_mail",
)


class TakenMail(msgspec.Struct, frozen=True):
    """A mail that is ours to send until its lease is over."""

    mail_id: UUID
    recipient: str
    subject: str
    body: str
    queued_at: dt.datetime
    attempts: int

    @property
    def mail(self) -> Mail:
        """The mail as it is sent."""
        return Mail(self.recipient, self.subject, self.body)


class WaitingMail(msgspec.Struct, frozen=True):
    """A mail that has not gone yet."""

    mail_id: UUID
    recipient: str
    subject: str
    queued_at: dt.datetime
    attempts: int
    next_attempt_at: dt.datetime
    last_error: str | None


class OutboxState(msgspec.Struct, frozen=True):
    """How the outbox stands.

    Attributes:
        waiting: Mail that has not gone yet.
        oldest_at: When the oldest of it was queued.
        failed: Mail that was given up since some instant.
        last_error: Why the last one that was tried did not go; ``None`` when none waits that was tried.
    """

    waiting: int
    oldest_at: dt.datetime | None
    failed: int
    last_error: str | None


_QUEUE: Final[LiteralString] = """/* outbox.queue */
insert into app.outbox (mail_id, tenant_id, recipient, subject, body, queued_at, next_attempt_at)
values ($1, $2, $3, $4, $5, $6, $6)"""

_TAKE: Final[LiteralString] = """/* outbox.take */
with next as materialized (
    select mail_id from app.outbox
    where sent_at is null and failed_at is null and next_attempt_at <= $1
    order by next_attempt_at, mail_id limit 1 for update skip locked
)
update app.outbox o set attempts = o.attempts + 1, next_attempt_at = $1 + $2::interval
from next n where o.mail_id = n.mail_id
returning o.mail_id, o.recipient, o.subject, o.body, o.queued_at, o.attempts"""

_SETTLE: Final[LiteralString] = """/* outbox.settle */
update app.outbox set sent_at = $3, recipient = null, subject = null, body = null, last_error = null
where mail_id = $1 and attempts = $2 and sent_at is null and failed_at is null returning true"""

_RETRY: Final[LiteralString] = """/* outbox.retry */
update app.outbox set next_attempt_at = $3, last_error = $4
where mail_id = $1 and attempts = $2 and sent_at is null and failed_at is null returning true"""

_FAIL: Final[LiteralString] = """/* outbox.fail */
update app.outbox set failed_at = $3, recipient = null, subject = null, body = null, last_error = $4
where mail_id = $1 and attempts = $2 and sent_at is null and failed_at is null returning true"""

# One that is being sent is left to who sends it.
_FAIL_OLD: Final[LiteralString] = """/* outbox.fail_old */
update app.outbox set failed_at = $1, recipient = null, subject = null, body = null,
    last_error = coalesce(last_error, 'never tried')
where mail_id in (
    select mail_id from app.outbox
    where sent_at is null and failed_at is null and next_attempt_at <= $1 and queued_at < $2
    for update skip locked
)
returning true"""

_DROP: Final[LiteralString] = """/* outbox.drop */
delete from app.outbox where queued_at < $1 and (sent_at is not null or failed_at is not null) returning true"""

_READ: Final[LiteralString] = """/* outbox.state */
select count(*) filter (where sent_at is null and failed_at is null) as waiting,
    min(queued_at) filter (where sent_at is null and failed_at is null) as oldest_at,
    count(*) filter (where failed_at >= $1) as failed,
    (select o.last_error from app.outbox o
        where o.sent_at is null and o.failed_at is null and o.last_error is not null
        order by o.next_attempt_at desc, o.mail_id desc limit 1) as last_error
from app.outbox where (sent_at is null and failed_at is null) or failed_at >= $1"""

_LIST: Final[LiteralString] = """/* outbox.list */
select mail_id, recipient, subject, queued_at, attempts, next_attempt_at, last_error from app.outbox
where sent_at is null and failed_at is null order by queued_at, mail_id limit $1"""

_ONE: Final[LiteralString] = """/* outbox.one */
select mail_id, recipient, subject, body, queued_at, attempts from app.outbox
where mail_id = $1 and sent_at is null and failed_at is null"""

_DUE: Final[LiteralString] = """/* outbox.make_due */
update app.outbox set next_attempt_at = $1
where sent_at is null and failed_at is null and next_attempt_at > $1 and last_error is not null returning true"""


async def queue_mail(conn: Connection, mail: Mail, *, now: dt.datetime, tenant: Tenant | None = None) -> None:
    """Have a mail sent once the transaction commits.

    Args:
        conn: As the role that authenticates, as ingest, or as the API for its tenant; in the action's transaction.
        mail: What is sent.
        now: Aware instant.
        tenant: Whose mail it is, so that it goes with the tenant; as the API, that of the transaction. ``None`` for
            mail to a person as such.
    """
    tenant_id = None if tenant is None else tenant.tenant_id
    await conn.execute(_QUEUE, new_id(), tenant_id, mail.to, mail.subject, mail.text, now)


async def take_mail(conn: Connection, *, now: dt.datetime, lease: dt.timedelta) -> TakenMail | None:
    """Take the mail that is due longest and in nobody's hands; as ingest.

    Args:
        conn: As ingest.
        now: Aware instant.
        lease: How long it is ours; then it is due again.

    Returns:
        ``None`` when none is due.
    """
    row = await conn.fetchrow(_TAKE, now, lease)
    return None if row is None else msgspec.convert(row, TakenMail)


async def settle_mail(conn: Connection, taken: TakenMail, *, now: dt.datetime) -> bool:
    """Note that a mail went, and forget what it said; false when another has it."""
    return bool(await conn.fetchval(_SETTLE, taken.mail_id, taken.attempts, now))


async def retry_mail(conn: Connection, taken: TakenMail, *, at: dt.datetime, error: str) -> bool:
    """Have a mail tried again at some instant; false when another has it."""
    return bool(await conn.fetchval(_RETRY, taken.mail_id, taken.attempts, at, error))


async def fail_mail(conn: Connection, taken: TakenMail, *, now: dt.datetime, error: str) -> bool:
    """Give a mail up, and forget what it said; false when another has it."""
    return bool(await conn.fetchval(_FAIL, taken.mail_id, taken.attempts, now, error))


async def fail_old_mail(conn: Connection, *, now: dt.datetime, before: dt.datetime) -> int:
    """Give up mail that was queued before some instant and is in nobody's hands; return how much."""
    return len(await conn.fetch(_FAIL_OLD, now, before))


async def drop_mail(conn: Connection, *, before: dt.datetime) -> int:
    """Let go of what went or was given up, and was queued before some instant; return how much."""
    return len(await conn.fetch(_DROP, before))


async def read_outbox(conn: Connection, *, since: dt.datetime) -> OutboxState:
    """Tell how the outbox stands, and how much was given up since some instant; as ingest."""
    return msgspec.convert(await conn.fetchrow(_READ, since), OutboxState)


async def list_waiting_mail(conn: Connection, *, limit: int) -> list[WaitingMail]:
    """List mail that has not gone yet, in the order in which it was queued; as ingest."""
    return [msgspec.convert(row, WaitingMail) for row in await conn.fetch(_LIST, limit)]


async def read_mail(conn: Connection, mail_id: UUID) -> TakenMail | None:
    """Read a mail that has not gone yet; nobody's lease changes."""
    row = await conn.fetchrow(_ONE, mail_id)
    return None if row is None else msgspec.convert(row, TakenMail)


async def make_mail_due(conn: Connection, *, now: dt.datetime) -> int:
    """Have mail that was tried before tried again at once; return how much."""
    return len(await conn.fetch(_DUE, now))
