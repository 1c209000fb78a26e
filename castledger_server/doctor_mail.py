"""The doctor's look at mail: what waits for how long, and whether the server lets us in."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator
from typing import Final

import asyncpg

from analytics_core.db.outbox import OutboxState, read_outbox
from analytics_core.db.pool import connect
from analytics_core.errors import CastledgerError
from analytics_core.mailers import SmtpMailer, Undelivered
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, MailSettings
from analytics_core.smtp_url import CONSOLE, parse_smtp_url
from castledger_server.findings import Finding, Level

__all__ = ("look_at_mail_server", "look_at_outbox")

_FAILED_DAYS: Final = 7
_LATE: Final = dt.timedelta(minutes=15)


def look_at_mail_server(settings: MailSettings | None) -> Iterator[Finding]:
    """Connect to the mail server and sign in; nothing is sent."""
    if settings is None:
        text = "no server is set: invitations and password links wait for `castledger mail` (docs/mail.md)"
        yield Finding(Level.OK, "mail", text)
        return
    if settings.url == CONSOLE:
        yield Finding(Level.WARN, "mail", "is written to the log, links and all; for development only")
        return
    server = parse_smtp_url(settings.url)
    try:
        asyncio.run(SmtpMailer(server, settings.sender).check())
    except Undelivered as error:
        text = f"{server.host}:{server.port} does not take our mail: {error}: {error.detail}; mend CASTLEDGER_SMTP_URL"
        yield Finding(Level.FAIL, "mail", text)
    else:
        yield Finding(Level.OK, "mail", f"{server.host}:{server.port} lets us in")


def look_at_outbox(database: DatabaseSettings) -> Iterator[Finding]:
    """See whether mail waits for long, or was given up."""

    async def read() -> OutboxState:
        conn = await connect(database, Role.INGEST, application_name="castledger doctor")
        try:
            return await read_outbox(conn, since=dt.datetime.now(dt.UTC) - dt.timedelta(days=_FAILED_DAYS))
        finally:
            await conn.close()

    try:
        state = asyncio.run(read())
    except (TimeoutError, CastledgerError, asyncpg.PostgresError) as error:
        yield Finding(Level.WARN, "outbox", f"could not be read ({str(error) or 'it takes too long'})")
        return
    if state.oldest_at is not None and dt.datetime.now(dt.UTC) - state.oldest_at > _LATE:
        why = "" if state.last_error is None else f", the last that was tried because of: {state.last_error}"
        text = f"{state.waiting} wait since {state.oldest_at:%Y-%m-%d %H:%M} UTC{why}; `castledger mail ls`"
        yield Finding(Level.WARN, "outbox", text)
    if state.failed:
        text = f"{state.failed} mails were given up in {_FAILED_DAYS} days; ingest's log says why (docs/mail.md)"
        yield Finding(Level.WARN, "outbox", text)
    elif state.oldest_at is None:
        yield Finding(Level.OK, "outbox", "no mail waits")
