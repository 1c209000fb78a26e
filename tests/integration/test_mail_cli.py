"""``castledger mail`` and the doctor: what an operator sees of mail, with a server and without."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
from uuid import UUID

import pytest

from analytics_core.db.outbox import queue_mail, retry_mail, take_mail
from analytics_core.db.pool import connect
from analytics_core.errors import ConfigError, InvalidInput, NotFound
from analytics_core.mail import Mail, Sender
from analytics_core.mailers import ConsoleMailer, MailFault, MemoryMailer, Undelivered
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, MailSettings, Secret
from castledger_server.cli import main
from castledger_server.doctor_mail import look_at_mail_server, look_at_outbox
from castledger_server.findings import Finding, Level
from castledger_server.mail_cli import list_lines, retry_all, send_test, show_text
from tests.mail_servers import running_mail_server

pytestmark = pytest.mark.anyio

HOUR = dt.timedelta(hours=1)
MAIL = Mail("ana@example.com", "You are invited", "https://ledger.example.org/invitation/secret\n\n")


async def queue(database: DatabaseSettings, *, now: dt.datetime) -> None:
    conn = await connect(database, Role.AUTH, application_name="test")
    await queue_mail(conn, MAIL, now=now)
    await conn.close()


async def try_in_vain(database: DatabaseSettings, *, now: dt.datetime) -> None:
    conn = await connect(database, Role.INGEST, application_name="test")
    taken = await take_mail(conn, now=now, lease=HOUR)
    assert taken is not None
    assert await retry_mail(conn, taken, at=now + HOUR, error="later (451)")
    await conn.close()


async def test_waiting_mail_is_listed_shown_and_tried_again(database: DatabaseSettings) -> None:
    assert await list_lines(database) == ["no mail waits"]
    assert await retry_all(database) == 0
    now = dt.datetime.now(dt.UTC)
    await queue(database, now=now - 2 * HOUR)
    [line] = await list_lines(database)
    mail_id, when, state, *rest = [part.strip() for part in line.split("  ") if part]
    assert (when, state) == (f"{now - 2 * HOUR:%Y-%m-%d %H:%M}Z", "not tried yet")
    assert rest == ["ana@example.com", "You are invited"]
    text = await show_text(database, UUID(mail_id))
    assert text == ("To: ana@example.com\nSubject: You are invited\n\nhttps://ledger.example.org/invitation/secret\n")
    with pytest.raises(NotFound):
        await show_text(database, UUID(int=1))
    await try_in_vain(database, now=now)
    assert "tried 1: later (451)" in (await list_lines(database))[0]
    assert await retry_all(database) == 1


async def test_a_test_goes_past_the_outbox(database: DatabaseSettings) -> None:
    memory = MemoryMailer()
    await send_test(memory, "ana@example.com")
    assert [mail.to for mail in memory.sent] == ["ana@example.com"]
    with pytest.raises(ConfigError, match="CASTLEDGER_SMTP_URL: is not set"):
        await send_test(None, "ana@example.com")
    with pytest.raises(InvalidInput, match="ADDRESS"):
        await send_test(memory, "ana")
    memory.faults.append(Undelivered(MailFault.REFUSED, 550))
    with pytest.raises(Undelivered):
        await send_test(memory, "ana@example.com")
    out = io.StringIO()
    await send_test(ConsoleMailer(out), "ana@example.com")
    assert "castledger mail test" in out.getvalue()


def test_the_command_says_what_the_server_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CASTLEDGER_SMTP_URL", "smtp://mail.invalid")
    monkeypatch.setenv("CASTLEDGER_MAIL_FROM", "ledger@example.org")
    assert main(["mail", "test", "ana@example.com"]) == 1
    assert capsys.readouterr().err.startswith("castledger: unreachable: Error connecting to mail.invalid")
    assert main(["mail", "show", "x"]) == 2
    assert "'x' is no id" in capsys.readouterr().err


def settings(url: str) -> MailSettings:
    return MailSettings(url=Secret(url), sender=Sender("", "ledger@example.org"))


async def test_the_doctor_signs_in_at_the_server() -> None:
    def look(url: str | None) -> Finding:
        [found] = look_at_mail_server(None if url is None else settings(url))
        return found

    async with running_mail_server() as server:
        found = await asyncio.to_thread(look, f"smtp://127.0.0.1:{server.port}")
        assert found == (Level.OK, "mail", f"127.0.0.1:{server.port} lets us in")
        found = await asyncio.to_thread(look, f"smtp://ana:hunter2@127.0.0.1:{server.port}")
        assert found.level is Level.FAIL
        assert "sign_in" in found.text
        assert "hunter2" not in found.text
        assert server.received == []
    assert (await asyncio.to_thread(look, None)).level is Level.OK
    assert (await asyncio.to_thread(look, "console:")).level is Level.WARN


async def test_the_doctor_tells_of_mail_that_waits_for_long(database: DatabaseSettings) -> None:
    def look() -> list[Finding]:
        return list(look_at_outbox(database))

    assert await asyncio.to_thread(look) == [(Level.OK, "outbox", "no mail waits")]
    now = dt.datetime.now(dt.UTC)
    await queue(database, now=now)
    assert await asyncio.to_thread(look) == []
    await queue(database, now=now - HOUR)
    [found] = await asyncio.to_thread(look)
    assert found.level is Level.WARN
    assert found.text.startswith(f"2 wait since {now - HOUR:%Y-%m-%d %H:%M} UTC; ")
    await try_in_vain(database, now=now)
    [found] = await asyncio.to_thread(look)
    assert "later (451)" in found.text
    assert "ana" not in found.text
