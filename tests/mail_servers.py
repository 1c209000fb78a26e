"""A mail server on this machine, and a certificate for it."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

__all__ = ("Certificate", "MailServer", "Received", "make_certificate", "running_mail_server")

TOOK = "250 OK"


class Received(NamedTuple):
    """A mail that the server took."""

    sender: str
    recipients: list[str]
    message: EmailMessage


class MailServer:
    """What the server answers, and what it took; the answers to RCPT and DATA can be changed at any time.

    Attributes:
        on_recipient: Answers a recipient.
        on_data: Answers a whole mail; only one that is taken is kept.
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.encrypted: list[bool] = []
        self.on_mail: Callable[[str], str] = lambda _: TOOK
        self.on_recipient: Callable[[str], str] = lambda _: TOOK
        self.on_data: Callable[[EmailMessage], str] = lambda _: TOOK
        self.port = 0

    async def handle_MAIL(self, _: Any, __: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802
        answer = self.on_mail(address)
        if answer == TOOK:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return answer

    async def handle_RCPT(self, _: Any, __: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802
        answer = self.on_recipient(address)
        if answer == TOOK:
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
        return answer

    async def handle_DATA(self, _: Any, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.original_content
        assert content is not None
        assert envelope.mail_from is not None
        message = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        answer = self.on_data(message)
        if answer == TOOK:
            self.received.append(Received(envelope.mail_from, list(envelope.rcpt_tos), message))
            self.encrypted.append(session.ssl is not None)
        return answer


class Certificate(NamedTuple):
    """A certificate of nobody but ourselves."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def make_certificate(folder: Path, *, name: str = "localhost") -> Certificate:
    """Make a certificate for a name, and contexts for who shows it and who believes it."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", f"/CN={name}"]
    subprocess.run([*command, "-addext", f"subjectAltName=DNS:{name}"], check=True, capture_output=True)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(cert, key)
    return Certificate(server, ssl.create_default_context(cafile=str(cert)))


@contextlib.asynccontextmanager
async def running_mail_server(
    *,
    starttls: ssl.SSLContext | None = None,
    implicit: ssl.SSLContext | None = None,
    login: tuple[str, str] | None = None,
    port: int = 0,
) -> AsyncIterator[MailServer]:
    """Run a server on loopback, in this loop.

    Args:
        starttls: Its certificate when it offers, and then requires, STARTTLS.
        implicit: Its certificate when it speaks nothing but TLS.
        login: The user and password without which it takes nothing; asked for once encrypted.
        port: 0 takes a free one.
    """
    server = MailServer()

    def sign_in(_: Any, __: Any, ___: Any, ____: str, given: LoginPassword) -> AuthResult:
        is_right = login is not None and (given.login, given.password) == tuple(part.encode() for part in login)
        return AuthResult(success=is_right, handled=False)

    def answer() -> SMTP:
        return SMTP(
            server,
            hostname="mail.example.org",
            tls_context=starttls,
            require_starttls=starttls is not None,
            auth_required=login is not None,
            authenticator=sign_in if login is not None else None,
            enable_SMTPUTF8=True,
        )

    listening = await asyncio.get_running_loop().create_server(answer, "127.0.0.1", port, ssl=implicit)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
