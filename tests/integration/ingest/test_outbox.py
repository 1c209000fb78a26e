"""Mail from the outbox to a real server: once, again, or given up, by any number of senders."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.clock import FixedClock
from analytics_core.db.outbox import (
    drop_mail,
    list_waiting_mail,
    make_mail_due,
    queue_mail,
    read_mail,
    read_outbox,
    settle_mail,
    take_mail,
)
from analytics_core.db.pool import Connection, Pool, connect, open_pool
from analytics_core.mail import Mail, Sender
from analytics_core.mailers import Mailer, MailFault, MemoryMailer, SmtpMailer, Undelivered
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from analytics_core.smtp_url import SmtpServer, Tls
from ingest.jobs import Health
from ingest.metrics import Metrics
from ingest.outbox import GIVE_UP, MailSender, next_attempt
from tests.mail_servers import MailServer, running_mail_server

pytestmark = pytest.mark.anyio

NOW = dt.datetime(2026, 11, 2, 12, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
SENDER = Sender("Castledger", "ledger@example.org")
MAIL = Mail("ana@example.com", "Reset your password", "https://ledger.example.org/reset/secret\n")


class Outbox:
    """An outbox with a sender on it, and a clock that both go by."""

    def __init__(self, pool: Pool, conn: Connection, auth: Connection) -> None:
        self.pool = pool
        self.conn = conn
        self.auth = auth
        self.clock = FixedClock(NOW)
        self.metrics = Metrics()
        self.health = Health()

    def sender(self, mailer: Mailer | None) -> MailSender:
        return MailSender(self.pool, mailer, clock=self.clock, metrics=self.metrics, health=self.health)

    async def queue(self, mail: Mail = MAIL) -> None:
        await queue_mail(self.auth, mail, now=self.clock.now())

    def wait(self, time: dt.timedelta) -> None:
        self.clock = FixedClock(self.clock.now() + time)

    async def rows(self) -> list[tuple[object, ...]]:
        rows = await self.conn.fetch(
            "select recipient, subject, body, attempts, sent_at, failed_at, last_error from app.outbox order by mail_id"
        )
        return [tuple(row) for row in rows]

    def count(self, name: str, reason: str | None = None) -> float:
        value = self.metrics.registry.get_sample_value(
            f"castledger_ingest_mail_{name}", {} if reason is None else {"reason": reason}
        )
        return value or 0.0


@pytest.fixture
async def outbox(database: DatabaseSettings) -> AsyncIterator[Outbox]:
    pool = await open_pool(database, Role.INGEST, application_name="test", max_size=8)
    conn = await connect(database, Role.INGEST, application_name="test")
    auth = await connect(database, Role.AUTH, application_name="test")
    yield Outbox(pool, conn, auth)
    await auth.close()
    await conn.close()
    await pool.close()


def to(server: MailServer) -> SmtpMailer:
    return SmtpMailer(SmtpServer(host="127.0.0.1", port=server.port, tls=Tls.NONE), SENDER)


async def test_a_mail_goes_once_and_is_forgotten(outbox: Outbox) -> None:
    async with running_mail_server() as server:
        sender = outbox.sender(to(server))
        assert await sender.send_due() > 0
        await outbox.queue()
        assert await sender.send_due() == 0
        assert await sender.send_due() > 0
    assert [received.recipients for received in server.received] == [["ana@example.com"]]
    assert server.received[0].message["Subject"] == MAIL.subject
    assert await outbox.rows() == [(None, None, None, 1, NOW, None, None)]
    assert outbox.count("sent_total") == 1


async def test_what_was_rolled_back_is_never_sent(outbox: Outbox) -> None:
    memory = MemoryMailer()
    transaction = outbox.auth.transaction()
    await transaction.start()
    await outbox.queue()
    await transaction.rollback()
    await outbox.sender(memory).send_due()
    assert memory.sent == []


async def test_a_server_that_asks_for_later_is_asked_again_when_it_is_time(outbox: Outbox) -> None:
    async with running_mail_server() as server:
        server.on_recipient = lambda _: "451 greylisted ana@example.com"
        await outbox.queue()
        assert await outbox.sender(to(server)).send_due() == 0
        [row] = await outbox.rows()
        assert row == (*MAIL_PARTS, 1, None, None, "later (451)")
        server.on_recipient = lambda _: "250 OK"
        outbox.wait(MINUTE - dt.timedelta(seconds=1))
        assert await outbox.sender(to(server)).send_due() > 0
        assert server.received == []
        outbox.wait(dt.timedelta(seconds=1))
        await outbox.sender(to(server)).send_due()
    assert len(server.received) == 1
    assert await outbox.rows() == [(None, None, None, 2, NOW + MINUTE, None, None)]
    assert (outbox.count("retried_total", "later"), outbox.count("sent_total")) == (1, 1)


MAIL_PARTS = (MAIL.to, MAIL.subject, MAIL.text)


async def test_a_mail_that_is_refused_is_given_up_and_forgotten(outbox: Outbox) -> None:
    async with running_mail_server() as server:
        server.on_data = lambda _: "554 we do not want mail of ana@example.com"
        await outbox.queue()
        assert await outbox.sender(to(server)).send_due() == 0
    assert await outbox.rows() == [(None, None, None, 1, None, NOW, "refused (554)")]
    assert outbox.count("failed_total", "refused") == 1
    state = await read_outbox(outbox.conn, since=NOW)
    assert (state.waiting, state.failed, state.last_error) == (0, 1, None)


async def test_while_the_server_is_away_mail_waits_and_is_then_sent(outbox: Outbox) -> None:
    await outbox.queue()
    async with running_mail_server() as server:
        away = to(server)
    sender = outbox.sender(away)
    # The others would fare no better: they are not tried at once.
    assert await sender.send_due() > 1
    assert outbox.health.warnings() == ["mail: the server takes none of ours: unreachable; try `castledger mail test`"]
    assert outbox.health.faults() == []
    await sender.look()
    assert outbox.health.warnings() != []
    assert outbox.count("waiting") == 1
    outbox.wait(2 * MINUTE)
    async with running_mail_server(port=server.port) as again:
        sender = outbox.sender(away)
        await sender.send_due()
        assert len(again.received) == 1
    await sender.look()
    assert outbox.health.warnings() == []
    assert (outbox.count("waiting"), outbox.count("oldest_seconds")) == (0, 0)


async def test_a_mail_is_tried_for_two_days(outbox: Outbox) -> None:
    memory = MemoryMailer()
    await outbox.queue()
    while (await outbox.rows())[0][5] is None:
        memory.faults = [Undelivered(MailFault.SIGN_IN, 535)]
        await outbox.sender(memory).send_due()
        outbox.wait(5 * MINUTE)
    [row] = await outbox.rows()
    attempts = row[3]
    assert isinstance(attempts, int)
    assert row == (None, None, None, attempts, None, row[5], "sign_in (535)")
    assert isinstance(row[5], dt.datetime)
    assert GIVE_UP - dt.timedelta(hours=4) <= row[5] - NOW <= GIVE_UP
    assert 15 < attempts < 25
    assert memory.sent == []
    assert (outbox.count("failed_total", "expired"), outbox.count("retried_total", "sign_in")) == (1, attempts - 1)


async def test_without_a_server_mail_waits_to_be_read_and_is_given_up_in_the_end(outbox: Outbox) -> None:
    await outbox.queue()
    sender = outbox.sender(None)
    await sender.send_due()
    await sender.look()
    assert outbox.health.warnings() == ["mail: 1 wait: set CASTLEDGER_SMTP_URL, or read them with `castledger mail`"]
    outbox.wait(GIVE_UP)
    await outbox.sender(None).look()
    assert outbox.count("oldest_seconds") == GIVE_UP.total_seconds()
    outbox.wait(MINUTE)
    await outbox.sender(None).look()
    assert outbox.health.warnings() == []
    assert await outbox.rows() == [(None, None, None, 0, None, NOW + GIVE_UP + MINUTE, "never tried")]
    assert outbox.count("failed_total", "expired") == 1


async def test_many_senders_send_each_mail_once(outbox: Outbox) -> None:
    for number in range(30):
        await outbox.queue(Mail(f"ana{number}@example.com", "Hello", "Text"))
    async with running_mail_server() as server:

        async def work() -> None:
            sender = outbox.sender(to(server))
            while await sender.send_due() == 0:
                continue

        await asyncio.gather(*(work() for _ in range(4)))
    assert sorted(received.recipients[0] for received in server.received) == sorted(
        f"ana{number}@example.com" for number in range(30)
    )
    assert outbox.count("sent_total") == 30


async def test_a_sender_that_died_leaves_its_mail_to_the_next_under_the_same_id(outbox: Outbox) -> None:
    await outbox.queue()
    async with running_mail_server() as server:
        # It took the mail, the server has it, and it died before it could say so.
        taken = await take_mail(outbox.conn, now=NOW, lease=5 * MINUTE)
        assert taken is not None
        await to(server).send(taken.mail, mail_id=taken.mail_id, now=NOW)
        await outbox.sender(to(server)).send_due()
        assert len(server.received) == 1
        outbox.wait(5 * MINUTE)
        await outbox.sender(to(server)).send_due()
    assert len({received.message["Message-ID"] for received in server.received}) == 1
    assert len(server.received) == 2
    # One that was only slow has lost it, and says nothing that counts.
    assert not await settle_mail(outbox.conn, taken, now=NOW)


async def test_nothing_about_a_mail_is_logged(outbox: Outbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with running_mail_server() as server:
        for answer in ("451 ana@example.com, later", "554 ana@example.com, never", "250 OK"):
            server.on_recipient = lambda _, answer=answer: answer  # type: ignore[misc]
            await outbox.queue()
            await outbox.sender(to(server)).send_due()
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("castledger")]
    assert len(ours) == 3
    assert not [line for line in ours if "ana" in line or "secret" in line or "Reset" in line]


async def test_what_went_is_known_for_a_time_and_what_waits_stays(outbox: Outbox) -> None:
    memory = MemoryMailer()
    await outbox.queue()
    await outbox.sender(memory).send_due()
    outbox.wait(MINUTE)
    await outbox.queue()
    assert await drop_mail(outbox.conn, before=NOW) == 0
    assert await drop_mail(outbox.conn, before=NOW + 2 * MINUTE) == 1
    assert [row[0] for row in await outbox.rows()] == [MAIL.to]


async def test_waiting_mail_can_be_read_and_made_due(outbox: Outbox) -> None:
    memory = MemoryMailer()
    memory.faults.append(Undelivered(MailFault.UNREACHABLE))
    await outbox.queue()
    await outbox.sender(memory).send_due()
    [waiting] = await list_waiting_mail(outbox.conn, limit=10)
    assert (waiting.recipient, waiting.attempts, waiting.last_error) == (MAIL.to, 1, "unreachable")
    read = await read_mail(outbox.conn, waiting.mail_id)
    assert read is not None
    assert read.mail == MAIL
    assert await read_mail(outbox.conn, UUID(int=1)) is None
    assert await make_mail_due(outbox.conn, now=NOW) == 1
    await outbox.sender(memory).send_due()
    assert memory.sent == [MAIL]
    assert await read_mail(outbox.conn, waiting.mail_id) is None
    assert await list_waiting_mail(outbox.conn, limit=10) == []


@given(st.integers(1, 10_000), st.timedeltas(dt.timedelta(), GIVE_UP * 2))
def test_attempts_grow_apart_and_end(attempts: int, waited: dt.timedelta) -> None:
    now = NOW + waited
    at = next_attempt(attempts, queued_at=NOW, now=now)
    later = next_attempt(attempts + 1, queued_at=NOW, now=now)
    if at is None:
        assert waited + dt.timedelta(hours=4) > GIVE_UP
        assert later is None
    else:
        assert MINUTE <= at - now <= dt.timedelta(hours=4)
        assert at <= NOW + GIVE_UP
        assert later is None or later >= at
