"""Who takes a mail to where it goes: a mail server, a stream in development, a list in tests.

Source: RFC 5321 (codes), RFC 5322 (the message), RFC 2047 and 6532 (what is not ASCII), RFC 3834 5 (Auto-Submitted).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import enum
import ssl
from collections.abc import AsyncIterator, Iterator
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from typing import Final, Protocol, TextIO
from uuid import UUID

import aiosmtplib

from analytics_core.errors import CastledgerError
from analytics_core.mail import Mail, Sender
from analytics_core.settings import MailSettings
from analytics_core.smtp_url import CONSOLE, SmtpServer, Tls, parse_smtp_url

__all__ = (
    "ConsoleMailer",
    "MailFault",
    "Mailer",
    "MemoryMailer",
    "SmtpMailer",
    "Undelivered",
    "compose",
    "open_mailer",
)

_STEP_S: Final = 30.0
_WHOLE_S: Final = 120.0


class MailFault(enum.StrEnum):
    """Why a mail did not go, a closed set."""

    UNREACHABLE = "unreachable"
    """No connection, or it was lost."""
    TLS = "tls"
    """No encryption, or a certificate that is not to be believed."""
    SIGN_IN = "sign_in"
    """User and password were refused."""
    SENDER = "sender"
    """The server does not send for us, now or ever."""
    LATER = "later"
    """The server asks to try this mail again."""
    REFUSED = "refused"
    """The server will never take this mail."""


_OURS: Final = (MailFault.UNREACHABLE, MailFault.TLS, MailFault.SIGN_IN, MailFault.SENDER)


class Undelivered(CastledgerError):
    """A mail did not go; the message names neither addresses nor what the server said, which may.

    Args:
        fault: Why.
        smtp_code: What the server answered, if it did.
        detail: More, for who runs the installation and asked for it; it is not logged.
    """

    code = "undelivered"

    def __init__(self, fault: MailFault, smtp_code: int | None = None, *, detail: str = "") -> None:
        self.fault = fault
        self.smtp_code = smtp_code
        self.detail = detail
        super().__init__(fault.value if smtp_code is None else f"{fault.value} ({smtp_code})")

    @property
    def is_final(self) -> bool:
        """Whether the same mail would be refused again."""
        return self.fault is MailFault.REFUSED

    @property
    def concerns_all(self) -> bool:
        """Whether the fault lies with the server or our settings, so that other mail would fare no better."""
        return self.fault in _OURS


class Mailer(Protocol):
    """Takes a mail away."""

    async def send(self, mail: Mail, *, mail_id: UUID, now: dt.datetime) -> None:
        """Hand a mail over; when it returns, another answers for it.

        Args:
            mail: What is sent.
            mail_id: The same for each attempt, so that a mail that came twice can be told to be one.
            now: Aware instant.

        Raises:
            Undelivered: Nobody took it.
        """


def _as_ascii(address: str) -> str:
    """Write the domain as the name system has it; a local part that is not ASCII stays, and needs SMTPUTF8."""
    local, _, domain = address.rpartition("@")
    try:
        return f"{local}@{domain.encode('idna').decode()}"
    except UnicodeError:
        raise Undelivered(MailFault.REFUSED, detail="the domain is none that the name system could have") from None


def compose(mail: Mail, *, sender: Sender, mail_id: UUID, now: dt.datetime) -> EmailMessage:
    """Write a mail as it is sent: plain text, marked as written by a machine, so that nobody's absence answers it.

    Raises:
        Undelivered: Its address has a domain that cannot be.
    """
    to, by = _as_ascii(mail.to), _as_ascii(sender.address)
    message = EmailMessage(policy=SMTP if to.isascii() and by.isascii() else SMTPUTF8)
    # In parts, for a whole one has to be ASCII.
    message["From"] = Address(sender.name, *by.rsplit("@", 1))
    message["To"] = Address("", *to.rsplit("@", 1))
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(now.astimezone(dt.UTC))
    message["Message-ID"] = f"<{mail_id}@{by.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text, cte="quoted-printable")
    return message


class SmtpMailer:
    """Hands mail to a server, a connection a mail.

    Args:
        server: Which.
        sender: Who it is from.
        context: Whose certificates are believed; by default those that the system believes.
    """

    def __init__(self, server: SmtpServer, sender: Sender, *, context: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._sender = sender
        self._context = context

    async def send(self, mail: Mail, *, mail_id: UUID, now: dt.datetime) -> None:
        """Hand a mail over, as :class:`Mailer` says."""
        message = compose(mail, sender=self._sender, mail_id=mail_id, now=now)
        addresses = _as_ascii(self._sender.address), _as_ascii(mail.to)
        options = () if all(address.isascii() for address in addresses) else ("SMTPUTF8", "BODY=8BITMIME")
        async with self._session() as client:
            try:
                await client.sendmail(*addresses, message.as_bytes(), mail_options=options)
            except aiosmtplib.SMTPSenderRefused as error:
                raise _of_answer(error, final=MailFault.SENDER) from None
            except aiosmtplib.SMTPRecipientsRefused as error:
                raise _of_answer(error.recipients[0]) from None
            except aiosmtplib.SMTPDataError as error:
                raise _of_answer(error) from None
            except (aiosmtplib.SMTPNotSupported, ValueError) as error:
                raise Undelivered(MailFault.REFUSED, detail=str(error)) from None

    async def check(self) -> None:
        """Connect and sign in, and send nothing.

        Raises:
            Undelivered: Something of it fails; ``detail`` says more.
        """
        async with self._session():
            pass

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[aiosmtplib.SMTP]:
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            # What we call ourselves; the machine's own name is nobody's business, and looking it up may take its time.
            local_hostname=_as_ascii(self._sender.address).rpartition("@")[2],
            timeout=_STEP_S,
            use_tls=server.tls is Tls.IMPLICIT,
            start_tls=False,
            tls_context=self._context or ssl.create_default_context(),
        )
        try:
            async with asyncio.timeout(_WHOLE_S):
                await self._open(client)
                yield client
                # The mail is the server's by now; how it says goodbye is no matter.
                with contextlib.suppress(aiosmtplib.SMTPException, OSError):
                    await client.quit()
        except (aiosmtplib.SMTPException, OSError) as error:
            code = error.code if isinstance(error, aiosmtplib.SMTPResponseException) else None
            raise Undelivered(MailFault.UNREACHABLE, code, detail=str(error) or type(error).__name__) from None
        finally:
            client.close()

    async def _open(self, client: aiosmtplib.SMTP) -> None:
        """Connect, encrypt and sign in, each with a fault of its own."""
        server = self._server
        try:
            await client.connect()
        except aiosmtplib.SMTPConnectError as error:
            if isinstance(error.__cause__, ssl.SSLError):
                raise Undelivered(MailFault.TLS, detail=str(error)) from None
            raise
        if server.tls is Tls.STARTTLS:
            with _failing_as(MailFault.TLS):
                await client.starttls()
        if server.user is not None and server.password is not None:
            with _failing_as(MailFault.SIGN_IN):
                await client.login(server.user, server.password)


@contextlib.contextmanager
def _failing_as(fault: MailFault) -> Iterator[None]:
    """Give what fails a name, but for a server that has gone silent."""
    try:
        yield
    except TimeoutError:
        raise
    except (aiosmtplib.SMTPException, OSError) as error:
        code = error.code if isinstance(error, aiosmtplib.SMTPResponseException) else None
        raise Undelivered(fault, code, detail=str(error)) from None


def _of_answer(error: aiosmtplib.SMTPResponseException, *, final: MailFault = MailFault.REFUSED) -> Undelivered:
    return Undelivered(final if error.code >= 500 else MailFault.LATER, error.code, detail=error.message)


class ConsoleMailer:
    """Writes mail to a stream, links and all: for development only."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    async def send(self, mail: Mail, *, mail_id: UUID, now: dt.datetime) -> None:
        """Write a mail out, as :class:`Mailer` says."""
        head = f"--- mail {mail_id} of {now.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}Z"
        self._stream.write(f"{head}\nTo: {mail.to}\nSubject: {mail.subject}\n\n{mail.text}\n---\n")
        self._stream.flush()


class MemoryMailer:
    """Keeps mail in a list, for tests.

    Attributes:
        sent: What was handed over, in its order.
        faults: Raised instead, one a mail, first one first.
    """

    def __init__(self) -> None:
        self.sent: list[Mail] = []
        self.faults: list[Undelivered] = []

    async def send(self, mail: Mail, *, mail_id: UUID, now: dt.datetime) -> None:
        """Keep a mail, as :class:`Mailer` says."""
        if self.faults:
            raise self.faults.pop(0)
        self.sent.append(mail)


def open_mailer(settings: MailSettings | None, stream: TextIO) -> Mailer | None:
    """Make the mailer that the settings name; ``None`` when mail is to wait.

    Args:
        settings: Checked ones.
        stream: What ``console:`` writes to.
    """
    if settings is None:
        return None
    if settings.url == CONSOLE:
        return ConsoleMailer(stream)
    return SmtpMailer(parse_smtp_url(settings.url), settings.sender)
