"""Which server takes our mail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from analytics_core.errors import InvalidInput
from analytics_core.mail import Sender, parse_sender
from analytics_core.settings.parsing import Secret, Variable
from analytics_core.smtp_url import CONSOLE, parse_smtp_url

MAIL: Final = (
    Variable(
        "CASTLEDGER_SMTP_URL",
        "",
        "Server that takes our mail: smtp://user:password@mail.example.org:587, or smtps://. Without one mail waits, "
        "and `castledger mail` shows it. `console:` writes it to the log, for development.",
        True,
    ),
    Variable("CASTLEDGER_MAIL_FROM", "", "Who our mail is from, such as Castledger <ledger@example.org>.", False),
)


class MailSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which server takes our mail, or ``console:``, and who it is from."""

    url: Secret
    sender: Sender


def mail_settings(environ: Mapping[str, str], faults: list[str]) -> MailSettings | None:
    """Read who takes our mail, if anybody; what is wrong is added to the faults."""
    url = environ.get("CASTLEDGER_SMTP_URL", "").strip()
    text = environ.get("CASTLEDGER_MAIL_FROM", "").strip()
    sender: Sender | None = Sender("Castledger", "castledger@localhost") if url == CONSOLE else None
    if text:
        try:
            sender = parse_sender(text)
        except InvalidInput:
            faults.append(f"CASTLEDGER_MAIL_FROM: {text!r} is not an address such as Castledger <ledger@example.org>")
            return None
    if not url:
        return None
    if url != CONSOLE:
        try:
            parse_smtp_url(url)
        except ValueError as error:
            faults.append(f"CASTLEDGER_SMTP_URL: is not {error}")
    if sender is None:
        faults.append("CASTLEDGER_MAIL_FROM: is required with CASTLEDGER_SMTP_URL, such as ledger@example.org")
        return None
    return MailSettings(url=Secret(url), sender=sender)
