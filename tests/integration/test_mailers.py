"""Mail handed to a real server: what arrives, and what each way of failing is called."""

from __future__ import annotations

import datetime as dt
import io
import socket
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from analytics_core.mail import Mail, Sender
from analytics_core.mailers import ConsoleMailer, MailFault, SmtpMailer, Undelivered, open_mailer
from analytics_core.settings import MailSettings, Secret
from analytics_core.smtp_url import SmtpServer, Tls
from tests.mail_servers import MailServer, make_certificate, running_mail_server

pytestmark = pytest.mark.anyio

NOW = dt.datetime(2026, 11, 2, 12, 0, 5, tzinfo=dt.UTC)
MAIL_ID = UUID("01900000-0000-7000-8000-000000000001")
SENDER = Sender("Castledger of Jürgen, Inc.", "ledger@example.org")
MAIL = Mail(
    "ana@example.com",
    "Ana, reset your pässword: 🎙 it is only this long so that it has to be folded over more than a line",
    "Hello Ana,\n\n.a line that begins with a dot\n..\nFrom here on: äöü 🎙\n" + "a long line " * 40 + "\n",
)


def of(server: MailServer, *, tls: Tls = Tls.NONE, login: tuple[str, str] | None = None) -> SmtpServer:
    user, password = login or (None, None)
    return SmtpServer(host="localhost", port=server.port, tls=tls, user=user, password=password)


async def fail(mailer: SmtpMailer, mail: Mail = MAIL) -> Undelivered:
    with pytest.raises(Undelivered) as failed:
        await mailer.send(mail, mail_id=MAIL_ID, now=NOW)
    assert "example" not in str(failed.value)
    return failed.value


async def test_a_mail_arrives_as_it_was_written() -> None:
    async with running_mail_server() as server:
        await SmtpMailer(of(server), SENDER).send(MAIL, mail_id=MAIL_ID, now=NOW)
    [received] = server.received
    assert (received.sender, received.recipients) == ("ledger@example.org", ["ana@example.com"])
    message = received.message
    assert message["Subject"] == MAIL.subject
    assert message["From"].addresses[0].display_name == SENDER.name
    assert message["To"] == "ana@example.com"
    assert message["Date"].datetime == NOW
    assert message["Message-ID"] == f"<{MAIL_ID}@example.org>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content_type() == "text/plain"
    assert message.get_content().replace("\r\n", "\n") == MAIL.text
    assert not message.defects
    assert sorted(message.keys()) == [
        "Auto-Submitted",
        "Content-Transfer-Encoding",
        "Content-Type",
        "Date",
        "From",
        "MIME-Version",
        "Message-ID",
        "Subject",
        "To",
    ]


async def test_addresses_that_are_not_ascii_arrive() -> None:
    async with running_mail_server() as server:
        mailer = SmtpMailer(of(server), SENDER)
        for to in ("ana@bücher.example", "jürgen@bücher.example"):
            await mailer.send(Mail(to, "Hello", "Text"), mail_id=MAIL_ID, now=NOW)
    assert [received.recipients for received in server.received] == [
        ["ana@xn--bcher-kva.example"],
        ["jürgen@xn--bcher-kva.example"],
    ]
    assert [str(received.message["To"]) for received in server.received] == [
        "ana@xn--bcher-kva.example",
        "jürgen@xn--bcher-kva.example",
    ]


async def test_a_domain_that_cannot_be_is_refused_for_good() -> None:
    async with running_mail_server() as server:
        error = await fail(SmtpMailer(of(server), SENDER), Mail("ana@" + "ü" * 63 + ".example", "Hello", "Text"))
    assert (error.fault, error.is_final, server.received) == (MailFault.REFUSED, True, [])


@pytest.mark.parametrize(
    ("answer", "fault", "is_final", "concerns_all"),
    [
        ("550 5.1.1 no such user ana@example.com", MailFault.REFUSED, True, False),
        ("452 4.2.2 mailbox of ana@example.com is full", MailFault.LATER, False, False),
    ],
)
@pytest.mark.parametrize("stage", ["recipient", "data"])
async def test_an_answer_to_a_mail_concerns_that_mail(
    stage: str, answer: str, fault: MailFault, is_final: bool, concerns_all: bool
) -> None:
    async with running_mail_server() as server:
        setattr(server, f"on_{stage}", lambda _: answer)
        error = await fail(SmtpMailer(of(server), SENDER))
    assert (error.fault, error.smtp_code) == (fault, int(answer[:3]))
    assert (error.is_final, error.concerns_all) == (is_final, concerns_all)
    assert "ana@example.com" in error.detail
    assert server.received == []


@pytest.mark.parametrize(
    ("answer", "fault"), [("553 not yours to send from", MailFault.SENDER), ("451 later", MailFault.LATER)]
)
async def test_a_sender_that_is_refused_concerns_all_mail(answer: str, fault: MailFault) -> None:
    async with running_mail_server() as server:
        server.on_mail = lambda _: answer
        error = await fail(SmtpMailer(of(server), SENDER))
    assert (error.fault, error.is_final, error.concerns_all) == (fault, False, fault is MailFault.SENDER)


async def test_a_server_that_is_away_or_says_nothing_of_ours_is_unreachable() -> None:
    # Held without listening, so that nobody else gets the port meanwhile.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        gone = SmtpServer(host="127.0.0.1", port=port, tls=Tls.NONE)
        unknown = SmtpServer(host="mail.invalid", port=port, tls=Tls.NONE)
        for server in (gone, unknown):
            error = await fail(SmtpMailer(server, SENDER))
            assert (error.fault, error.smtp_code, error.is_final) == (MailFault.UNREACHABLE, None, False)
            assert error.concerns_all
            with pytest.raises(Undelivered):
                await SmtpMailer(server, SENDER).check()


async def test_starttls_and_implicit_tls_with_a_certificate_that_is_believed(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    async with running_mail_server(starttls=made.server) as server:
        mailer = SmtpMailer(of(server, tls=Tls.STARTTLS), SENDER, context=made.client)
        await mailer.check()
        await mailer.send(MAIL, mail_id=MAIL_ID, now=NOW)
        assert server.encrypted == [True]
    async with running_mail_server(implicit=made.server) as server:
        await SmtpMailer(of(server, tls=Tls.IMPLICIT), SENDER, context=made.client).send(MAIL, mail_id=MAIL_ID, now=NOW)
        assert len(server.received) == 1


async def test_nothing_is_sent_unencrypted_or_to_a_server_that_could_be_anyone(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    async with running_mail_server() as plain:
        assert (await fail(SmtpMailer(of(plain, tls=Tls.STARTTLS), SENDER))).fault is MailFault.TLS
        assert plain.received == []
    async with running_mail_server(starttls=made.server) as server:
        assert (await fail(SmtpMailer(of(server, tls=Tls.STARTTLS), SENDER))).fault is MailFault.TLS
        assert server.received == []
    async with running_mail_server(implicit=made.server) as server:
        assert (await fail(SmtpMailer(of(server, tls=Tls.IMPLICIT), SENDER))).fault is MailFault.TLS
        assert server.received == []
    (tmp_path / "other").mkdir()
    other = make_certificate(tmp_path / "other", name="mail.example.org")
    async with running_mail_server(starttls=other.server) as server:
        error = await fail(SmtpMailer(of(server, tls=Tls.STARTTLS), SENDER, context=other.client))
        assert error.fault is MailFault.TLS
        assert server.received == []


async def test_user_and_password(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    login = ("ledger", "p@ss:wörd")
    async with running_mail_server(starttls=made.server, login=login) as server:
        mailer = SmtpMailer(of(server, tls=Tls.STARTTLS, login=login), SENDER, context=made.client)
        await mailer.check()
        await mailer.send(MAIL, mail_id=MAIL_ID, now=NOW)
        assert len(server.received) == 1
        wrong = SmtpMailer(of(server, tls=Tls.STARTTLS, login=("ledger", "x")), SENDER, context=made.client)
        error = await fail(wrong)
        assert (error.fault, error.smtp_code, error.is_final) == (MailFault.SIGN_IN, 535, False)
        with pytest.raises(Undelivered):
            await wrong.check()
    async with running_mail_server() as server:
        error = await fail(SmtpMailer(of(server, login=login), SENDER))
        assert (error.fault, server.received) == (MailFault.SIGN_IN, [])


async def test_a_console_shows_what_would_have_gone() -> None:
    out = io.StringIO()
    await ConsoleMailer(out).send(MAIL, mail_id=MAIL_ID, now=NOW)
    assert f"To: ana@example.com\nSubject: {MAIL.subject}\n\n{MAIL.text}" in out.getvalue()


@pytest.mark.parametrize(
    ("url", "is_made"),
    [
        ("console:", lambda made: isinstance(made, ConsoleMailer)),
        ("smtps://mail.example.org", lambda made: isinstance(made, SmtpMailer)),
    ],
)
def test_settings_name_a_mailer(url: str, is_made: Callable[[object], bool]) -> None:
    assert is_made(open_mailer(MailSettings(url=Secret(url), sender=SENDER), io.StringIO()))
    assert open_mailer(None, io.StringIO()) is None
