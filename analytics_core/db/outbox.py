"""The outbox: mail is queued in the transaction of what it tells of, and sent by ingest."""

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString

from analytics_core.db.pool import Connection, Tenant
from analytics_core.ids import new_id
from analytics_core.mail import Mail

__all__ = ("queue_mail",)

_QUEUE: Final[LiteralString] = """/* outbox.queue */
insert into app.outbox (mail_id, tenant_id, recipient, subject, body, queued_at, next_attempt_at)
values ($1, $2, $3, $4, $5, $6, $6)"""


async def queue_mail(conn: Connection, mail: Mail, *, now: dt.datetime, tenant: Tenant | None = None) -> None:
    """Have a mail sent once the transaction commits.

    Args:
        conn: As the role that authenticates, or as the API for its tenant; in the action's transaction.
        mail: What is sent.
        now: Aware instant.
        tenant: Whose mail it is, so that it goes with the tenant; as the API, that of the transaction. ``None`` for
            mail to a person as such.
    """
    tenant_id = None if tenant is None else tenant.tenant_id
    await conn.execute(_QUEUE, new_id(), tenant_id, mail.to, mail.subject, mail.text, now)
