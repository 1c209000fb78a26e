"""Addresses of mail servers, and the settings that name one."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.errors import ConfigError
from analytics_core.settings import load_settings
from analytics_core.smtp_url import Tls, parse_smtp_url


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("smtp://mail.example.org", "mail.example.org", 587, Tls.STARTTLS),
        ("smtp://mail.example.org:25/", "mail.example.org", 25, Tls.STARTTLS),
        ("smtp://mail.example.org?tls=none", "mail.example.org", 587, Tls.NONE),
        ("SMTPS://mail.example.org", "mail.example.org", 465, Tls.IMPLICIT),
        ("smtp://localhost:25", "localhost", 25, Tls.NONE),
        ("smtp://127.0.0.1:25", "127.0.0.1", 25, Tls.NONE),
        ("smtp://[::1]:25", "::1", 25, Tls.NONE),
        ("smtp://[::1]:25?tls=starttls", "::1", 25, Tls.STARTTLS),
        ("smtp://10.0.0.5", "10.0.0.5", 587, Tls.STARTTLS),
    ],
)
def test_servers(url: str, host: str, port: int, tls: Tls) -> None:
    server = parse_smtp_url(url)
    assert (server.host, server.port, server.tls) == (host, port, tls)
    assert (server.user, server.password) == (None, None)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example.org",
        "http://mail.example.org",
        "smtp://",
        "smtp://:587",
        "smtp://mail.example.org:0",
        "smtp://mail.example.org:65536",
        "smtp://mail.example.org:x",
        "smtp://mail.example.org/inbox",
        "smtp://mail.example.org#x",
        "smtp://mail.example.org?tls=maybe",
        "smtp://mail.example.org?tls",
        "smtp://mail.example.org?tls=none&tls=starttls",
        "smtp://mail.example.org?verify=no",
        "smtps://mail.example.org?tls=none",
        "smtp://hunter2@mail.example.org",
        "smtp://:hunter2@mail.example.org",
        "smtp://[::1",
    ],
)
def test_what_is_no_server_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ValueError, match="an address such as smtp://") as refusal:
        parse_smtp_url(url)
    assert "hunter2" not in str(refusal.value)
    with pytest.raises(ConfigError) as fault:
        load_settings({"CASTLEDGER_SMTP_URL": url or "x", "CASTLEDGER_MAIL_FROM": "ledger@example.org"})
    assert "hunter2" not in str(fault.value)
    assert str(fault.value).startswith("CASTLEDGER_SMTP_URL: is not an address")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_user_and_password_can_be_written(user: str, password: str) -> None:
    server = parse_smtp_url(f"smtp://{quote(user, safe='')}:{quote(password, safe='')}@mail.example.org")
    assert (server.user, server.password) == (user, password)
    assert repr(server) == "SmtpServer('mail.example.org', 587, starttls)"


def test_settings_of_mail() -> None:
    url = "smtp://ana:hunter2@mail.example.org"
    mail = load_settings({"CASTLEDGER_SMTP_URL": url, "CASTLEDGER_MAIL_FROM": "Ana B. <ana@example.org>"}).mail
    assert mail is not None
    assert (mail.url, mail.sender.name, mail.sender.address) == (url, "Ana B.", "ana@example.org")
    assert "hunter2" not in repr(mail)
    console = load_settings({"CASTLEDGER_SMTP_URL": "console:"}).mail
    assert console is not None
    assert console.sender.address == "castledger@localhost"
    assert load_settings({}).mail is None
    assert load_settings({"CASTLEDGER_MAIL_FROM": "ana@example.org"}).mail is None


@pytest.mark.parametrize(
    ("sender", "fault"),
    [
        ("", "CASTLEDGER_MAIL_FROM: is required"),
        ("Ana", "CASTLEDGER_MAIL_FROM: 'Ana' is not an address"),
        ("Ana <ana@localhost>", "CASTLEDGER_MAIL_FROM: "),
        ("ana@example.org, bob@example.org", "CASTLEDGER_MAIL_FROM: "),
        ("Ana\r\nBcc: x <ana@example.org>", "CASTLEDGER_MAIL_FROM: "),
        ("x" * 201 + " <ana@example.org>", "CASTLEDGER_MAIL_FROM: "),
    ],
)
def test_mail_is_from_somebody(sender: str, fault: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load_settings({"CASTLEDGER_SMTP_URL": "smtps://mail.example.org", "CASTLEDGER_MAIL_FROM": sender})
    assert str(refusal.value).startswith(fault)
